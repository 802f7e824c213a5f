"""Bringing one schema along a path.

Whatever happens on the way, a stage is committed as a whole or not at all: its DDL, the
stamps in the schema, what the registry mirrors of them, and what the caller adds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, NoReturn

import psycopg
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from psycopg import sql
from psycopg.pq import TransactionStatus
from psycopg.types.json import Jsonb
from sqlalchemy import Connection, event
from sqlalchemy.schema import CreateTable

from orgtenancy.errors import ConfigurationError
from orgtenancy.naming import REGISTRY_SCHEMA
from orgtenancy.schemas import grants
from orgtenancy.schemas.revisions.operations import use_operations
from orgtenancy.schemas.revisions.paths import Heads, OnlinePart, SqlPart, Stage
from orgtenancy.schemas.revisions.rendering import (
    check_transaction_stays,
    migration_options,
    without_concurrently,
)
from orgtenancy.schemas.revisions.stamping import StampMaintainer
from orgtenancy.settings import ModuleSettings

_BEGIN_STAGE = sql.SQL("SELECT orgtenancy.begin_stage({}, {}, {}, {}::text[])")
_END_STAGE = sql.SQL("SELECT orgtenancy.end_stage({}, {}, {}, {})")


@dataclass(frozen=True, slots=True)
class Place:
    """The schema that a stage is applied to.

    Attributes:
        schema_name: Its name.
        role_name: The opaque role that stands for it in the registry.
        grantee: The role that has the rights in it: the same, but where there are no roles.
        organization_id: Whose it is, or None for a spare.
        extensions_schema: A schema with extensions, in the path.
    """

    schema_name: str
    role_name: str
    grantee: str
    organization_id: str | None
    extensions_schema: str | None = None


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """What the journal of a job is told by the transaction that does the work.

    Attributes:
        job_id: The job.
        attempts: How often the schema was tried.
    """

    job_id: int
    attempts: int


@dataclass(frozen=True, slots=True)
class Limits:
    """How long one schema may take.

    Attributes:
        lock_timeout: Seconds to wait for a lock.
        statement_timeout: Seconds that a statement may run, or None for the server's own.
    """

    lock_timeout: float = 0.1
    statement_timeout: float | None = None


class StageApplier:
    """Applies stages over connections of the schemas' owner.

    Args:
        settings: What the modules' revisions may read.
        limits: How long one schema may take.
        one_by_one: Whether the server takes one statement per message, as Citus does.
    """

    def __init__(
        self, settings: Sequence[ModuleSettings], limits: Limits, *, one_by_one: bool = False
    ) -> None:
        self._settings = settings
        self._one_by_one = one_by_one
        self._limit_statements = limit_statements(limits)

    def apply(
        self, connection: Connection, place: Place, stage: Stage, entry: JournalEntry | None = None
    ) -> None:
        """Apply a stage that fits in a transaction: in one message, if it is all SQL.

        Args:
            connection: A connection that is in no transaction.
            place: The schema; its stamps must be those where the stage begins.
            stage: What to do.
            entry: What to write into the journal with it.

        Raises:
            psycopg.Error: What the server said; `OT001` if the registry has no such schema,
                `OT002` if its stamps are others. SQLAlchemy's errors have it as `orig`.
        """
        begin, end = self._begin(place, stage), self._end(place, stage, entry)
        if (script := stage.script) is not None and not self._one_by_one:
            send_transaction(connection, [*grants.texts(begin), *script, *grants.texts(end)])
            return
        with connection.begin():
            self._send(connection, begin)
            for part in stage.parts:
                if isinstance(part, SqlPart):
                    grants.send(connection, part.statements, one_by_one=self._one_by_one)
                else:
                    context = _context(connection, self._settings)
                    context.autocommit_block = _refuse_autocommit  # type: ignore[method-assign]
                    _run(context, part)
            self._send(connection, end)

    def note(
        self,
        connection: Connection,
        place: Place,
        stamps: Heads,
        revisions: Mapping[str, str],
        entry: JournalEntry,
    ) -> None:
        """Write that a schema is where it should be already."""
        stage = Stage((), stamps, stamps, revisions, autocommit=False, lock_tables=())
        self.apply(connection, place, stage, entry)

    def apply_autocommit(
        self,
        connection: Connection,
        place: Place,
        stage: Stage,
        entry: JournalEntry | None = None,
    ) -> None:
        """Apply a stage of which a part takes no transaction.

        Killed in between, it leaves what the revision's own statements left. An index that
        was not built to its end is dropped by the next attempt.

        Args:
            connection: A connection of its own, whose `search_path` is the schema's for the
                whole session; see `session_options`.
            place: The schema.
            stage: What to do; it has one part.
            entry: What to write into the journal with its stamp.
        """
        check_session_path(connection, place)
        self._drop_unfinished_indexes(connection, place.schema_name)
        for part in stage.parts:
            if isinstance(part, OnlinePart):
                context = _context(connection, self._settings)
                with context.begin_transaction():
                    self._send(connection, self._begin(place, stage))
                    _run(context, part)
                    # Nothing held the schema's row meanwhile.
                    still = [*self._limit_statements, begin_stage(place, stage.after)]
                    self._send(connection, [*still, *self._end(place, stage, entry)])

    def _drop_unfinished_indexes(self, connection: Connection, schema: str) -> None:
        """Drop what a `CREATE INDEX CONCURRENTLY` left that did not come to its end."""
        with connection.begin():
            found = connection.exec_driver_sql(
                "SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid "
                "WHERE NOT i.indisvalid AND c.relkind = 'i' "
                "AND c.relnamespace = %s::regnamespace",
                (_quoted(schema),),
            )
            drops = [
                sql.SQL("DROP INDEX {}").format(sql.Identifier(schema, name)) for (name,) in found
            ]
            if drops:
                self._send(connection, [*self._limit_statements, *drops])

    def _begin(self, place: Place, stage: Stage) -> list[sql.Composable]:
        statements = [*self._limit_statements, begin_stage(place, stage.before)]
        if stage.lock_tables:
            names = sql.SQL(", ").join(map(sql.Identifier, stage.lock_tables))
            lock = sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(names)
            statements.append(lock)
        return statements

    def _end(self, place: Place, stage: Stage, entry: JournalEntry | None) -> list[sql.Composable]:
        # The stamps are kept from the app: the table is new where there were none.
        new = not stage.before and stage.after
        protect = grants.protect_versions(place.schema_name, place.grantee) if new else []
        return [*protect, end_stage(place, stage.revisions, entry)]

    def _send(self, connection: Connection, statements: Sequence[sql.Composable]) -> None:
        grants.execute(connection, statements, one_by_one=self._one_by_one)


def run_fresh(
    connection: Connection, stage: Stage, settings: Sequence[ModuleSettings], *, one_by_one: bool
) -> None:
    """Fill a schema that nobody uses yet, in the connection's transaction and `search_path`."""
    for part in stage.parts:
        if isinstance(part, SqlPart):
            grants.send(connection, part.statements, one_by_one=one_by_one)
        else:
            run_online(connection, part, settings)


