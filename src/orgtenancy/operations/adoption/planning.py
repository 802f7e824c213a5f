"""What an adoption would do, and what is wrong. Nothing is changed.

A fresh schema is made in a transaction that is rolled back: the plan rests on what PostgreSQL
itself says of its tables. The rows of one organization are copied into it, for the time that
this takes.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from psycopg import sql
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from orgtenancy.errors import AdoptionMismatch
from orgtenancy.naming import new_role_name, spare_schema_name
from orgtenancy.operations.adoption.checking import find_broken, find_left_over
from orgtenancy.operations.adoption.copying import ONE_MOMENT
from orgtenancy.operations.adoption.filling import fill
from orgtenancy.operations.adoption.findings import Finding, FindingKind, Severity
from orgtenancy.operations.adoption.mapping import AdoptionMapping
from orgtenancy.operations.adoption.organizations import SourceOrganization, read_organizations
from orgtenancy.operations.adoption.reports import (
    AdoptionPlan,
    AdoptionState,
    OrganizationPlan,
    TablePlan,
)
from orgtenancy.operations.adoption.resolving import Resolved, resolve
from orgtenancy.operations.adoption.tables import ORGANIZATION, AdoptedTable
from orgtenancy.operations.data.tables import enter, fetch
from orgtenancy.schemas import grants
from orgtenancy.schemas.building import SchemaBuilder
from orgtenancy.schemas.fleet.workers import told

# Rows of an organization that is tried: preferably no more than the first, in a few seconds.
_SMALL_TRIAL, _LARGEST_TRIAL = 50_000, 1_000_000

#: Rows of each organization in each table, by its key and the table's name in the source.
Counts = Mapping[str, Mapping[str, int]]


@dataclass(frozen=True, slots=True)
class Fresh:
    """A fresh schema that nobody else sees.

    Attributes:
        schema: Its name.
        seconds: How long it took to make it.
        resolved: What becomes of the source in it.
    """

    schema: str
    seconds: float
    resolved: Resolved


@contextmanager
def fresh(
    connection: Connection, builder: SchemaBuilder, mapping: AdoptionMapping
) -> Iterator[Fresh]:
    """Make a schema as any organization's is made, for the length of a block.

    Args:
        connection: A connection of the owner, in no transaction. Whatever is done on it in the
            block is rolled back.
        builder: Makes schemas.
        mapping: What is declared of the source.
    """
    with connection.begin() as transaction:
        grants.execute(connection, [ONE_MOMENT])
        began = time.monotonic()
        role = new_role_name(str(builder.database.url.database))
        schema = spare_schema_name(role)
        builder.build(connection, schema, role, builder.create_role(connection, role))
        seconds = time.monotonic() - began
        enter(connection, schema, builder.database.settings.extensions_schema)
        yield Fresh(schema, seconds, resolve(connection, mapping, schema))
        transaction.rollback()


def plan(
    connection: Connection, builder: SchemaBuilder, mapping: AdoptionMapping, *, rows: bool
) -> AdoptionPlan:
    """Return what an adoption would do.

    Args:
        connection: A connection of the owner, in no transaction.
        builder: Makes schemas.
        mapping: What is declared.
        rows: Whether to look at rows: to count them, find those that are wrong, and try the
            copy of one organization.
    """
    with fresh(connection, builder, mapping) as made:
        resolved = made.resolved
        found, wrong_ids = read_organizations(connection, mapping, resolved)
        findings = [*resolved.findings, *wrong_ids]
        counts: Counts | None = None
        rate = seconds = None
        if rows and not resolved.problems:
            counts = _count(connection, resolved.tables)
            known = [*(one.key for one in found), *mapping.organizations.ignore]
            findings += find_left_over(connection, resolved.tables, known)
            findings += _find_broken(connection, resolved.tables, found)
            pending = [one for one in found if one.state is AdoptionState.PENDING]
            keeps = {key for finding in findings for key in finding.organizations}
            if tried := _choose([one for one in pending if one.key not in keeps], counts):
                rate = _try(connection, made, tried, counts, findings)
            if rate:
                total = sum(sum(counts.get(one.key, {}).values()) for one in pending)
                seconds = len(pending) * made.seconds + total / rate
        return AdoptionPlan(
            source=mapping.source,
            tables=tuple(_table_plan(table, counts) for table in resolved.tables),
            organizations=tuple(_organization_plans(found, resolved.tables, counts)),
            findings=tuple(findings),
            seconds=seconds,
            rate=rate,
        )


def _find_broken(
    connection: Connection, tables: Sequence[AdoptedTable], found: Sequence[SourceOrganization]
) -> list[Finding]:
    """Return the rows that cannot be here, without those of organizations that are."""
    here = {one.key for one in found if one.state is not AdoptionState.PENDING}
    return [
        finding
        for finding in find_broken(connection, tables, lambda table: table.all_rows())
        if not (finding.organizations and set(finding.organizations) <= here)
    ]


def _count(connection: Connection, tables: Sequence[AdoptedTable]) -> Counts:
    counts: dict[str, dict[str, int]] = defaultdict(dict)
    for table in tables:
        if table.route.column is None:
            continue
        statement = sql.SQL("SELECT {0}, count(*) FROM ({1}) AS r GROUP BY {0}").format(
            ORGANIZATION, table.all_rows_with()
        )
        for key, number in fetch(connection, statement):
            if key is not None:
                counts[key][table.name] = number
    return counts


def _choose(found: Sequence[SourceOrganization], counts: Counts) -> SourceOrganization | None:
    """Return an organization to be tried: of middle size among those that take no time."""

    def rows(one: SourceOrganization) -> int:
        return sum(counts.get(one.key, {}).values())

    by_rows = sorted((one for one in found if 0 < rows(one) <= _LARGEST_TRIAL), key=rows)
    small = [one for one in by_rows if rows(one) <= _SMALL_TRIAL] or by_rows[:1]
    return small[len(small) // 2] if small else None


def _try(
    connection: Connection,
    made: Fresh,
    one: SourceOrganization,
    counts: Counts,
    findings: list[Finding],
) -> float | None:
    """Copy an organization, and return the rows in a second."""
    began = time.monotonic()
    try:
        with connection.begin_nested():
            fill(connection, made.resolved.here(made.schema), one.key, made.schema)
    except (DBAPIError, AdoptionMismatch) as error:
        findings.append(
            Finding(
                kind=FindingKind.TRIAL,
                severity=Severity.PROBLEM,
                table=None,
                message=f"organization {one.id} was tried: {told(error)}",
                organizations=(one.key,),
            )
        )
        return None
    return sum(counts[one.key].values()) / max(time.monotonic() - began, 0.001)


def _table_plan(table: AdoptedTable, counts: Counts | None) -> TablePlan:
    rows = table.source.rows
    if counts is not None and table.route.column is not None:
        rows = sum(of_one.get(table.name, 0) for of_one in counts.values())
    return TablePlan(
        source=table.name,
        target=table.into.name,
        way=str(table.route),
        columns={name: value.told for name, value in table.values.items()},
        rows=rows,
        size=table.source.table.size,
        changed_by=table.changed_by,
    )


def _organization_plans(
    found: Sequence[SourceOrganization], tables: Sequence[AdoptedTable], counts: Counts | None
) -> Iterator[OrganizationPlan]:
    row_sizes: dict[str, float] = {}
    if counts is not None:
        for table in tables:
            rows = sum(of_one.get(table.name, 0) for of_one in counts.values())
            row_sizes[table.name] = table.source.table.size / rows if rows else 0
    for one in found:
        of_one = {} if counts is None else counts.get(one.key, {})
        yield OrganizationPlan(
            key=one.key,
            id=one.id,
            name=one.name,
            state=one.state,
            rows=None if counts is None else sum(of_one.values()),
            size=None
            if counts is None
            else round(sum(number * row_sizes[name] for name, number in of_one.items())),
        )
