"""Fresh schemas to compare with, which nobody else ever sees.

They are built in a transaction that is always rolled back. There are two kinds: open ones, and
closed ones for organizations whose status shuts their role out. So rights that do not fit the
status are found as any other right is, in both directions.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import Connection

from orgtenancy.errors import RevisionNotFound
from orgtenancy.naming import new_role_name, spare_schema_name
from orgtenancy.schemas import grants
from orgtenancy.schemas.building import SchemaBuilder
from orgtenancy.schemas.revisions import Heads, RevisionPath, Revisions


@dataclass(frozen=True, slots=True)
class ReferenceKind:
    """What a schema is compared with.

    Attributes:
        stamps: The revisions that it is made of.
        is_closed: Whether its role is shut out.
    """

    stamps: Heads
    is_closed: bool


@dataclass(frozen=True, slots=True)
class Reference:
    """A schema as its revisions make it.

    Attributes:
        schema_name: Its name.
        grantee: Who has the rights in it.
    """

    schema_name: str
    grantee: str


@contextmanager
def references(
    builder: SchemaBuilder, wanted: Collection[ReferenceKind]
) -> Iterator[tuple[Connection, dict[ReferenceKind, Reference]]]:
    """Build a reference of each kind; those with an unknown revision get none.

    Gives the connection in whose transaction they are. Whatever is done on it is rolled back.
    """
    with builder.database.admin_engine.connect() as connection:
        try:
            built = {}
            for kind in wanted:
                if (way := path_to(builder.revisions, kind.stamps)) is not None:
                    built[kind] = _build(connection, builder, way, is_closed=kind.is_closed)
            yield connection, built
        finally:
            connection.rollback()


def path_to(revisions: Revisions, stamps: Heads) -> RevisionPath | None:
    """Return the path that makes a fresh schema with some stamps; None if there is no way."""
    try:
        way = revisions.fresh_path(stamps)
    except RevisionNotFound:
        return None
    return way if way.after == stamps else None


def _build(
    connection: Connection, builder: SchemaBuilder, way: RevisionPath, *, is_closed: bool
) -> Reference:
    role = new_role_name(str(builder.database.url.database))
    schema = spare_schema_name(role)
    create_role = builder.create_role(connection, role)
    builder.build(connection, schema, role, create_role, path=way)
    reference = Reference(schema, builder.grantee(role))
    if is_closed:
        grants.execute(connection, grants.withdraw_schema(schema, reference.grantee))
    return reference