def run_online(
    connection: Connection, part: OnlinePart, settings: Sequence[ModuleSettings]
) -> None:
    """Run a revision in a transaction that holds all of it, as nobody uses the schema yet."""
    context = _context(connection, settings)
    context.autocommit_block = nullcontext  # type: ignore[method-assign,assignment]
    with _without_concurrently(connection):
        _run(context, part)


def upgrade(connection: Connection, directory: ScriptDirectory) -> None:
    """Run the revisions that are missing, in the connection's transaction and `search_path`."""
    options = {
        **migration_options(()),
        "fn": lambda heads, context: directory._upgrade_revs("heads", heads),
    }
    context = MigrationContext.configure(connection, opts=options)
    with use_operations(Operations(context)):
        context.run_migrations()


def send_transaction(connection: Connection, statements: Iterable[str]) -> None:
    """Send a transaction as one message.

    Raises:
        psycopg.Error: What the server said; nothing of it remains then.
    """
    driver: Any = connection.connection.driver_connection
    driver.autocommit = True  # the message brings its own BEGIN
    try:
        driver.execute(";\n".join(["BEGIN", *statements, "COMMIT"]).encode())
    except psycopg.Error:
        if driver.info.transaction_status is TransactionStatus.INERROR:
            driver.execute("ROLLBACK")
        raise
    finally:
        if not driver.closed:
            driver.autocommit = False


def limit_statements(limits: Limits) -> list[sql.Composable]:
    """Return the statements that bound what the transaction waits for."""
    statements: list[sql.Composable] = [
        sql.SQL("SET LOCAL lock_timeout TO {}").format(f"{limits.lock_timeout * 1000:.0f}ms")
    ]
    if limits.statement_timeout is not None:
        statements.append(
            sql.SQL("SET LOCAL statement_timeout TO {}").format(
                f"{limits.statement_timeout * 1000:.0f}ms"
            )
        )
    return statements


