"""The database and the application's login on an embedded server."""

from __future__ import annotations

import psycopg
from psycopg import sql
from sqlalchemy import URL

from orgtenancy.embedded._cluster import APP, OWNER, Endpoint
from orgtenancy.errors import EmbeddedServerError

Connection = psycopg.Connection[tuple[object, ...]]


def check_name(database: str) -> str:
    """Return a database's name if PostgreSQL can keep it as it is.

    Raises:
        EmbeddedServerError: It is empty, too long, or not storable.
    """
    # PostgreSQL cuts longer names off, and two of them could become one.
    if not 0 < len(database.encode(errors="replace")) <= 63 or "\0" in database:
        raise EmbeddedServerError(f"{database!r} is no database name of 1 to 63 bytes.")
    return database


def url(endpoint: Endpoint, login: str, password: str, database: str) -> str:
    """Return the SQLAlchemy URL of a login."""
    if endpoint.host.startswith("/"):
        # PGPORT would replace a port that is left out.
        made = URL.create(
            "postgresql+psycopg",
            login,
            password,
            database=database,
            query={"host": endpoint.host, "port": str(endpoint.port)},
        )
    else:
        made = URL.create(
            "postgresql+psycopg", login, password, endpoint.host, endpoint.port, database
        )
    return made.render_as_string(hide_password=False)


def ensure(endpoint: Endpoint, passwords: dict[str, str], database: str) -> int:
    """Make the database and the login unless they exist.

    Returns:
        The server's version number.

    Raises:
        EmbeddedServerError: The owner cannot connect or create them.
    """
    try:
        with psycopg.connect(
            host=endpoint.host,
            port=endpoint.port,
            user=OWNER,
            password=passwords[OWNER],
            dbname="postgres",
            autocommit=True,
        ) as connection:
            create_login(connection, APP, passwords[APP])
            create_database(connection, database)
            return connection.info.server_version
    except psycopg.Error as exc:
        raise EmbeddedServerError(f"The embedded PostgreSQL cannot be prepared: {exc}") from exc


def create_login(connection: Connection, login: str, password: str) -> bool:
    """Make a login without any rights.

    Returns:
        Whether it is new; an existing one keeps its password.
    """
    if connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [login]).fetchone():
        return False
    connection.execute(
        sql.SQL(
            "CREATE ROLE {} LOGIN NOINHERIT NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD {}"
        ).format(sql.Identifier(login), secret(connection, login, password))
    )
    return True


def secret(connection: Connection, login: str, password: str) -> sql.Literal:
    """Return the SCRAM verifier of a password, so that no server log can show the password."""
    verifier = connection.pgconn.encrypt_password(
        password.encode(), login.encode(), b"scram-sha-256"
    )
    return sql.Literal(verifier.decode())


def create_database(connection: Connection, database: str) -> bool:
    """Make a database.

    Returns:
        Whether it is new.
    """
    if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [database]).fetchone():
        return False
    connection.execute(
        sql.SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8'").format(
            sql.Identifier(database)
        )
    )
    return True
