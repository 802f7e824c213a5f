"""Making a plan: from what differs to statements, in an order in which they can run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import groupby

from psycopg import sql

from orgtenancy.organizations import OrganizationStatus
from orgtenancy.schemas.building import SchemaBuilder
from orgtenancy.schemas.drift.checking import Inspected, inspect, read_state, wanted_by
from orgtenancy.schemas.drift.comparing import Mismatch
from orgtenancy.schemas.drift.items import Item, prepare
from orgtenancy.schemas.drift.references import references
from orgtenancy.schemas.drift.repairing import attached, code, relations, rights
from orgtenancy.schemas.drift.repairing.plans import (
    RepairPlan,
    RepairStep,
    SchemaRepair,
    Unrepaired,
)
from orgtenancy.schemas.drift.repairing.workshop import (
    CannotRepair,
    Phase,
    Piece,
    Workshop,
    read_definitions,
)
from orgtenancy.schemas.drift.reports import Difference, DriftReport, FindingKind
from orgtenancy.schemas.revisions.framing import expect_heads, limit_statements, mirror
from orgtenancy.schemas.revisions.places import Limits, Place
from orgtenancy.schemas.revisions.stamping import VERSION_TABLE

Mender = Callable[[Workshop, Mismatch], Iterator[Piece]]

_MENDERS: Mapping[str, Mender] = {
    "schema": rights.mend_schema,
    "default privileges": rights.mend_default_privileges,
    "table": relations.mend_table,
    "partitioned table": relations.mend_table,
    "foreign table": relations.mend_table,
    "view": relations.mend_view,
    "materialized view": relations.mend_view,
    "sequence": relations.mend_sequence,
    "column": relations.mend_column,
    "constraint": attached.mend_constraint,
    "index of constraint": attached.mend_constraint_index,
    "triggers of constraint": attached.mend_constraint_triggers,
    "index": attached.mend_index,
    "trigger": attached.mend_trigger,
    "policy": attached.mend_policy,
    "rule": attached.mend_rule,
    "statistics": attached.mend_statistics,
    "function": code.mend_routine,
    "procedure": code.mend_routine,
    "enum": code.mend_enum,
    "domain": code.mend_domain,
    "composite type": code.mend_type,
    "range": code.mend_type,
    "text search configuration": code.mend_text_search,
}
_LYING = (FindingKind.LYING_MIRROR, FindingKind.LYING_STAMP)

# What an organization's status says of its schema: all that is mended of one that is fenced.
_RIGHTS_BY_STATUS = "grants on schema"
_FENCED = "the organization is fenced"
_EXPECT_STATUS = (
    "DECLARE found text; BEGIN "
    "SELECT status INTO found FROM orgtenancy.organizations WHERE role_name = {role} FOR UPDATE; "
    "IF found IS DISTINCT FROM {status} THEN "
    "RAISE EXCEPTION 'the organization was % when this was planned, and is %', "
    "{status}, coalesce(found, 'gone'); END IF; END"
)

# A table is made with its columns, a constraint with its index.
_MADE_ALONG = ("column", "index of constraint", "triggers of constraint")
_VIEWS = ("view", "materialized view")
_DROPS = range(Phase.DROP_ATTACHED, Phase.TYPE)


def plan_repair(builder: SchemaBuilder, report: DriftReport, limits: Limits) -> RepairPlan:
    """Return what would mend the schemas of a report, as they are now.

    Args:
        builder: Makes the schemas of the placement.
        report: Which schemas.
        limits: How long each may take.
    """
    names = {drift.schema_name for drift in report.schemas}
    names |= {finding.name for finding in report.findings if finding.kind in _LYING}
    state = read_state(builder, names)
    left = tuple(f for f in report.findings if f.kind not in _LYING and not f.is_note)
    if not state.schemas:
        return RepairPlan(builder.database.name, (), left)
    repairs = []
    with references(builder, wanted_by(state, state.schemas)) as (connection, built):
        prepare(connection)
        definitions = {
            kind: read_definitions(connection, reference.schema_name)
            for kind, reference in built.items()
        }
        for inspected in inspect(connection, builder, state, state.schemas, built):
            grantee = builder.grantee(inspected.schema.role_name)
            workshop = Workshop(
                inspected.schema.schema_name,
                grantee,
                inspected.expected,
                definitions[inspected.compared],
                _retyped(inspected.mismatches),
            )
            repair = _plan_schema(builder, inspected, workshop, limits)
            if repair.steps or repair.unrepaired:
                repairs.append(repair)
    return RepairPlan(builder.database.name, tuple(repairs), left)


def _plan_schema(
    builder: SchemaBuilder, inspected: Inspected, workshop: Workshop, limits: Limits
) -> SchemaRepair:
    place = Place(
        inspected.schema.schema_name,
        inspected.schema.role_name,
        workshop.grantee,
        inspected.schema.organization_id,
    )
    pieces: list[tuple[Piece, Difference]] = []
    unrepaired = []
    is_fenced = inspected.schema.status is OrganizationStatus.FENCED
    for mismatch in inspected.mismatches:
        if is_fenced and mismatch.item.kind != _RIGHTS_BY_STATUS:
            unrepaired.append(Unrepaired(mismatch.difference, _FENCED))
            continue
        try:
            pieces += [(piece, mismatch.difference) for piece in _mend(workshop, mismatch)]
        except CannotRepair as error:
            unrepaired.append(Unrepaired(mismatch.difference, str(error)))
    of_stamps = list(_mend_stamps(builder, inspected, place))
    if is_fenced:
        differences = dict.fromkeys(difference for _, difference in of_stamps)
        unrepaired += [Unrepaired(difference, _FENCED) for difference in differences]
    else:
        pieces += of_stamps
    pieces.sort(key=lambda pair: (pair[0].phase, pair[0].place))
    return SchemaRepair(
        place.schema_name,
        place.role_name,
        place.organization_id,
        tuple(_texts(_preamble(place, inspected, limits))),
        tuple(_steps(pieces)),
        tuple(unrepaired),
    )


def _mend(workshop: Workshop, mismatch: Mismatch) -> Iterator[Piece]:
    mender = _MENDERS.get(mismatch.item.kind)
    if mender is None and mismatch.item.kind.startswith("grants on "):
        mender = rights.mend_grants
    if mender is None and mismatch.item.kind.startswith("comment on "):
        mender = rights.mend_comment
    pieces = list((mender or code.refuse)(workshop, mismatch))
    yield from pieces
    if mismatch.expected is None:
        return
    for along in mismatch.along:
        if along.item.kind not in _MADE_ALONG:
            yield from _mend(workshop, along)
    if mismatch.actual is not None and any(piece.phase in _DROPS for piece in pieces):
        for item in _lost_with(workshop, mismatch.expected):
            yield from _mend(workshop, Mismatch(item, None))


def _lost_with(workshop: Workshop, item: Item) -> Iterator[Item]:
    """Yield what an object of the reference has on it, and loses when it is made anew."""
    yield from workshop.attached(item)
    if item.kind in _VIEWS:
        yield from (child for child in workshop.children(item.name) if child.kind != "column")


def _retyped(mismatches: Iterable[Mismatch]) -> frozenset[str]:
    return frozenset(
        mismatch.item.parent or ""
        for mismatch in mismatches
        if mismatch.item.kind == "column" and mismatch.expected and mismatch.actual
    )


def _mend_stamps(
    builder: SchemaBuilder, inspected: Inspected, place: Place
) -> Iterator[tuple[Piece, Difference]]:
    finding = inspected.finding
    if finding is None:
        return
    found = ", ".join(sorted(inspected.stamps)) or "none"
    known = "unknown"
    if inspected.mirrored is not None:
        known = ", ".join(sorted(inspected.mirrored)) or "none"
    if finding.kind is FindingKind.LYING_STAMP:
        difference = Difference("stamps", VERSION_TABLE, known, found)
        table = sql.Identifier(place.schema_name, VERSION_TABLE)
        statements: list[sql.Composable] = [sql.SQL("DELETE FROM {}").format(table)]
        statements += [
            sql.SQL("INSERT INTO {} VALUES ({})").format(table, stamp)
            for stamp in sorted(inspected.compared.stamps)
        ]
    else:
        difference = Difference("revisions in the registry", place.schema_name, found, known)
        statements = [mirror(place, builder.revisions.revisions_at(inspected.compared.stamps))]
    for number, statement in enumerate(statements):
        yield Piece(Phase.STAMP, statement, place=number), difference


def _preamble(place: Place, inspected: Inspected, limits: Limits) -> list[sql.Composable]:
    status = inspected.schema.status
    guards = [] if status is None else [_expect_status(place, status)]
    # What is fenced has its stamps kept from jobs, and only its rights are mended.
    if status is not OrganizationStatus.FENCED:
        guards.append(expect_heads(place, inspected.stamps))
    return [
        *limit_statements(limits),
        # As the definitions were read: what is not the server's own is qualified.
        sql.SQL("SET LOCAL search_path TO pg_catalog"),
        # A function may be made before the tables that it reads.
        sql.SQL("SET LOCAL check_function_bodies TO off"),
        *guards,
    ]


def _expect_status(place: Place, status: OrganizationStatus) -> sql.Composable:
    """Return the statement that locks an organization, and fails if its status is another.

    A plan gives or takes the rights of the status that it was made for.
    """
    block = sql.SQL(_EXPECT_STATUS).format(role=place.role_name, status=status.value)
    return sql.SQL("DO {}").format(block.as_string(None))


def _steps(pieces: Iterable[tuple[Piece, Difference]]) -> Iterator[RepairStep]:
    seen: set[str] = set()
    for difference, group in groupby(pieces, key=lambda pair: pair[1]):
        statements, destructive = [], False
        for piece, _ in group:
            (statement,) = _texts([piece.statement])
            if statement not in seen:
                seen.add(statement)
                statements.append(statement)
                destructive = destructive or piece.destructive
        if statements:
            yield RepairStep(difference, tuple(statements), destructive)


def _texts(statements: Iterable[sql.Composable]) -> list[str]:
    return [statement.as_string(None) for statement in statements]
