"""The rows of one organization go from the source into its schema here, and are compared.

All of it is in the caller's transaction, in which the source's rows of the organization stay
as they are: by its snapshot, or because nobody may write them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from psycopg import sql
from sqlalchemy import Connection

from orgtenancy.errors import AdoptionMismatch
from orgtenancy.operations.adoption.tables import HASH, AdoptedTable
from orgtenancy.operations.data.digests import (
    Digest,
    Digests,
    digest_of,
    digests,
    row_hash,
)
from orgtenancy.operations.data.filling import filling
from orgtenancy.operations.data.tables import fetch, refresh_views, tables_of

_ROW_HEAD = 24  # bytes of a row, beside its values


def fill(
    connection: Connection, tables: Sequence[AdoptedTable], key: str, schema: str
) -> tuple[Digests, Digests]:
    """Fill the empty tables of a schema, and compare both sides.

    Args:
        connection: A connection of the owner, in a transaction that has entered the schema.
        tables: The tables, in the schema.
        key: How the source knows the organization.
        schema: The schema.

    Returns:
        What the rows add up to as they are in the source, and as they are here, by tables here.

    Raises:
        AdoptionMismatch: If what is here then is not what the source has.
        sqlalchemy.exc.IntegrityError: If the rows do not fit together, or break a rule.
    """
    sizes = [(table.target.table, _expected_size(connection, table, key)) for table in tables]
    source: dict[str, Digest] = {}
    there: dict[str, Digest] = {}
    with filling(connection, schema, sizes):
        for table in tables:
            name = table.into.name
            source[name], there[name] = _fill_one(connection, table, key)
    complete(connection, tables, schema)
    check_same(there, target_digests(connection, tables), key, schema)
    return source, there


def mapped_digests(
    connection: Connection, tables: Sequence[AdoptedTable], key: str
) -> dict[str, Digest]:
    """Return what an organization's rows in the source add up to, as they become here."""
    found = {}
    for table in tables:
        with by_index(connection, table):
            found[table.into.name] = digest_of(connection, table.into, table.rows_of(key))
    return found


def source_digests(
    connection: Connection, tables: Sequence[AdoptedTable], key: str
) -> dict[str, Digest]:
    """Return what an organization's rows in the source add up to, as they are there.

    That tells in a fraction of the time whether they are still the same.
    """
    found = {}
    for table in tables:
        with by_index(connection, table):
            found[table.into.name] = digest_of(connection, table.read, table.read_rows_of(key))
    return found


def target_digests(connection: Connection, tables: Sequence[AdoptedTable]) -> dict[str, Digest]:
    """Return what the rows here add up to, in the columns that the source gives."""
    return digests(connection, [table.into for table in tables])


def insert(table: AdoptedTable, rows: sql.Composable) -> sql.Composable:
    """Return the statement that writes rows, as they become here, into a table."""
    names = sql.SQL(", ").join(sql.Identifier(column.name) for column in table.into.columns)
    # The keys are the source's, also where the table here makes keys of its own.
    return sql.SQL("INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE {}").format(
        table.into.identifier, names, rows
    )


def complete(connection: Connection, tables: Sequence[AdoptedTable], schema: str) -> None:
    """Bring along what depends on the rows: sequences, and materialized views."""
    statements = [
        sql.SQL("SELECT setval({}, max({})) FROM {} HAVING max({}) IS NOT NULL").format(
            sql.Literal(sql.Identifier(schema, sequence).as_string(None)),
            sql.Identifier(column),
            table.target.table.identifier,
            sql.Identifier(column),
        )
        for table in tables
        for column, sequence in table.target.sequences.items()
    ]
    for statement in statements:
        fetch(connection, statement)
    refresh_views(connection, schema)


def check_same(there: Digests, here: Digests, key: str, schema: str) -> None:
    """Make sure that both sides have the same rows.

    Raises:
        AdoptionMismatch: If they do not.
    """
    if different := different_tables(there, here):
        told = ", ".join(
            f"{name} ({there[name].rows} rows there, {here[name].rows} here)" for name in different
        )
        raise AdoptionMismatch(
            f"the rows of organization {key!r} here are not those of the source: {told}",
            tables=different,
            schema=schema,
        )


def different_tables(there: Digests, here: Digests) -> list[str]:
    """Return the tables whose rows differ."""
    return [name for name, digest in there.items() if here.get(name) != digest]


@contextmanager
def by_index(connection: Connection, table: AdoptedTable) -> Iterator[None]:
    """Keep PostgreSQL from reading all rows of a table where an index leads to some.

    For a hundredth of a table it would: that is no slower for one organization, and reads the
    whole table a hundred times for a hundred of them.
    """
    if not table.has_index or table.route.column is None:
        yield
        return
    connection.exec_driver_sql("SET LOCAL enable_seqscan TO off")
    yield
    connection.exec_driver_sql("SET LOCAL enable_seqscan TO DEFAULT")


def whole_digests(
    connection: Connection, tables: Sequence[AdoptedTable], found: Digests, schema: str
) -> dict[str, Digest]:
    """Return what all columns of all tables here add up to.

    Args:
        connection: A connection of the owner, in a transaction that has entered the schema.
        tables: The tables that the source feeds.
        found: The digests of those columns that it gives.
        schema: The schema.
    """
    whole = {t.into.name for t in tables if len(t.values) == len(t.target.table.copied)}
    more = [table for table in tables_of(connection, schema) if table.name not in whole]
    return {**{name: found[name] for name in whole}, **digests(connection, more)}


def _fill_one(connection: Connection, table: AdoptedTable, key: str) -> tuple[Digest, Digest]:
    """Write the rows of a table, and return what they add up to as they were read, and mapped.

    Each row is read and mapped once: to make its keys takes as long as to write it.
    """
    into = table.into
    names = sql.SQL(", ").join(sql.Identifier(column.name) for column in into.columns)
    written = insert(table, sql.SQL("SELECT {} FROM r").format(names))
    statement = sql.SQL(
        "WITH r AS MATERIALIZED ({}), written AS ({}) "
        "SELECT count(*), coalesce(sum({}::numeric), 0), coalesce(sum({}::numeric), 0) FROM r"
    ).format(table.hashed_rows_of(key), written, HASH, row_hash(into, "r"))
    with by_index(connection, table):
        ((rows, read, mapped),) = fetch(connection, statement)
    return Digest(rows=rows, checksum=int(read)), Digest(rows=rows, checksum=int(mapped))


def _expected_size(connection: Connection, table: AdoptedTable, key: str) -> int:
    """Return about how many bytes a table gets, as PostgreSQL reckons."""
    explain = sql.SQL("EXPLAIN (FORMAT JSON) {}").format(table.rows_of(key))
    (((found,),),) = fetch(connection, explain)
    plan = found["Plan"]
    return int(plan["Plan Rows"] * (plan["Plan Width"] + _ROW_HEAD))
