"""What PostgreSQL knows of the tables of a schema, as far as an adoption needs it."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import TypeAlias

from psycopg import sql
from sqlalchemy import Connection, text

from orgtenancy.operations.data.tables import Table, tables_of


@dataclass(frozen=True, slots=True)
class ColumnInfo:
    """A column.

    Attributes:
        type: Its type, with what limits it, as the transaction's path needs it written.
        base: The same without limits: a cast to it cuts and rounds nothing.
        type_id: The type's number.
        is_enum: Whether it is an enum.
        is_text: Whether it is a kind of text.
        is_array: Whether it is an array.
        is_required: Whether it must not be NULL.
        has_default: Whether it gets a value when none is given.
        is_comparable: Whether which values are equal is the server's own to say, whoever asks.
        is_key: Whether its values are equal only if they are the same text.
    """

    type: str
    base: str
    type_id: int
    is_enum: bool
    is_text: bool
    is_array: bool
    is_required: bool
    has_default: bool
    is_comparable: bool
    is_key: bool


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """A foreign key to a table of the same schema.

    Attributes:
        name: Its name.
        columns: Its columns.
        table: Where it leads.
        references: The columns there.
    """

    name: str
    columns: tuple[str, ...]
    table: str
    references: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class UniqueIndex:
    """A unique index, whatever made it.

    Attributes:
        name: Its name.
        parts: What is unique together, as expressions of the server's own making.
        predicate: Which rows are in it, likewise; None for all.
        columns: The same as columns; None if it is more than columns, or not for all rows.
    """

    name: str
    parts: tuple[str, ...]
    predicate: str | None
    columns: frozenset[str] | None


@dataclass(frozen=True, slots=True)
class Rule:
    """A CHECK constraint.

    Attributes:
        name: Its name.
        expression: What must not be false, as the server writes it.
    """

    name: str
    expression: str


@dataclass(frozen=True, slots=True)
class TableInfo:
    """A table.

    Attributes:
        table: Its columns, key and size.
        columns: More of its columns, by their names.
        foreign_keys: Those to tables of the schema.
        uniques: Its unique indexes.
        rules: Its CHECK constraints.
        indexed: The columns that a usable index begins with.
        is_owned: Whether the transaction's role owns it.
        is_hidden: Whether policies keep rows from the transaction's role.
        rows: How many rows it had when it was last analyzed.
        sequences: The sequence of each column that draws from one of its own.
    """

    table: Table
    columns: Mapping[str, ColumnInfo]
    foreign_keys: tuple[ForeignKey, ...]
    uniques: tuple[UniqueIndex, ...]
    rules: tuple[Rule, ...]
    indexed: Set[str]
    is_owned: bool
    is_hidden: bool
    rows: int
    sequences: Mapping[str, str]


#: What casts there are between types, and whether one loses nothing, whoever does it.
Casts: TypeAlias = Mapping[tuple[int, int], bool]

_TABLES = text("""
    SELECT c.relname, pg_has_role(c.relowner, 'USAGE'), row_security_active(c.oid),
        greatest(c.reltuples, 0)::bigint
    FROM pg_class c WHERE c.relnamespace = to_regnamespace(:schema) AND c.relkind IN ('r', 'p')
""")

# Without its own limits `character` would be one character.
_COLUMNS = text("""
    SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod),
        format_type(a.atttypid, -1), a.atttypid::bigint, t.typtype = 'e', t.typcategory = 'S',
        t.typcategory = 'A', a.attnotnull, a.atthasdef OR a.attidentity <> '',
        l.is_deterministic AND (b.typnamespace = 'pg_catalog'::regnamespace OR b.typtype = 'e'),
        l.is_deterministic AND b.oid::regtype IN ('int2', 'int4', 'int8', 'uuid', 'text', 'varchar')
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid JOIN pg_type t ON t.oid = a.atttypid
    JOIN pg_type b ON b.oid = CASE t.typtype WHEN 'd' THEN t.typbasetype ELSE t.oid END
    CROSS JOIN LATERAL (
        SELECT NOT EXISTS (
            SELECT FROM pg_collation WHERE oid = a.attcollation AND NOT collisdeterministic
        ) AS is_deterministic
    ) l
    WHERE c.relnamespace = to_regnamespace(:schema) AND c.relkind IN ('r', 'p')
        AND a.attnum > 0 AND NOT a.attisdropped
""")

_FOREIGN_KEYS = text("""
    SELECT c.relname, k.conname, array_agg(a.attname::text ORDER BY n), p.relname,
        array_agg(b.attname::text ORDER BY n)
    FROM pg_constraint k
    JOIN pg_class c ON c.oid = k.conrelid
    JOIN pg_class p ON p.oid = k.confrelid
    CROSS JOIN unnest(k.conkey, k.confkey) WITH ORDINALITY AS u (mine, theirs, n)
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = u.mine
    JOIN pg_attribute b ON b.attrelid = p.oid AND b.attnum = u.theirs
    WHERE k.contype = 'f' AND k.conparentid = 0
        AND c.relnamespace = to_regnamespace(:schema) AND p.relnamespace = c.relnamespace
    GROUP BY c.relname, k.conname, p.relname ORDER BY c.relname, k.conname
