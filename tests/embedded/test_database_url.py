"""A server that exists already, named by `DATABASE_URL`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import make_url

from orgtenancy import embedded
from orgtenancy.errors import EmbeddedServerError
from tests.embedded.support import connect, execute, value

pytestmark = pytest.mark.slow  # a server, or several, for each test


@pytest.fixture
def outer(
    place: Path, major: int, monkeypatch: pytest.MonkeyPatch
) -> Iterator[embedded.EmbeddedServer]:
    with embedded.server(major=major) as outer:
        monkeypatch.setenv("DATABASE_URL", outer.admin_url)
        yield outer


def contents(outer: embedded.EmbeddedServer) -> list[tuple[object, ...]]:
    with connect(outer.admin_url) as connection:
        return connection.execute(
            "SELECT 'd', datname FROM pg_database UNION ALL SELECT 'r', rolname FROM pg_roles"
            " ORDER BY 1, 2"
        ).fetchall()


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_a_temporary_database_goes_with_its_login_and_its_roles(
    outer: embedded.EmbeddedServer, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    monkeypatch.setenv("DATABASE_URL", outer.admin_url.replace("postgresql+psycopg", scheme))
    execute(outer.admin_url, "CREATE ROLE bystander NOLOGIN", "CREATE ROLE elder NOLOGIN")
    before = contents(outer)
    with embedded.server() as pg:
        login = make_url(pg.url).username
        assert pg.directory is None
        assert pg.version == outer.version
        assert pg.url.startswith("postgresql+psycopg://")
        assert value(pg.url, "SELECT session_user") == login
        assert value(pg.admin_url, "SELECT current_database()") == make_url(pg.url).database
        execute(
            pg.admin_url,
            "CREATE ROLE org_1 NOLOGIN",
            "CREATE ROLE org_2 NOLOGIN",
            f"GRANT org_1, org_2, elder, pg_read_all_data TO {login}",
            "CREATE SCHEMA org_1 AUTHORIZATION org_1",
            "CREATE TABLE org_1.rows (id int)",
            "ALTER TABLE org_1.rows OWNER TO org_1",
            "GRANT org_2 TO org_1 WITH ADMIN OPTION",
        )
        execute(
            pg.admin_url,
            "BEGIN",
            "INSERT INTO org_1.rows VALUES (1)",
            "PREPARE TRANSACTION 'forgotten'",
        )
        left_open = connect(pg.url)
    left_open.close()
    assert contents(outer) == before


def test_two_temporary_databases_are_apart(outer: embedded.EmbeddedServer) -> None:
    with embedded.server() as one, embedded.server() as two:
        assert make_url(one.url).database != make_url(two.url).database
        assert make_url(one.url).username != make_url(two.url).username


@pytest.mark.parametrize("by", ["database", "directory"])
def test_a_named_database_is_reused_and_kept(
    outer: embedded.EmbeddedServer, place: Path, by: str
) -> None:
    def again() -> embedded.EmbeddedServer:
        if by == "database":
            return embedded.server(database="named")
        return embedded.server(place / "My App")

    with again() as pg:
        execute(pg.admin_url, "CREATE TABLE kept AS SELECT 42 AS answer")
        url = pg.url
    with again() as pg:
        assert pg.url == url
        assert value(pg.admin_url, "SELECT answer FROM kept") == 42
    for path in place.rglob("*.password"):
        assert path.stat().st_mode & 0o777 == 0o600
        path.unlink()
    with again() as pg:
        assert pg.url != url
        assert value(pg.url, "SELECT 1") == 1


def test_a_role_of_somebody_else_gets_no_new_password(outer: embedded.EmbeddedServer) -> None:
    execute(outer.admin_url, "CREATE ROLE named_app LOGIN PASSWORD 'theirs'")
    with pytest.raises(EmbeddedServerError, match="not made here"):
        embedded.server(database="named")


def test_a_bad_url_is_refused_without_showing_it(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for url in ("no url with secret", "mysql://root:secret@localhost/x"):
        monkeypatch.setenv("DATABASE_URL", url)
        with pytest.raises(EmbeddedServerError) as caught:
            embedded.server()
        assert "secret" not in str(caught.value)
    monkeypatch.setenv("DATABASE_URL", "postgresql://a:secret@127.0.0.1:1/x")
    with pytest.raises(EmbeddedServerError) as caught:
        embedded.server()
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("name", ["", "x" * 64, "a\0b"])
def test_a_name_that_postgresql_would_change_is_refused(place: Path, name: str) -> None:
    with pytest.raises(EmbeddedServerError, match="database name"):
        embedded.server(database=name)
