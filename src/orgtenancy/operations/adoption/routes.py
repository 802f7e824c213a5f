"""How a row is known to be an organization's: by a column, or along foreign keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from orgtenancy.operations.adoption.catalog import TableInfo
from orgtenancy.operations.adoption.findings import Finding, FindingKind, Severity
from orgtenancy.operations.adoption.mapping import AdoptionMapping, TableMapping, Via


@dataclass(frozen=True, slots=True)
class Hop:
    """From a row to the one that it belongs to.

    Attributes:
        columns: The columns that lead there.
        table: Where they lead.
        references: The columns there.
    """

    columns: tuple[str, ...]
    table: str
    references: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Route:
    """From a row to its organization.

    Attributes:
        hops: The rows in between, the nearest first.
        column: The column of the last one that has the organization; None for a table that
            all organizations get.
    """

    hops: tuple[Hop, ...]
    column: str | None

    def __str__(self) -> str:
        if self.column is None:
            return "all rows, for all organizations"
        steps = [f"{', '.join(hop.columns)} → {hop.table}" for hop in self.hops]
        return " → ".join([*steps, self.column])


class Unreachable(Exception):
    """A table has no way to an organization, or too many; the finding says which."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.message)
        self.finding = finding


class Routes:
    """The ways of a source's tables, each found when it is first asked for.

    Args:
        tables: All tables of the source.
        mapping: What is declared of them.
    """

    def __init__(self, tables: Mapping[str, TableInfo], mapping: AdoptionMapping) -> None:
        self._tables = tables
        self._mapping = mapping
        self._found: dict[str, Route] = {}

    def of(self, name: str) -> Route:
        """Return the way of a table.

        Raises:
            Unreachable: If there is none, or it is not the only one.
        """
        if name not in self._found:
            self._found[name] = self._find(name, frozenset())
        return self._found[name]

    def _find(self, name: str, along: frozenset[str]) -> Route:
        declared, table = self._declared(name), self._tables[name]
        if declared.copy_to_all:
            return Route((), None)
        column = declared.organization_column
        if column is None and declared.via is None:
            column = self._mapping.organization_column
            if column not in table.columns:
                column = None
        if column is not None:
            if column not in table.columns:
                raise _no_way(name, f"it has no column {column!r}")
            return Route((), column)
        ways = self._ways(name, declared, along | {name})
        if len(ways) > 1:
            raise Unreachable(
                Finding(
                    kind=FindingKind.AMBIGUOUS_WAY,
                    severity=Severity.PROBLEM,
                    table=name,
                    message="several ways lead to an organization: "
                    + "; ".join(map(str, ways))
                    + ". Name the column of one as `via`, or say `copy_to_all`",
                )
            )
        if not ways:
            raise _no_way(
                name,
                f"it has no column {self._mapping.organization_column!r}, and no foreign key "
                "that leads to an organization: say `organization_column`, `via`, "
                "`copy_to_all`, or `ignore` it",
            )
        return ways[0]

    def _ways(self, name: str, declared: TableMapping, along: frozenset[str]) -> list[Route]:
        if isinstance(declared.via, Via):
            return [self._along(name, Hop(**declared.via.model_dump()), along)]
        ways = []
        for key in self._tables[name].foreign_keys:
            if declared.via is not None and declared.via not in key.columns:
                continue
            if self._leads_to_organizations(key.table, key.references):
                ways.append(Route((), key.columns[0]))
                continue
            if key.table in along:
                continue
            try:
                ways.append(self._along(name, Hop(key.columns, key.table, key.references), along))
            except Unreachable:
                if declared.via is not None:
                    raise
        return list(dict.fromkeys(ways))

    def _along(self, name: str, hop: Hop, along: frozenset[str]) -> Route:
        missing = {*hop.columns} - self._tables[name].columns.keys()
        if hop.table not in self._tables:
            raise _no_way(name, f"there is no table {hop.table!r}")
        there = self._tables[hop.table]
        missing |= {*hop.references} - there.columns.keys()
        if missing:
            raise _no_way(name, f"there is no column {', '.join(sorted(missing))}")
        if not any(i.columns is not None and i.columns <= {*hop.references} for i in there.uniques):
            named = ", ".join(hop.references)
            raise _no_way(name, f"{named} of {hop.table} is not unique: rows would be doubled")
        rest = self._found.get(hop.table) or self._find(hop.table, along)
        if rest.column is None:
            raise _no_way(name, f"{hop.table} is `copy_to_all`")
        return Route((hop, *rest.hops), rest.column)

    def _leads_to_organizations(self, table: str, references: tuple[str, ...]) -> bool:
        known = self._mapping.organizations
        return table == known.table and references == (known.key,)

    def _declared(self, name: str) -> TableMapping:
        return self._mapping.tables.get(name, TableMapping())


def _no_way(table: str, reason: str) -> Unreachable:
    return Unreachable(
        Finding(
            kind=FindingKind.NO_WAY,
            severity=Severity.PROBLEM,
            table=table,
            message=f"nothing leads to an organization: {reason}",
        )
    )
