"""A table of the source together with the one here, and the statements that read its rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from psycopg import sql

from orgtenancy.operations.adoption.catalog import TableInfo
from orgtenancy.operations.adoption.routes import Route
from orgtenancy.operations.data.digests import row_hash
from orgtenancy.operations.data.tables import Table

#: What the organization, the key in the source, and the hash of a row are called in statements.
ORGANIZATION, KEY, HASH = map(sql.Identifier, ("$organization", "$key", "$hash"))

#: The alias of the table itself, whose columns expressions are made of.
ROW = "t"


@dataclass(frozen=True, slots=True)
class Value:
    """What a column here gets.

    Attributes:
        expression: It, of the columns of a row called `ROW`.
        told: The same for people.
        source: The column of the source that it is made of, if it is one.
        is_injective: Whether two values of that column never become one.
    """

    expression: sql.Composable
    told: str
    source: str | None
    is_injective: bool


@dataclass(frozen=True, slots=True)
class SourceTable:
    """A table of the source, and how its rows are known to be an organization's.

    Attributes:
        source: The table.
        route: The way to the organization.
        parents: The tables along it.
    """

    source: TableInfo
    route: Route
    parents: tuple[TableInfo, ...]

    @property
    def name(self) -> str:
        """Its name."""
        return self.source.table.name


@dataclass(frozen=True, slots=True)
class AdoptedTable(SourceTable):
    """A table of the source, and what its rows become here.

    Attributes:
        target: The table here.
        values: What each column here gets; others get their default.
        changed_by: How changed rows are found.
        ordered_key: The column whose numbers become the beginning of a UUID, if one does.
    """

    target: TableInfo
    values: Mapping[str, Value]
    changed_by: str | None
    ordered_key: str | None = None

    @property
    def into(self) -> Table:
        """The table here, with the columns that get something."""
        table = self.target.table
        return replace(table, columns=tuple(c for c in table.copied if c.name in self.values))

    @property
    def read(self) -> Table:
        """The table there, with the columns that something here is made of."""
        table, used = self.source.table, {value.source for value in self.values.values()}
        # What is computed there is a value like others here.
        columns = (replace(c, is_generated=False) for c in table.columns if c.name in used)
        return replace(table, columns=tuple(columns))

    @property
    def has_index(self) -> bool:
        """Whether the rows of one organization are found without reading those of others."""
        if self.route.column is None:
            return True
        steps = [*(hop.columns[0] for hop in self.route.hops), self.route.column]
        return all(
            step in one.indexed
            for step, one in zip(steps, (self.source, *self.parents), strict=True)
        )

    def here(self, schema: str) -> AdoptedTable:
        """Return the same for another schema here, which has the same tables."""
        table = replace(self.target.table, schema=schema)
        return replace(self, target=replace(self.target, table=table))

    def rows_of(self, organization: str) -> sql.Composable:
        """Return the statement of an organization's rows as they become here."""
        return sql.SQL("SELECT {} FROM {} {}").format(
            self._expressions(), self._reached(), self._only(organization)
        )

    def hashed_rows_of(self, organization: str) -> sql.Composable:
        """Return the same with the hash of each row as it is in the source."""
        return sql.SQL("SELECT {}, {} AS {} FROM {} {}").format(
            self._expressions(),
            row_hash(self.read, ROW),
            HASH,
            self._reached(),
            self._only(organization),
        )

    def read_rows_of(self, organization: str) -> sql.Composable:
        """Return the statement of an organization's rows as they are in the source."""
        columns = [sql.Identifier(ROW, column.name) for column in self.read.columns]
        return sql.SQL("SELECT {} FROM {} {}").format(
            sql.SQL(", ").join(columns), self._reached(), self._only(organization)
        )

    def named_rows_of(self, organization: str) -> sql.Composable:
        """Return the same with the organization and the key of each row."""
        return sql.SQL("SELECT {} FROM {} {}").format(
            self._named_expressions(), self._reached(), self._only(organization)
        )

    def all_rows(self) -> sql.Composable:
        """Return the statement of all rows, with organization and key, NULL if it has none."""
        return sql.SQL("SELECT {} FROM {}").format(
            self._named_expressions(), self._joined("LEFT JOIN")
        )

    def changed_rows_of(self, organization: str, condition: sql.Composable) -> sql.Composable:
        """Return the statement of an organization's rows that fulfil a condition on `ROW`."""
        where = self._only(organization)
        glue = sql.SQL("AND") if self.route.column is not None else sql.SQL("WHERE")
        return sql.SQL("SELECT {} FROM {} {} {} ({})").format(
            self._expressions(), self._reached(), where, glue, condition
        )

    @property
    def organization(self) -> sql.Composable:
        """The expression of a row's organization, as text."""
        if self.route.column is None:
            return sql.SQL("NULL::text")
        last = _alias(len(self.route.hops))
        return sql.SQL("{}::text").format(sql.Identifier(last, self.route.column))

    @property
    def key(self) -> sql.Composable:
        """The expression of a row's key in the source, as text."""
        names = self.source.table.key
        parts = [sql.SQL("{}::text").format(sql.Identifier(ROW, name)) for name in names]
        if not parts:
            return sql.SQL("{}.ctid::text").format(sql.Identifier(ROW))
        if len(parts) == 1:
            return parts[0]
        return sql.SQL("'(' || {} || ')'").format(sql.SQL(" || ', ' || ").join(parts))

    @property
    def parent_is_missing(self) -> sql.Composable:
        """The condition, in `all_rows`, that a row leads to one that is not there."""
        if not self.route.hops:
            return sql.SQL("false")
        hop = self.route.hops[0]
        leads = [sql.SQL("{} IS NOT NULL").format(sql.Identifier(ROW, c)) for c in hop.columns]
        gone = sql.SQL("{} IS NULL").format(sql.Identifier(_alias(1), hop.references[0]))
        return sql.SQL(" AND ").join([*leads, gone])

    def all_rows_with(self, **columns: sql.Composable) -> sql.Composable:
        """Return the statement of all rows with organization, key and some expressions."""
        given = [
            sql.SQL("{} AS {}").format(expression, sql.Identifier(name))
            for name, expression in columns.items()
        ]
        named = [
            sql.SQL("{} AS {}").format(self.organization, ORGANIZATION),
            sql.SQL("{} AS {}").format(self.key, KEY),
        ]
        return sql.SQL("SELECT {} FROM {}").format(
            sql.SQL(", ").join([*named, *given]), self._joined("LEFT JOIN")
        )

    def _expressions(self) -> sql.Composable:
        return sql.SQL(", ").join(
            sql.SQL("{} AS {}").format(
                self.values[column.name].expression, sql.Identifier(column.name)
            )
            for column in self.into.columns
        )

    def _named_expressions(self) -> sql.Composable:
        # What gets its default is unknown: indexes and rules that speak of it stay silent.
        others = [
            sql.SQL("NULL::{} AS {}").format(sql.SQL(info.base), sql.Identifier(name))
            for name, info in self.target.columns.items()
            if name not in self.values
        ]
        named = [
            sql.SQL("{} AS {}").format(self.organization, ORGANIZATION),
            sql.SQL("{} AS {}").format(self.key, KEY),
        ]
        return sql.SQL(", ").join([*named, self._expressions(), *others])

    def _reached(self) -> sql.Composable:
        """Return what follows FROM for the rows of one organization, from it to them.

        Step by step, each by its index: joined as PostgreSQL likes, all rows of a table in
        between may be read.
        """
        if not self.has_index:
            return self._joined("JOIN")
        tables, last = (self.source, *self.parents), len(self.route.hops)
        reached = sql.SQL("{} AS {}").format(tables[last].table.rows, sql.Identifier(_alias(last)))
        for number in range(last - 1, -1, -1):
            hop = self.route.hops[number]
            conditions = [
                sql.SQL("x.{} = {}").format(
                    sql.Identifier(mine), sql.Identifier(_alias(number + 1), theirs)
                )
                for mine, theirs in zip(hop.columns, hop.references, strict=True)
            ]
            reached += sql.SQL(
                " CROSS JOIN LATERAL "
                "(SELECT x.*, x.xmin, x.ctid FROM {} AS x WHERE {} OFFSET 0) AS {}"
            ).format(
                tables[number].table.rows,
                sql.SQL(" AND ").join(conditions),
                sql.Identifier(_alias(number)),
            )
        return reached

    def _joined(self, how: str) -> sql.Composable:
        joined = sql.SQL("{} AS {}").format(self.source.table.rows, sql.Identifier(ROW))
        for number, (hop, parent) in enumerate(zip(self.route.hops, self.parents, strict=True), 1):
            conditions = [
                sql.SQL("{} = {}").format(
                    sql.Identifier(_alias(number), theirs),
                    sql.Identifier(_alias(number - 1), mine),
                )
                for mine, theirs in zip(hop.columns, hop.references, strict=True)
            ]
            joined += sql.SQL(" {} {} AS {} ON {}").format(
                sql.SQL(how),
                parent.table.rows,
                sql.Identifier(_alias(number)),
                sql.SQL(" AND ").join(conditions),
            )
        return joined

    def _only(self, organization: str) -> sql.Composable:
        if self.route.column is None:
            return sql.SQL("")
        last = self.parents[-1] if self.parents else self.source
        # Of the column's own type, so that an index serves it.
        return sql.SQL("WHERE {} = {}::{}").format(
            sql.Identifier(_alias(len(self.route.hops)), self.route.column),
            sql.Literal(organization),
            sql.SQL(last.columns[self.route.column].base),  # the server wrote and quoted it
        )


def _alias(number: int) -> str:
    return f"{ROW}{number}" if number else ROW
