"""What the repairs of one schema work with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum, auto
from importlib.resources import files

from psycopg import sql
from sqlalchemy import Connection, text

from orgtenancy.schemas.drift.items import Item, within

_DEFINITIONS = text(
    files("orgtenancy.schemas.drift").joinpath("definitions.sql").read_text(encoding="utf-8")
)


class Phase(IntEnum):
    """When a statement can run: what others rest on is dropped last, and made first."""

    OWNER = auto()
    DROP_ATTACHED = auto()
    DROP_VIEW = auto()
    DROP_FOREIGN_KEY = auto()
    DROP_CONSTRAINT = auto()
    DROP_INDEX = auto()
    DROP_COLUMN = auto()
    DROP_TABLE = auto()
    DROP_SEQUENCE = auto()
    DROP_FUNCTION = auto()
    DROP_TYPE = auto()
    TYPE = auto()
    SEQUENCE = auto()
    FUNCTION = auto()
    TEXT_SEARCH = auto()
    TABLE = auto()
    COLUMN = auto()
    SEQUENCE_OWNER = auto()
    INDEX = auto()
    CONSTRAINT = auto()
    FOREIGN_KEY = auto()
    VIEW = auto()
    FUNCTION_OF_TABLES = auto()
    ATTACHED = auto()
    FLAG = auto()
    GRANT = auto()
    COLUMN_GRANT = auto()
    COMMENT = auto()
    STAMP = auto()


@dataclass(frozen=True, slots=True)
class Piece:
    """One statement.

    Attributes:
        phase: When it can run.
        statement: What is run.
        destructive: Whether data would be lost.
        place: Its order within the phase.
    """

    phase: Phase
    statement: sql.Composable
    destructive: bool = False
    place: int = 0


class CannotRepair(Exception):
    """No statement here mends a difference; the message says why."""


@dataclass(frozen=True, slots=True)
class Definition:
    """How an object of the reference is made.

    Attributes:
        place: Its order among those of its kind.
        text: The server's words, or None for what has none.
    """

    place: int
    text: str | None


Definitions = Mapping[tuple[str, str], Definition]


def read_definitions(connection: Connection, schema: str) -> Definitions:
    """Return how the objects of a reference are made."""
    rows = connection.execute(_DEFINITIONS, {"schema": schema})
    return {(row.kind, row.name): Definition(row.place, row.definition) for row in rows}


@dataclass
class Workshop:
    """One schema, and what it should be.

    Attributes:
        schema: Its name.
        grantee: Who has the rights in it.
        expected: The objects of its reference.
        definitions: How those are made.
        retyped: The tables of which a column gets another type, and so all its indexes.
    """

    schema: str
    grantee: str
    expected: Sequence[Item]
    definitions: Definitions
    retyped: frozenset[str] = frozenset()

    def identifier(self, name: str, *inner: str) -> sql.Composable:
        """Return the quoted name of an object of the schema."""
        return sql.Identifier(self.schema, name, *inner)

    def table(self, item: Item) -> sql.Composable:
        """Return the quoted name of the table that an object belongs to."""
        return self.identifier(item.parent or "")

    def own(self, item: Item) -> sql.Composable:
        """Return the quoted name of an object within its table."""
        return sql.Identifier(item.own_name)

    def routine(self, item: Item) -> sql.Composable:
        """Return the name of a function with the types of its arguments."""
        name, _, arguments = item.name.partition("(")
        return self.identifier(name) + sql.SQL("(") + self.server_text(arguments)

    def server_text(self, detail: str) -> sql.Composable:
        """Return a piece of SQL that the server wrote about the reference, for this schema."""
        return sql.SQL(within(detail, sql.Identifier(self.schema).as_string(None)))

    def grantee_of(self, label: str) -> sql.Composable:
        """Return the role behind a label."""
        match label:
            case "$owner":
                return sql.SQL("CURRENT_USER")
            case "PUBLIC":
                return sql.SQL("PUBLIC")
            case "$role":
                return sql.Identifier(self.grantee)
        return sql.Identifier(label)

    def definition(self, item: Item) -> sql.Composable:
        """Return the server's words of how an object of the reference is made.

        Raises:
            CannotRepair: If it has none.
        """
        found = self.definitions.get(self._key(item))
        if found is None or found.text is None:
            raise CannotRepair(f"a {item.kind} is made by a revision only")
        return self.server_text(found.text)

    def place(self, item: Item) -> int:
        """Return the order of an object among those of its kind in the reference."""
        found = self.definitions.get(self._key(item))
        return 0 if found is None else found.place

    def children(self, name: str) -> Iterator[Item]:
        """Yield what the reference has within a table or view."""
        return (item for item in self.expected if item.parent == name)

    def attached(self, item: Item) -> Iterator[Item]:
        """Yield the rights and the comment that the reference has on an object."""
        kinds = {f"comment on {item.kind}"}
        if item.kind in ("function", "procedure", "aggregate"):
            kinds.add("grants on function")
        return (one for one in self.expected if one.name == item.name and one.kind in kinds)

    def columns(self, table: str) -> list[Item]:
        """Return the columns of a table of the reference, in their order."""
        found = [item for item in self.children(table) if item.kind == "column"]
        return sorted(found, key=self.place)

    def _key(self, item: Item) -> tuple[str, str]:
        return item.kind, item.name


def joined(parts: Iterable[sql.Composable], separator: str = ", ") -> sql.Composable:
    """Return parts with a separator between them."""
    return sql.SQL(separator).join(parts)
