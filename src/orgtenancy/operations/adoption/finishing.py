"""The end of an adoption: the source's tables go into an archive, and nothing is dropped."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg import sql
from sqlalchemy import Connection, text

from orgtenancy.database.engines import Database
from orgtenancy.errors import AdoptionRefused
from orgtenancy.operations.adoption import fencing, journal
from orgtenancy.operations.adoption.checking import find_left_over
from orgtenancy.operations.adoption.findings import Finding
from orgtenancy.operations.adoption.mapping import AdoptionMapping
from orgtenancy.operations.adoption.organizations import SourceOrganization, read_organizations
from orgtenancy.operations.adoption.reports import AdoptionState, FinishReport
from orgtenancy.operations.adoption.resolving import Resolved
from orgtenancy.operations.adoption.tables import AdoptedTable
from orgtenancy.operations.adoption.verifying import written_since
from orgtenancy.operations.data.tables import enter
from orgtenancy.registry import audit
from orgtenancy.schemas import grants
from orgtenancy.schemas.waiting import limit_lock_wait

_PARTITIONS = text("""
    SELECT DISTINCT n.nspname, c.relname FROM unnest(CAST(:tables AS text[])) AS t (name),
        pg_partition_tree(CAST(t.name AS regclass)) AS p
    JOIN pg_class c ON c.oid = p.relid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE p.level > 0 AND n.nspname = :schema ORDER BY c.relname
""")

_EXISTS = text("SELECT to_regnamespace(:schema) IS NOT NULL")


def finish(
    connection: Connection,
    database: Database,
    mapping: AdoptionMapping,
    resolved: Resolved,
    *,
    accept_left_over: bool,
) -> FinishReport:
    """Archive the tables of a source whose organizations are all here.

    The tables are locked against writers while their rows are compared with what the switches
    found, and against everybody as they are moved.

    Args:
        connection: A connection of the owner, in no transaction.
        database: Where the source is.
        mapping: What is declared.
        resolved: What becomes of the source, in the fresh schema that it was resolved in.
        accept_left_over: Whether rows that are nobody's may go into the archive.

    Raises:
        AdoptionRefused: If an organization is not switched, rows are left over, or the source
            was written past the fence.
        sqlalchemy.exc.OperationalError: If others hold the tables for too long.
    """
    names = [table.source.table.identifier for table in resolved.tables]
    with connection.begin():
        limit_lock_wait(connection, database.settings.lifecycle_lock_timeout)
        lock = sql.SQL("LOCK TABLE {} IN SHARE MODE").format(sql.SQL(", ").join(names))
        grants.execute(connection, [lock])
        enter(connection, mapping.source)
        found, _ = read_organizations(connection, mapping, resolved)
        _check_switched(found, mapping)
        left_over = _left_over(connection, mapping, resolved, found)
        if left_over and not accept_left_over:
            raise AdoptionRefused(
                "rows of the source are nobody's: mend them, or accept that they are archived",
                findings=map(str, left_over),
            )
        _check_unwritten(connection, database, resolved.tables, found)
        archive = _archive_name(connection, mapping.source)
        fencing.remove(connection, mapping.source, resolved.guarded)
        move = sql.SQL("ALTER TABLE {} SET SCHEMA {}")
        names += _partitions(connection, mapping.source, resolved.tables)
        grants.execute(
            connection,
            [
                sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(archive)),
                *(move.format(name, sql.Identifier(archive)) for name in names),
            ],
        )
        at = journal.write_archived(connection, mapping.source, archive)
        details = {"source": mapping.source, "archive": archive, "organizations": len(found)}
        audit.record(connection, "adoption_finished", None, details=details)
    return FinishReport(
        archive=archive,
        tables=tuple(table.name for table in resolved.tables),
        organizations=len(found),
        left_over=tuple(left_over),
        archived_at=at,
    )


def _check_switched(found: Sequence[SourceOrganization], mapping: AdoptionMapping) -> None:
    waiting = [f"{one.id} is {one.state}" for one in found if one.state != AdoptionState.SWITCHED]
    others = [one.id for one in found if one.entry and one.entry.mapping != mapping.digest]
    if waiting:
        more = f", and {len(waiting) - 5} more" if len(waiting) > 5 else ""
        raise AdoptionRefused(
            f"{len(waiting)} organizations are not switched: {', '.join(waiting[:5])}{more}",
            findings=waiting,
        )
    if others:
        raise AdoptionRefused(
            f"{len(others)} organizations were adopted by another mapping, such as {others[0]}: "
            "what they were compared with then is not what this one says",
            findings=others,
        )


def _left_over(
    connection: Connection,
    mapping: AdoptionMapping,
    resolved: Resolved,
    found: Sequence[SourceOrganization],
) -> list[Finding]:
    known = [*(one.key for one in found), *mapping.organizations.ignore]
    return list(find_left_over(connection, resolved.tables, known))


def _check_unwritten(
    connection: Connection,
    database: Database,
    tables: Sequence[AdoptedTable],
    found: Sequence[SourceOrganization],
) -> None:
    """Make sure that the source is what the switches found: nobody came past the fence."""
    written = []
    for one in found:
        entry = one.entry
        if entry is None or entry.organization is None:
            continue  # purged since: there is nothing here to compare with
        schema = entry.organization.schema_name
        enter(connection, schema, database.settings.extensions_schema)
        mine = [table.here(schema) for table in tables]
        written += [f"{name} of {one.id}" for name in written_since(connection, mine, entry)]
    if written:
        raise AdoptionRefused(
            "the source was written after the switch, past the fence: " + ", ".join(written[:5]),
            findings=written,
        )


def _partitions(
    connection: Connection, source: str, tables: Sequence[AdoptedTable]
) -> list[sql.Identifier]:
    """Return the partitions of tables, which do not move with them."""
    names = [t.source.table.identifier.as_string(None) for t in tables]
    rows = connection.execute(_PARTITIONS, {"tables": names, "schema": source})
    return [sql.Identifier(schema, name) for schema, name in rows]


def _archive_name(connection: Connection, source: str) -> str:
    """Return a name that no schema has."""
    number, name = 1, f"adopted_{source}"[:60]
    while connection.scalar(_EXISTS, {"schema": sql.Identifier(name).as_string(None)}):
        number += 1
        name = f"adopted_{source}"[:60] + f"_{number}"
    return name