def expect_heads(place: Place, heads: Heads) -> sql.Composable:
    """Return the statement that locks a schema's row, and fails if its stamps are others."""
    return sql.SQL("SELECT {}({}, {}, {}::text[])").format(
        sql.Identifier(REGISTRY_SCHEMA, "expect_heads"),
        place.role_name,
        place.schema_name,
        sql.Literal(sorted(heads)),
    )


def begin_stage(place: Place, stamps: Heads) -> sql.Composable:
    """Return the statement that does what `expect_heads` does, and sets the `search_path`."""
    names = [place.extensions_schema, "pg_temp"]
    path = "".join(f", {_quoted(name)}" for name in names if name)
    return _BEGIN_STAGE.format(
        place.role_name, place.schema_name, path, sql.Literal(sorted(stamps))
    )


def end_stage(
    place: Place, revisions: Mapping[str, str], entry: JournalEntry | None
) -> sql.Composable:
    """Return the statement that tells registry and journal what the transaction has done."""
    return _END_STAGE.format(
        place.role_name,
        Jsonb(dict(revisions)),
        None if entry is None else entry.job_id,
        None if entry is None else entry.attempts,
    )


def mirror(place: Place, revisions: Mapping[str, str]) -> sql.Composable:
    """Return the statement that tells the registry which revisions a schema is at."""
    spare = place.organization_id is None
    return sql.SQL("UPDATE {} SET revisions = {}{} WHERE role_name = {}").format(
        sql.Identifier(REGISTRY_SCHEMA, "spares" if spare else "organizations"),
        sql.Literal(Jsonb(dict(revisions))),
        sql.SQL("" if spare else ", updated_at = now()"),
        place.role_name,
    )


def session_options(place: Place) -> str:
    """Return the `options` of a connection whose path is the schema's for the whole session.

    Given when it connects: a pooler in transaction mode refuses them, while it would let a
    `SET` of the session go to whichever server connection comes next.
    """
    names = [place.schema_name, place.extensions_schema, "pg_temp"]
    return f"-c search_path={','.join(_quoted(name) for name in names if name)}"


def check_session_path(connection: Connection, place: Place) -> None:
    """Make sure that unqualified names are the schema's.

    Raises:
        ConfigurationError: If a pooler dropped the path.
    """
    with connection.begin():
        found = connection.exec_driver_sql("SELECT current_schema()").scalar()
    if found != place.schema_name:
        raise ConfigurationError(
            "a revision that takes no transaction needs a direct connection to the server: "
            "the admin_url leads to a pooler that drops the option search_path",
            schema=place.schema_name,
        )


def _context(connection: Connection, settings: Sequence[ModuleSettings]) -> MigrationContext:
    return MigrationContext.configure(connection, opts=migration_options(settings))


def _run(context: MigrationContext, part: OnlinePart) -> None:
    if not part.before:
        context.impl._exec(CreateTable(context._version, if_not_exists=True))
    maintainer = StampMaintainer(context, part.before)
    with use_operations(Operations(context)), _without_transaction_control(context, part):
        part.step.migration_fn()
    maintainer.update_to_step(part.step)


@contextmanager
def _without_concurrently(connection: Connection) -> Iterator[None]:
    def rewrite(
        conn: object, cursor: object, statement: str, parameters: object, *rest: object
    ) -> tuple[str, object]:
        return without_concurrently(statement), parameters

    event.listen(connection, "before_cursor_execute", rewrite, retval=True)
    try:
        yield
    finally:
        event.remove(connection, "before_cursor_execute", rewrite)


@contextmanager
def _without_transaction_control(context: MigrationContext, part: OnlinePart) -> Iterator[None]:
    def check(conn: object, cursor: object, statement: str, *rest: object) -> None:
        check_transaction_stays(part.step.revision.revision, statement)

    event.listen(context.connection, "before_cursor_execute", check)
    try:
        yield
    finally:
        event.remove(context.connection, "before_cursor_execute", check)


def _refuse_autocommit() -> NoReturn:
    raise ConfigurationError(
        "a revision uses autocommit_block() in a way that cannot be foreseen: say so with a "
        "variable `autocommit = True` in its file"
    )


def _quoted(identifier: str) -> str:
    return sql.Identifier(identifier).as_string(None)
