"""Up and down, to heads and to anything that Alembic can name."""

from __future__ import annotations

import pytest

from orgtenancy import OrganizationModule, Tenancy
from orgtenancy.errors import ConfigurationError, OrganizationNotFound, RevisionNotFound
from tests.fleet.hosts import ONE, QUICK, Host

pytestmark = pytest.mark.slow


@pytest.fixture
def four(host: Host) -> Tenancy:
    """A release with four revisions of `app`, and `acme` at the first."""
    host.install("acme")
    for column in ("a", "b", "c"):
        host.module().column("items", column)
    return host.release()


UP = {
    "heads": "app_0004",
    "head": "app_0004",
    "app@head": "app_0004",
    "app_0003": "app_0003",
    "+1": "app_0002",
    "+2": "app_0003",
    "app@+1": "app_0002",
    "app_0001": "app_0001",
}
DOWN = {
    "app_0002": "app_0002",
    "app@app_0003": "app_0003",
    "app@-1": "app_0003",
    "-1": "app_0003",
    "-3": "app_0001",
    "app@base": None,
    "base": None,
    "app_0004": "app_0004",
}


def test_every_target_upwards_that_alembic_can_name(host: Host, four: Tenancy) -> None:
    for target, revision in UP.items():
        job = four.schemas.fleet.migrate(target, options=ONE)
        assert (job is None) == (revision == "app_0001"), target
        assert host.stamps("org_acme") == {revision}, target
        assert four.schemas.get("acme").revisions == {"app": revision}, target
        host.assert_mirrored()
        four.schemas.fleet.migrate("app_0001", down=True, options=ONE)
        assert host.columns("acme", "items") == ["id"]


def test_every_target_downwards_that_alembic_can_name(host: Host, four: Tenancy) -> None:
    for target, revision in DOWN.items():
        four.schemas.fleet.migrate(options=ONE)
        job = four.schemas.fleet.migrate(target, down=True, options=ONE)
        assert (job is None) == (revision == "app_0004"), target
        assert host.stamps("org_acme") == (set() if revision is None else {revision}), target
        mirror = four.schemas.get("acme").revisions
        assert mirror == ({"app": revision} if revision else {}), target
        host.assert_mirrored()
        if revision is None:
            assert four.schemas.fleet.migrate(target, down=True, options=ONE) is None
    four.schemas.fleet.migrate(options=ONE)
    assert host.columns("acme", "items") == ["id", "a", "b", "c"]
    host.assert_all_at_heads(four)


def test_a_target_that_no_file_has_is_told_before_anything_is_done(
    host: Host, four: Tenancy
) -> None:
    for target in ("app_0009", "nobody@head", "app@nothing", "+9", "-9", ""):
        for down in (False, True):
            with pytest.raises((RevisionNotFound, ConfigurationError)):
                four.schemas.fleet.migrate(target, down=down)
    assert four.schemas.fleet.jobs() == []
    assert host.stamps("org_acme") == {"app_0001"}


def test_an_autocommit_and_an_online_revision_go_down_as_well(host: Host) -> None:
    app = host.module()
    app.online("items", "a")
    app.autocommit("items")
    app.column("items", "b")
    tenancy = host.install("acme")
    assert set(host.indexes("acme", "items")) == {"items_pkey", "items_id_2"}
    job = tenancy.schemas.fleet.migrate("app_0001", down=True, options=ONE)
    assert job is not None
    assert (job.kind, job.done) == ("downgrade", 1)
    assert host.columns("acme", "items") == ["id"]
    assert set(host.indexes("acme", "items")) == {"items_pkey"}
    host.assert_mirrored()


def test_after_going_down_to_nothing_the_stamps_are_kept_from_the_app(host: Host) -> None:
    tenancy = host.install("acme")
    tenancy.schemas.fleet.migrate("base", down=True, options=ONE)
    host.database.ask("DROP TABLE org_acme.alembic_version")  # as Alembic does now and then
    tenancy.schemas.fleet.migrate(options=ONE)
    role = tenancy.schemas.get("acme").role_name
    assert host.database.ask(
        "SELECT has_table_privilege(%s, 'org_acme.alembic_version', p) "
        "FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS p",
        role,
    ) == [(True,), (False,), (False,), (False,)]
    host.assert_all_at_heads(tenancy)


