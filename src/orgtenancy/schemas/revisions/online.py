"""Running a revision on a connection, as Alembic does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import NoReturn

from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, event
from sqlalchemy.schema import CreateTable

from orgtenancy.errors import ConfigurationError
from orgtenancy.schemas.revisions.operations import use_operations
from orgtenancy.schemas.revisions.paths import OnlinePart
from orgtenancy.schemas.revisions.rendering import (
    check_transaction_stays,
    migration_options,
    without_concurrently,
)
from orgtenancy.schemas.revisions.stamping import StampMaintainer
from orgtenancy.settings import ModuleSettings


def make_context(connection: Connection, settings: Sequence[ModuleSettings]) -> MigrationContext:
    """Return Alembic's view of a connection."""
    return MigrationContext.configure(connection, opts=migration_options(settings))


def run(context: MigrationContext, part: OnlinePart) -> None:
    """Run a revision, and move the stamps, wherever the context's connection is.

    Raises:
        ConfigurationError: If it ends the transaction by itself.
    """
    if not part.before:
        context.impl._exec(CreateTable(context._version, if_not_exists=True))
    maintainer = StampMaintainer(context, part.before)
    with use_operations(Operations(context)), _without_transaction_control(context, part):
        part.step.migration_fn()
    maintainer.update_to_step(part.step)


def run_in_transaction(
    connection: Connection, part: OnlinePart, settings: Sequence[ModuleSettings]
) -> None:
    """Run a revision, and move the stamps, in the connection's transaction and `search_path`.

    Raises:
        ConfigurationError: If it leaves the transaction.
    """
    context = make_context(connection, settings)
    context.autocommit_block = _refuse_autocommit  # type: ignore[method-assign]
    run(context, part)


def run_fresh(connection: Connection, part: OnlinePart, settings: Sequence[ModuleSettings]) -> None:
    """Run a revision where nobody uses the schema yet: all of it fits in the transaction."""
    context = make_context(connection, settings)
    context.autocommit_block = nullcontext  # type: ignore[method-assign,assignment]
    with _without_concurrently(connection):
        run(context, part)


def upgrade(connection: Connection, directory: ScriptDirectory) -> None:
    """Run the revisions that are missing, in the connection's transaction and `search_path`."""
    options = {
        **migration_options(()),
        "fn": lambda heads, context: directory._upgrade_revs("heads", heads),
    }
    context = MigrationContext.configure(connection, opts=options)
    with use_operations(Operations(context)):
        context.run_migrations()


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
