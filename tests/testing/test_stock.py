"""Organizations of tests: without a row, under a new id, and never one that was altered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import MetaData, text
from sqlalchemy.exc import DBAPIError

from orgtenancy import Organization, OrganizationModule, Tenancy, embedded
from orgtenancy.errors import OrganizationNotFound
from orgtenancy.schemas.spares import SpareCounts
from orgtenancy.testing import Stock
from orgtenancy.testing.cleaning import clean
from orgtenancy.testing.stock import lent
from tests.schemas.conftest import make_module
from tests.schemas.databases import fresh_database
from tests.support.notes import NoteRepository

__all__ = ["make_module"]

SEEDED = """
op.create_table(
    "plans", sa.Column("id", sa.Integer, primary_key=True), sa.Column("name", sa.Text)
)
op.create_table(
    "orders",
    sa.Column("id", sa.Integer, sa.Identity(), primary_key=True),
    sa.Column("plan_id", sa.Integer, sa.ForeignKey("plans.id")),
    sa.Column("previous_id", sa.Integer, sa.ForeignKey("orders.id")),
)
op.execute("INSERT INTO plans VALUES (1, 'free'), (2, 'paid')")
op.execute("CREATE MATERIALIZED VIEW ordered AS SELECT plan_id FROM orders")
op.execute("CREATE MATERIALIZED VIEW busy AS SELECT count(*) FROM ordered")
"""


@pytest.fixture
def stock(tenancy: Tenancy) -> Iterator[Stock]:
    """A stock of the test's own, on this run's database."""
    stock = Stock(tenancy)
    yield stock
    stock.close()


def write(tenancy: Tenancy, organization: Organization, statement: str) -> None:
    with tenancy.session(organization) as session:
        session.execute(text(statement))


def own(tenancy: Tenancy, statement: str) -> None:
    with tenancy._database.admin_engine.begin() as connection:
        connection.execute(text(statement))


def test_an_organization_is_met_again_without_a_row_and_under_another_id(
    tenancy: Tenancy, stock: Stock
) -> None:
    seen: dict[str, set[str]] = {}
    for _ in range(12):
        with stock.lent() as (organization,), tenancy.session(organization):
            assert NoteRepository().count() == 0
            NoteRepository().write(1, "hello")
        seen.setdefault(organization.role_name, set()).add(organization.id)
    assert len(seen) < 12
    assert sum(len(ids) for ids in seen.values()) == 12


def test_what_was_given_back_is_no_organization_any_more(tenancy: Tenancy, stock: Stock) -> None:
    with stock.lent() as (organization,):
        tenancy.schemas.get(organization.id)
    with pytest.raises(OrganizationNotFound):
        tenancy.session(organization.id).__enter__()


def alter_status(tenancy: Tenancy, organization: Organization) -> None:
    tenancy.organizations.suspend(organization.id)


def alter_status_and_back(tenancy: Tenancy, organization: Organization) -> None:
    tenancy.organizations.suspend(organization.id)
    tenancy.organizations.resume(organization.id)


def alter_name(tenancy: Tenancy, organization: Organization) -> None:
    tenancy.organizations.rename(organization.id, "Another")


def alter_attributes(tenancy: Tenancy, organization: Organization) -> None:
    tenancy.organizations.set_attributes(organization.id, {"plan": "paid"})


def alter_id(tenancy: Tenancy, organization: Organization) -> None:
    tenancy.organizations.change_id(organization.id, f"{organization.id}-2")


def drop(tenancy: Tenancy, organization: Organization) -> None:
    tenancy.schemas.drop(organization.id, confirm=organization.id, force=True)


def drop_and_make_again(tenancy: Tenancy, organization: Organization) -> None:
    drop(tenancy, organization)
    tenancy.schemas.provision(organization.id)


def add_a_column(tenancy: Tenancy, organization: Organization) -> None:
    own(tenancy, f'ALTER TABLE "{organization.schema_name}".notes ADD COLUMN extra integer')


def add_a_table(tenancy: Tenancy, organization: Organization) -> None:
    own(tenancy, f'CREATE TABLE "{organization.schema_name}".extra (id integer)')


def add_an_index(tenancy: Tenancy, organization: Organization) -> None:
    own(tenancy, f'CREATE INDEX ON "{organization.schema_name}".notes (parent_id, body)')


def drop_a_default(tenancy: Tenancy, organization: Organization) -> None:
    own(tenancy, f"ALTER TABLE \"{organization.schema_name}\".notes ALTER body SET DEFAULT 'x'")


def add_a_policy(tenancy: Tenancy, organization: Organization) -> None:
    own(tenancy, f'ALTER TABLE "{organization.schema_name}".notes ENABLE ROW LEVEL SECURITY')


def add_a_function(tenancy: Tenancy, organization: Organization) -> None:
    own(
        tenancy,
        f'CREATE FUNCTION "{organization.schema_name}".one() RETURNS integer '
        "LANGUAGE sql AS 'SELECT 1'",
    )


def grant(tenancy: Tenancy, organization: Organization) -> None:
    own(
        tenancy,
        f'GRANT TRUNCATE ON "{organization.schema_name}".notes TO "{organization.role_name}"',
    )


def leave_the_role(tenancy: Tenancy, organization: Organization) -> None:
    login = tenancy.engine.url.username
    own(tenancy, f'REVOKE "{organization.role_name}" FROM "{login}"')


def change_the_revision(tenancy: Tenancy, organization: Organization) -> None:
    own(tenancy, f"INSERT INTO \"{organization.schema_name}\".alembic_version VALUES ('x')")


@pytest.mark.parametrize(
    "alter",
    [
        alter_status,
        alter_status_and_back,
        alter_name,
        alter_attributes,
        alter_id,
        drop,
        drop_and_make_again,
        add_a_column,
        add_a_table,
        add_an_index,
        drop_a_default,
        add_a_policy,
        add_a_function,
        grant,
        leave_the_role,
        change_the_revision,
    ],
)
def test_one_that_was_altered_is_not_given_back(
    tenancy: Tenancy, stock: Stock, alter: Callable[[Tenancy, Organization], None]
) -> None:
    (organization,) = stock.take()
    alter(tenancy, organization)
    assert not stock.give_back(organization)


def test_one_that_somebody_works_in_is_not_given_back(tenancy: Tenancy, stock: Stock) -> None:
    (organization,) = stock.take()
    with tenancy.session(organization) as session:
        NoteRepository().write(1, "hello")
        session.flush()
        assert not stock.give_back(organization)


def test_large_tables_are_truncated_and_used_again(tenancy: Tenancy, stock: Stock) -> None:
    (organization,) = stock.take()
    write(
        tenancy,
        organization,
        "INSERT INTO notes SELECT n, repeat('x', 500) FROM generate_series(1, 1000) n",
    )
    assert stock.give_back(organization)
    with stock.lent() as (again,), tenancy.session(again):
        assert again.role_name == organization.role_name
        assert NoteRepository().count() == 0
        NoteRepository().write(1, "hello")
    assert stock.give_back(again) is False  # it was given back by the block


def test_members_of_one_are_not_those_of_the_next(tenancy: Tenancy, stock: Stock) -> None:
    with stock.lent() as (organization,):
        own(
            tenancy,
            "INSERT INTO orgtenancy.members VALUES "
            f"('{organization.id}', 'ann', 'removed', now(), now())",
        )
    with tenancy._database.admin_engine.begin() as connection:
        left = connection.scalar(
            text("SELECT count(*) FROM orgtenancy.members WHERE organization_id = :id"),
            {"id": organization.id},
        )
    assert left == 0


@pytest.fixture
def seeded(
    server: embedded.EmbeddedServer, make_module: Callable[..., OrganizationModule]
) -> Iterator[Tenancy]:
    """A tenancy whose migrations write rows."""
    module = make_module("shop", SEEDED, metadata=MetaData())
    with (
        fresh_database(server.url, server.admin_url) as database,
        Tenancy(database.url, admin_url=database.admin_url, modules=[module]) as tenancy,
    ):
        tenancy.install()
        yield tenancy


def test_rows_that_a_migration_has_written_stay(seeded: Tenancy) -> None:
    stock = Stock(seeded)
    for _ in range(3):
        with stock.lent() as (organization,), seeded.session(organization) as session:
            assert session.scalar(text("SELECT count(*) FROM plans")) == 2
            assert session.scalar(text("SELECT count(*) FROM orders")) == 0
            session.execute(text("INSERT INTO orders (plan_id) VALUES (1)"))
            session.execute(text("INSERT INTO orders (plan_id, previous_id) VALUES (2, 1)"))
            assert session.scalars(text("SELECT id FROM orders ORDER BY id")).all() == [1, 2]
    assert seeded.schemas.spares.count() == SpareCounts(ready=1, stale=0, unfinished=0)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE plans SET name = 'other' WHERE id = 1",
        "DELETE FROM plans WHERE id = 2",
        "INSERT INTO plans VALUES (3, 'new')",
    ],
)
def test_one_whose_written_rows_were_changed_is_not_given_back(
    seeded: Tenancy, statement: str
) -> None:
    stock = Stock(seeded)
    (organization,) = stock.take()
    write(seeded, organization, statement)
    assert not stock.give_back(organization)


@pytest.mark.parametrize("rows", [1, 50_000])
def test_materialized_views_show_no_rows_that_are_gone(seeded: Tenancy, rows: int) -> None:
    (organization,) = Stock(seeded).take()
    schema = organization.schema_name
    write(
        seeded,
        organization,
        f"INSERT INTO orders (plan_id) SELECT 1 FROM generate_series(1, {rows})",
    )
    for view in ("ordered", "busy"):
        own(seeded, f'REFRESH MATERIALIZED VIEW "{schema}".{view}')
    clean(seeded, organization)
    with seeded.session(organization) as session:
        assert session.scalar(text("SELECT count(*) FROM ordered")) == 0
        assert session.scalar(text("SELECT count FROM busy")) == 0


def test_tables_of_other_schemas_are_not_emptied_with_those_of_an_organization(
    seeded: Tenancy,
) -> None:
    (organization,) = Stock(seeded).take()
    write(
        seeded,
        organization,
        "INSERT INTO orders (plan_id) SELECT 1 FROM generate_series(1, 50000)",
    )
    own(
        seeded,
        f'CREATE TABLE public.shipments (order_id int REFERENCES "{organization.schema_name}"'
        ".orders); INSERT INTO public.shipments VALUES (1)",
    )
    with pytest.raises(DBAPIError, match="foreign key"):
        clean(seeded, organization)
    with seeded._database.admin_engine.begin() as connection:
        assert connection.scalar(text("SELECT count(*) FROM public.shipments")) == 1


def test_those_that_were_not_given_back_are_dropped_at_the_end(seeded: Tenancy) -> None:
    stock = Stock(seeded)
    first, second = stock.take(2)
    seeded.organizations.suspend(first.id)
    seeded.organizations.change_id(second.id, "renamed")
    stock.close()
    assert seeded.schemas.list().items == ()


def test_tests_with_another_tenancy_get_organizations_of_that_one(
    tenancy: Tenancy, seeded: Tenancy
) -> None:
    with lent(Stock(tenancy), seeded, 1) as (organization,):
        assert seeded.schemas.get(organization.id) == organization
        assert set(organization.revisions) == {"shop"}
        seeded.organizations.suspend(organization.id)
    assert seeded.schemas.list().items == ()


def test_an_organization_of_the_fixtures_is_another_one_each(
    tenancy: Tenancy,
    organization: Organization,
    two_organizations: tuple[Organization, Organization],
) -> None:
    assert len({organization.id, *(one.id for one in two_organizations)}) == 3
    for one in (organization, *two_organizations):
        with tenancy.session(one):
            assert NoteRepository().count() == 0


def test_a_pool_outlives_the_event_loop_of_a_test(
    make_tenancy: Callable[..., Tenancy], organization: Organization
) -> None:
    tenancy = make_tenancy(pool_size=1, max_overflow=0)

    async def backend() -> int:
        async with tenancy.session(organization) as session:
            return int(await session.scalar(text("SELECT pg_backend_pid()")))

    async def twice() -> tuple[int, int]:
        return await backend(), await backend()

    first, again = asyncio.run(twice())
    other, _ = asyncio.run(twice())
    assert first == again != other
    asyncio.run(tenancy.aclose())
