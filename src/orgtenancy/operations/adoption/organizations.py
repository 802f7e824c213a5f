"""Which organizations a source has, and what they are called here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from psycopg import sql
from sqlalchemy import Connection, or_, select

from orgtenancy.errors import InvalidOrganizationId
from orgtenancy.naming import SCHEMA_PREFIX, validate_organization_id
from orgtenancy.operations.adoption import journal
from orgtenancy.operations.adoption.findings import Finding, FindingKind, Severity
from orgtenancy.operations.adoption.mapping import AdoptionMapping
from orgtenancy.operations.adoption.reports import AdoptionState
from orgtenancy.operations.adoption.resolving import Resolved
from orgtenancy.operations.data.tables import fetch
from orgtenancy.registry.tables import organizations as registered


@dataclass(frozen=True, slots=True)
class SourceOrganization:
    """An organization of the source.

    Attributes:
        key: How the source knows it, as text.
        id: Its id here: of one that was copied the present one.
        name: Its display name.
        entry: What the journal has of it.
    """

    key: str
    id: str
    name: str
    entry: journal.Entry | None = None

    @property
    def state(self) -> AdoptionState:
        """Where it is."""
        if self.entry is None:
            return AdoptionState.PENDING
        if self.entry.switched_at is None:
            return AdoptionState.COPIED
        return AdoptionState.SWITCHED


def read_organizations(
    connection: Connection, mapping: AdoptionMapping, resolved: Resolved
) -> tuple[list[SourceOrganization], list[Finding]]:
    """Return the organizations, by their ids, and what is wrong with some ids.

    Args:
        connection: A connection of the owner, in a transaction.
        mapping: What is declared of them.
        resolved: What becomes of the source.
    """
    entries = journal.entries(connection, mapping.source)
    found = [
        SourceOrganization(key, mapping.organizations.prefix + name_id, name, entries.get(key))
        for key, name_id, name in _rows(connection, mapping, resolved)
        if key not in mapping.organizations.ignore
    ]
    found = [_present(one) for one in found]
    return sorted(found, key=lambda one: one.id), _wrong_ids(connection, found)


def _rows(
    connection: Connection, mapping: AdoptionMapping, resolved: Resolved
) -> list[tuple[str, str, str]]:
    declared = mapping.organizations
    if resolved.known is None:
        columns = [
            sql.SQL("SELECT DISTINCT {}::text AS key FROM {}").format(
                sql.Identifier(table.route.column), table.source.table.rows
            )
            for table in resolved.tables
            if table.route.column is not None and not table.route.hops
        ]
        if not columns:
            return []
        statement = sql.SQL(
            "SELECT key, key, {} || key FROM ({}) AS named WHERE key IS NOT NULL"
        ).format(sql.Literal(declared.prefix), sql.SQL(" UNION ").join(columns))
    else:
        key, id_ = sql.Identifier(declared.key), sql.Identifier(declared.id or declared.key)
        name = sql.Identifier(declared.name) if declared.name else sql.NULL
        statement = sql.SQL(
            "SELECT {0}::text, coalesce({1}::text, ''), coalesce({2}::text, {3} || {1}::text, '') "
            "FROM {4} WHERE {0} IS NOT NULL"
        ).format(key, id_, name, sql.Literal(declared.prefix), resolved.known.table.rows)
    return [(str(key), str(id_), str(name)) for key, id_, name in fetch(connection, statement)]


def _present(one: SourceOrganization) -> SourceOrganization:
    """Return an organization under the id that it has now."""
    if one.entry is None or one.entry.organization is None:
        return one
    return SourceOrganization(one.key, one.entry.organization.id, one.name, one.entry)


def _wrong_ids(connection: Connection, found: Sequence[SourceOrganization]) -> list[Finding]:
    taken = _taken(connection, found)
    twice = {id_ for id_, count in Counter(one.id for one in found).items() if count > 1}
    findings = []
    for one in found:
        reason = None
        try:
            validate_organization_id(one.id)
        except InvalidOrganizationId as error:
            reason = str(error)
        if one.id in twice:
            reason = f"several organizations would have the id {one.id!r}"
        elif one.id in taken:
            reason = f"the id {one.id!r} is another organization's, or its schema is"
        if reason is not None:
            findings.append(
                Finding(
                    kind=FindingKind.ORGANIZATION_ID,
                    severity=Severity.PROBLEM,
                    table=None,
                    message=f"organization {one.key!r} of the source: {reason}",
                    organizations=(one.key,),
                )
            )
    return findings


def _taken(connection: Connection, found: Sequence[SourceOrganization]) -> frozenset[str]:
    """Return those ids that others have who were not adopted from here."""
    pending: Mapping[str, str] = {
        SCHEMA_PREFIX + one.id: one.id
        for one in found
        if one.entry is None or one.entry.organization is None
    }
    rows = connection.execute(
        select(registered.c.id, registered.c.schema_name).where(
            or_(
                registered.c.id.in_(list(pending.values())),
                registered.c.schema_name.in_(list(pending)),
            )
        )
    )
    ids = set(pending.values())
    return frozenset(
        name for row in rows for name in (row.id, pending.get(row.schema_name)) if name in ids
    )
