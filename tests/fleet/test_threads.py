"""`alembic.op` is one for the whole process; the workers of a job are several threads."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy.dialects import postgresql

from orgtenancy import Tenancy
from orgtenancy.errors import ConfigurationError, JobFailed
from orgtenancy.schemas.fleet import JobOptions
from orgtenancy.schemas.revisions import Revisions
from orgtenancy.schemas.revisions.operations import use_operations
from tests.fleet.hosts import ONE, Host, ids
from tests.schemas.catalogs import describe

MANY = JobOptions(workers=8)


@pytest.fixture(autouse=True)
def no_operations_remain() -> Iterator[None]:
    yield
    vars(importlib.import_module("alembic.op"))["_proxy"] = None


def three_modules(host: Host, number: int) -> Tenancy:
    """Install organizations with rows of their own, and release all kinds of revisions."""
    for name, table in (("left", "lefts"), ("right", "rights")):
        host.module(name).table(table)
    host.install(*ids(number))
    host.database.ask(
        "DO $$ DECLARE o record; t text; BEGIN "
        "FOR o IN SELECT schema_name, row_number() OVER () AS n FROM orgtenancy.organizations "
        "LOOP FOREACH t IN ARRAY ARRAY['items', 'lefts', 'rights'] LOOP "
        "EXECUTE format('INSERT INTO %I.%I SELECT generate_series(%s, %s)', "
        "o.schema_name, t, o.n, o.n + 3); END LOOP; END LOOP; END $$"
    )
    for name, table in (("app", "items"), ("left", "lefts"), ("right", "rights")):
        module = host.module(name)
        module.column(table, "a")
        module.online(table, "doubled")
        module.autocommit(table, "doubled")
        module.online(table, "again")
        module.table(f"more_{table}")
    return host.release()


def assert_all_correct(host: Host, tenancy: Tenancy, job_id: int) -> None:
    host.assert_all_at_heads(tenancy, job_id)
    fresh = tenancy.schemas.provision("fresh")
    expected = describe(host.database, fresh.schema_name, fresh.role_name)
    for (organization_id,) in host.database.ask(
        "SELECT id FROM orgtenancy.organizations WHERE id <> 'fresh' ORDER BY id"
    ):
        made = tenancy.schemas.get(organization_id)
        assert describe(host.database, made.schema_name, made.role_name) == expected
        for table in ("items", "lefts", "rights"):
            ((wrong, rows),) = host.database.ask(
                f"SELECT count(*) FILTER (WHERE doubled IS DISTINCT FROM id * 2 "
                f'OR again IS DISTINCT FROM id * 2), count(*) FROM "{made.schema_name}".{table}'
            )
            assert (wrong, rows) == (0, 4)
    assert host.database.ask(
        "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace"
    ) == [(0,)]


@pytest.mark.slow
def test_eight_threads_mix_rendered_online_and_autocommit_revisions(host: Host) -> None:
    tenancy = three_modules(host, 8)
    job = tenancy.schemas.fleet.migrate(options=MANY)
    assert job is not None
    assert (job.done, job.failed) == (8, 0)
    assert_all_correct(host, tenancy, job.id)


@pytest.mark.slow
def test_eight_threads_migrate_two_hundred_schemas_of_three_modules(host: Host) -> None:
    tenancy = three_modules(host, 200)
    (step,) = tenancy.schemas.fleet.plan()
    assert step.path is not None
    kinds = {revision.kind.value for revision in step.path.revisions}
    assert kinds == {"sql", "online", "autocommit"}
    job = tenancy.schemas.fleet.migrate(options=MANY)
    assert job is not None
    assert (job.done, job.failed) == (200, 0)
    assert_all_correct(host, tenancy, job.id)


def test_two_fleets_of_one_process_compile_and_provision_at_once(host: Host) -> None:
    host.module().online("items", "doubled")
    host.module("other").table("others")
    host.install()
    barrier = threading.Barrier(8)

    def provision(number: int) -> None:
        # Each with revisions of its own, not yet compiled.
        with host.database.tenancy(host.modules) as tenancy:
            barrier.wait()
            tenancy.schemas.provision(f"o{number}")

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(provision, range(8)))
    host.assert_all_at_heads(host.release())


def foreign_operations() -> Operations:
    return Operations(MigrationContext.configure(dialect=postgresql.dialect()))  # type: ignore[no-untyped-call]


def test_an_alembic_command_that_takes_the_operations_over_is_found_out_before_the_commit(
    host: Host,
) -> None:
    host.install("acme")
    # What the command of another thread does, at the worst moment.
    host.module().add(
        "import importlib\nop.get_bind()\n"
        "op.add_column('items', sa.Column('a', sa.Text))\n"
        "from tests.fleet.test_threads import foreign_operations\n"
        "vars(importlib.import_module('alembic.op'))['_proxy'] = foreign_operations()"
    )
    new = host.release()
    with pytest.raises(JobFailed):
        new.schemas.fleet.migrate(options=ONE)
    (item,) = new.schemas.fleet.items(1)
    assert "a command of Alembic ran in another thread" in str(item.error)
    assert host.columns("acme", "items") == ["id"]
    host.assert_journal_is_true(new, 1)


def test_a_rendering_that_was_disturbed_is_not_taken_for_the_revisions_sql(host: Host) -> None:
    proxy = vars(importlib.import_module("alembic.op"))
    with (
        pytest.raises(ConfigurationError, match="it is not safe in threads"),
        use_operations(foreign_operations()),
    ):
        proxy["_proxy"] = foreign_operations()
    host.module().add(
        "import importlib\n"
        "from tests.fleet.test_threads import foreign_operations\n"
        "vars(importlib.import_module('alembic.op'))['_proxy'] = foreign_operations()"
    )
    with pytest.raises(ConfigurationError, match="it is not safe in threads"):
        Revisions(host.modules).path(frozenset())


def test_alembics_own_commands_work_again_afterwards(host: Host) -> None:
    host.install("acme")
    operations = foreign_operations()
    proxy = vars(importlib.import_module("alembic.op"))
    assert proxy.get("_proxy") is None
    operations._install_proxy()
    try:
        from alembic import op

        assert op.f("name") == "name"
    finally:
        operations._remove_proxy()
    assert proxy.get("_proxy") is None


def test_outside_a_revision_there_are_no_operations_even_while_one_runs() -> None:
    seen: list[str] = []

    def look() -> None:
        from alembic import op

        try:
            op.f("name")
        except NameError as error:
            seen.append(str(error))

    with use_operations(foreign_operations()):
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
    assert seen == ["alembic.op.f is used outside a revision"]
