"""The reconciliation on bad days: Logto fails, shifts and disappears, and so do we."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import psycopg
import pytest
from sqlalchemy.exc import OperationalError

from orgtenancy import Tenancy
from orgtenancy.errors import (
    IdentityProviderRefused,
    IdentityProviderUnavailable,
    ProvisioningFailed,
)
from orgtenancy.identity.logto_sync.api.management import Listing
from tests.logto.times import Clock
from tests.logto.worlds import World, snapshot
from tests.schemas.conftest import MakeModule
from tests.schemas.databases import FreshDatabase, dsn

pytestmark = pytest.mark.slow


def test_it_converges_through_429s_500s_and_resets(
    world: World, clock: Clock, bare_database: FreshDatabase
) -> None:
    made = [world.data.create_organization(f"Acme {n}") for n in range(30)]
    world.fake.fail_next(429, 2, retry_after=3)
    world.fake.fail_next(500, 2)
    world.fake.fail_next(None, 1)
    assert world.sync().run().done == {"provision": 30}
    assert len(clock.slept) == 5
    gone = made[:5]
    for key in gone:
        world.data.delete_organization(key)
    world.fake.fail_next(None, 2, path="/api/organizations/")
    world.fake.fail_next(503, 2, path="/api/organizations/")
    assert world.sync().run().done == {"archive": 5}
    assert world.names_here() == world.names_there()


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (500, IdentityProviderUnavailable),
        (None, IdentityProviderUnavailable),
        (403, IdentityProviderRefused),
        (404, IdentityProviderRefused),
    ],
)
@pytest.mark.parametrize("path", ["/api/organizations$", "/api/organizations/"])
def test_a_logto_that_cannot_be_read_changes_nothing(
    world: World,
    bare_database: FreshDatabase,
    path: str,
    status: int | None,
    error: type[Exception],
) -> None:
    _, gone = (world.data.create_organization(name) for name in ("Acme", "Globex"))
    world.sync().run()
    world.data.delete_organization(gone)
    world.data.create_organization("Initech")
    before = snapshot(bare_database)
    # Also where all was read, and only what is gone is asked for.
    world.fake.fail_next(status, 100, path=path)
    with pytest.raises(error):
        world.sync().run()
    assert snapshot(bare_database) == before


def test_an_organization_that_pages_missed_is_not_archived(world: World) -> None:
    made = [world.data.create_organization(f"Acme {n}") for n in range(30)]
    world.sync().run()
    # On each pass, one of the first page goes and one is missed; the numbers agree again and
    # again, as one comes.
    newest = made[:-7:-1]

    def replace(n: int) -> None:
        world.data.delete_organization(newest[n])

    world.fake.shift_while_read(
        lambda: replace(0),
        lambda: None,
        lambda: None,
        lambda: replace(1),
        lambda: None,
        lambda: None,
        lambda: replace(2),
    )
    with_pages = world.sync()
    report = with_pages.run()
    assert not report.plan.is_whole
    statuses = world.statuses()
    assert [key for key in made if statuses[key] == "archived"] == sorted(
        (key for key in newest[:3] if statuses[key] == "archived"), key=made.index
    )
    assert all(statuses[key] == "active" for key in made if key not in newest[:3])
    world.sync().run()
    assert world.names_here() == world.names_there()


def test_one_that_is_missed_while_the_numbers_agree_is_not_archived(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [world.data.create_organization(f"Acme {n}") for n in range(20)]
    world.sync().run()
    found = world.api.organizations().items
    misses = Listing({key: found[key] for key in made if key != made[7]}, (19, 19))
    monkeypatch.setattr(world.api, "organizations", lambda: misses)
    report = world.sync().run()
    assert (report.plan.is_whole, report.plan.seen, report.done) == (True, 19, {})
    assert set(world.statuses().values()) == {"active"}


def test_one_that_was_deleted_between_two_passes_is_not_provisioned(world: World) -> None:
    made = [world.data.create_organization(f"Acme {n}") for n in range(15)]
    fleeting = made[-1]
    world.fake.shift_while_read(lambda: world.data.delete_organization(fleeting))
    report = world.sync().run()
    assert (report.done, report.plan.is_whole) == ({"provision": 14}, True)
    assert world.names_here() == world.names_there()


def test_what_fails_for_one_organization_stops_no_other(
    world: World, bare_database: FreshDatabase
) -> None:
    taken, fine, held = (
        world.data.create_organization(name, organization_id=name)
        for name in ("taken", "fine", "held")
    )
    bare_database.ask('CREATE SCHEMA "org_taken"')
    world.tenancy.schemas.provision(held, name="Old", source="logto")
    with (
        bare_database.tenancy(lifecycle_lock_timeout=0.2) as tenancy,
        psycopg.connect(dsn(bare_database.admin_url)) as other,
    ):
        other.execute("SELECT FROM orgtenancy.organizations WHERE id = 'held' FOR UPDATE")
        report = world.beside(tenancy).sync().run()
    assert report.done == {"provision": 1}
    found = {(f.organization_id, f.action, f.code) for f in report.failures}
    assert found == {
        (taken, "provision", ProvisioningFailed.code),
        (held, "rename", "organization_busy"),
    }
    assert world.statuses() == {fine: "active", held: "active"}
    bare_database.ask('DROP SCHEMA "org_taken"')
    assert world.sync().run().done == {"provision": 1, "rename": 1}


@pytest.mark.parametrize("action", ["provision", "rename"])
def test_a_database_that_is_gone_ends_the_work(
    world: World, bare_database: FreshDatabase, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    made = [world.data.create_organization(f"Acme {n}") for n in range(3)]
    if action == "rename":
        world.sync().run()
        for key in made:
            world.data.update_organization(key, name="New")
    sync = world.sync()
    plan = sync.plan()
    away = bare_database.admin_url.set(host="/nowhere", query={})
    asked: list[str] = []

    def elsewhere(organization_id: str, *args: Any, **options: Any) -> None:
        asked.append(organization_id)
        with bare_database.tenancy(admin_url=away, connect_timeout=1) as tenancy:
            owner = tenancy.schemas if action == "provision" else tenancy.organizations
            getattr(owner, action)(organization_id, *args, **options)

    target = world.tenancy.schemas if action == "provision" else world.tenancy.organizations
    monkeypatch.setattr(target, action, elsewhere)
    with pytest.raises((OperationalError, psycopg.OperationalError)):
        sync.apply(plan)
    assert len(asked) == 1


def test_labels_that_cannot_be_told_stop_no_other_organization(world: World) -> None:
    for name in ("fine", "odd", "strange"):
        world.data.create_organization(name, organization_id=name)

    def labels(data: Mapping[str, Any]) -> Mapping[str, Any]:
        if data["id"] == "odd":
            raise KeyError("plan")
        return {"made": object() if data["id"] == "strange" else 1}

    report = world.sync(attributes=labels).run()
    assert report.done == {"provision": 1}
    assert [one.organization_id for one in report.left_alone] == ["odd"]
    assert [one.organization_id for one in report.failures] == ["strange"]
    assert world.statuses() == {"fine": "active"}


def test_a_module_that_fails_now_and_then_is_done_the_next_time(
    world: World, bare_database: FreshDatabase, make_module: MakeModule
) -> None:
    body = """
        import sqlalchemy as sa
        if op.get_bind().scalar(sa.text("SELECT current_schema()")) == "org_odd":
            raise RuntimeError("no luck")
        op.execute("CREATE TABLE things (id int)")
    """
    for name in ("even", "odd"):
        world.data.create_organization(name, organization_id=name)
    with bare_database.tenancy([make_module("things", body)]) as tenancy:
        report = world.beside(tenancy).sync().run()
    assert (report.done, report.failures[0].organization_id) == ({"provision": 1}, "odd")
    assert world.statuses() == {"even": "active"}


def test_killed_anywhere_it_goes_on_the_next_time(
    world: World, tenancy: Tenancy, bare_database: FreshDatabase
) -> None:
    users = [world.data.create_user(f"user{n}", user_id=f"user{n}") for n in range(3)]
    secret = world.fake.settings().client_secret
    assert secret is not None

    def run(at: int) -> str:
        command = [
            sys.executable,
            "-m",
            "tests.logto.dying",
            bare_database.url.render_as_string(hide_password=False),
            bare_database.admin_url.render_as_string(hide_password=False),
            world.fake.url,
            secret.get_secret_value(),
            str(at),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode in (0, -9), done.stderr
        return done.stdout.strip() if done.returncode == 0 else "killed"

    made: list[str] = []
    for round_, at in enumerate((1, 4, 9, 15, 22, 30, 39, 49, 10_000)):
        if made:
            world.data.delete_organization(made.pop(0))
            world.data.update_organization(made[-1], name=f"Round {round_}")
        made += [world.data.create_organization(f"Acme {round_}-{n}") for n in range(3)]
        world.data.add_members(made[-1], users)
        first = run(at)
        assert (first == "killed") == (at < 10_000)
        bare_database.wait_until_idle()
        world.sync(sync_members=True).run()
        assert world.names_here() == world.names_there()
        assert world.sync(sync_members=True).plan().items == ()
        for key in made[-3:]:
            with tenancy.session(key):
                pass
