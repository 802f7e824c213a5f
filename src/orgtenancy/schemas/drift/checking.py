"""The check: every schema's fingerprint against that of a reference."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection

from orgtenancy.errors import OrganizationNotFound, RevisionNotFound
from orgtenancy.schemas.building import SchemaBuilder
from orgtenancy.schemas.drift import registered as registry
from orgtenancy.schemas.drift.comparing import Mismatch, compare
from orgtenancy.schemas.drift.items import Item, fingerprints, items, prepare
from orgtenancy.schemas.drift.references import Reference, ReferenceKind, references
from orgtenancy.schemas.drift.registered import Registered
from orgtenancy.schemas.drift.reports import DriftReport, Finding, FindingKind, SchemaDrift
from orgtenancy.schemas.fleet.targets import unknown_organizations
from orgtenancy.schemas.revisions import Heads


@dataclass(frozen=True)
class Inspected:
    """A schema that was looked at closely.

    Attributes:
        schema: As the registry has it.
        stamps: Those in the schema.
        mirrored: Those that the registry has.
        compared: The kind of reference that it was compared with.
        expected: The objects of that reference.
        mismatches: What differs.
    """

    schema: Registered
    stamps: Heads
    mirrored: Heads | None
    compared: ReferenceKind
    expected: Sequence[Item]
    mismatches: Sequence[Mismatch]

    @property
    def finding(self) -> Finding | None:
        """What is to be said of its stamps, if they are others than the registry has."""
        if self.stamps == self.mirrored:
            return None
        kind = FindingKind.LYING_MIRROR
        if self.compared.stamps == self.mirrored:
            kind = FindingKind.LYING_STAMP
        return Finding(
            kind,
            self.schema.schema_name,
            self.schema.organization_id,
            f"the registry has {_listed(self.mirrored)}, the stamps are {_listed(self.stamps)}",
        )

    @property
    def drift(self) -> SchemaDrift | None:
        """What is to be said of its objects, if they differ."""
        if not self.mismatches:
            return None
        return SchemaDrift(
            self.schema.schema_name,
            self.schema.role_name,
            self.schema.organization_id,
            self.compared.stamps,
            tuple(mismatch.difference for mismatch in self.mismatches),
        )


@dataclass
class State:
    """What the registry and the stamps said when a check began."""

    schemas: Sequence[Registered]
    stamps: Mapping[str, Heads]
    mirrored: Mapping[str, Heads | None]
    findings: list[Finding] = field(default_factory=list)

    @property
    def made(self) -> list[Registered]:
        """The schemas that should be there."""
        return [one for one in self.schemas if one.is_made]

    def signature(self, one: Registered) -> object:
        """What changes when a job works on a schema, or its status changes."""
        return (
            one.schema_name,
            dict(one.revisions),
            one.is_made,
            self.stamps.get(one.schema_name),
            one.status,
            one.status_changed_at,
        )

    def kinds_for(self, one: Registered) -> list[ReferenceKind]:
        """Return what a schema may be compared with: first as it is stamped, then as mirrored."""
        known = self.stamps[one.schema_name], self.mirrored[one.schema_name]
        return [
            ReferenceKind(stamps, one.is_closed)
            for stamps in dict.fromkeys(known)
            if stamps is not None
        ]


@dataclass
class _Outcome:
    checked: int = 0
    inspected: list[Inspected] = field(default_factory=list)
    missing: list[Registered] = field(default_factory=list)
    uncompared: list[Registered] = field(default_factory=list)


def check(builder: SchemaBuilder, organization_ids: Sequence[str] | None) -> DriftReport:
    """Compare schemas with references, and the registry with the server.

    Raises:
        OrganizationNotFound: If the registry does not have one of the organizations.
    """
    return _check(builder, _read_state(builder, organization_ids))


def check_schemas(builder: SchemaBuilder, schemas: Sequence[str]) -> DriftReport:
    """Compare some schemas, whosever they are."""
    return _check(builder, read_state(builder, schemas))


def _check(builder: SchemaBuilder, state: State) -> DriftReport:
    outcome = _Outcome()
    wanted = wanted_by(state, state.made)
    with references(builder, wanted) as (connection, built):
        prepare(connection)
        _compare_all(connection, builder, state, built, outcome)
    suspects = [*outcome.missing, *outcome.uncompared, *(i.schema for i in outcome.inspected)]
    changed = _changed_meanwhile(builder, state, suspects) if suspects else set()
    return _report(builder, state, outcome, changed)


def read_state(builder: SchemaBuilder, schemas: Iterable[str]) -> State:
    """Return the state of some schemas, whosever they are."""
    names = set(schemas)
    engine = builder.database.admin_engine
    with engine.begin() as connection:
        known = registry.read_registry(connection, builder, None)
    chosen = [one for one in known if one.schema_name in names and one.is_made]
    return _with_stamps(builder, chosen, [])


def inspect(
    connection: Connection,
    builder: SchemaBuilder,
    state: State,
    suspects: Sequence[Registered],
    built: Mapping[ReferenceKind, Reference],
) -> list[Inspected]:
    """Compare schemas object by object, in one statement for all of them.

    A schema whose stamps and mirror contradict each other is compared with both, and what it
    is nearer to is taken for the truth.

    Args:
        connection: In the references' transaction, after `prepare`.
        builder: Makes the schemas of the placement.
        state: Their stamps.
        suspects: Which.
        built: The references.
    """
    if not suspects:
        return []
    names = [one.schema_name for one in suspects]
    roles = [builder.grantee(one.role_name) for one in suspects]
    names += [reference.schema_name for reference in built.values()]
    roles += [reference.grantee for reference in built.values()]
    objects = items(connection, names, roles)
    found = []
    for one in suspects:
        actual = objects.get(one.schema_name, [])
        tried = []
        for kind in state.kinds_for(one):
            if kind in built:
                expected = objects[built[kind].schema_name]
                tried.append((kind, expected, compare(expected, actual)))
        if tried:
            best = min(tried, key=lambda attempt: _weight(attempt[2]))
            stamps, mirrored = state.stamps[one.schema_name], state.mirrored[one.schema_name]
            found.append(Inspected(one, stamps, mirrored, *best))
    return found


def _read_state(builder: SchemaBuilder, organization_ids: Sequence[str] | None) -> State:
    with builder.database.admin_engine.begin() as connection:
        if organization_ids is not None and (
            unknown := unknown_organizations(connection, organization_ids)
        ):
            raise OrganizationNotFound(
                f"no organization {', '.join(map(repr, unknown))}", organization_id=unknown[0]
            )
        known = registry.read_registry(connection, builder, organization_ids)
        findings = registry.find_missing_roles(connection, builder, known)
        findings += registry.find_unfinished(known)
        if organization_ids is None:
            findings += registry.find_unknown(connection, builder)
    return _with_stamps(builder, known, findings)


def _with_stamps(
    builder: SchemaBuilder, schemas: Sequence[Registered], findings: list[Finding]
) -> State:
    made = [one.schema_name for one in schemas if one.is_made]
    stamps = registry.read_stamps(builder.database.admin_engine, made)
    mirrored = {one.schema_name: _mirrored(builder, one) for one in schemas}
    return State(schemas, stamps, mirrored, findings)


def _mirrored(builder: SchemaBuilder, one: Registered) -> Heads | None:
    try:
        return builder.revisions.stamps_of(one.revisions)
    except RevisionNotFound:
        return None


def wanted_by(state: State, schemas: Iterable[Registered]) -> set[ReferenceKind]:
    """Return the kinds of references that are needed."""
    return {kind for one in schemas for kind in state.kinds_for(one)}


def _compare_all(
    connection: Connection,
    builder: SchemaBuilder,
    state: State,
    built: Mapping[ReferenceKind, Reference],
    outcome: _Outcome,
) -> None:
    made = state.made
    names = [one.schema_name for one in made] + [one.schema_name for one in built.values()]
    roles = [builder.grantee(one.role_name) for one in made]
    prints = fingerprints(connection, names, roles + [one.grantee for one in built.values()])
    suspects = []
    for one in made:
        found, kinds = prints.get(one.schema_name), state.kinds_for(one)
        if found is None:
            outcome.missing.append(one)
            continue
        if not any(kind in built for kind in kinds):
            outcome.uncompared.append(one)
            continue
        outcome.checked += 1
        reference = built.get(kinds[0])
        is_as_stamped = reference is not None and prints[reference.schema_name] == found
        is_mirrored = state.stamps[one.schema_name] == state.mirrored[one.schema_name]
        if not (is_as_stamped and is_mirrored):
            suspects.append(one)
    outcome.inspected = inspect(connection, builder, state, suspects, built)


def _changed_meanwhile(
    builder: SchemaBuilder, state: State, suspects: Sequence[Registered]
) -> set[str]:
    """Return the roles of those that a job, a claim or a drop worked on during the check."""
    now = read_state(builder, [one.schema_name for one in suspects])
    current = {one.role_name: now.signature(one) for one in now.schemas}
    return {one.role_name for one in suspects if current.get(one.role_name) != state.signature(one)}


def _report(
    builder: SchemaBuilder, state: State, outcome: _Outcome, changed: Collection[str]
) -> DriftReport:
    findings, schemas = list(state.findings), []

    def add(kind: FindingKind, one: Registered, detail: str) -> None:
        if one.role_name in changed:
            kind, detail = FindingKind.CHANGED_MEANWHILE, "check it again"
        findings.append(Finding(kind, one.schema_name, one.organization_id, detail))

    for one in outcome.missing:
        add(FindingKind.MISSING_SCHEMA, one, "the registry says that it is there")
    for one in outcome.uncompared:
        detail = f"no file makes {_listed(state.stamps[one.schema_name])}"
        add(FindingKind.UNKNOWN_REVISION, one, detail)
    for inspected in outcome.inspected:
        one, finding = inspected.schema, inspected.finding
        if finding is not None:
            add(finding.kind, one, finding.detail)
        elif one.role_name in changed:
            add(FindingKind.CHANGED_MEANWHILE, one, "")
        if inspected.drift is not None and one.role_name not in changed:
            schemas.append(inspected.drift)
    return DriftReport(builder.database.name, outcome.checked, tuple(schemas), tuple(findings))


def _weight(mismatches: Iterable[Mismatch]) -> int:
    return sum(1 + len(mismatch.along) for mismatch in mismatches)


def _listed(stamps: Heads | None) -> str:
    if stamps is None:
        return "a revision that no file has"
    return ", ".join(sorted(stamps)) or "none"
