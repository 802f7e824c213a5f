"""Whether a pooler stands before the server, and what it lets through."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql
from sqlalchemy import URL

from orgtenancy.database.engines import Database, connect_options
from orgtenancy.operations.doctor.report import Finding, ok, problem, unknown, warning
from orgtenancy.schemas import SchemaManager

_PROBE = "orgtenancy.probe"
_CLIENTS = 4  # that hold a transaction while another looks where it is
_CONSOLE = "pgbouncer"


@dataclass(frozen=True, slots=True)
class Pooler:
    """What stands before the server.

    Attributes:
        mode: `session`, `transaction` or `statement`, or None where it cannot be told.
        version: As its console says it, or None where the console is not open to the login.
    """

    mode: str | None
    version: str | None

    @property
    def shares_sessions(self) -> bool:
        """Whether two transactions of a client may be in two sessions of the server."""
        return self.mode in ("transaction", "statement")

    def __str__(self) -> str:
        mode = f"{self.mode} mode" if self.mode else "mode unknown"
        return f"{self.version or 'a pooler, version unknown'}, {mode}"


def check_app(schemas: SchemaManager) -> Iterator[Finding]:
    """Look what stands before the server for the app's login, and what it lets through."""
    database = schemas.builder.database
    settings = database.settings
    try:
        pooler = find_pooler(database, database.url)
        if pooler is None:
            yield ok("pooler of the app", "none")
            yield from _check_listening(database)
            return
        if pooler.mode == "statement":
            yield problem(
                "pooler of the app", f"{pooler}: no transaction", "pool_mode = transaction"
            )
            return
        with _connect(database, database.url) as connection:
            passes_names = passes_names_of_statements(connection)
        keeps_state = keeps_session_state(database, database.url)
    except psycopg.Error as error:
        yield problem(
            "pooler of the app",
            f"the app's login cannot connect: {_told(error)}",
            "look at the URL, and at the pooler's own settings",
        )
        return
    yield ok("pooler of the app", str(pooler))
    if pooler.mode == "session":
        yield from _check_listening(database)
        return
    if settings.prepare_threshold is None:
        yield ok("prepared statements", "none is made")
    elif passes_names:
        yield problem(
            "prepared statements",
            "the pooler hands them from client to client: they fail with 42P05 and 26000",
            "ORGTENANCY_PREPARE_THRESHOLD=none, or PgBouncer 1.22 or newer with "
            "max_prepared_statements",
        )
    else:
        yield ok("prepared statements", "the pooler keeps track of them")
    yield _judge_session_state(keeps_state, settings.refuse_session_state)
    if settings.listen:
        yield warning(
            "listening",
            f"LISTEN needs a session: changes to an organization are seen after "
            f"{settings.registry_max_age:g} seconds",
            "ORGTENANCY_LISTEN=false",
        )
    else:
        yield ok("listening", "switched off")


def check_owner(schemas: SchemaManager) -> Iterator[Finding]:
    """Look what stands before the server for the owner."""
    database = schemas.builder.database
    if database.admin_url is None:
        return
    pooler = find_pooler(database, database.admin_url)
    if pooler is not None and pooler.mode != "session":
        yield warning(
            "pooler of the owner",
            f"{pooler}: it may cut long migrations, and refuses what they set for a session",
            "give admin_url a direct connection",
        )
    else:
        yield ok("pooler of the owner", "none" if pooler is None else str(pooler))


def find_pooler(database: Database, url: URL) -> Pooler | None:
    """Return what stands before the server, or None if nothing does.

    Raises:
        psycopg.Error: If the URL leads nowhere.
    """
    if _passes_options(database, url):
        return None
    return Pooler(_find_mode(database, url), _find_version(database, url))


def passes_names_of_statements(connection: psycopg.Connection[Any]) -> bool:
    """Return whether a prepared statement has on the server the name that the client gave it.

    A pooler that keeps track of prepared statements gives them names of its own.
    """
    name = f"orgtenancy_probe_{secrets.token_hex(4)}"
    with connection.transaction():
        result = connection.pgconn.prepare(name.encode(), b"SELECT 1")
        if result.error_message:
            raise psycopg.OperationalError(result.error_message.decode())
        row = connection.execute(
            "SELECT EXISTS (SELECT FROM pg_prepared_statements WHERE name = %s)",
            [name],
            prepare=False,
        ).fetchone()
        passed = bool(row and row[0])
        if passed:
            connection.execute(sql.SQL("DEALLOCATE {}").format(sql.Identifier(name)))
    return passed


