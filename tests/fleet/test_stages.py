"""A path of revisions in one schema: stages that hold together, stamps and mirror alike."""

from __future__ import annotations

from typing import Any

import pytest

from orgtenancy.errors import ConfigurationError, JobFailed
from orgtenancy.schemas.fleet import JobOptions
from orgtenancy.schemas.revisions import Revisions
from tests.fleet.hosts import ONE, Host

TIMID = JobOptions(workers=1, max_attempts=1)

BUILD_INDEX = """
with op.get_context().autocommit_block():
    op.execute('CREATE INDEX CONCURRENTLY items_a ON items (a)')
"""


def stages(host: Host, *before: str) -> list[tuple[list[str], bool]]:
    """Return the stamps at which each stage ends, and whether it is one without transaction."""
    path = Revisions(host.modules).path(frozenset(before))
    return [(sorted(stage.after), stage.autocommit) for stage in path.stages]


def test_a_path_is_cut_where_a_revision_takes_no_transaction(host: Host) -> None:
    app = host.module()
    app.column("items", "a")
    app.online("items", "b")
    app.autocommit("items")
    app.column("items", "c")
    assert stages(host, "app_0001") == [
        (["app_0003"], False),
        (["app_0004"], True),
        (["app_0005"], False),
    ]
    assert stages(host, "app_0005") == []
    path = Revisions(host.modules).path(frozenset({"app_0001"}))
    assert [step.kind for step in path.revisions] == ["sql", "online", "autocommit", "sql"]
    assert [step.direction for step in path.revisions] == ["up"] * 4
    assert [stage.script is None for stage in path.stages] == [True, True, False]


@pytest.mark.parametrize("kind", ["column", "online"])
def test_a_stage_that_fails_at_its_end_leaves_nothing(host: Host, kind: str) -> None:
    host.install("acme")
    app = host.module()
    app.column("items", "a") if kind == "column" else app.online("items", "a")
    app.add("op.execute('SELECT 1/0')")
    new = host.release()
    with pytest.raises(JobFailed, match="1 of 1"):
        new.schemas.fleet.migrate(options=ONE)
    assert host.columns("acme", "items") == ["id"]
    assert host.stamps("org_acme") == {"app_0001"}
    host.assert_journal_is_true(new, 1)


def test_what_was_done_before_the_stage_that_fails_is_kept_and_a_resume_goes_on_there(
    host: Host,
) -> None:
    host.install("acme")
    app = host.module()
    app.column("items", "a")
    app.autocommit("items")
    app.add("op.execute('INSERT INTO items (id) VALUES (1)')")
    new = host.release()
    host.database.ask("INSERT INTO org_acme.items VALUES (1)")
    with pytest.raises(JobFailed):
        new.schemas.fleet.migrate(options=ONE)
    assert host.stamps("org_acme") == {"app_0003"}
    host.assert_journal_is_true(new, 1)
    host.database.ask("DELETE FROM org_acme.items")
    job = new.schemas.fleet.resume(1)
    assert (job.status, job.done) == ("finished", 1)
    assert host.stamps("org_acme") == {"app_0004"}
    host.assert_all_at_heads(new, job)


def test_an_autocommit_revision_does_not_stamp_what_the_registry_no_longer_knows(
    host: Host,
) -> None:
    # Nothing holds the row between its transactions; here the revision itself changes it.
    host.install("acme")
    host.module().add(
        "with op.get_context().autocommit_block():\n"
        "    op.execute(\"UPDATE orgtenancy.organizations SET schema_name = 'org_other'\")"
    )
    new = host.release()
    with pytest.raises(JobFailed):
        new.schemas.fleet.migrate(options=TIMID)
    assert "OT001" in str(new.schemas.fleet.items(1)[0].error)
    assert host.stamps("org_acme") == {"app_0001"}


def test_an_index_that_was_not_built_to_its_end_is_built_again(host: Host) -> None:
    host.install("acme")
    host.module().autocommit("items")
    new = host.release()
    host.database.ask("CREATE INDEX items_id_1 ON org_acme.items (id)")
    host.database.ask(
        "UPDATE pg_index SET indisvalid = false FROM pg_class c WHERE c.oid = "
        "indexrelid AND relname = 'items_id_1'"
    )
    assert host.indexes("acme", "items") == {"items_pkey": True, "items_id_1": False}
    new.schemas.fleet.migrate(options=ONE)
    assert host.indexes("acme", "items") == {"items_pkey": True, "items_id_1": True}
    host.assert_all_at_heads(new, 1)


