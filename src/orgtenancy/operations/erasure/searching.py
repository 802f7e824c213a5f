"""Where a person's id stands in an organization."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

from psycopg import sql
from pydantic import BaseModel, ConfigDict
from sqlalchemy import Connection

from orgtenancy.operations.data.tables import fetch
from orgtenancy.operations.erasure.columns import PersonColumn
from orgtenancy.operations.erasure.sought import FORMS, WORD, is_in


class Occurrence(BaseModel):
    """A column that holds a person's id.

    Attributes:
        table: Its table.
        column: Its name.
        rows: In how many rows.
        is_declared: Whether a module says that it holds ids.
    """

    model_config = ConfigDict(frozen=True)

    table: str
    column: str
    rows: int
    is_declared: bool

    @property
    def label(self) -> str:
        """What people call the column."""
        return f"{self.table}.{self.column}"


def search(connection: Connection, columns: Iterable[PersonColumn]) -> list[Occurrence]:
    """Return which columns hold the id that is looked for, anywhere in their text.

    Each table is read once.

    Args:
        connection: A connection of the owner, in a transaction that knows whom to `seek`.
        columns: Where to look.
    """
    found = []
    for _, group in groupby(columns, lambda column: column.table):
        together = list(group)
        for column, rows in zip(together, _count(connection, together), strict=True):
            if rows:
                found.append(
                    Occurrence(
                        table=column.prefix + column.table,
                        column=column.name,
                        rows=rows,
                        is_declared=column.is_declared,
                    )
                )
    return found


def _count(connection: Connection, columns: Sequence[PersonColumn]) -> tuple[int, ...]:
    # A pattern is slow, and looks only where there is anything.
    counts = sql.SQL(", ").join(
        sql.SQL("count(*) FILTER (WHERE {} AND {} ~ {})").format(
            is_in(column.text, FORMS), column.text, WORD
        )
        for column in columns
    )
    first = columns[0]
    statement = sql.SQL("SELECT {} FROM {} WHERE {}")
    (row,) = fetch(connection, statement.format(counts, first.relation, first.condition))
    return row
