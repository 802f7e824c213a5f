"""From what is declared, and what is there, to what becomes of each table and column."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from sqlalchemy import Connection

from orgtenancy.operations.adoption.catalog import (
    Casts,
    ColumnInfo,
    TableInfo,
    read_casts,
    read_tables,
)
from orgtenancy.operations.adoption.findings import Finding, FindingKind, Severity
from orgtenancy.operations.adoption.mapping import XMIN, AdoptionMapping, KeyRule, TableMapping
from orgtenancy.operations.adoption.routes import Route, Routes, Unreachable
from orgtenancy.operations.adoption.tables import AdoptedTable, SourceTable, Value
from orgtenancy.operations.adoption.values import Impossible, Values

_TIMES = frozenset({"timestamp with time zone", "timestamp without time zone"})


@dataclass
class Resolved:
    """What becomes of a source in a schema here.

    Attributes:
        tables: In the order in which they are filled.
        guarded: All tables whose changes can change whose a row is: these, and those on the way.
        known: The table of the organizations, if one is declared and there.
        findings: What is wrong, or worth knowing.
    """

    tables: list[AdoptedTable] = field(default_factory=list)
    guarded: list[SourceTable] = field(default_factory=list)
    known: TableInfo | None = None
    findings: list[Finding] = field(default_factory=list)

    @property
    def problems(self) -> list[Finding]:
        """What stands in the way."""
        return [one for one in self.findings if one.severity is Severity.PROBLEM]

    def here(self, schema: str) -> list[AdoptedTable]:
        """Return the tables for another schema here, which has the same ones."""
        return [table.here(schema) for table in self.tables]


def resolve(connection: Connection, mapping: AdoptionMapping, schema: str) -> Resolved:
    """Find out what becomes of each table and column.

    Args:
        connection: A connection of the owner, in a transaction that has entered the schema.
        mapping: What is declared.
        schema: A schema here.
    """
    source, target = read_tables(connection, mapping.source), read_tables(connection, schema)
    return _Resolver(mapping, source, target, read_casts(connection)).resolve()


class _Resolver:
    def __init__(
        self,
        mapping: AdoptionMapping,
        source: Mapping[str, TableInfo],
        target: Mapping[str, TableInfo],
        casts: Casts,
    ) -> None:
        self._mapping, self._source, self._target = mapping, source, target
        self._routes = Routes(source, mapping)
        self._resolved = Resolved()
        self._feeds = dict(self._find_feeds())
        self._values = Values(mapping, source, target, self._feeds, casts)

    def resolve(self) -> Resolved:
        self._check_names()
        known = self._mapping.organizations.table
        self._resolved.known = None if known is None else self._source.get(known)
        order = list(self._target)
        feeding = sorted(self._feeds, key=lambda name: order.index(self._feeds[name]))
        for name in feeding:
            try:
                self._add(name)
            except Unreachable as error:
                self._resolved.findings.append(error.finding)
        self._resolved.guarded = list(self._find_guarded())
        for table in self._resolved.guarded:
            self._check_step(table)
        fed = set(self._feeds.values())
        for name in order:
            if name not in fed:
                message = "no table of the source goes there: it stays empty"
                self._note(FindingKind.WITHOUT_SOURCE, name, message)
        return self._resolved

    def _find_guarded(self) -> Iterator[SourceTable]:
        on_the_way = {p.table.name for table in self._resolved.tables for p in table.parents}
        adopted = {table.name for table in self._resolved.tables}
        yield from self._resolved.tables
        for name in sorted(on_the_way - adopted):
            yield SourceTable(*self._reached(name))

    def _reached(self, name: str) -> tuple[TableInfo, Route, tuple[TableInfo, ...]]:
        route = self._routes.of(name)
        return self._source[name], route, tuple(self._source[hop.table] for hop in route.hops)

    def _check_step(self, table: SourceTable) -> None:
        """Look at the columns that say whose a row is, or that lead to the next one.

        The triggers go by the text of an organization, and know no types but the server's own.
        """
        if table.route.column is None:
            return
        if not table.route.hops:
            column = table.source.columns[table.route.column]
            if not column.is_key:
                self._problem(
                    FindingKind.TYPE,
                    table.name,
                    f"{table.route.column!r} says whose a row is, and is {column.type}, of which "
                    "the same may be written in several ways",
                )
            return
        hop, parent = table.route.hops[0], table.parents[0]
        for info, names in ((table.source, hop.columns), (parent, hop.references)):
            for name in names:
                if not info.columns[name].is_comparable:
                    self._problem(
                        FindingKind.TYPE,
                        table.name,
                        f"{name!r} of {info.table.name} is on the way to the organization, and "
                        f"is {info.columns[name].type}, of which the same may be written in "
                        "several ways",
                    )

    def _check_names(self) -> None:
        declared = self._mapping
        if not self._source:
            self._problem(
                FindingKind.UNKNOWN_NAME, None, f"schema {declared.source!r} has no tables"
            )
        known = declared.organizations
        named = [*declared.tables, *declared.ignore, *([known.table] if known.table else [])]
        for name in named:
            if name not in self._source:
                self._problem(FindingKind.UNKNOWN_NAME, name, "the source has no such table")
        if known.table is not None and known.table in self._source:
            there = self._source[known.table].columns
            for column in {known.key, known.id, known.name} - {None, *there}:
                self._problem(FindingKind.UNKNOWN_NAME, known.table, f"it has no column {column!r}")
        for name in self._source:
            if name in declared.ignore or name in self._feeds:
                continue
            if name == known.table and name not in declared.tables:
                continue
            into = self._name_here(name)
            self._problem(
                FindingKind.UNMAPPED_TABLE,
                name,
                f"there is no table {into!r} here: say where it goes, or `ignore` it",
            )
        for into, count in Counter(self._feeds.values()).items():
            if count > 1:
                names = ", ".join(name for name, to in self._feeds.items() if to == into)
                self._problem(FindingKind.KEY, into, f"several tables go there: {names}")

    def _find_feeds(self) -> Iterator[tuple[str, str]]:
        for name in self._source:
            into = self._name_here(name)
            if into is not None and into in self._target:
                yield name, into

    def _name_here(self, name: str) -> str | None:
        if name in self._mapping.ignore:
            return None
        known = self._mapping.organizations.table
        if name == known and name not in self._mapping.tables:
            return None
        return self._mapping.tables.get(name, TableMapping()).to or name

    def _add(self, name: str) -> None:
        source, route, parents = self._reached(name)
        target = self._target[self._feeds[name]]
        declared = self._mapping.tables.get(name, TableMapping())
        values = dict(self._values_of(name, declared, source, target))
        self._check_columns(name, declared, route, source, values)
        self._check_table(name, declared, source, target)
        table = AdoptedTable(
            source=source,
            route=route,
            parents=parents,
            target=target,
            values=values,
            changed_by=declared.changed_by,
            ordered_key=(
                source.table.key[0]
                if declared.keys is KeyRule.ORDERED_UUID and len(source.table.key) == 1
                else None
            ),
        )
        if not table.has_index and table.source.rows:
            self._add_finding(
                FindingKind.NO_INDEX,
                Severity.WARNING,
                name,
                f"no index serves {route}: for each organization all rows are read",
            )
        self._resolved.tables.append(table)

    def _values_of(
        self, name: str, declared: TableMapping, source: TableInfo, target: TableInfo
    ) -> Iterator[tuple[str, Value]]:
        for unknown in declared.columns.keys() - target.columns.keys():
            self._problem(
                FindingKind.UNKNOWN_NAME, name, f"{target.table.name} here has no {unknown!r}"
            )
        for column in target.table.copied:
            spec, info = declared.columns.get(column.name), target.columns[column.name]
            if spec is None and (column.name in declared.drop or column.name not in source.columns):
                self._check_default(name, column.name, info)
                continue
            try:
                yield column.name, self._values.of(name, column.name, spec)
            except Impossible as error:
                self._problem(error.kind, name, str(error))

    def _check_default(self, name: str, column: str, info: ColumnInfo) -> None:
        if info.is_required and not info.has_default:
            self._problem(
                FindingKind.NOTHING_GIVEN,
                name,
                f"{column!r} must not be NULL here, and gets nothing: name a column or a value",
            )
        elif info.has_default:
            self._note(
                FindingKind.WITHOUT_SOURCE,
                name,
                f"{column!r} gets its default here, which is not compared",
            )

    def _check_columns(
        self,
        name: str,
        declared: TableMapping,
        route: Route,
        source: TableInfo,
        values: Mapping[str, Value],
    ) -> None:
        used = {value.source for value in values.values()}
        used |= {declared.columns[c].source for c in declared.columns}
        organization = {route.column} if not route.hops else set()
        for column in source.table.copied:
            if column.name not in {*used, *declared.drop, *organization}:
                self._problem(
                    FindingKind.UNMAPPED_COLUMN,
                    name,
                    f"{column.name!r} goes nowhere: name it in `columns` or in `drop`",
                )
        for column_name in set(declared.drop) - source.columns.keys():
            self._problem(FindingKind.UNKNOWN_NAME, name, f"it has no column {column_name!r}")

    def _check_table(
        self, name: str, declared: TableMapping, source: TableInfo, target: TableInfo
    ) -> None:
        if not target.table.key:
            message = f"{target.table.name} here has no primary key: its rows cannot be told apart"
            self._problem(FindingKind.KEY, name, message)
        if declared.keys is not KeyRule.SAME and len(source.table.key) != 1:
            message = f"`keys` is {declared.keys.value!r}, and its key is not one column"
            self._problem(FindingKind.KEY, name, message)
        if not source.is_owned:
            message = "the owner of the schemas does not own it: it can be read, and not finished"
            self._problem(FindingKind.NOT_OWNED, name, message)
        if source.is_hidden:
            message = "its policies hold for the owner of the schemas: give it BYPASSRLS"
            self._problem(FindingKind.ROW_SECURITY, name, message)
        by = declared.changed_by
        if by not in (None, XMIN) and (
            by not in source.columns or source.columns[by].base not in _TIMES
        ):
            self._problem(
                FindingKind.UNKNOWN_NAME, name, f"`changed_by`: {by!r} is no timestamp of it"
            )

    def _problem(self, kind: FindingKind, table: str | None, message: str) -> None:
        self._add_finding(kind, Severity.PROBLEM, table, message)

    def _note(self, kind: FindingKind, table: str, message: str) -> None:
        self._add_finding(kind, Severity.NOTE, table, message)

    def _add_finding(
        self, kind: FindingKind, severity: Severity, table: str | None, message: str
    ) -> None:
        finding = Finding(kind=kind, severity=severity, table=table, message=message)
        self._resolved.findings.append(finding)
