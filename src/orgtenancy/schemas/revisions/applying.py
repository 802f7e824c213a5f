"""Bringing one schema along a path.

Whatever happens on the way, a stage is committed as a whole or not at all: its DDL, the
stamps in the schema, what the registry mirrors of them, and what the caller adds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from psycopg import sql
from sqlalchemy import Connection

from orgtenancy.errors import ConfigurationError
from orgtenancy.schemas import grants
from orgtenancy.schemas.messages import encoded, joined, send_transaction, transaction
from orgtenancy.schemas.revisions import online
from orgtenancy.schemas.revisions.framing import (
    ASYNCHRONOUS_COMMIT,
    EndOfStage,
    begin_stage,
    expect_heads,
    limit_statements,
    lock_tables,
)
from orgtenancy.schemas.revisions.paths import OnlinePart, SqlPart, Stage
from orgtenancy.schemas.revisions.places import JournalEntry, Limits, Place
from orgtenancy.schemas.revisions.stamping import Heads
from orgtenancy.settings import ModuleSettings


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
        self._limits = limits
        self._one_by_one = one_by_one
        self._begin = limit_statements(limits)
        if not one_by_one:  # a transaction of several servers needs each of them to keep its word
            self._begin.append(ASYNCHRONOUS_COMMIT)
        self._scripts: dict[Stage, _Script] = {}

    def apply(
        self,
        connection: Connection,
        place: Place,
        stage: Stage,
        entry: JournalEntry | None = None,
        *,
        hold: bool = False,
    ) -> None:
        """Apply a stage that fits in a transaction: in one message, if it is all SQL.

        Args:
            connection: A connection that is in no transaction.
            place: The schema; its stamps must be those where the stage begins.
            stage: What to do.
            entry: What to write into the journal with it.
            hold: Whether to lock the schema's row before anything else, at the price of a
                message for each part. Without it a rename meanwhile makes the script fail.

        Raises:
            psycopg.Error: What the server said; `OT001` if the registry has no such schema,
                `OT002` if its stamps are others, which a script only finds out at its end.
                SQLAlchemy's errors have it as `orig`.
        """
        match stage.parts:
            case [SqlPart() as part] if not (self._one_by_one or hold):
                script = self._scripts.get(stage)
                if script is None:
                    script = self._scripts[stage] = self._script(stage, part)
                send_transaction(connection, script.message(place, entry))
            case _:
                with connection.begin():
                    self._apply_part_by_part(connection, place, stage, entry)

    def check(self, connection: Connection, place: Place, heads: Heads) -> None:
        """Make sure that the registry has a schema, and that its stamps are these.

        Raises:
            sqlalchemy.exc.DBAPIError: `OT001` or `OT002` if not, as `apply` says.
        """
        with connection.begin():
            self._send(connection, [*self._begin, expect_heads(place, heads)])

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
            connection: A connection of its own, made with `session_options`.
            place: The schema.
            stage: What to do; it is one revision.
            entry: What to write into the journal with its stamp.
        """
        with connection.begin():
            _check_session_path(connection, place)
            self._drop_unfinished_indexes(connection, place.schema_name)
        begin = [*self._begin, *begin_stage(place)]
        context = online.make_context(connection, self._settings)
        with context.begin_transaction():
            self._send(connection, [*begin, expect_heads(place, stage.before)])
            for part in stage.parts:
                if isinstance(part, OnlinePart):
                    online.run(context, part)
            # In another transaction than it began in, and nothing held the schema's row.
            self._send(connection, [*begin, *self._end(place, stage, entry)])

    def _apply_part_by_part(
        self, connection: Connection, place: Place, stage: Stage, entry: JournalEntry | None
    ) -> None:
        begin = [*self._begin, expect_heads(place, stage.before), *begin_stage(place)]
        self._send(connection, [*begin, *lock_tables(stage.lock_tables)])
        for part in stage.parts:
            if isinstance(part, SqlPart):
                grants.send(connection, part.script, one_by_one=self._one_by_one)
            else:
                online.run_in_transaction(connection, part, self._settings)
        self._send(connection, self._end(place, stage, entry))

    def _drop_unfinished_indexes(self, connection: Connection, schema: str) -> None:
        """Drop what a `CREATE INDEX CONCURRENTLY` left that did not come to its end."""
        found = connection.exec_driver_sql(
            "SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid "
            "WHERE NOT i.indisvalid AND c.relkind = 'i' AND c.relnamespace = %s::regnamespace",
            (sql.Identifier(schema).as_string(None),),
        )
        drops = [sql.SQL("DROP INDEX {}").format(sql.Identifier(schema, name)) for (name,) in found]
        if drops:
            self._send(connection, [*self._begin, *drops])

    def _script(self, stage: Stage, part: SqlPart) -> _Script:
        body = [*grants.texts(lock_tables(stage.lock_tables)), *part.statements]
        return _Script(
            begin=encoded(self._begin),
            body=joined(map(str.encode, body)),
            end=EndOfStage(stage.revisions, stage.before, stage.after),
            is_first=_is_first(stage),
        )

    def _end(self, place: Place, stage: Stage, entry: JournalEntry | None) -> list[sql.Composable]:
        protect = _protect_versions(place) if _is_first(stage) else []
        return [*protect, EndOfStage(stage.revisions, stage.after).compose(place, entry)]

    def _send(self, connection: Connection, statements: Sequence[sql.Composable]) -> None:
        grants.execute(connection, statements, one_by_one=self._one_by_one)


@dataclass(frozen=True, slots=True)
class _Script:
    """A stage as it is sent to every schema: only the names in it differ.

    The stamps are looked at by the statement that moves them, at the end: a schema that has
    others may fail before, and is left as it was either way.
    """

    begin: bytes
    body: bytes
    end: EndOfStage
    is_first: bool

    def message(self, place: Place, entry: JournalEntry | None) -> bytes:
        """Return the transaction for one schema."""
        parts = [self.begin, encoded(begin_stage(place)), self.body]
        if self.is_first:
            parts.append(encoded(_protect_versions(place)))
        return transaction([*parts, encoded([self.end.compose(place, entry)])])


def session_options(place: Place, limits: Limits) -> str:
    """Return the `options` of a connection for a revision that leaves its transaction.

    Its path is the schema's for the whole session. Given when it connects: a pooler in
    transaction mode refuses them, while it would let a `SET` of the session go to whichever
    server connection comes next. The `lock_timeout` is for transactions: what is built
    concurrently waits for those of others, and keeps nobody waiting.
    """
    path = ",".join(sql.Identifier(name).as_string(None) for name in place.path)
    options = [f"-c search_path={path}"]
    if limits.statement_timeout is not None:
        options.append(f"-c statement_timeout={limits.statement_timeout * 1000:.0f}ms")
    return " ".join(options)


def _check_session_path(connection: Connection, place: Place) -> None:
    """Make sure that unqualified names are the schema's.

    Raises:
        ConfigurationError: If a pooler dropped the path.
    """
    found = connection.exec_driver_sql("SELECT current_schema()").scalar()
    if found != place.schema_name:
        raise ConfigurationError(
            "a revision that takes no transaction needs a direct connection to the server: "
            "the admin_url leads to a pooler that drops the option search_path",
            schema=place.schema_name,
        )


def _is_first(stage: Stage) -> bool:
    return bool(stage.after) and not stage.before


def _protect_versions(place: Place) -> list[sql.Composable]:
    # The stamps are kept from the app: the table is new where there were none.
    return grants.protect_versions(place.schema_name, place.grantee)
