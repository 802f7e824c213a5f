"""Every way a transaction can start enters the organization."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import func, insert, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from orgtenancy import Organization, Tenancy
from orgtenancy.errors import (
    OrganizationContextMissing,
    OrganizationMismatch,
    TransactionRequired,
)
from tests.support.notes import Note, NoteRepository
from tests.support.runner import Runner

WHERE = text("SELECT current_user::text, current_setting('search_path'), session_user::text")


def execute_named(driver: Any) -> None:
    with driver.cursor("named") as cursor:
        cursor.execute("SELECT 1")


def where(session: Session) -> tuple[Any, ...]:
    return tuple(session.execute(WHERE).one())


def assert_inside(found: tuple[Any, ...], organization: Organization) -> None:
    role, path, _ = found
    schema = organization.schema_name
    assert role == organization.role_name
    assert path in (f"{schema}, pg_temp", f'"{schema}", pg_temp')


def test_an_orm_session(run: Runner, organization: Organization) -> None:
    def body(session: Session) -> tuple[Any, ...]:
        NoteRepository(session).write(1, "hello")
        return where(session)

    assert_inside(run(organization, body), organization)
    assert run(organization, lambda s: NoteRepository(s).count()) == 1


def test_a_core_connection_of_the_session(run: Runner, organization: Organization) -> None:
    def body(session: Session) -> tuple[Any, ...]:
        return tuple(session.connection().execute(WHERE).one())

    assert_inside(run(organization, body), organization)


def test_executemany_as_the_first_statement(run: Runner, organization: Organization) -> None:
    def body(session: Session) -> None:
        session.connection().exec_driver_sql(
            "INSERT INTO notes (id, body) VALUES (%s, %s)", [(n, "x") for n in range(10)]
        )

    run(organization, body)
    assert run(organization, lambda s: NoteRepository(s).count()) == 10


def test_a_bulk_insert_as_the_first_statement(run: Runner, organization: Organization) -> None:
    rows = [{"id": n, "body": "x"} for n in range(2_500)]
    run(organization, lambda s: s.execute(insert(Note), rows))
    assert run(organization, lambda s: NoteRepository(s).count()) == 2_500


def test_a_server_side_cursor(run: Runner, organization: Organization) -> None:
    def body(session: Session) -> list[Any]:
        result = session.connection(execution_options={"yield_per": 2}).execute(
            text("SELECT current_user::text FROM generate_series(1, 5)")
        )
        return [row[0] for row in result]

    assert run(organization, body) == [organization.role_name] * 5


def test_a_savepoint_that_is_rolled_back_keeps_the_organization(
    run: Runner, organization: Organization
) -> None:
    def body(session: Session) -> tuple[Any, ...]:
        notes = NoteRepository(session)
        notes.write(1, "kept")
        savepoint = session.begin_nested()
        notes.write(2, "lost")
        session.execute(text("SET LOCAL search_path TO pg_catalog"))
        savepoint.rollback()
        notes.write(3, "kept")
        return where(session)

    assert_inside(run(organization, body), organization)
    assert run(organization, lambda s: sorted(s.scalars(select(Note.id)))) == [1, 3]


def test_a_savepoint_as_the_first_statement(run: Runner, organization: Organization) -> None:
    def body(session: Session) -> tuple[Any, ...]:
        with session.begin_nested():
            NoteRepository(session).write(1, "hello")
        return where(session)

    assert_inside(run(organization, body), organization)


def test_the_transaction_after_a_commit(run: Runner, organization: Organization) -> None:
    def body(session: Session) -> list[tuple[Any, ...]]:
        found = [where(session)]
        session.commit()
        found.append(where(session))
        session.rollback()
        found.append(where(session))
        return found

    for found in run(organization, body):
        assert_inside(found, organization)


def test_the_transaction_after_a_commit_in_raw_sql(run: Runner, organization: Organization) -> None:
    def body(session: Session) -> tuple[Any, ...]:
        session.execute(text("COMMIT"))
        return where(session)

    assert_inside(run(organization, body), organization)


def test_the_transaction_after_an_error(run: Runner, organization: Organization) -> None:
    def body(session: Session) -> tuple[Any, ...]:
        with pytest.raises(DBAPIError):
            session.execute(text("SELECT 1 / 0"))
        session.rollback()
        return where(session)

    assert_inside(run(organization, body), organization)


@pytest.mark.parametrize("level", ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"])
def test_isolation_levels(run: Runner, organization: Organization, level: str) -> None:
    def body(session: Session) -> tuple[Any, str | None]:
        session.connection(execution_options={"isolation_level": level})
        return where(session), session.scalar(text("SHOW transaction_isolation"))

    found, shown = run(organization, body)
    assert_inside(found, organization)
    assert shown == level.lower()


def test_an_isolation_level_set_by_a_statement(run: Runner, organization: Organization) -> None:
    def body(session: Session) -> str | None:
        session.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
        return str(session.scalar(text("SHOW transaction_isolation")))

    assert run(organization, body) == "repeatable read"


def test_a_read_only_transaction(run: Runner, organization: Organization) -> None:
    def body(session: Session) -> tuple[Any, ...]:
        session.connection(execution_options={"postgresql_readonly": True})
        found = where(session)
        with pytest.raises(DBAPIError, match="read-only transaction"):
            session.execute(text("INSERT INTO notes VALUES (1, 'x')"))
        session.rollback()
        return found

    assert_inside(run(organization, body), organization)


def test_autocommit_is_refused(run: Runner, organization: Organization) -> None:
    def body(session: Session) -> None:
        session.connection(execution_options={"isolation_level": "AUTOCOMMIT"})
        session.execute(text("SELECT 1"))

    with pytest.raises(TransactionRequired) as caught:
        run(organization, body)
    assert caught.value.organization_id == organization.id
    assert_inside(run(organization, where), organization)


def test_autocommit_on_the_drivers_connection_is_refused(
    tenancy: Tenancy, organization: Organization
) -> None:
    with tenancy.organization(organization), tenancy.engine.connect() as connection:
        driver: Any = connection.connection.driver_connection
        driver.autocommit = True
        try:
            for attempt in (
                lambda: driver.execute("SELECT 1"),
                lambda: execute_named(driver),
                lambda: driver.cursor().executemany("SELECT %s", [(1,), (2,)]),
                lambda: list(driver.cursor().stream("SELECT 1")),
            ):
                with pytest.raises(TransactionRequired):
                    attempt()
            with driver.transaction():  # a transaction all the same
                row = driver.execute("SELECT current_user::text").fetchone()
            assert row == (organization.role_name,)
        finally:
            driver.autocommit = False


def test_two_phase(tenancy: Tenancy, organization: Organization) -> None:
    with tenancy.organization(organization):
        with tenancy.engine.connect() as connection:
            transaction = connection.begin_twophase()
            connection.execute(text("INSERT INTO notes VALUES (1, 'prepared')"))
            transaction.prepare()
            transaction.commit()
        with tenancy.engine.connect() as connection:
            transaction = connection.begin_twophase()
            connection.execute(text("INSERT INTO notes VALUES (2, 'prepared')"))
            transaction.prepare()
            transaction.rollback()
        with tenancy.engine.connect() as connection:
            assert connection.scalars(text("SELECT id FROM notes")).all() == [1]


def test_two_phase_checks_deferred_constraints_inside_the_organization(
    tenancy: Tenancy, organization: Organization
) -> None:
    with tenancy.organization(organization), tenancy.engine.connect() as connection:
        transaction = connection.begin_twophase()
        connection.execute(text("SET CONSTRAINTS ALL DEFERRED"))
        connection.execute(text("INSERT INTO notes VALUES (1, 'orphan', 99)"))
        with pytest.raises(DBAPIError, match="foreign key"):
            transaction.prepare()
        transaction.rollback()


def test_copy(tenancy: Tenancy, organization: Organization) -> None:
    with tenancy.session(organization) as session:
        driver: Any = session.connection().connection.driver_connection
        with driver.cursor().copy("COPY notes (id, body) FROM STDIN") as copy:
            copy.write_row((1, "copied"))
    with tenancy.session(organization) as session:
        driver = session.connection().connection.driver_connection
        with driver.cursor().copy("COPY notes (id, body) TO STDOUT") as copy:
            assert list(copy.rows()) == [("1", "copied")]


def test_copy_async(
    tenancy: Tenancy, organization: Organization, event_loop_runner: asyncio.Runner
) -> None:
    async def body() -> list[Any]:
        async with tenancy.session(organization) as session:
            raw: Any = await (await session.connection()).get_raw_connection()
            async with raw.driver_connection.cursor().copy(
                "COPY notes (id, body) FROM STDIN"
            ) as copy:
                await copy.write_row((1, "copied"))
        async with tenancy.session(organization) as session:
            raw = await (await session.connection()).get_raw_connection()
            async with raw.driver_connection.cursor().copy(
                "COPY notes (id, body) TO STDOUT"
            ) as copy:
                return [row async for row in copy.rows()]

    assert event_loop_runner.run(body()) == [("1", "copied")]


def test_pipeline_mode(tenancy: Tenancy, organization: Organization) -> None:
    with tenancy.session(organization) as session:
        driver: Any = session.connection().connection.driver_connection
        with driver.pipeline():
            first = driver.execute("INSERT INTO notes VALUES (1, 'piped') RETURNING id")
            second = driver.execute("SELECT current_user::text")
        assert (first.fetchone(), second.fetchone()) == ((1,), (organization.role_name,))


def test_pipeline_mode_async(
    tenancy: Tenancy, organization: Organization, event_loop_runner: asyncio.Runner
) -> None:
    async def body() -> Any:
        async with tenancy.session(organization) as session:
            raw: Any = await (await session.connection()).get_raw_connection()
            driver = raw.driver_connection
            async with driver.pipeline():
                await driver.execute("INSERT INTO notes VALUES (1, 'piped')")
                cursor = await driver.execute("SELECT current_user::text")
            return await cursor.fetchone()

    assert event_loop_runner.run(body()) == (organization.role_name,)


def test_streams_and_driver_transactions(tenancy: Tenancy, organization: Organization) -> None:
    with tenancy.session(organization) as session:
        driver: Any = session.connection().connection.driver_connection
        rows = list(driver.cursor().stream("SELECT current_user::text"))
        driver.rollback()
        with driver.transaction(), driver.transaction():
            rows += driver.execute("SELECT current_user::text").fetchall()
        assert rows == [(organization.role_name,)] * 2


def test_a_core_connection_belongs_to_the_context_it_was_opened_in(
    tenancy: Tenancy, two_organizations: tuple[Organization, Organization]
) -> None:
    first, second = two_organizations
    with tenancy.organization(first):
        connection = tenancy.engine.connect()
    with connection:
        assert connection.scalar(text("SELECT current_user::text")) == first.role_name
        connection.commit()
        with tenancy.organization(second), pytest.raises(OrganizationMismatch):
            connection.execute(text("SELECT 1"))


def test_a_core_connection_opened_outside_an_organization_is_refused(tenancy: Tenancy) -> None:
    attempts: list[Callable[[Any], object]] = [
        lambda c: c.execute(text("SELECT 1")),
        lambda c: c.connection.driver_connection.execute("SELECT 1"),
        lambda c: execute_named(c.connection.driver_connection),
        lambda c: c.begin_nested(),
        lambda c: c.begin_twophase(),
    ]
    for attempt in attempts:
        with tenancy.engine.connect() as connection:
            with pytest.raises(OrganizationContextMissing):
                attempt(connection)
            connection.invalidate()


def test_a_session_inside_another_organization_is_refused_before_any_statement(
    tenancy: Tenancy, two_organizations: tuple[Organization, Organization]
) -> None:
    first, second = two_organizations
    with tenancy.session(first) as session:
        note = NoteRepository(session).write(1, "first")
        with tenancy.organization(second):
            for attempt in (
                lambda: session.execute(text("SELECT 1")),
                lambda: session.get(Note, 2),
                lambda: session.connection(),
                lambda: session.scalars(select(Note)).all(),
                lambda: session.refresh(note),
                lambda: NoteRepository(session).count(),
                lambda: NoteRepository(session).get(1),
            ):
                with pytest.raises(OrganizationMismatch):
                    attempt()
            session.add(Note(id=2, body="leak"))
            with pytest.raises(OrganizationMismatch):
                session.flush()
        session.rollback()


def test_a_session_of_another_organization_is_not_opened_inside_a_context(
    tenancy: Tenancy, two_organizations: tuple[Organization, Organization]
) -> None:
    first, second = two_organizations
    with tenancy.organization(first):
        with pytest.raises(OrganizationMismatch), tenancy.session(second):
            pass
        with tenancy.organization(second), tenancy.session() as session:
            assert session.scalar(text("SELECT current_user::text")) == second.role_name


def test_a_statement_cannot_bring_an_engine_of_its_own(
    tenancy: Tenancy, organization: Organization
) -> None:
    admin = tenancy.schemas.builder.database.admin_engine
    with tenancy.session(organization) as session, pytest.raises(OrganizationMismatch):
        session.execute(select(func.now()), bind_arguments={"bind": admin})


def test_the_registry_is_read_in_a_scope_of_its_own(
    tenancy: Tenancy, organization: Organization
) -> None:
    with tenancy.control_session() as session:
        found = session.scalars(text("SELECT id FROM organizations")).all()
        assert organization.id in found
        with pytest.raises(OrganizationContextMissing):
            NoteRepository(session).count()
        with pytest.raises(DBAPIError, match="permission denied"):
            session.execute(text("DELETE FROM organizations"))
        session.rollback()


def test_prepared_statements_belong_to_one_organization(
    tenancy: Tenancy, two_organizations: tuple[Organization, Organization]
) -> None:
    first, second = two_organizations
    for organization in (first, second):
        with tenancy.session(organization) as session:
            session.execute(text("INSERT INTO notes VALUES (1, :body)"), {"body": organization.id})
    with tenancy.organization(first), tenancy.engine.connect() as connection:
        driver: Any = connection.connection.driver_connection
        for _ in range(20):
            for organization in (first, second):
                driver.scope = tenancy._database.scope_of(organization)
                with tenancy.organization(organization):
                    row = driver.execute("SELECT body FROM notes WHERE id = %s", (1,)).fetchone()
                    driver.commit()
                assert row == (organization.id,)
        keys = {key[2].organization_id for key in driver._prepared._names}
        assert {first.id, second.id} <= keys


def test_a_changed_table_does_not_break_the_other_organization(
    tenancy: Tenancy, two_organizations: tuple[Organization, Organization]
) -> None:
    first, second = two_organizations
    query = text("SELECT * FROM notes WHERE id = :id")
    for _ in range(8):
        for organization in two_organizations:
            with tenancy.session(organization) as session:
                session.execute(query, {"id": 1})
    with tenancy._database.admin_engine.begin() as connection:
        connection.exec_driver_sql(f'ALTER TABLE "{first.schema_name}".notes ADD COLUMN extra text')
    with tenancy.session(second) as session:
        assert len(session.execute(query, {"id": 1}).keys()) == 3
    # The first use reports the change, and its rollback forgets the old plan.
    with (
        pytest.raises(DBAPIError, match="cached plan must not change"),
        tenancy.session(first) as session,
    ):
        session.execute(query, {"id": 1})
    with tenancy.session(first) as session:
        assert len(session.execute(query, {"id": 1}).keys()) == 4
