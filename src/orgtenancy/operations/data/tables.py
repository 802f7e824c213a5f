"""The tables of a schema, and how their values can travel."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from psycopg import sql
from sqlalchemy import Connection, TextClause, text

from orgtenancy.schemas import grants
from orgtenancy.schemas.revisions.stamping import VERSION_TABLE

#: Sequences by name: the last value, and whether it was given out.
Sequences: TypeAlias = Mapping[str, tuple[int, bool]]


@dataclass(frozen=True, slots=True)
class Column:
    """A column.

    Attributes:
        name: Its name.
        type: Its type as the server writes it, in the schema's own path.
        is_generated: Whether it is computed from others, so that it is never copied.
        is_portable: Whether its binary form means the same in another schema or database. That
            of an array or a composite holds the numbers of its types, and that of a `regclass` or
            its like is the number of what it names.
        base: The server's own type that it is or rests on; None for an array, and for what
            somebody else made, such as an enum.
    """

    name: str
    type: str
    is_generated: bool
    is_portable: bool
    base: str | None


@dataclass(frozen=True, slots=True)
class Table:
    """A table, or a partitioned one as a whole.

    Attributes:
        schema: Its schema.
        name: Its name.
        columns: Its columns, in their order.
        key: The columns of its primary key; none if it has no such key.
        refers_to: The tables of the schema that its foreign keys lead to, itself included.
        is_partitioned: Whether its rows are in partitions.
        size: Bytes of its rows, without indexes.
    """

    schema: str
    name: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    refers_to: frozenset[str]
    is_partitioned: bool
    size: int

    @property
    def identifier(self) -> sql.Identifier:
        """The qualified name."""
        return sql.Identifier(self.schema, self.name)

    @property
    def copied(self) -> tuple[Column, ...]:
        """The columns whose values are copied."""
        return tuple(column for column in self.columns if not column.is_generated)

    @property
    def is_portable(self) -> bool:
        """Whether its rows can be copied in their binary form, wherever they go."""
        return all(column.is_portable for column in self.copied)

    @property
    def rows(self) -> sql.Composable:
        """What follows FROM for its own rows, and not for those of its heirs."""
        only = sql.SQL("") if self.is_partitioned else sql.SQL("ONLY ")
        return only + self.identifier


# `pg_class` has no index by schema, and would be read as a whole; what depends on one has.
_RELATIONS = """
    WITH RECURSIVE relations AS MATERIALIZED (
        SELECT c.* FROM pg_depend d JOIN pg_class c ON c.oid = d.objid
        WHERE d.refclassid = 'pg_namespace'::regclass AND d.refobjid = to_regnamespace(:schema)
            AND d.classid = 'pg_class'::regclass
    )
"""


def query_relations(query: str) -> TextClause:
    """Return a query of `relations`: the rows that `pg_class` has of the schema `:schema`.

    However many other schemas there are, it takes the same time.

    Args:
        query: What follows `WITH relations AS (…)`; it may begin with a comma.
    """
    return text(_RELATIONS + query)


_TABLES = query_relations("""
    SELECT c.oid, c.relname, c.relkind = 'p',
        CASE WHEN c.relkind = 'r' THEN pg_table_size(c.oid) ELSE (
            SELECT coalesce(sum(pg_table_size(t.relid)), 0)::bigint
            FROM pg_partition_tree(c.oid) t WHERE t.isleaf
        ) END,
        coalesce((
            SELECT array_agg(a.attname::text ORDER BY k.n)
            FROM pg_index i, unnest(i.indkey) WITH ORDINALITY AS k (attnum, n), pg_attribute a
            WHERE i.indrelid = c.oid AND i.indisprimary
                AND a.attrelid = c.oid AND a.attnum = k.attnum
        ), '{}'),
        coalesce((
            SELECT array_agg(DISTINCT t.relname::text)
            FROM pg_constraint f JOIN pg_class t ON t.oid = f.confrelid
            WHERE f.conrelid = c.oid AND f.contype = 'f' AND t.relnamespace = c.relnamespace
        ), '{}')
    FROM relations c
    WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relname <> :versions
    ORDER BY c.relname
""")

# A type below 16384 is the server's own, and has the same number everywhere. Of others, an enum
# travels by its label, and a domain as the type below it.
_COLUMNS = text("""
    WITH RECURSIVE columns AS (
        SELECT * FROM pg_attribute
        WHERE attrelid = ANY(:tables) AND attnum > 0 AND NOT attisdropped
    ), bases AS (
        SELECT DISTINCT atttypid AS type, atttypid AS base FROM columns
      UNION
        SELECT b.type, d.typbasetype FROM bases b JOIN pg_type d ON d.oid = b.base
        WHERE d.typtype = 'd'
    )
    SELECT a.attrelid, a.attname, format_type(a.atttypid, a.atttypmod), a.attgenerated <> '',
        base.typtype = 'e' OR base.oid < 16384 AND base.typname !~ '^_?reg',
        CASE WHEN base.typnamespace = 'pg_catalog'::regnamespace AND base.typtype = 'b'
            AND base.typcategory <> 'A' THEN base.typname END
    FROM columns a
    JOIN bases b ON b.type = a.atttypid
    JOIN pg_type base ON base.oid = b.base AND base.typtype <> 'd'
    ORDER BY a.attrelid, a.attnum
