"""What work has changed beside its organization is found, and told where it is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import psycopg
import pytest
from sqlalchemy import text

from orgtenancy import Organization, Tenancy, embedded
from orgtenancy.context import organization_var
from orgtenancy.testing import NotIsolated, Stock, isolated
from orgtenancy.testing.fixtures import AssertIsolated
from tests.schemas.databases import FreshDatabase, dsn, fresh_database
from tests.support.notes import NoteRepository

Two = tuple[Organization, Organization]


@pytest.fixture(scope="module")
def database(server: embedded.EmbeddedServer) -> Iterator[FreshDatabase]:
    """A database of the module's own, with few schemas."""
    with fresh_database(server.url, server.admin_url) as database:
        yield database


@pytest.fixture(scope="module")
def world(database: FreshDatabase) -> Iterator[Tenancy]:
    """A tenancy of that database."""
    with database.tenancy() as world:
        world.install()
        yield world
        asyncio.run(world.aclose())


@pytest.fixture(scope="module")
def stock(world: Tenancy) -> Stock:
    return Stock(world)


@pytest.fixture
def two(world: Tenancy, stock: Stock) -> Iterator[Two]:
    """Two organizations with a row each, and a table of the host in `public`."""
    own(world, "DROP TABLE IF EXISTS public.shared")
    own(world, "CREATE TABLE public.shared (id serial PRIMARY KEY, body text)")
    own(world, "INSERT INTO public.shared (body) VALUES ('x')")
    with stock.lent(2) as (a, b):
        for organization in (a, b):
            with world.session(organization):
                NoteRepository().write(1, "first")
        yield a, b


def own(tenancy: Tenancy, statement: str) -> None:
    with tenancy._database.admin_engine.begin() as connection:
        connection.exec_driver_sql(statement)


def changes(tenancy: Tenancy, two: Two, work: Callable[[], object]) -> tuple[str, ...]:
    """Return what work of the first organization has changed beside it; the other is `b`."""
    with pytest.raises(NotIsolated) as caught, isolated(tenancy, two[0]):
        work()
    return tuple(change.replace(two[1].id, "b") for change in caught.value.changes)


def test_work_of_the_organization_itself_passes(world: Tenancy, two: Two) -> None:
    a, b = two
    with isolated(world, a):
        with world.session(a) as session:
            NoteRepository().write(2, "second")
            session.execute(text("UPDATE notes SET body = 'changed' WHERE id = 1"))
        with world.session(b) as session:
            session.execute(text("SELECT * FROM notes FOR UPDATE"))
        world.organizations.suspend(a.id, reason="its own matter")
        world.organizations.resume(a.id)


CHANGES = {
    "INSERT INTO {schema}.notes VALUES (2, 'x')": (
        "organization 'b': table 'notes' had 1 row, has 2"
    ),
    "UPDATE {schema}.notes SET body = body": (
        "organization 'b': table 'notes' has 1 row as before, but not the same"
    ),
    "DELETE FROM {schema}.notes": "organization 'b': table 'notes' had 1 row, has 0",
    "DELETE FROM {schema}.alembic_version": (
        "organization 'b': table 'alembic_version' had 1 row, has 0"
    ),
    "ALTER TABLE {schema}.notes ADD COLUMN extra integer": (
        "organization 'b': how it is defined was"
    ),
    "CREATE INDEX ON {schema}.notes (parent_id)": "organization 'b': how it is defined was",
    "GRANT SELECT ON {schema}.notes TO public": "organization 'b': how it is defined was",
    "GRANT USAGE ON SCHEMA {schema} TO public": "organization 'b': how it is defined was",
    "REVOKE {role} FROM {login}": "organization 'b': who may take its role is gone",
    "DELETE FROM public.shared": "schema 'public': table 'shared' had 1 row, has 0",
    "SELECT nextval('public.shared_id_seq')": (
        "schema 'public': sequence 'shared_id_seq' was 1, is 2"
    ),
    "UPDATE orgtenancy.organizations SET name = 'x' WHERE id = '{id}'": (
        "registry: others' rows of 'organizations' has"
    ),
    "INSERT INTO orgtenancy.audit (action, organization_id, origin, result) "
    "VALUES ('seen', '{id}', 'here', 'done')": "registry: others' rows of 'audit' had",
    "INSERT INTO orgtenancy.members VALUES ('{id}', 'ann', 'active', now())": (
        "registry: others' rows of 'members' had"
    ),
    "INSERT INTO orgtenancy.actors VALUES ('{id}', 'suspended', now())": (
        "registry: others' rows of 'actors' had"
    ),
}