def test_tables_are_locked_first_and_in_the_order_given(host: Host) -> None:
    app = host.module()
    app.table("parents")
    host.install("acme")
    app.column("parents", "b", variables="lock_tables = ('items', 'parents')")
    app.column("items", "a", variables="lock_tables = ['parents']")
    new = host.release()
    (stage,) = Revisions(host.modules).path(frozenset({"app_0002"})).stages
    assert stage.lock_tables == ("items", "parents")
    seen = """
        CREATE TABLE public.seen (id serial, relation text);
        CREATE FUNCTION public.look() RETURNS event_trigger LANGUAGE plpgsql AS $$
        BEGIN
            INSERT INTO public.seen (relation) SELECT relation::regclass::text FROM pg_locks
            WHERE pid = pg_backend_pid() AND mode = 'AccessExclusiveLock' AND relation IN
            ('org_acme.items'::regclass, 'org_acme.parents'::regclass) ORDER BY 1;
        END $$;
        CREATE EVENT TRIGGER look ON ddl_command_start EXECUTE FUNCTION public.look();
    """
    host.database.ask(seen)
    new.schemas.fleet.migrate(options=ONE)
    found = host.database.ask("SELECT relation FROM public.seen ORDER BY id LIMIT 2")
    assert [name.rpartition(".")[2] for (name,) in found] == ["items", "parents"]
    host.assert_all_at_heads(new)


def test_lock_tables_that_is_no_sequence_of_names_is_refused(host: Host) -> None:
    host.install("acme")
    host.module().column("items", "a", variables="lock_tables = 'items'")
    with pytest.raises(ConfigurationError, match="lock_tables is a sequence"):
        host.release().schemas.fleet.migrate()


def test_a_revision_whose_autocommit_cannot_be_foreseen_fails_and_says_what_to_write(
    host: Host,
) -> None:
    host.install("acme")
    # An inner function of another name: neither rendered, nor seen by its code.
    body = (
        "op.get_bind()\nblock = 'autocommit' + '_block'\n"
        "with getattr(op.get_context(), block)():\n    pass"
    )
    host.module().add(body)
    new = host.release()
    with pytest.raises(JobFailed):
        new.schemas.fleet.migrate(options=ONE)
    (item,) = new.schemas.fleet.items(1)
    assert "autocommit = True" in str(item.error)
    assert host.stamps("org_acme") == {"app_0001"}


def lie(host: Host, **revisions: str) -> None:
    host.database.ask(
        "UPDATE orgtenancy.organizations SET revisions = jsonb_build_object(%s::text, %s::text)",
        *next(iter(revisions.items())),
    )