""")

_SEQUENCES = query_relations("""
    SELECT relname FROM relations WHERE relkind = 'S' ORDER BY relname
""")

_VIEWS = query_relations("""
    SELECT relname FROM relations WHERE relkind = 'm' ORDER BY oid
""")


# How values are written as text, on which digests and COPY rest, whatever a server's own settings
# are; and no limit on how long it may take.
_SESSION = {
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "lc_monetary": "C",
    "xmloption": "content",
    "row_security": "off",
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "transaction_timeout": "0",
}


def enter(connection: Connection, schema: str, extensions_schema: str | None = None) -> None:
    """Make a schema the path of the transaction, as what is read here needs it.

    Policies of rows are an error from then on, where they would leave rows out. Values look the
    same on every server, and nothing is cut short by a time limit of the login.
    """
    settings = [
        sql.SQL("SET LOCAL {} TO {}").format(sql.Identifier(name), sql.Literal(value))
        for name, value in _SESSION.items()
        # Of 17 and newer.
        if name != "transaction_timeout" or grants.server_version(connection) >= 17
    ]
    grants.execute(connection, [*grants.enter_schema(schema, extensions_schema), *settings])


def tables_of(connection: Connection, schema: str) -> list[Table]:
    """Return the tables of a schema, each after those that it refers to, as far as that goes.

    The table with the stamps of the revisions is none of them.

    Args:
        connection: A connection of the owner, in a transaction that has entered the schema.
        schema: Its name.
    """
    given = {"schema": _quoted(schema), "versions": VERSION_TABLE}
    found = connection.execute(_TABLES, given).all()
    columns: dict[int, list[Column]] = {}
    for oid, *column in connection.execute(_COLUMNS, {"tables": [row[0] for row in found]}):
        columns.setdefault(oid, []).append(Column(*column))
    return list(
        _sorted(
            [
                Table(
                    schema=schema,
                    name=name,
                    columns=tuple(columns.get(oid, ())),
                    key=tuple(key),
                    refers_to=frozenset(references),
                    is_partitioned=is_partitioned,
                    size=size,
                )
                for oid, name, is_partitioned, size, key, references in found
            ]
        )
    )


def sequences_of(connection: Connection, schema: str) -> Sequences:
    """Return where the sequences of a schema are.

    Args:
        connection: A connection of the owner, in a transaction.
        schema: Its name.
    """
    names = connection.scalars(_SEQUENCES, {"schema": _quoted(schema)}).all()
    if not names:
        return {}
    states = sql.SQL(" UNION ALL ").join(
        sql.SQL("SELECT {}, last_value, is_called FROM {}").format(
            sql.Literal(name), sql.Identifier(schema, name)
        )
        for name in names
    )
    found = fetch(connection, states)
    return {name: (last_value, is_called) for name, last_value, is_called in found}


def set_sequences(connection: Connection, schema: str, sequences: Sequences) -> None:
    """Set sequences to where others are.

    Args:
        connection: A connection of the owner, in a transaction.
        schema: Their schema.
        sequences: Where to.
    """
    grants.execute(
        connection,
        [
            sql.SQL("SELECT setval({}, {}, {})").format(
                sql.Literal(sql.Identifier(schema, name).as_string(None)), last_value, is_called
            )
            for name, (last_value, is_called) in sequences.items()
        ],
    )


def refresh_views(connection: Connection, schema: str) -> None:
    """Compute the materialized views of a schema anew, the oldest first.

    Args:
        connection: A connection of the owner, in a transaction.
        schema: Their schema.
    """
    names = connection.scalars(_VIEWS, {"schema": _quoted(schema)}).all()
    grants.execute(
        connection,
        [
            sql.SQL("REFRESH MATERIALIZED VIEW {}").format(sql.Identifier(schema, name))
            for name in names
        ],
    )


def empty(connection: Connection, tables: Sequence[Table]) -> None:
    """Take all rows out of tables, such as those that a revision wrote into new ones."""
    if tables:
        names = sql.SQL(", ").join(table.identifier for table in tables)
        grants.execute(connection, [sql.SQL("TRUNCATE {}").format(names)])


def analyze(connection: Connection, tables: Sequence[Table]) -> None:
    """Tell the planner of tables what is in them now, and let it forget what was."""
    if tables:
        names = sql.SQL(", ").join(table.identifier for table in tables)
        grants.execute(connection, [sql.SQL("ANALYZE {}").format(names)])


def fetch(connection: Connection, statement: sql.Composable) -> list[tuple[Any, ...]]:
    """Run a composed statement without parameters, and return its rows."""
    options = {"no_parameters": True}  # a `%` is one
    found = connection.exec_driver_sql(statement.as_string(None), execution_options=options)
    return [tuple(row) for row in found]


def _sorted(tables: Sequence[Table]) -> Iterator[Table]:
    """Return tables, each after those that it refers to; in a circle by their names."""
    left = {table.name: table for table in tables}
    while left:
        ready = [one for one in left.values() if not (one.refers_to - {one.name}) & left.keys()]
        for table in ready or [next(iter(left.values()))]:
            yield left.pop(table.name)


def _quoted(schema: str) -> str:
    return sql.Identifier(schema).as_string(None)