def keeps_session_state(database: Database, url: URL) -> bool | None:
    """Return whether a client meets what another one before it set for the session.

    None where the session that something was set in is not seen again in time, as when others
    keep it busy.

    Raises:
        psycopg.Error: If the URL leads nowhere.
    """
    value = secrets.token_hex(4)
    with _connect(database, url) as first, first.transaction():
        first.execute("SELECT set_config(%s, %s, false)", [_PROBE, value])
        process = _server_process(first)
    with ExitStack() as stack:
        for _ in range(_CLIENTS):
            try:
                other = stack.enter_context(_connect(database, url))
                stack.enter_context(other.transaction())
                if _server_process(other) != process:
                    continue
            except psycopg.OperationalError:
                return None  # the pool is smaller than the number of clients
            row = other.execute("SELECT current_setting(%s, true)", [_PROBE]).fetchone()
            other.execute("SELECT set_config(%s, '', false)", [_PROBE])
            return bool(row and row[0] == value)
    return None


def _judge_session_state(kept: bool | None, is_refused: bool) -> Finding:
    check = "session state"
    if is_refused:
        return ok(check, "statements that leave something for the session are refused")
    if kept is None:
        return unknown(
            check,
            "it could not be found out whether the pooler takes it away",
            "ORGTENANCY_REFUSE_SESSION_STATE=true, which needs no help of the pooler",
        )
    if kept:
        return warning(
            check,
            "what a statement sets for the session stays for the clients after it, of whatever "
            "organization",
            "ORGTENANCY_REFUSE_SESSION_STATE=true, or server_reset_query_always = 1 in PgBouncer",
        )
    return ok(check, "the pooler takes it away after each transaction")


def _check_listening(database: Database) -> Iterator[Finding]:
    if not database.settings.listen:
        yield ok("listening", "switched off")
        return
    channel = sql.Identifier(f"orgtenancy_probe_{secrets.token_hex(4)}")
    with (
        _connect(database, database.url) as ear,
        _connect(database, database.url) as mouth,
    ):
        ear.execute(sql.SQL("LISTEN {}").format(channel))
        mouth.execute(sql.SQL("NOTIFY {}").format(channel))
        heard = list(ear.notifies(timeout=2.0, stop_after=1))
    if heard:
        yield ok("listening", "changes to organizations are heard of at once")
    else:
        yield warning(
            "listening",
            "a notification did not arrive: changes to an organization are seen after "
            f"{database.settings.registry_max_age:g} seconds",
            "ORGTENANCY_LISTEN=false, or a direct connection",
        )


def _passes_options(database: Database, url: URL) -> bool:
    """Return whether an option of the session reaches the server, as a pooler lets none pass."""
    options = f"{url.query.get('options', '')} -c {_PROBE}=1".strip()
    try:
        with _connect(database, url, options=options) as connection:
            row = connection.execute("SELECT current_setting(%s, true)", [_PROBE]).fetchone()
            return bool(row and row[0] == "1")
    except psycopg.OperationalError:
        # Refused by a pooler, or no server at all: without the option that is told apart.
        _connect(database, url).close()
        return False


def _find_mode(database: Database, url: URL) -> str | None:
    """Look whether one client's session of the server is given to others between its transactions.

    In session mode it never is. In transaction mode, clients that hold a transaction are
    given it, and the first client is given another.
    """
    with ExitStack() as stack:
        first = stack.enter_context(_connect(database, url))
        before = _server_process(first)
        try:
            for _ in range(_CLIENTS):
                other = stack.enter_context(_connect(database, url))
                stack.enter_context(other.transaction())
                if _server_process(other) == before:
                    return "transaction"
            return "transaction" if _server_process(first) != before else "session"
        except psycopg.errors.ProtocolViolation:
            return "statement"  # a transaction block is refused
        except psycopg.OperationalError:
            return None  # the pool is smaller than the number of clients


def _server_process(connection: psycopg.Connection[Any]) -> int:
    row = connection.execute(b"SELECT pg_backend_pid()").fetchone()
    return int(row[0]) if row else 0


def _find_version(database: Database, url: URL) -> str | None:
    """Ask PgBouncer's console, which is open to the logins that its settings name."""
    try:
        with _connect(database, url.set(database=_CONSOLE)) as connection:
            # The console takes simple queries only, and no SET.
            row = connection.execute(b"SHOW VERSION").fetchone()
            return str(row[0]) if row else None
    except psycopg.Error:
        return None


def _connect(database: Database, url: URL, **options: Any) -> psycopg.Connection[Any]:
    arguments = connect_options(url, connect_timeout=database.settings.connect_timeout)
    return psycopg.Connection.connect(
        **{**arguments, "autocommit": True, "prepare_threshold": None, **options}
    )


def _told(error: psycopg.Error) -> str:
    return " ".join((error.diag.message_primary or str(error)).split())
