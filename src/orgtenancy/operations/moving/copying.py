"""The copy of an organization on the target: made while it is at work, and brought up to date."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace

from psycopg import sql
from sqlalchemy import Connection, insert, select, text

from orgtenancy.database.engines import Database
from orgtenancy.errors import MoveFailed
from orgtenancy.naming import spare_schema_name
from orgtenancy.operations.data.buckets import (
    bucket_digests,
    copy_buckets,
    differing,
    masks_of,
)
from orgtenancy.operations.data.copying import copy_over
from orgtenancy.operations.data.filling import filling
from orgtenancy.operations.data.tables import (
    Table,
    enter,
    refresh_views,
    sequences_of,
    set_sequences,
    tables_of,
)
from orgtenancy.operations.moving.journal import Move
from orgtenancy.registry import store
from orgtenancy.registry.tables import spares
from orgtenancy.schemas import grants
from orgtenancy.schemas.building import SchemaBuilder
from orgtenancy.schemas.drift.references import path_to
from orgtenancy.schemas.revisions import Heads

_HEADS = text("SELECT orgtenancy.heads_of(:schema)")


@dataclass(frozen=True, slots=True)
class Changes:
    """What was copied of an organization that was fenced.

    Attributes:
        tables: How many tables had changed.
        rows: How many rows were copied again.
    """

    tables: int
    rows: int


class Outdated(Exception):
    """The source was migrated since the copy was made."""


def make_copy(source: Database, target: SchemaBuilder, move: Move) -> None:
    """Make a copy of an organization that is at work; nothing, if there is one.

    It is made in one transaction: killed at any point, it is all there or not at all.

    Args:
        source: The placement that it is on.
        target: Makes schemas of the placement that it goes to.
        move: The move.

    Raises:
        MoveFailed: If it cannot be copied as it is.
    """
    schema = spare_schema_name(move.target_role)
    with target.database.admin_engine.begin() as there:
        if _find_copy(there, move) is not None:
            return
        with reading(source, move) as here:
            organization = store.find(here, move.organization_id)
            if organization is None or organization.role_name != move.source_role:
                raise move.failed("it was dropped meanwhile")
            stamps = heads_of(here, organization.schema_name)
            _build(there, target, move, schema, stamps)
            _enter(source, here, organization.schema_name)
            _enter(target.database, there, schema)
            pairs = _pairs(
                move, tables_of(here, organization.schema_name), tables_of(there, schema)
            )
            _empty(there, [into for _, into in pairs])  # of what revisions have written
            sizes = [(into, table.size) for table, into in pairs]
            with filling(there, schema, sizes, one_by_one=target.database.has_citus):
                for table, into in pairs:
                    copy_over(here, there, table, into)
            _set_sequences(here, there, move, organization.schema_name, schema)
            refresh_views(there, schema)


def bring_up_to_date(source: Database, target: Database, move: Move) -> Changes:
    """Copy what changed since the copy was made, and make sure that both sides are the same.

    Nobody may write on the source any more.

    Args:
        source: The placement that the organization is on.
        target: The placement that it goes to.
        move: The move.

    Raises:
        Outdated: If the source is at other revisions than the copy.
        MoveFailed: If both sides are not the same in the end.
    """
    with target.admin_engine.begin() as there:
        # Who takes over a move that seems dead waits here for its transaction. Once the copy
        # is an organization there is no such row: nobody changes it from here any more.
        schema = _find_copy(there, move)
        if schema is None:
            raise move.failed("its copy is gone")
        with reading(source, move) as here:
            organization = store.find(here, move.organization_id)
            if organization is None or organization.moving_to != move.target:
                raise move.failed("its fence was lifted")
            if heads_of(here, organization.schema_name) != heads_of(there, schema):
                raise Outdated
            _enter(source, here, organization.schema_name)
            _enter(target, there, schema)
            pairs = _pairs(
                move, tables_of(here, organization.schema_name), tables_of(there, schema)
            )
            changes = _copy_changes(here, there, move, pairs, schema, one_by_one=target.has_citus)
            _set_sequences(here, there, move, organization.schema_name, schema)
            return changes


def heads_of(connection: Connection, schema: str) -> Heads:
    """Return the stamps in a schema: they are the truth, and the registry mirrors them."""
    return frozenset(connection.scalar(_HEADS, {"schema": schema}) or ())


@contextmanager
def reading(database: Database, move: Move) -> Iterator[Connection]:
    """Open a transaction of the owner that sees one moment of a placement, and changes nothing."""
    with database.admin_engine.connect() as connection:
        options = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        with connection.execution_options(**options).begin():
            yield connection


def _build(
    connection: Connection, builder: SchemaBuilder, move: Move, schema: str, stamps: Heads
) -> None:
    """Make the empty schema, at exactly the revisions of the source, and shut its role out."""
    way = path_to(builder.revisions, stamps)
    if way is None:
        raise move.failed(f"no file makes a schema at {', '.join(sorted(stamps))}")
    role = move.target_role
    builder.build(connection, schema, role, builder.create_role(connection, role), path=way)
    shut = grants.withdraw_schema(schema, builder.grantee(role))
    grants.execute(connection, shut, one_by_one=builder.database.has_citus)
    connection.execute(
        insert(spares).values(
            role_name=role,
            schema_name=schema,
            placement=builder.database.name,
            revisions=dict(builder.revisions.revisions_at(stamps)),
            settings_digest=builder.settings_digest,
            move_number=move.number,
        )
    )


def _find_copy(connection: Connection, move: Move) -> str | None:
    """Return the schema of a copy, locked until the transaction ends."""
    statement = select(spares.c.schema_name).where(
        spares.c.role_name == move.target_role, spares.c.move_number == move.number
    )
    found: str | None = connection.scalar(statement.with_for_update())
    return found


def _copy_changes(
    here: Connection,
    there: Connection,
    move: Move,
    pairs: Sequence[tuple[Table, Table]],
    schema: str,
    *,
    one_by_one: bool,
) -> Changes:
    tables, copies = [one for one, _ in pairs], [into for _, into in pairs]
    masks = masks_of(tables)
    with ThreadPoolExecutor(1, "orgtenancy-move") as thread:  # both servers at the same time
        theirs = thread.submit(bucket_digests, there, copies, masks)
        ours = bucket_digests(here, tables, masks)
        changed = differing(ours, theirs.result())
    if not changed:
        return Changes(0, 0)
    rows = 0
    affected = [(table, into) for table, into in pairs if table.name in changed]
    # Their indexes stay: few rows come in.
    sizes = [(into, 0) for _, into in affected]
    with filling(there, schema, sizes, one_by_one=one_by_one):
        for table, into in affected:
            name = table.name
            rows += copy_buckets(here, there, table, into, mask=masks[name], buckets=changed[name])
    now = bucket_digests(there, [into for _, into in affected], masks)
    if left := differing({name: ours[name] for name in changed}, now):
        raise move.failed(f"the copy has other rows than the source: {', '.join(sorted(left))}")
    refresh_views(there, schema)
    return Changes(len(affected), rows)


def _enter(database: Database, connection: Connection, schema: str) -> None:
    enter(connection, schema, database.settings.extensions_schema)


def _pairs(
    move: Move, tables: Sequence[Table], copies: Sequence[Table]
) -> list[tuple[Table, Table]]:
    """Return each table with its copy, whose columns are put into the same order.

    Raises:
        MoveFailed: If the source has tables or columns that its revisions do not make.
    """
    by_name = {copy.name: copy for copy in copies}
    pairs = []
    for table in tables:
        copy = by_name.pop(table.name, None)
        if copy is None or set(copy.columns) != set(table.columns):
            raise _drifted(move, table.name)
        pairs.append((table, replace(copy, columns=table.columns)))
    if by_name:
        raise _drifted(move, next(iter(by_name)))
    return pairs


def _set_sequences(here: Connection, there: Connection, move: Move, schema: str, copy: str) -> None:
    sequences = sequences_of(here, schema)
    if other := sequences.keys() ^ sequences_of(there, copy).keys():
        raise _drifted(move, min(other))
    set_sequences(there, copy, sequences)


def _drifted(move: Move, name: str) -> MoveFailed:
    return move.failed(
        f"{name!r} is not as its revisions make it; `orgtenancy drift check` tells more"
    )


def _empty(connection: Connection, tables: Sequence[Table]) -> None:
    if tables:
        names = sql.SQL(", ").join(table.identifier for table in tables)
        grants.execute(connection, [sql.SQL("TRUNCATE {}").format(names)])
