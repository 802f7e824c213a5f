"""Keys that become UUIDs: the same one wherever, and whenever, the same key is met.

Name-based UUIDs of version 5 need SHA-1, which PostgreSQL has only in an extension. These are
of version 8, as RFC 9562 has it for what a library makes of a better hash.
"""

from __future__ import annotations

import hashlib
from uuid import UUID

from psycopg import sql

#: One more than the largest number that a UUID can begin with.
LARGEST = 2**48


def uuid_of(namespace: UUID, table: str, key: str | int | UUID, *, ordered: bool = False) -> UUID:
    """Return what a key becomes, for code that still meets the old one.

    Args:
        namespace: That of the mapping.
        table: The table there.
        key: Its key.
        ordered: Whether the table's rule is `ordered_uuid`.

    Raises:
        ValueError: If the key is too large to be ordered, or negative.
    """
    if not ordered:
        digest = hashlib.sha256(_prefix(namespace, table) + str(key).encode()).hexdigest()
        return UUID(f"{digest[:12]}8{digest[13:16]}8{digest[17:32]}")
    number = int(key)
    if not 0 <= number < LARGEST:
        raise ValueError(f"{number} is not between 0 and 2^48 - 1")
    return UUID(f"{number:012x}{_ending(namespace, table)}")


def uuid_expression(
    namespace: UUID, table: str, key: sql.Composable, *, ordered: bool = False
) -> sql.Composable:
    """Return the expression of `uuid_of`; NULL stays NULL.

    Args:
        namespace: That of the mapping.
        table: The table there.
        key: The expression of its key.
        ordered: Whether the table's rule is `ordered_uuid`.
    """
    if not ordered:
        return sql.SQL(
            "overlay(overlay(left(encode(sha256({} || convert_to(({})::text, 'UTF8')), 'hex'), 32) "
            "PLACING '8' FROM 13) PLACING '8' FROM 17)::uuid"
        ).format(sql.Literal(_prefix(namespace, table)), key)
    # A number that is too large gives more digits than a UUID has, and so an error.
    return sql.SQL(
        "(lpad(to_hex(({0})::bigint), CASE WHEN ({0})::bigint >> 48 = 0 THEN 12 ELSE 13 END, '0') "
        "|| {1})::uuid"
    ).format(key, sql.Literal(_ending(namespace, table)))


def _prefix(namespace: UUID, table: str) -> bytes:
    return namespace.bytes + table.encode() + b":"


def _ending(namespace: UUID, table: str) -> str:
    """Return what all keys of a table end with: it tells them from those of other tables."""
    digest = hashlib.sha256(_prefix(namespace, table)).hexdigest()
    return f"8{digest[1:4]}8{digest[5:20]}"
