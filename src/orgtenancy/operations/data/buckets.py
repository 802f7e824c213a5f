"""Digests of parts of tables, so that of a table that changed only the parts that did are copied.

A row belongs to a bucket by its hash. One that changed leaves a bucket and comes into another,
so that both have other digests: no key is needed to find it, and two tables with the same digest
in every bucket have the same rows.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TypeAlias

from psycopg import sql
from sqlalchemy import Connection

from orgtenancy.operations.data.copying import copy_over
from orgtenancy.operations.data.digests import Digest, row_hash
from orgtenancy.operations.data.tables import Table, fetch
from orgtenancy.schemas import grants

#: By table, the digests of its buckets, by their numbers; one without rows is left out.
Buckets: TypeAlias = Mapping[str, Mapping[int, Digest]]

# Of its rows, so many bytes go into one bucket, more or less: as many are copied for one change.
_BYTES = 16 * 1024
_MAX_BUCKETS = 65_536


def masks_of(tables: Sequence[Table]) -> Mapping[str, int]:
    """Return into how many buckets each table is divided, less one: a mask of the hash."""
    return {table.name: _buckets(table.size) - 1 for table in tables}


def bucket_digests(
    connection: Connection, tables: Sequence[Table], masks: Mapping[str, int]
) -> Buckets:
    """Return the digest of each bucket of each table, in one statement and so in one snapshot.

    Args:
        connection: A connection of the owner, in a transaction that has entered the schema.
        tables: Which tables.
        masks: As `masks_of` gave them, on either side.
    """
    found: dict[str, dict[int, Digest]] = {table.name: {} for table in tables}
    if tables:
        statement = sql.SQL(" UNION ALL ").join(_digests(one, masks[one.name]) for one in tables)
        for name, bucket, rows, checksum in fetch(connection, statement):
            found[name][bucket] = Digest(rows=rows, checksum=int(checksum))
    return found


def differing(there: Buckets, here: Buckets) -> Mapping[str, Collection[int]]:
    """Return the buckets in which two sides differ, by table; a table without any is left out."""
    found = {
        name: {
            bucket
            for bucket in buckets.keys() | here[name].keys()
            if buckets.get(bucket) != here[name].get(bucket)
        }
        for name, buckets in there.items()
    }
    return {name: buckets for name, buckets in found.items() if buckets}


def copy_buckets(
    source: Connection,
    target: Connection,
    table: Table,
    into: Table,
    *,
    mask: int,
    buckets: Collection[int],
) -> int:
    """Replace the rows of some buckets by those of the source, and return how many those are.

    Foreign keys of the target must be away.

    Args:
        source: A connection of the owner there, in a transaction that has entered the schema.
        target: The same here.
        table: The table there.
        into: The table here, with the same columns.
        mask: The table's, of `masks_of`.
        buckets: Which buckets.
    """
    delete = sql.SQL("DELETE FROM {} WHERE {}").format(into.rows, _in(into, mask, buckets))
    grants.execute(target, [delete])
    return copy_over(source, target, table, into, where=_in(table, mask, buckets))


def _buckets(size: int) -> int:
    """Return a power of two."""
    return min(1 << (size // _BYTES).bit_length(), _MAX_BUCKETS)


def _digests(table: Table, mask: int) -> sql.Composable:
    # OFFSET 0: the hash of a row is computed once, and not for each use of it.
    return sql.SQL(
        "(SELECT {}, hash & {}, count(*), sum(hash::numeric) "
        "FROM (SELECT {} AS hash FROM {} OFFSET 0) hashes GROUP BY 2)"
    ).format(sql.Literal(table.name), sql.Literal(mask), row_hash(table), table.rows)


def _in(table: Table, mask: int, buckets: Collection[int]) -> sql.Composable:
    return sql.SQL("({} & {}) = ANY ({}::bigint[])").format(
        row_hash(table), sql.Literal(mask), sql.Literal(sorted(buckets))
    )
