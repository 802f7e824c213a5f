"""Dropping: asked for twice, whole, and within the server's locks."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import psycopg
import pytest
from psycopg import errors
from sqlalchemy.exc import ProgrammingError

from orgtenancy import Organization, OrganizationStatus, Tenancy, embedded
from orgtenancy.errors import (
    DropRefused,
    OrganizationNotFound,
)
from orgtenancy.registry import store
from orgtenancy.schemas import dropping
from tests.schemas.databases import (
    FreshDatabase,
    all_organizations,
    assert_nothing_is_unknown,
    dsn,
    fresh_database,
)
from tests.support.reservations import reserve

S = OrganizationStatus


def change(tenancy: Tenancy, organization_id: str, *statuses: OrganizationStatus) -> None:
    with tenancy._database.admin_engine.begin() as connection:
        for status in statuses:
            assert store.change_status(connection, organization_id, status)


def assert_gone(database: FreshDatabase, tenancy: Tenancy, organization: Organization) -> None:
    assert organization.schema_name not in database.schemas()
    assert organization.role_name not in database.roles()
    with pytest.raises(OrganizationNotFound):
        tenancy.schemas.get(organization.id)


@pytest.mark.parametrize("confirm", ["", "Acme", "acme ", "globex"])
def test_drop_asks_for_the_id_again(installed: Tenancy, confirm: str) -> None:
    organization = installed.schemas.provision("acme")
    with pytest.raises(DropRefused, match="repeat its id") as caught:
        installed.schemas.drop("acme", confirm=confirm, force=True)
    assert caught.value.organization_id == "acme"
    assert installed.schemas.get("acme") == organization


@pytest.mark.parametrize("way", [[], [S.FENCED]], ids=["active", "fenced"])
def test_an_organization_that_is_open_is_dropped_by_force_only(
    bare_database: FreshDatabase, installed: Tenancy, way: list[OrganizationStatus]
) -> None:
    organization = installed.schemas.provision("acme")
    change(installed, "acme", *way)
    with pytest.raises(DropRefused, match="force=True") as caught:
        installed.schemas.drop("acme", confirm="acme")
    assert (caught.value.schema, caught.value.placement) == ("org_acme", "default")
    assert installed.schemas.get("acme").status == (way[-1] if way else S.ACTIVE)
    installed.schemas.drop("acme", confirm="acme", force=True)
    assert_gone(bare_database, installed, organization)


@pytest.mark.parametrize(
    "way", [[S.SUSPENDED], [S.ARCHIVED], [S.ARCHIVED, S.PURGED]], ids=lambda way: str(way[-1])
)
def test_one_that_was_closed_is_dropped_without_force(
    bare_database: FreshDatabase, installed: Tenancy, way: list[OrganizationStatus]
) -> None:
    organization = installed.schemas.provision("acme")
    change(installed, "acme", *way)
    installed.schemas.drop("acme", confirm="acme")
    assert_gone(bare_database, installed, organization)


def test_a_reservation_that_nobody_completed_is_dropped(
    bare_database: FreshDatabase, installed: Tenancy
) -> None:
    with installed._database.admin_engine.begin() as connection:
        reserve(connection, "acme")
    installed.schemas.drop("acme", confirm="acme")
    assert all_organizations(installed) == []


def test_what_does_not_exist_cannot_be_dropped(installed: Tenancy) -> None:
    with pytest.raises(OrganizationNotFound):
        installed.schemas.drop("acme", confirm="acme")


def test_drop_leaves_the_others_alone_and_the_id_free(
    bare_database: FreshDatabase, installed: Tenancy
) -> None:
    acme, globex = (installed.schemas.provision(i) for i in ("acme", "globex"))
    for organization in (acme, globex):
        with installed.session(organization) as session:
            session.connection().exec_driver_sql("INSERT INTO notes (id, body) VALUES (1, 'x')")
    installed.schemas.drop("acme", confirm="acme", force=True)
    assert_gone(bare_database, installed, acme)
    assert bare_database.ask("SELECT 1 FROM pg_default_acl") == [(1,), (1,)]  # those of globex
    with installed.session("globex") as session:
        assert session.connection().exec_driver_sql("SELECT body FROM notes").scalar() == "x"
    again = asyncio.run(installed.schemas.provision_async("acme"))
    assert again.role_name != acme.role_name
    with installed.session("acme") as session:
        assert session.connection().exec_driver_sql("SELECT count(*) FROM notes").scalar() == 0
    asyncio.run(installed.schemas.drop_async("acme", confirm="acme", force=True))
    assert_gone(bare_database, installed, again)


def test_a_drop_that_lags_behind_spares_an_organization_made_anew_under_the_id(
    bare_database: FreshDatabase, installed: Tenancy, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed.schemas.provision("acme")
    close = dropping._close

    def be_late(*arguments: Any, **options: Any) -> Organization:
        closed = close(*arguments, **options)
        monkeypatch.undo()
        installed.schemas.drop("acme", confirm="acme")
        with installed.session(installed.schemas.provision("acme")) as session:
            session.connection().exec_driver_sql("INSERT INTO notes (id, body) VALUES (1, 'x')")
        return closed

    monkeypatch.setattr(dropping, "_close", be_late)
    with bare_database.tenancy() as late:
        late.schemas.drop("acme", confirm="acme", force=True)
    assert installed.schemas.get("acme").is_active
    with installed.session("acme") as session:
        assert session.connection().exec_driver_sql("SELECT body FROM notes").scalar() == "x"


def test_a_drop_stops_when_the_organization_is_opened_again(
    bare_database: FreshDatabase, installed: Tenancy, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed.schemas.provision("acme")
    close = dropping._close

    def reopen(*arguments: Any, **options: Any) -> Organization:
        closed = close(*arguments, **options)
        change(installed, "acme", S.ACTIVE)
        return closed

    monkeypatch.setattr(dropping, "_close", reopen)
    with pytest.raises(DropRefused, match="was set to active"):
        installed.schemas.drop("acme", confirm="acme", force=True)
    assert bare_database.ask("SELECT to_regclass('org_acme.notes') IS NULL") == [(False,)]


def test_an_organization_that_is_being_dropped_is_shut_at_once(
    bare_database: FreshDatabase, installed: Tenancy, monkeypatch: pytest.MonkeyPatch
) -> None:
    organization = installed.schemas.provision("acme")

    def look(*_: object) -> bool:
        # The first batch is about to go. A stale object still says active.
        with installed.session(organization) as session:
            with pytest.raises(ProgrammingError) as caught:
                session.connection().exec_driver_sql("SELECT 1 FROM org_acme.notes")
            assert isinstance(caught.value.orig, errors.InsufficientPrivilege)
            session.rollback()
        raise KeyboardInterrupt

    with bare_database.tenancy() as other:
        monkeypatch.setattr(dropping, "_drop_batch", look)
        with pytest.raises(KeyboardInterrupt):
            other.schemas.drop("acme", confirm="acme", force=True)
        monkeypatch.undo()
    assert installed.schemas.get("acme").status is S.ARCHIVED
    installed.schemas.drop("acme", confirm="acme")
    assert_gone(bare_database, installed, organization)


def furnish(
    connection: psycopg.Connection, schema: str, tables: int, others: int, loose: int = 2
) -> None:
    """Fill a schema with everything an organization may have, a little per transaction."""
    connection.execute(f'SET search_path TO "{schema}"'.encode())
    statements = [
        "CREATE TABLE hub (id serial PRIMARY KEY, body text)",
        "CREATE TABLE events (id bigint, at date, PRIMARY KEY (id, at)) PARTITION BY RANGE (at)",
        "CREATE VIEW chain_0 AS SELECT id FROM hub",
        "CREATE TABLE loop_a (id int PRIMARY KEY)",
        "CREATE TABLE loop_b (id int PRIMARY KEY REFERENCES loop_a)",
        "ALTER TABLE loop_a ADD FOREIGN KEY (id) REFERENCES loop_b",
        "CREATE DOMAIN positive AS int CHECK (VALUE > 0)",
        "CREATE TYPE pair AS (a int, b int)",
        "CREATE SEQUENCE numbers",
        "CREATE MATERIALIZED VIEW summary AS SELECT count(*) FROM hub",
        "CREATE AGGREGATE total (int) (SFUNC = int4pl, STYPE = int, INITCOND = '0')",
        "CREATE PROCEDURE nothing() LANGUAGE sql AS ''",
        "CREATE COLLATION sorted (locale = 'C')",
    ]
    for n in range(tables):
        statements.append(
            f"CREATE TABLE table_{n} (id serial PRIMARY KEY, hub_id int REFERENCES hub, "
            f"other text UNIQUE); CREATE INDEX ON table_{n} (hub_id)"
        )
    for n in range(others):
        statements += [
            f"CREATE TYPE mood_{n} AS ENUM ('sad', 'glad')",
            f"ALTER TABLE hub ADD COLUMN mood_{n} mood_{n} DEFAULT 'sad'",
            f"CREATE FUNCTION double_{n}(x int) RETURNS int LANGUAGE sql AS 'SELECT x * 2'",
            f"CREATE FUNCTION touch_{n}() RETURNS trigger LANGUAGE plpgsql "
            "AS 'BEGIN RETURN NEW; END'",
            f"CREATE TRIGGER touch_{n} BEFORE UPDATE ON hub FOR EACH ROW "
            f"EXECUTE FUNCTION touch_{n}()",
            f"CREATE VIEW view_{n} AS SELECT id, mood_{n} FROM hub",
            f"CREATE VIEW chain_{n + 1} AS SELECT double_{n}(id) AS id FROM chain_{n}",
        ]
    for n in range(loose):
        statements += [
            f"CREATE TYPE size_{n} AS ENUM ('s', 'l')",
            f"CREATE FUNCTION half_{n}(x bigint) RETURNS bigint LANGUAGE sql AS 'SELECT x / 2'",
            f"CREATE FUNCTION half_{n}(x int) RETURNS int LANGUAGE sql AS 'SELECT x / 2'",
            f"CREATE TABLE events_{n} PARTITION OF events FOR VALUES "
            f"FROM (date '2026-01-01' + {n}) TO (date '2026-01-01' + {n + 1})",
        ]
    # Newer than the tables that refer to it, and so in the order of dropping before them.
    statements.append("CREATE TABLE late (id int PRIMARY KEY)")
    for n in range(tables):
        statements.append(f"ALTER TABLE table_{n} ADD FOREIGN KEY (id) REFERENCES late")
    for statement in statements:
        connection.execute(statement.encode())


@pytest.fixture(scope="module")
def tight_server() -> Iterator[embedded.EmbeddedServer]:
    """A server with room for few locks."""
    if "DATABASE_URL" in os.environ:
        pytest.skip("needs a server with settings of its own, not that of DATABASE_URL")
    settings = {
        "max_locks_per_transaction": "10",
        "max_connections": "10",
        "superuser_reserved_connections": "1",
        "max_prepared_transactions": "0",
        "max_wal_senders": "0",
        "autovacuum": "off",
    }
    with embedded.server(settings=settings) as server:
        yield server


@pytest.mark.slow
def test_a_schema_of_more_relations_than_the_server_has_locks_is_dropped(
    tight_server: embedded.EmbeddedServer,
) -> None:
    with (
        fresh_database(tight_server.url, tight_server.admin_url) as database,
        database.tenancy(max_overflow=1, pool_size=1) as tenancy,
    ):
        tenancy.install()
        organization = tenancy.schemas.provision("acme")
        with psycopg.connect(dsn(database.admin_url), autocommit=True) as connection:
            furnish(connection, organization.schema_name, tables=500, others=60, loose=400)
            with pytest.raises(errors.OutOfMemory):
                connection.execute('DROP SCHEMA "org_acme" CASCADE')
        tenancy.schemas.drop("acme", confirm="acme", force=True)
        assert_gone(database, tenancy, organization)


@pytest.mark.slow
@pytest.mark.parametrize("batch", [1, 5, 1000])
def test_a_schema_with_every_kind_of_object_is_dropped(
    bare_database: FreshDatabase, batch: int
) -> None:
    with bare_database.tenancy(drop_batch_size=batch) as tenancy:
        tenancy.install()
        organization = tenancy.schemas.provision("acme")
        neighbour = tenancy.schemas.provision("globex")
        with psycopg.connect(dsn(bare_database.admin_url), autocommit=True) as connection:
            furnish(connection, organization.schema_name, tables=5, others=4)
            furnish(connection, neighbour.schema_name, tables=1, others=1)
        query = (
            "SELECT (SELECT count(*) FROM pg_class WHERE relnamespace = n.oid), "
            "(SELECT count(*) FROM pg_proc WHERE pronamespace = n.oid), "
            "(SELECT count(*) FROM pg_type WHERE typnamespace = n.oid) "
            "FROM pg_namespace n WHERE nspname = 'org_globex'"
        )
        before = bare_database.ask(query)
        tenancy.schemas.drop("acme", confirm="acme", force=True)
        assert_gone(bare_database, tenancy, organization)
        assert bare_database.ask(query) == before


@pytest.mark.slow
@pytest.mark.parametrize("tables", [0, 12])
def test_drops_at_the_same_time_end_with_nothing_left(
    bare_database: FreshDatabase, tables: int
) -> None:
    with bare_database.tenancy(drop_batch_size=2) as tenancy:
        tenancy.install()
        for round_ in range(3):
            organization = tenancy.schemas.provision("acme")
            with psycopg.connect(dsn(bare_database.admin_url), autocommit=True) as connection:
                furnish(connection, organization.schema_name, tables=tables, others=tables // 4)
            barrier = Barrier(3)

            def drop(_: int, barrier: Barrier = barrier) -> str:
                barrier.wait()
                try:
                    tenancy.schemas.drop("acme", confirm="acme", force=True)
                except OrganizationNotFound:
                    return "was gone"
                return "dropped"

            with ThreadPoolExecutor(3) as threads:
                answers = list(threads.map(drop, range(3)))
            assert "dropped" in answers, round_
            assert_gone(bare_database, tenancy, organization)
            assert_nothing_is_unknown(bare_database, tenancy)