@pytest.mark.slow
def test_a_mirror_that_lies_is_healed_by_the_stamps_of_the_schema(
    host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    app = host.module()
    app.column("items", "a")
    app.column("items", "b")
    host.install("acme")  # at 3, which is the head
    lie(host, app="app_0001")
    job = host.release().schemas.fleet.migrate(options=ONE)
    assert job is not None
    assert (job.done, job.failed) == (1, 0)
    assert "org_acme" in caplog.text or "acme is at ['app_0003']" in caplog.text
    host.assert_all_at_heads(host.release(), job)
    app.column("items", "c")
    lie(host, app="app_0002")
    host.release().schemas.fleet.migrate(options=ONE)
    assert host.columns("acme", "items") == ["id", "a", "b", "c"]
    host.assert_mirrored()


def test_a_schema_with_a_stamp_that_no_file_has_fails_alone(host: Host) -> None:
    host.install("acme", "globex")
    host.module().column("items", "a")
    new = host.release()
    host.database.ask("UPDATE org_acme.alembic_version SET version_num = 'app_9999'")
    with pytest.raises(JobFailed, match="1 of 2 schemas failed, 1 are done"):
        new.schemas.fleet.migrate(options=ONE)
    failed, done = new.schemas.fleet.items(1)
    assert (failed.organization_id, done.organization_id) == ("acme", "globex")
    assert "no module has the revision app_9999" in str(failed.error)
    assert host.columns("acme", "items") == ["id"]
    assert host.columns("globex", "items") == ["id", "a"]


def test_a_release_that_is_older_than_a_schema_leaves_it_and_says_so(host: Host) -> None:
    old = host.install("acme", "globex")
    host.module().column("items", "a")
    host.release().schemas.fleet.migrate(options=ONE, organizations=["acme"])
    (step,) = old.schemas.fleet.plan()
    assert (dict(step.revisions), step.path, step.organizations) == ({"app": "app_0002"}, None, 1)
    with pytest.raises(JobFailed):
        old.schemas.fleet.migrate(options=ONE)
    (item,) = old.schemas.fleet.items(2)
    assert item.organization_id == "acme"
    assert "app_0002" in str(item.error)
    assert "newer release" in str(item.error)
    assert host.stamps("org_acme") == {"app_0002"}


def test_two_revisions_of_one_schema_are_never_seen_apart_from_their_stamp(host: Host) -> None:
    host.install("acme")
    app = host.module()
    watch: dict[str, Any] = {
        "up": "op.add_column('items', sa.Column('a', sa.Text))\n"
        "found = op.get_bind().exec_driver_sql("
        "'SELECT version_num FROM alembic_version').scalars().all()\n"
        "assert found == ['app_0001'], found"
    }
    app.add(**watch)
    app.add(
        "found = op.get_bind().exec_driver_sql("
        "'SELECT version_num FROM alembic_version').scalars().all()\n"
        "assert found == ['app_0002'], found"
    )
    new = host.release()
    new.schemas.fleet.migrate(options=ONE)
    host.assert_all_at_heads(new, 1)


def test_a_relative_target_is_counted_from_where_the_job_began(host: Host) -> None:
    host.install("acme", "globex")
    host.module().column("items", "a")
    host.module().add(BUILD_INDEX)
    host.module().column("items", "b")
    new = host.release()
    host.database.ask("CREATE INDEX items_a ON org_acme.items (id)")
    with pytest.raises(JobFailed):
        new.schemas.fleet.migrate("+2", options=ONE)
    assert host.stamps("org_acme") == {"app_0002"}
    assert host.stamps("org_globex") == {"app_0003"}

    host.database.ask("DROP INDEX org_acme.items_a")
    job = new.schemas.fleet.resume(new.schemas.fleet.jobs()[0].id)
    assert job.status == "finished"
    assert host.stamps("org_acme") == host.stamps("org_globex") == {"app_0003"}
    host.assert_mirrored()


def test_a_relative_target_is_not_counted_from_elsewhere(host: Host) -> None:
    host.install("acme")
    host.module().column("items", "a")
    host.module().add(BUILD_INDEX)
    for name in "bc":
        host.module().column("items", name)
    new = host.release()
    host.database.ask("CREATE INDEX items_a ON org_acme.items (id)")
    with pytest.raises(JobFailed):
        new.schemas.fleet.migrate("+2", options=ONE)
    job = new.schemas.fleet.jobs()[0]
    host.database.ask("DROP INDEX org_acme.items_a")
    new.schemas.fleet.migrate(options=ONE)

    with pytest.raises(JobFailed):
        new.schemas.fleet.resume(job.id)
    (item,) = new.schemas.fleet.items(job.id)
    assert item.error is not None
    assert "'+2' is counted from where the job began, at ['app_0001']" in item.error
    assert host.stamps("org_acme") == {"app_0005"}


def test_a_statement_outside_a_transaction_is_bounded_too(host: Host) -> None:
    host.install("acme")
    host.module().add(
        "with op.get_context().autocommit_block():\n    op.execute('SELECT pg_sleep(60)')"
    )
    new = host.release()
    with pytest.raises(JobFailed):
        new.schemas.fleet.migrate(options=JobOptions(workers=1, statement_timeout=0.2))
    (item,) = new.schemas.fleet.items(1)
    assert item.error is not None
    assert item.error.startswith("57014 ")
