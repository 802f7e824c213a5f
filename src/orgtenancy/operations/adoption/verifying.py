"""Both sides of an organization are compared again, and rows that differ are named."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg import sql
from sqlalchemy import Connection

from orgtenancy.database.engines import Database
from orgtenancy.operations.adoption.copying import ONE_MOMENT
from orgtenancy.operations.adoption.filling import (
    by_index,
    different_tables,
    mapped_digests,
    source_digests,
    target_digests,
)
from orgtenancy.operations.adoption.journal import Entry
from orgtenancy.operations.adoption.organizations import SourceOrganization
from orgtenancy.operations.adoption.reports import TableDifference, VerifiedOrganization
from orgtenancy.operations.adoption.tables import KEY, AdoptedTable
from orgtenancy.operations.data.digests import Digest, row_hash
from orgtenancy.operations.data.tables import enter, fetch
from orgtenancy.organizations import Organization
from orgtenancy.schemas import grants

#: How many keys are named of each kind of difference.
MAX_KEYS = 20


def verify(
    connection: Connection,
    database: Database,
    tables: Sequence[AdoptedTable],
    one: SourceOrganization,
    entry: Entry,
    organization: Organization,
) -> VerifiedOrganization:
    """Compare all rows of an organization at one moment.

    Args:
        connection: A connection of the owner, in no transaction.
        database: Where the organization is.
        tables: The tables, in its schema.
        one: The organization in the source.
        entry: What the journal has of it.
        organization: The organization here.
    """
    with connection.begin():
        grants.execute(connection, [ONE_MOMENT])
        enter(connection, organization.schema_name, database.settings.extensions_schema)
        there = mapped_digests(connection, tables, one.key)
        here = target_digests(connection, tables)
        different = different_tables(there, here)
        return VerifiedOrganization(
            key=one.key,
            id=organization.id,
            state=one.state,
            rows=sum(digest.rows for digest in there.values()),
            differences=tuple(
                _difference(connection, t, one.key, there[t.into.name], here[t.into.name])
                for t in tables
                if t.into.name in different
            ),
            written=written_since(connection, tables, entry),
        )


def written_since(
    connection: Connection, tables: Sequence[AdoptedTable], entry: Entry
) -> tuple[str, ...]:
    """Return the tables of the source that were written after the switch of an organization.

    Args:
        connection: A connection of the owner, in a transaction that has entered the schema.
        tables: The tables, in the schema.
        entry: What the journal has of it.
    """
    if entry.switched_at is None:
        return ()
    there = source_digests(connection, tables, entry.key)
    moved = different_tables(there, entry.source_digests)
    # The text of a value may depend on the server's settings, and a value of no column here.
    suspects = [table for table in tables if table.into.name in moved]
    there = mapped_digests(connection, suspects, entry.key)
    different = different_tables(there, entry.digests)
    return tuple(table.name for table in suspects if table.into.name in different)


def _difference(
    connection: Connection, table: AdoptedTable, key: str, there: Digest, here: Digest
) -> TableDifference:
    names = [sql.Identifier(name) for name in table.target.table.key]
    columns = sql.SQL(", ").join(names)
    theirs = sql.SQL("SELECT {}, {}, {} AS hash FROM ({}) AS r").format(
        columns, KEY, row_hash(table.into, "r"), table.named_rows_of(key)
    )
    ours = sql.SQL("SELECT {}, concat_ws(', ', {}) AS {}, {} AS hash FROM {} AS h").format(
        columns, columns, KEY, row_hash(table.into, "h"), table.into.rows
    )
    same = sql.SQL(" AND ").join(sql.SQL("r.{0} = h.{0}").format(name) for name in names)
    statement = sql.SQL(
        "SELECT kind, count(*), array_agg(key ORDER BY n) FILTER (WHERE n <= {0}) FROM ("
        "SELECT kind, key, row_number() OVER (PARTITION BY kind ORDER BY key) AS n FROM ("
        "SELECT CASE WHEN h.hash IS NULL THEN 'missing' WHEN r.hash IS NULL THEN 'extra' "
        "ELSE 'changed' END AS kind, coalesce(r.{1}, h.{1}) AS key "
        "FROM ({2}) AS r FULL JOIN ({3}) AS h ON {4} WHERE r.hash IS DISTINCT FROM h.hash"
        ") AS different) AS numbered GROUP BY kind"
    ).format(MAX_KEYS, KEY, theirs, ours, same)
    with by_index(connection, table):
        found = {kind: (count, keys) for kind, count, keys in fetch(connection, statement)}
    missing, extra, changed = (found.get(kind, (0, ())) for kind in ("missing", "extra", "changed"))
    return TableDifference(
        table=table.name,
        source=there,
        target=here,
        missing=missing[0],
        extra=extra[0],
        changed=changed[0],
        missing_keys=tuple(missing[1]),
        extra_keys=tuple(extra[1]),
        changed_keys=tuple(changed[1]),
    )
