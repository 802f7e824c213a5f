"""What a piece of work sends to the server."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import create_engine, event, text
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from orgtenancy import Organization, embedded


@contextmanager
def recorded(session: Session) -> Iterator[list[tuple[str, Any]]]:
    """Record the statements of a block, each with its parameters."""
    found: list[tuple[str, Any]] = []

    def note(connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        found.append((statement, parameters))

    connection = session.connection()
    event.listen(connection, "before_cursor_execute", note)
    try:
        yield found
    finally:
        event.remove(connection, "before_cursor_execute", note)


def number_of_statements(session: Session, work: Callable[[], object]) -> int:
    """Return how many statements a piece of work sends."""
    with recorded(session) as statements:
        work()
    return len(statements)


def plan(session: Session, work: Callable[[], object]) -> str:
    """Return how the server runs the one statement of a piece of work, indexes preferred."""
    with recorded(session) as statements:
        work()
    ((statement, parameters),) = statements
    session.execute(text("SET LOCAL enable_seqscan = off"))
    connection = session.connection()
    return "\n".join(connection.exec_driver_sql(f"EXPLAIN {statement}", parameters).scalars())


def analyze(
    server: embedded.EmbeddedServer, organization: Organization, tables: Iterable[str]
) -> None:
    """Let the server count what is in some tables, as its autovacuum does in time."""
    engine = create_engine(server.admin_url, poolclass=NullPool)
    quote = engine.dialect.identifier_preparer.quote
    with engine.begin() as connection:
        for table in tables:
            name = f"{quote(organization.schema_name)}.{quote(table)}"
            connection.exec_driver_sql(f"ANALYZE {name}")
