"""The isolation levels `login` and `search_path`, each on a database of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextvars import copy_context
from typing import Any

import pytest
from psycopg import errors, sql
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from orgtenancy import Organization, Settings, Tenancy, embedded
from orgtenancy.context import organization_var
from tests.database.test_isolation import DENIED, Attack
from tests.support.notes import NoteRepository, notes

SECRET = "not a secret: made for a test, 32 characters long"


@pytest.fixture(scope="module")
def own_server() -> Iterator[embedded.EmbeddedServer]:
    with embedded.server() as server:
        yield server


@pytest.fixture(scope="module")
def by_login(own_server: embedded.EmbeddedServer) -> Iterator[Tenancy]:
    settings = Settings.model_validate(
        {"isolation": "login", "login_secret": SECRET, "login_pools": 3, "listen": False}
    )
    with Tenancy(
        own_server.url, admin_url=own_server.admin_url, modules=[notes], settings=settings
    ) as tenancy:
        tenancy.install()
        for name in ("a", "b", "c", "d", "e"):
            tenancy.schemas.provision(name)
        yield tenancy


def write(tenancy: Tenancy, organization_id: str, note_id: int) -> tuple[Any, ...]:
    with tenancy.session(organization_id) as session:
        NoteRepository(session).write(note_id, organization_id)
        query = text("SELECT current_user::text, session_user::text, pg_backend_pid()")
        return tuple(session.execute(query).one())


def test_login_each_organization_works_as_its_own_login(by_login: Tenancy) -> None:
    organization = by_login.schemas.get("a")
    assert write(by_login, "a", 1)[:2] == (organization.role_name,) * 2
    with by_login.session("b") as session:
        assert NoteRepository(session).count() == 0


@pytest.mark.parametrize("attack", DENIED, ids=lambda attack: attack.__name__)
def test_login_the_other_organization_is_denied(by_login: Tenancy, attack: Attack) -> None:
    with by_login.session("a") as session:
        driver: Any = session.connection().connection.driver_connection
        with pytest.raises(errors.InsufficientPrivilege, match="permission denied"):
            attack(driver, "org_b")
        session.rollback()


def test_login_hostile_sql_has_no_other_role_to_take(by_login: Tenancy) -> None:
    target = by_login.schemas.get("b").role_name
    for statement in ("SET ROLE {}", "SET LOCAL ROLE {}", "SET SESSION AUTHORIZATION {}"):
        with by_login.session("a") as session:
            driver: Any = session.connection().connection.driver_connection
            for prefix in ("", "COMMIT; ", "RESET ROLE; "):
                with pytest.raises(errors.InsufficientPrivilege):
                    driver.execute(sql.SQL(prefix + statement).format(sql.Identifier(target)))
                driver.rollback()


def test_login_the_apps_own_login_reads_no_organization(by_login: Tenancy) -> None:
    with by_login.organization("a"), by_login.engine.connect() as connection:
        for query in ("SELECT * FROM org_a.notes", "SELECT * FROM org_b.notes"):
            with pytest.raises(DBAPIError, match="permission denied"):
                connection.execute(text(query))
            connection.rollback()


def test_login_only_so_many_pools_are_kept(by_login: Tenancy) -> None:
    for number, name in enumerate("abcdeabcde"):
        write(by_login, name, 100 + number)
    roles = {by_login.schemas.get(name).role_name for name in "abcde"}
    with by_login._database.admin_engine.connect() as connection:
        connected = connection.scalars(
            text("SELECT DISTINCT usename FROM pg_stat_activity WHERE usename = ANY(:roles)"),
            {"roles": list(roles)},
        ).all()
    assert len(connected) <= 3


def test_login_the_password_of_one_is_not_the_others(by_login: Tenancy) -> None:
    first, second = (by_login._database.role_url(by_login.schemas.get(n).role_name) for n in "ab")
    assert first.password != second.password
    mixed = Tenancy(second.set(password=first.password))
    with pytest.raises(DBAPIError), mixed._database.engine.connect():
        pass


def test_login_a_pool_in_use_is_not_closed(by_login: Tenancy) -> None:
    logins, organization = by_login._database._logins, by_login.schemas.get("a")
    with by_login.session("a") as session:
        session.execute(text("SELECT 1"))
        engine = logins.get(organization)
        for name in "bcde":
            copy_context().run(write_outside, by_login, name)
        assert logins.get(organization) is engine


def write_outside(tenancy: Tenancy, organization_id: str) -> None:
    """Write for another organization than the context's, as another request does."""
    organization_var.set(None)
    write(tenancy, organization_id, 200)


def test_login_async(by_login: Tenancy) -> None:
    async def read(name: str) -> tuple[str, int]:
        async with by_login.session(name) as session:
            count = await session.run_sync(lambda s: NoteRepository(s).count())
            return (await session.scalars(text("SELECT session_user::text"))).one(), count

    async def body() -> list[tuple[str, int]]:
        try:
            return [await read(name) for name in "abcdeabcde"]
        finally:
            await by_login._database.aclose()

    found = asyncio.run(body())
    assert [role for role, _ in found] == [
        by_login.schemas.get(name).role_name for name in "abcdeabcde"
    ]


def test_login_a_dropped_organization_is_gone_with_its_login(by_login: Tenancy) -> None:
    role = by_login.schemas.provision("gone").role_name
    write(by_login, "gone", 1)
    by_login.schemas.drop("gone", confirm="gone", force=True)
    with by_login._database.admin_engine.connect() as connection:
        query = text("SELECT count(*) FROM pg_roles WHERE rolname = :role")
        assert connection.scalar(query, {"role": role}) == 0


def test_login_needs_a_secret() -> None:
    with pytest.raises(ValueError, match="login_secret"):
        Settings.model_validate({"isolation": "login"})


def test_search_path_keeps_unqualified_names_apart_and_nothing_else() -> None:
    with embedded.server() as server:
        settings = Settings.model_validate({"isolation": "search_path", "listen": False})
        with Tenancy(
            server.url, admin_url=server.admin_url, modules=[notes], settings=settings
        ) as tenancy:
            tenancy.install()
            first, second = (tenancy.schemas.provision(name) for name in ("a", "b"))
            with tenancy.session(first) as session:
                NoteRepository(session).write(1, "first")
            with tenancy.session(second) as session:
                assert NoteRepository(session).count() == 0
                # What this level does not refuse, as the threat model says.
                assert session.scalar(text("SELECT body FROM org_a.notes")) == "first"
            assert no_organization_roles(tenancy, first, second)
            tenancy.schemas.drop("a", confirm="a", force=True)


def no_organization_roles(tenancy: Tenancy, *organizations: Organization) -> bool:
    with tenancy._database.admin_engine.connect() as connection:
        query = text("SELECT count(*) FROM pg_roles WHERE rolname = ANY(:roles)")
        roles = [organization.role_name for organization in organizations]
        return bool(connection.scalar(query, {"roles": roles}) == 0)