""")

_INDEXES = text("""
    SELECT c.relname, x.relname, i.indisunique,
        array(SELECT pg_get_indexdef(i.indexrelid, n, true)
            FROM generate_series(1, i.indnkeyatts) n ORDER BY n),
        pg_get_expr(i.indpred, i.indrelid),
        CASE WHEN 0 <> ALL (i.indkey) AND i.indpred IS NULL THEN array(
            SELECT a.attname::text FROM unnest(i.indkey) WITH ORDINALITY AS k (attnum, n)
            JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum
            WHERE n <= i.indnkeyatts
        ) END,
        (SELECT a.attname FROM pg_attribute a
            WHERE a.attrelid = c.oid AND a.attnum = i.indkey[0] AND i.indpred IS NULL)
    FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN pg_class x ON x.oid = i.indexrelid
    JOIN pg_am m ON m.oid = x.relam
    WHERE c.relnamespace = to_regnamespace(:schema) AND i.indisvalid
        AND m.amname IN ('btree', 'hash')
    ORDER BY c.relname, x.relname
""")

_RULES = text("""
    SELECT c.relname, k.conname, pg_get_expr(k.conbin, k.conrelid)
    FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
    WHERE k.contype = 'c' AND c.relnamespace = to_regnamespace(:schema)
    ORDER BY c.relname, k.conname
""")

_SEQUENCES = text("""
    SELECT c.relname, a.attname, s.relname
    FROM pg_depend d
    JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S' AND d.classid = 'pg_class'::regclass
    JOIN pg_class c ON c.oid = d.refobjid AND d.refclassid = 'pg_class'::regclass
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = d.refobjsubid
    WHERE c.relnamespace = to_regnamespace(:schema) AND s.relnamespace = c.relnamespace
        AND d.deptype IN ('a', 'i')
""")

# PostgreSQL casts more by itself: by the session's time zone, and to floats that are less exact.
_CASTS = text("""
    SELECT k.castsource::bigint, k.casttarget::bigint,
        k.castcontext = 'i' AND coalesce(p.provolatile, 'i') = 'i'
            AND k.casttarget NOT IN ('float4'::regtype, 'float8'::regtype)
    FROM pg_cast k LEFT JOIN pg_proc p ON p.oid = k.castfunc
""")


def read_tables(connection: Connection, schema: str) -> dict[str, TableInfo]:
    """Return the tables of a schema, each after those that it refers to, as far as that goes.

    Types are written as the transaction's path needs it.

    Args:
        connection: A connection of the owner, in a transaction.
        schema: The schema.
    """
    given = {"schema": sql.Identifier(schema).as_string(None)}
    found = {name: rest for name, *rest in connection.execute(_TABLES, given)}
    columns: dict[str, dict[str, ColumnInfo]] = {}
    for table, column, *info in connection.execute(_COLUMNS, given):
        columns.setdefault(table, {})[column] = ColumnInfo(*info)
    foreign_keys: dict[str, list[ForeignKey]] = {}
    for table, name, mine, parent, theirs in connection.execute(_FOREIGN_KEYS, given):
        key = ForeignKey(name, tuple(mine), parent, tuple(theirs))
        foreign_keys.setdefault(table, []).append(key)
    uniques: dict[str, list[UniqueIndex]] = {}
    indexed: dict[str, set[str]] = {}
    for table, name, is_unique, parts, predicate, plain, first in connection.execute(
        _INDEXES, given
    ):
        if first is not None:
            indexed.setdefault(table, set()).add(first)
        if is_unique:
            names = None if plain is None else frozenset(plain)
            index = UniqueIndex(name, tuple(parts), predicate, names)
            uniques.setdefault(table, []).append(index)
    rules: dict[str, list[Rule]] = {}
    for table, name, expression in connection.execute(_RULES, given):
        rules.setdefault(table, []).append(Rule(name, expression))
    sequences: dict[str, dict[str, str]] = {}
    for table, column, sequence in connection.execute(_SEQUENCES, given):
        sequences.setdefault(table, {})[column] = sequence
    return {
        table.name: TableInfo(
            table=table,
            columns=columns.get(table.name, {}),
            foreign_keys=tuple(foreign_keys.get(table.name, ())),
            uniques=tuple(uniques.get(table.name, ())),
            rules=tuple(rules.get(table.name, ())),
            indexed=frozenset(indexed.get(table.name, ())),
            is_owned=found[table.name][0],
            is_hidden=found[table.name][1],
            rows=found[table.name][2],
            sequences=sequences.get(table.name, {}),
        )
        for table in tables_of(connection, schema)
    }


def read_casts(connection: Connection) -> Casts:
    """Return what casts there are."""
    return {(source, target): safe for source, target, safe in connection.execute(_CASTS)}
