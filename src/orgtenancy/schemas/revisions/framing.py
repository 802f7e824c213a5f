"""The statements that surround the revisions of a stage.

They bound its waiting, lead its names into the schema, make sure that it met the stamps it
was made for, and tell the registry and the journal of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from psycopg import sql
from psycopg.types.json import Jsonb

from orgtenancy.naming import REGISTRY_SCHEMA
from orgtenancy.schemas.revisions.places import JournalEntry, Limits, Place
from orgtenancy.schemas.revisions.stamping import VERSION_TABLE, Heads, stamp_statements

#: Nobody waits for the disk after each schema. What a crash of the server takes back is
#: pending again in the journal, which goes with it; and the commit that ends the job, which
#: does wait, comes after all of them in the log.
ASYNCHRONOUS_COMMIT = sql.SQL("SET LOCAL synchronous_commit TO off")

_END_STAGE = sql.Identifier(REGISTRY_SCHEMA, "end_stage")
_HEADS_OF = sql.SQL("orgtenancy.heads_of({})::varchar[]")
_ACTUAL_HEADS = sql.SQL("ARRAY(SELECT version_num FROM {})").format(sql.Identifier(VERSION_TABLE))


def limit_statements(limits: Limits) -> list[sql.Composable]:
    """Return the statements that bound what the transaction waits for."""
    statements: list[sql.Composable] = [
        sql.SQL("SET LOCAL lock_timeout TO {}").format(f"{limits.lock_timeout * 1000:.0f}ms")
    ]
    if limits.statement_timeout is not None:
        statements.append(
            sql.SQL("SET LOCAL statement_timeout TO {}").format(
                f"{limits.statement_timeout * 1000:.0f}ms"
            )
        )
    return statements


def begin_stage(place: Place) -> list[sql.Composable]:
    """Return the statements that make a schema the transaction's path, until it ends."""
    path = sql.SQL(", ").join(map(sql.Identifier, place.path))
    return [
        sql.SQL("SET LOCAL search_path TO ") + path,
        # Gone with the transaction: so `end_stage` knows that it still is the same.
        sql.SQL("SET LOCAL orgtenancy.stage TO ") + sql.Literal(place.role_name),
    ]


def lock_tables(names: Sequence[str]) -> list[sql.Composable]:
    """Return the statement that locks tables, in the order given."""
    if not names:
        return []
    tables = sql.SQL(", ").join(map(sql.Identifier, names))
    return [sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(tables)]


def expect_heads(place: Place, heads: Heads) -> sql.Composable:
    """Return the statement that locks a schema's row, and fails if its stamps are others."""
    return sql.SQL("SELECT {}({}, {}, {}::text[])").format(
        sql.Identifier(REGISTRY_SCHEMA, "expect_heads"),
        place.role_name,
        place.schema_name,
        sql.Literal(sorted(heads)),
    )


class EndOfStage:
    """Composes the statement that tells registry and journal what a transaction has done.

    It fails if the stamps are others than those expected, if the registry has no such schema,
    or if the transaction is not the one that began the stage.

    Args:
        revisions: The revision of each module after the stage.
        expected: The stamps that the statement is to meet.
        after: The stamps that it is to leave, if it is to move them as well. Moving and
            looking are one statement, which the server parses and plans once.
    """

    def __init__(
        self, revisions: Mapping[str, str], expected: Heads, after: Heads | None = None
    ) -> None:
        moves = [] if after is None else stamp_statements(expected, after)
        tables = [
            sql.SQL("{} AS ({})").format(sql.Identifier(f"stamp_{number}"), move)
            for number, move in enumerate(moves)
        ]
        moved = sql.SQL("WITH {} ").format(sql.SQL(", ").join(tables)) if tables else sql.SQL("")
        # What is the same for all schemas is composed once.
        self._before = _constant(moved + sql.SQL("SELECT {}(").format(_END_STAGE))
        self._after = _constant(
            sql.SQL(", {}, {}::varchar[], ").format(
                Jsonb(dict(revisions)), sql.Literal(sorted(expected))
            )
        )
        self._moves = after is not None

    def compose(self, place: Place, entry: JournalEntry | None) -> sql.Composable:
        """Return the statement for one schema."""
        schema = sql.SQL(", ").join(map(sql.Literal, (place.role_name, place.schema_name)))
        job = (None, None) if entry is None else (entry.job_id, entry.attempts)
        journal = sql.SQL(", ").join(map(sql.Literal, job))
        # By a function, where that is possible: Citus would send a statement that names a table
        # of the schema to a worker as a whole, which knows nothing of the registry.
        actual = _ACTUAL_HEADS if self._moves else _HEADS_OF.format(place.schema_name)
        return sql.Composed(
            [self._before, schema, self._after, actual, sql.SQL(", "), journal, sql.SQL(")")]
        )


def mirror(place: Place, revisions: Mapping[str, str]) -> sql.Composable:
    """Return the statement that tells the registry which revisions a schema is at."""
    spare = place.organization_id is None
    return sql.SQL("UPDATE {} SET revisions = {}{} WHERE role_name = {}").format(
        sql.Identifier(REGISTRY_SCHEMA, "spares" if spare else "organizations"),
        sql.Literal(Jsonb(dict(revisions))),
        sql.SQL("" if spare else ", updated_at = now()"),
        place.role_name,
    )


def _constant(composed: sql.Composable) -> sql.SQL:
    return sql.SQL(composed.as_string(None))
