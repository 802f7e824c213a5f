"""A database on the existing server of `DATABASE_URL`."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import psycopg
from psycopg import errors, sql
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from orgtenancy.embedded import _folders, _locks
from orgtenancy.embedded._databases import Connection, create_database, create_login, secret
from orgtenancy.embedded._handle import EmbeddedServer
from orgtenancy.errors import EmbeddedServerError

# Only a login with this comment may get another password from us.
_MARK = "login of an orgtenancy development database"


def attach_temporary(database_url: str) -> EmbeddedServer:
    """Make a database and a login that are dropped when the handle stops.

    Args:
        database_url: An administrator's URL of the server.

    Raises:
        EmbeddedServerError: The URL, the server or the rights do not allow it.
    """
    admin = _parsed(database_url)
    database = f"orgtenancy_{secrets.token_hex(6)}"
    login, password = _login_of(database), secrets.token_urlsafe(24)
    with _translated("prepare"), _connect(admin) as connection:
        before = {row[0] for row in connection.execute("SELECT oid FROM pg_roles")}
        version = connection.info.server_version
        try:
            create_database(connection, database)
            create_login(connection, login, password)
        except BaseException:
            with contextlib.suppress(psycopg.Error):
                _drop(connection, admin, database, login, before)
            raise

    def release() -> None:
        with _translated("clean up"), _connect(admin) as connection:
            _drop(connection, admin, database, login, before)

    return _handle(admin, database, login, password, version, release)


def attach_kept(database_url: str, directory: Path | None, database: str | None) -> EmbeddedServer:
    """Use a named database, made at the first use and never dropped.

    Args:
        database_url: An administrator's URL of the server.
        directory: Where the login's password is kept, for several machines; it also
            names the database if `database` does not.
        database: The database's name.

    Raises:
        EmbeddedServerError: The URL, the server or the rights do not allow it.
    """
    admin = _parsed(database_url)
    folder = _folders.own_persistent(directory) if directory else _folders.temporary_parent()
    if database is None:
        readable = re.sub(r"[^a-z0-9]+", "_", folder.name.lower()).strip("_")[:30]
        database = f"{readable or 'app'}_{sha256(os.fsencode(folder)).hexdigest()[:8]}"
    login = _login_of(database)
    server = f"{admin.host}:{admin.port}:{dict(admin.query)}:{database}"
    path = folder / f"{sha256(server.encode()).hexdigest()[:16]}.password"
    with _locks.exclusive(folder / "lock"):
        password = path.read_text() if path.exists() else secrets.token_urlsafe(24)
        with _translated("prepare"), _connect(admin) as connection:
            version = connection.info.server_version
            create_database(connection, database)
            if create_login(connection, login, password):
                connection.execute(
                    sql.SQL("COMMENT ON ROLE {} IS {}").format(
                        sql.Identifier(login), sql.Literal(_MARK)
                    )
                )
            elif not _accepted(admin, database, login, password):
                _replace_password(connection, login, password)
        _folders.write_private(path, password)
    return _handle(admin, database, login, password, version, lambda: None)


def _handle(
    admin: URL,
    database: str,
    login: str,
    password: str,
    version: int,
    release: Callable[[], None],
) -> EmbeddedServer:
    owner = admin.set(drivername="postgresql+psycopg", database=database)
    app = owner.set(username=login, password=password)
    return EmbeddedServer(
        url=app.render_as_string(hide_password=False),
        admin_url=owner.render_as_string(hide_password=False),
        version=version,
        directory=None,
        release=release,
    )


def _parsed(database_url: str) -> URL:
    try:
        url = make_url(database_url)
    except ArgumentError as exc:
        # The text may hold a password, so neither it nor its error is shown.
        raise EmbeddedServerError("DATABASE_URL is no URL.") from exc
    if url.drivername not in ("postgres", "postgresql", "postgresql+psycopg"):
        raise EmbeddedServerError(
            f"DATABASE_URL is a {url.drivername!r} URL; only postgres://, postgresql:// and "
            "postgresql+psycopg:// are read."
        )
    return url


def _connect(url: URL) -> Connection:
    conninfo = url.set(drivername="postgresql").render_as_string(hide_password=False)
    return psycopg.connect(conninfo, autocommit=True)


@contextlib.contextmanager
def _translated(step: str) -> Iterator[None]:
    try:
        yield
    except psycopg.Error as exc:
        raise EmbeddedServerError(f"The server of DATABASE_URL: cannot {step}: {exc}") from exc


def _login_of(database: str) -> str:
    login = f"{database}_app"
    if len(login.encode()) <= 63:
        return login
    return f"app_{sha256(database.encode()).hexdigest()[:16]}"


def _accepted(admin: URL, database: str, login: str, password: str) -> bool:
    try:
        _connect(admin.set(username=login, password=password, database=database)).close()
    except psycopg.OperationalError:
        return False
    return True


def _replace_password(connection: Connection, login: str, password: str) -> None:
    row = connection.execute(
        "SELECT shobj_description(oid, 'pg_authid') FROM pg_roles WHERE rolname = %s", [login]
    ).fetchone()
    if row is None or row[0] != _MARK:
        raise EmbeddedServerError(
            f"The role {login!r} exists and was not made here; choose another database name."
        )
    connection.execute(
        sql.SQL("ALTER ROLE {} PASSWORD {}").format(
            sql.Identifier(login), secret(connection, login, password)
        )
    )


def _drop(
    connection: Connection, admin: URL, database: str, login: str, before: set[object]
) -> None:
    """Drop the database, the organizations' roles and the login, in this order.

    Args:
        connection: The administrator's.
        admin: The administrator's URL.
        database: The database.
        login: Its login.
        before: Roles that were there before the database; they stay.
    """
    _roll_back_prepared(connection, admin, database)
    connection.execute(
        sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(database))
    )
    granted = connection.execute(
        "SELECT r.oid, r.rolname::text FROM pg_auth_members m"
        " JOIN pg_roles r ON r.oid = m.roleid JOIN pg_roles l ON l.oid = m.member"
        " WHERE l.rolname = %s AND NOT r.rolcanlogin AND NOT starts_with(r.rolname, 'pg_')",
        [login],
    ).fetchall()
    for role in dict.fromkeys(str(name) for oid, name in granted if oid not in before):
        # A role that has become part of something else on the server is not ours alone.
        with contextlib.suppress(errors.DependentObjectsStillExist):
            connection.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(role)))
    connection.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(login)))


def _roll_back_prepared(connection: Connection, admin: URL, database: str) -> None:
    # DROP DATABASE is refused while a prepared transaction waits in it, and only a
    # session of that database can end it.
    prepared = connection.execute(
        "SELECT gid FROM pg_prepared_xacts WHERE database = %s", [database]
    ).fetchall()
    if not prepared:
        return
    with _connect(admin.set(database=database)) as inside:
        for (gid,) in prepared:
            inside.execute(sql.SQL("ROLLBACK PREPARED {}").format(sql.Literal(gid)))
