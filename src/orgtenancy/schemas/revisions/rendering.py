"""One revision as SQL, or what it needs instead."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from types import FunctionType
from typing import Any

from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.runtime.migration import RevisionStep
from sqlalchemy import Connection, Executable, UpdateBase, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql.base import PGDialect
from sqlalchemy.schema import CreateTable, DDLElement

from orgtenancy.errors import ConfigurationError
from orgtenancy.modules import SETTINGS_OPTION
from orgtenancy.schemas.revisions.operations import use_operations
from orgtenancy.schemas.revisions.stamping import VERSION_TABLE, Heads, stamps_after
from orgtenancy.settings import ModuleSettings


class StepKind(StrEnum):
    """How a revision reaches a schema."""

    SQL = "sql"
    """Rendered once, and sent as it is."""

    ONLINE = "online"
    """Run on a connection: it reads rows, or looks into the catalog."""

    AUTOCOMMIT = "autocommit"
    """Run on a connection of its own, because a part of it takes no transaction."""


@dataclass(frozen=True, slots=True)
class RenderedStep:
    """What became of one revision.

    Attributes:
        kind: How it reaches a schema.
        statements: Its SQL, without the stamp, if it could be rendered.
        heads: The stamps of a schema after it.
    """

    kind: StepKind
    statements: tuple[str, ...]
    heads: Heads


class _NeedsConnection(Exception):
    """A revision asked for a connection while it was rendered."""


class _NeedsAutocommit(Exception):
    """A revision asked to leave the transaction while it was rendered."""


_COMMENTS = r"(?:\s+|--[^\n]*(?:\n|\Z)|/\*.*?\*/)*"
_is_transaction_control = re.compile(
    _COMMENTS + r"(?:BEGIN|START\s+TRANSACTION|COMMIT|END|ROLLBACK(?!\s+TO)|ABORT"
    r"|PREPARE\s+TRANSACTION)\b",
    re.IGNORECASE | re.DOTALL,
).match
_concurrently = re.compile(
    _COMMENTS + r"(?:CREATE\s+(?:UNIQUE\s+)?INDEX|DROP\s+INDEX|REINDEX\s+(?:\([^)]*\)\s*)?\w+)"
    r"(?P<word>\s+CONCURRENTLY)\b",
    re.IGNORECASE | re.DOTALL,
)


def check_transaction_stays(revision: str, statement: str) -> None:
    """Make sure that a statement does not end the transaction.

    What follows would not be in the schema: its `search_path` ends with the transaction.

    Raises:
        ConfigurationError: If it does.
    """
    if _is_transaction_control(statement):
        raise ConfigurationError(
            f"revision {revision!r} ends the transaction by itself: {statement[:80]!r}; "
            "a part that takes no transaction goes into "
            "`with op.get_context().autocommit_block():`"
        )


def without_concurrently(statement: str) -> str:
    """Return a statement on an index as one that a transaction takes.

    In a schema that nobody uses yet, the result is the same.
    """
    found = _concurrently.match(statement)
    return statement if found is None else statement[: found.start(1)] + statement[found.end(1) :]


def migration_options(settings: Sequence[ModuleSettings]) -> dict[str, Any]:
    """Return what every `MigrationContext` is configured with."""
    return {"version_table": VERSION_TABLE, SETTINGS_OPTION: settings}


def render(
    step: RevisionStep,
    heads: Heads,
    settings: Sequence[ModuleSettings],
    *,
    fresh: bool,
) -> RenderedStep:
    """Run a revision against no database, and collect its SQL.

    Args:
        step: The revision, up or down.
        heads: The stamps of a schema before it.
        settings: What the modules' revisions may read.
        fresh: Whether nobody uses the schema yet, so that everything fits in a transaction.

    Raises:
        ConfigurationError: If it ends the transaction by itself, or has a statement that
            takes none outside an `autocommit_block`.
    """
    name = step.revision.revision
    recorder = _Recorder(name, fresh=fresh)
    context = MigrationContext.configure(
        dialect=_dialect(),
        opts={"as_sql": True, "literal_binds": True, **migration_options(settings)},
    )
    recorder.attach(context)
    operations = Operations(context)
    operations.get_bind = _refuse_connection  # type: ignore[method-assign]
    wants_autocommit = asks_for_autocommit(step) and not fresh
    kind = StepKind.AUTOCOMMIT if wants_autocommit else StepKind.SQL
    try:
        if not heads:
            context.impl._exec(CreateTable(context._version, if_not_exists=True))
        with use_operations(operations):
            step.migration_fn()
    except ConfigurationError:
        raise
    except _NeedsAutocommit:
        kind = StepKind.AUTOCOMMIT
    except Exception:  # noqa: BLE001 - see the next lines
        # Whatever a revision misses without a connection: if it is broken rather than in
        # need of one, it says so when it is run online.
        kind = StepKind.AUTOCOMMIT if wants_autocommit else StepKind.ONLINE
    statements = tuple(recorder.statements) if kind is StepKind.SQL else ()
    return RenderedStep(kind, statements, frozenset(stamps_after(heads, step)))


def _dialect() -> PGDialect:
    # Sent without parameters: the default style would double every percent sign.
    dialect: PGDialect = postgresql.dialect(paramstyle="named")  # type: ignore[no-untyped-call]
    # Told by the server's standard_conforming_strings where there is one; SQLAlchemy 2.0
    # doubles every backslash until then.
    dialect._backslash_escapes = False
    return dialect


def asks_for_autocommit(step: RevisionStep) -> bool:
    """Return whether a revision says that it leaves the transaction.

    It does so with `autocommit = True`, or by calling `autocommit_block` in a function of
    its own file.
    """
    variables = vars(step.revision.module)
    declared = variables.get("autocommit")
    if declared is not None:
        return bool(declared)
    return any(
        isinstance(value, FunctionType) and "autocommit_block" in value.__code__.co_names
        for value in variables.values()
        if value is step.migration_fn or not _is_migration(value)
    )


def _is_migration(value: object) -> bool:
    return isinstance(value, FunctionType) and value.__name__ in ("upgrade", "downgrade")


@dataclass
class _Recorder:
    """Stands where Alembic would send a statement.

    Its own offline output is a text in which tabs have become blanks, also those within a
    literal, and from which one cannot tell where a statement ends.
    """

    revision: str
    fresh: bool
    statements: list[str] = field(default_factory=list)
    in_autocommit: bool = False

    def attach(self, context: MigrationContext) -> None:
        context.impl._exec = self._exec_on(context)  # type: ignore[method-assign]
        context.impl.static_output = self._add  # type: ignore[method-assign,assignment]
        context.autocommit_block = self._autocommit_block  # type: ignore[method-assign]

    def _exec_on(self, context: MigrationContext) -> Any:
        def execute(
            construct: Executable | DDLElement | str,
            execution_options: Mapping[str, Any] | None = None,
            multiparams: Any = None,
            params: Mapping[str, Any] | None = None,
        ) -> None:
            if multiparams or params:
                raise _NeedsConnection
            element: Any = text(construct) if isinstance(construct, str) else construct
            literal = {} if isinstance(element, DDLElement) else {"literal_binds": True}
            compiled = str(element.compile(dialect=context.dialect, compile_kwargs=literal))
            # As a literal an array has lost its type: an empty one is no SQL, and one of an
            # enum's labels does not fit its column.
            if isinstance(element, UpdateBase) and "ARRAY[" in compiled:
                raise _NeedsConnection
            self._add(compiled)

        return execute

    def _add(self, statement: str) -> None:
        statement = statement.strip().rstrip(";")
        check_transaction_stays(self.revision, statement)
        if _concurrently.match(statement) is not None:
            if not self.in_autocommit:
                raise ConfigurationError(
                    f"revision {self.revision!r}: {statement[:80]!r} takes no transaction; put "
                    "it into `with op.get_context().autocommit_block():`"
                )
            statement = without_concurrently(statement)
        if statement:
            self.statements.append(statement)

    @contextmanager
    def _autocommit_block(self) -> Iterator[None]:
        if not self.fresh:
            raise _NeedsAutocommit
        self.in_autocommit = True
        try:
            yield
        finally:
            self.in_autocommit = False


def _refuse_connection() -> Connection:
    raise _NeedsConnection