def test_schemas_at_different_revisions_go_in_one_job(host: Host, four: Tenancy) -> None:
    four.schemas.fleet.migrate("app_0003", options=ONE)
    host.install("globex", spares=1)  # at the head
    four.schemas.fleet.migrate("app_0002", down=True, organizations=["globex"])
    steps = four.schemas.fleet.plan()
    assert {(*step.revisions.values(), step.organizations, step.spares) for step in steps} == {
        ("app_0002", 1, 0),
        ("app_0003", 1, 0),
    }
    status = four.schemas.fleet.status()
    assert (status.organizations, status.spares, status.behind) == (2, 1, 2)
    job = four.schemas.fleet.migrate(options=QUICK)
    assert job is not None
    assert (job.total, job.done) == (2, 2)
    host.assert_all_at_heads(four, job)
    assert four.schemas.fleet.plan() == []
    assert four.schemas.fleet.status().behind == 0


def test_only_the_organizations_that_are_asked_for(host: Host, four: Tenancy) -> None:
    host.install("new")
    four.schemas.fleet.migrate("app_0001", down=True, options=ONE)
    job = four.schemas.fleet.migrate(organizations=["acme"], options=ONE)
    assert job is not None
    assert [item.organization_id for item in four.schemas.fleet.items(job.id)] == ["acme"]
    assert host.stamps("org_new") == {"app_0001"}
    with pytest.raises(OrganizationNotFound, match="'nobody'"):
        four.schemas.fleet.migrate(organizations=["acme", "nobody"])
    assert four.schemas.fleet.migrate(organizations=[]) is None


def test_a_module_that_is_added_later_comes_to_all_schemas(host: Host) -> None:
    host.install("acme", spares=1)
    base, addon = host.module(), host.module("addon")
    needed = base.column("items", "a")
    addon.add(
        "op.create_table('extras', sa.Column('id', sa.Integer, sa.ForeignKey('items.id')))",
        "op.drop_table('extras')",
        depends_on=needed,
    )
    host.module("third").table("thirds")
    new = host.release()
    job = new.schemas.fleet.migrate(options=QUICK)
    assert job is not None
    assert new.schemas.get("acme").revisions == {
        "app": "app_0002",
        "addon": "addon_0001",
        "third": "third_0001",
    }
    # A stamp that another implies is not kept.
    assert host.stamps("org_acme") == {"addon_0001", "third_0001"}
    host.assert_all_at_heads(new, job)
    assert new.schemas.spares.count().ready == 1

    new.schemas.fleet.migrate("addon@base", down=True, options=QUICK)
    assert host.stamps("org_acme") == {"app_0002", "third_0001"}
    assert host.columns("acme", "extras") == []
    host.assert_mirrored()
    new.schemas.fleet.migrate("third@base", down=True, options=QUICK)
    assert host.stamps("org_acme") == {"app_0002"}
    assert new.schemas.fleet.migrate("third@base", down=True, options=QUICK) is None
    job = new.schemas.fleet.migrate("third@head", options=QUICK)
    assert host.stamps("org_acme") == {"app_0002", "third_0001"}
    new.schemas.fleet.migrate(options=QUICK)
    host.assert_all_at_heads(new)


def test_one_module_may_go_down_while_another_stays(host: Host) -> None:
    host.module("other").table("others")
    host.module("other").column("others", "a")
    tenancy = host.install("acme")
    tenancy.schemas.fleet.migrate("other@-1", down=True, options=ONE)
    assert host.stamps("org_acme") == {"app_0001", "other_0001"}
    tenancy.schemas.fleet.migrate("other@+1", options=ONE)
    host.assert_all_at_heads(tenancy)


def test_a_merge_of_two_branches_of_a_module(host: Host) -> None:
    host.install("acme")
    app = host.module()
    left = app.column("items", "a")
    app.head = "app_0001"
    right = app.column("items", "b")
    app.head = None
    merge = app.add()
    file = host._folder / "app" / f"{merge}.py"
    text = file.read_text().replace("down_revision = None", f"down_revision = {(left, right)!r}")
    file.write_text(text.replace("branch_labels = ('app',)", "branch_labels = None"))
    new = host.release()
    new.schemas.fleet.migrate(left, options=ONE)
    assert new.schemas.get("acme").revisions == {"app": left}
    new.schemas.fleet.migrate(options=ONE)
    assert sorted(host.columns("acme", "items")) == ["a", "b", "id"]
    host.assert_all_at_heads(new)
    new.schemas.fleet.migrate(left, down=True, options=ONE)
    host.assert_mirrored()
    assert host.stamps("org_acme") == {left, right}
    new.schemas.fleet.migrate(options=ONE)
    host.assert_all_at_heads(new)


def test_no_modules_are_nothing_to_do(host: Host) -> None:
    modules: list[OrganizationModule] = []
    with host.database.tenancy(modules) as tenancy:
        tenancy.install()
        tenancy.schemas.provision("acme")
        assert tenancy.schemas.fleet.plan() == []
        assert tenancy.schemas.fleet.migrate() is None