@pytest.mark.parametrize("statement", CHANGES)
def test_a_change_elsewhere_is_told(world: Tenancy, two: Two, statement: str) -> None:
    _, b = two
    run = statement.format(
        schema=f'"{b.schema_name}"',
        id=b.id,
        role=f'"{b.role_name}"',
        login=f'"{world.engine.url.username}"',
    )
    (told,) = changes(world, two, lambda: own(world, run))
    assert told.startswith(CHANGES[statement])


def test_a_new_organization_is_told(world: Tenancy, two: Two) -> None:
    told = changes(world, two, lambda: world.schemas.provision("new"))
    assert "organization 'new': table 'notes' is new" in told
    world.schemas.drop("new", confirm="new", force=True)


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_a_setting_left_on_a_pooled_connection_is_told(
    world: Tenancy, two: Two, is_async: bool
) -> None:
    a, _ = two
    own(
        world,
        # In a function, whose text the library does not read.
        f'CREATE FUNCTION "{a.schema_name}".leave() RETURNS text LANGUAGE sql AS '
        "$$ SELECT set_config('work_mem', '5MB', false) $$; "
        f'GRANT EXECUTE ON FUNCTION "{a.schema_name}".leave() TO "{a.role_name}"',
    )

    async def leave() -> None:
        async with world.session(a) as session:
            await session.execute(text("SELECT leave()"))

    def work() -> None:
        if is_async:
            asyncio.run(leave())
            return
        with world.session(a) as session:
            session.execute(text("SELECT leave()"))

    (told,) = changes(world, two, work)
    assert told.endswith(": setting work_mem = 5120 is new")
    asyncio.run(world.aclose())


def test_a_context_that_stays_bound_is_told(world: Tenancy, two: Two) -> None:
    block = world.organization(two[1])
    try:
        assert changes(world, two, block.__enter__) == (
            "the context's organization was None, is b",
        )
    finally:
        block.__exit__(None, None, None)
    assert organization_var.get() is None


def test_a_prepared_transaction_is_told(world: Tenancy, two: Two, database: FreshDatabase) -> None:
    with psycopg.connect(dsn(database.admin_url)) as connection:

        def prepare() -> None:
            connection.tpc_begin("left")
            connection.execute("SELECT 1")
            connection.tpc_prepare()

        (told,) = changes(world, two, prepare)
        connection.tpc_rollback()
    assert told == "prepared transaction 'left' is new"


def test_work_that_fails_is_looked_at_too(world: Tenancy, two: Two) -> None:
    a, b = two

    def work() -> None:
        with world.session(b):
            NoteRepository().write(2, "rolled back")
            own(world, "DELETE FROM public.shared")
            raise ValueError("the work's own failure")

    with pytest.raises(NotIsolated) as caught, isolated(world, a):
        work()
    assert isinstance(caught.value.__cause__, ValueError)
    assert caught.value.changes == ("schema 'public': table 'shared' had 1 row, has 0",)
    with pytest.raises(ValueError, match="isolated"), isolated(world, a):
        raise ValueError("isolated, but it fails")


def test_an_interruption_is_not_replaced_by_what_has_changed(world: Tenancy, two: Two) -> None:
    def work() -> None:
        own(world, "DELETE FROM public.shared")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught, isolated(world, two[0]):
        work()
    (note,) = caught.value.__notes__
    assert "table 'shared' had 1 row, has 0" in note


def test_without_a_name_nothing_may_change(
    tenancy: Tenancy, organization: Organization, assert_isolated: AssertIsolated
) -> None:
    nothing = pytest.raises(NotIsolated, match="work of no organization")
    with nothing, assert_isolated(), tenancy.session(organization):
        NoteRepository().write(1, "hello")
    with assert_isolated(organization), tenancy.session(organization):
        NoteRepository().write(2, "hello")
