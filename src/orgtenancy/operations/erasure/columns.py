"""Which columns can hold a person's id, and how it stands in them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto

from psycopg import sql
from sqlalchemy import Connection

from orgtenancy.errors import ConfigurationError
from orgtenancy.modules import OrganizationModule
from orgtenancy.operations.data.tables import query_relations


class Shape(Enum):
    """How a column holds ids."""

    TEXT = auto()
    UUID = auto()
    JSON = auto()
    TEXTS = auto()
    UUIDS = auto()
    NUMBERS = auto()
    """Not at all: numbers, times, bytes and the like."""

    OTHER = auto()
    """In a way of its own, such as a composite: it can be searched, and not replaced."""


@dataclass(frozen=True, slots=True)
class PersonColumn:
    """A column that may hold a person's id.

    Attributes:
        schema: Its schema.
        table: Its table.
        name: Its name.
        type: Its type without a length, below domains, as the server writes it. What is assigned
            from there is checked, and not cut.
        shape: How it holds ids.
        is_declared: Whether a module, or the registry, says that it does.
        length: How many characters its values may have; None if that is not limited.
        condition: Which rows are the organization's.
        prefix: Before the name of its table, for people.
    """

    schema: str
    table: str
    name: str
    type: str
    shape: Shape
    is_declared: bool
    length: int | None = None
    condition: sql.Composable = field(default_factory=lambda: sql.SQL("true"))
    prefix: str = ""

    @property
    def label(self) -> str:
        """What people call it."""
        return f"{self.prefix}{self.table}.{self.name}"

    @property
    def relation(self) -> sql.Identifier:
        """The qualified name of its table."""
        return sql.Identifier(self.schema, self.table)

    @property
    def identifier(self) -> sql.Identifier:
        """Its name."""
        return sql.Identifier(self.name)

    @property
    def text(self) -> sql.Composable:
        """Its value as a text."""
        return sql.SQL("{}::text").format(self.identifier)

    @property
    def cast(self) -> sql.SQL:
        """Its type, which the server wrote and quoted."""
        return sql.SQL(self.type)


# By the kind of the type below a domain or an array. What is computed from other columns follows
# them. The modifier -1 is none; without one, `char` would be that of one character.
_COLUMNS = query_relations("""
    , columns AS (
        SELECT c.relname, a.attname, a.attnum, a.atttypid, a.atttypmod
        FROM relations c JOIN pg_attribute a ON a.attrelid = c.oid
        WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition
            AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
    ), bases AS (
        SELECT DISTINCT atttypid AS type, atttypid AS base, false AS is_array, -1 AS modifier
        FROM columns
      UNION
        SELECT b.type, CASE d.typtype WHEN 'd' THEN d.typbasetype ELSE d.typelem END,
            b.is_array OR d.typtype <> 'd', greatest(b.modifier, d.typtypmod)
        FROM bases b JOIN pg_type d ON d.oid = b.base
        WHERE d.typtype = 'd' OR d.typcategory = 'A'
    )
    SELECT c.relname, c.attname,
        format_type(b.base, -1) || CASE WHEN b.is_array THEN '[]' ELSE '' END,
        CASE WHEN b.is_array THEN 'array of ' ELSE '' END || CASE
            WHEN t.typcategory = 'S' THEN 'text'
            WHEN t.typname = 'uuid' THEN 'uuid'
            WHEN t.typname IN ('json', 'jsonb') THEN 'json'
            WHEN t.typcategory IN ('B', 'D', 'E', 'G', 'I', 'N', 'R', 'T', 'V')
                OR t.typname = 'bytea' THEN 'no words'
            ELSE 'other' END,
        CASE WHEN t.typname IN ('varchar', 'bpchar')
            THEN nullif(greatest(c.atttypmod, b.modifier), -1) - 4 END
    FROM columns c
    JOIN bases b ON b.type = c.atttypid
    JOIN pg_type t ON t.oid = b.base AND t.typtype <> 'd' AND t.typcategory <> 'A'
    ORDER BY c.relname, c.attnum
""")
_SHAPES = {
    "text": Shape.TEXT,
    "uuid": Shape.UUID,
    "json": Shape.JSON,
    "array of text": Shape.TEXTS,
    "array of uuid": Shape.UUIDS,
    "no words": Shape.NUMBERS,
    "array of no words": Shape.NUMBERS,
}


def columns_of(
    connection: Connection, schema: str, modules: Iterable[OrganizationModule]
) -> list[PersonColumn]:
    """Return the columns of a schema that may hold a person's id.

    Args:
        connection: A connection of the owner, in a transaction that has entered the schema.
        schema: The schema.
        modules: What is in it; they say which columns do.

    Raises:
        ConfigurationError: If a module says so of a column that cannot.
    """
    declared = {
        (table, column)
        for module in modules
        for table, columns in module.people.items()
        for column in columns
    }
    given = {"schema": sql.Identifier(schema).as_string(None)}
    found = [
        PersonColumn(
            schema=schema,
            table=table,
            name=name,
            type=type_,
            shape=_SHAPES.get(shape, Shape.OTHER),
            is_declared=(table, name) in declared,
            length=length,
        )
        for table, name, type_, shape, length in connection.execute(_COLUMNS, given)
    ]
    for column in found:
        if column.is_declared and column.shape in (Shape.NUMBERS, Shape.OTHER):
            raise ConfigurationError(
                f"{column.label} is said to hold people's ids, which its type {column.type} "
                "cannot: text, uuid, arrays of them, json and jsonb can",
                schema=schema,
            )
    return [column for column in found if column.shape is not Shape.NUMBERS]


def pick(columns: Iterable[PersonColumn], labels: Iterable[str]) -> Mapping[str, PersonColumn]:
    """Return those columns that are named as `table.column`.

    Raises:
        ConfigurationError: If there is no column of a name.
    """
    known = {column.label: column for column in columns}
    if missing := sorted(set(labels) - known.keys()):
        raise ConfigurationError(f"no column that can hold an id is called {', '.join(missing)}")
    return {label: known[label] for label in labels}
