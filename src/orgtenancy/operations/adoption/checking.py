"""Rows of the source that are nobody's, and rows that cannot be here, found before they move."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeAlias

from psycopg import sql
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from orgtenancy.operations.adoption.catalog import ForeignKey, UniqueIndex
from orgtenancy.operations.adoption.findings import Finding, FindingKind, Severity
from orgtenancy.operations.adoption.keys import LARGEST
from orgtenancy.operations.adoption.tables import KEY, ORGANIZATION, AdoptedTable
from orgtenancy.operations.data.tables import fetch
from orgtenancy.schemas.fleet.workers import told

#: How many keys a finding has at the most.
MAX_KEYS = 20

#: Returns the statement of the rows of a table that are looked at, with organization and key.
Rows: TypeAlias = Callable[[AdoptedTable], sql.Composable]


def find_left_over(
    connection: Connection, tables: Iterable[AdoptedTable], known: Sequence[str]
) -> Iterator[Finding]:
    """Yield the rows that are nobody's: they stay in the source.

    Args:
        connection: A connection of the owner, in a transaction that has entered a schema here.
        tables: What becomes of the source.
        known: The keys of all organizations, those that are left behind included.
    """
    for table in tables:
        if table.route.column is None:
            continue
        # What the catalog vouches for need not be counted; it is rarely so for all of a way.
        rows = table.all_rows_with(is_orphan=table.parent_is_missing)
        statement = sql.SQL(
            "SELECT kind, count(*), (array_agg({0} ORDER BY n) FILTER (WHERE n <= {1})) "
            "FROM (SELECT kind, {0}, row_number() OVER (PARTITION BY kind) AS n FROM ("
            "SELECT CASE WHEN {2} IS NOT NULL THEN 'unknown_organization' "
            "WHEN is_orphan THEN 'orphan' ELSE 'without_organization' END AS kind, {0} "
            "FROM ({3}) AS r WHERE {2} IS NULL OR {2} <> ALL ({4}::text[])"
            ") AS nobodys) AS numbered GROUP BY kind ORDER BY kind"
        ).format(KEY, MAX_KEYS, ORGANIZATION, rows, list(known))
        for kind, count, keys in fetch(connection, statement):
            yield Finding(
                kind=FindingKind(kind),
                severity=Severity.LEFT_OVER,
                table=table.name,
                message=_told_left_over(FindingKind(kind), table),
                rows=count,
                keys=tuple(keys),
            )


def find_broken(
    connection: Connection, tables: Sequence[AdoptedTable], rows: Rows
) -> Iterator[Finding]:
    """Yield the rows that cannot be here: each keeps its organization.

    Args:
        connection: A connection of the owner, in a transaction that has entered a schema here.
        tables: What becomes of the source.
        rows: Which rows are looked at.
    """
    for table in tables:
        found: list[Finding] = []
        try:
            with connection.begin_nested():
                found.extend(_find_unordered(connection, table))
            with connection.begin_nested():
                found.extend(_find_broken(connection, table, tables, rows))
        except DBAPIError as error:  # a value that is no value of the type here
            if not found:
                message = f"its rows cannot be read as those of here: {told(error)}"
                found.append(_problem(FindingKind.TYPE, table, message, 0, []))
        yield from found


def _find_broken(
    connection: Connection, table: AdoptedTable, tables: Sequence[AdoptedTable], rows: Rows
) -> Iterator[Finding]:
    yield from _find_rule_breakers(connection, table, rows)
    for index in table.target.uniques:
        if not _is_unique_there(table, index):
            yield from _find_duplicates(connection, table, index, rows)
    for key in table.target.foreign_keys:
        parent = next((t for t in tables if t.into.name == key.table), None)
        if not _is_on_the_way(table, key, parent):
            yield from _find_dangling(connection, table, key, parent, rows)


def _find_unordered(connection: Connection, table: AdoptedTable) -> Iterator[Finding]:
    """Yield the keys that are no number which a UUID can begin with."""
    if table.ordered_key is None:
        return
    column = sql.Identifier(table.ordered_key)
    statement = sql.SQL(
        "SELECT count(*) OVER (), {0}::text FROM {1} WHERE {0} < 0 OR {0} >= {2} LIMIT {3}"
    ).format(column, table.source.table.rows, sql.Literal(LARGEST), MAX_KEYS)
    if found := fetch(connection, statement):
        message = "its key is not between 0 and 2^48 - 1, and cannot be ordered"
        keys = [(None, key) for _, key in found]
        yield _problem(FindingKind.KEY, table, message, found[0][0], keys)


def _told_left_over(kind: FindingKind, table: AdoptedTable) -> str:
    match kind:
        case FindingKind.ORPHAN:
            hop = table.route.hops[0]
            return f"{', '.join(hop.columns)} leads to no row of {hop.table}"
        case FindingKind.UNKNOWN_ORGANIZATION:
            return "there is no such organization"
    return "no organization"


def _find_rule_breakers(
    connection: Connection, table: AdoptedTable, rows: Rows
) -> Iterator[Finding]:
    columns = table.target.columns
    rules = {
        (FindingKind.MISSING_VALUE, f"{name!r} is NULL, and must not be here"): sql.SQL(
            "{} IS NULL"
        ).format(sql.Identifier(name))
        for name in table.values
        if columns[name].is_required
    }
    for rule in table.target.rules:
        broken = sql.SQL("NOT ({})").format(sql.SQL(rule.expression))  # the server wrote it
        rules[FindingKind.BROKEN_RULE, f"it breaks {rule.name!r} here"] = broken
    if not rules:
        return
    counts = sql.SQL(", ").join(
        sql.SQL("count(*) FILTER (WHERE {})").format(condition) for condition in rules.values()
    )
    given = _given(table, rows)
    ((*found,),) = fetch(connection, sql.SQL("SELECT {} FROM {}").format(counts, given))
    for ((kind, message), condition), count in zip(rules.items(), found, strict=True):
        if count:
            which = sql.SQL("SELECT {}, {} FROM {} WHERE {} LIMIT {}").format(
                ORGANIZATION, KEY, given, condition, MAX_KEYS
            )
            keys = fetch(connection, which)
            yield _problem(kind, table, message, count, keys)


def _find_duplicates(
    connection: Connection, table: AdoptedTable, index: UniqueIndex, rows: Rows
) -> Iterator[Finding]:
    parts = [sql.SQL("({})").format(sql.SQL(part)) for part in index.parts]
    conditions: list[sql.Composable] = [sql.SQL("{} IS NOT NULL").format(part) for part in parts]
    if index.predicate is not None:
        conditions.append(sql.SQL(index.predicate))
    statement = sql.SQL(
        "SELECT sum(n) OVER (), organization, first, last FROM ("
        "SELECT {0} AS organization, min({1}) AS first, max({1}) AS last, count(*) AS n "
        "FROM {2} WHERE {3} GROUP BY {0}, {4} HAVING count(*) > 1"
        ") AS doubled LIMIT {5}"
    ).format(
        ORGANIZATION,
        KEY,
        _given(table, rows),
        sql.SQL(" AND ").join(conditions),
        sql.SQL(", ").join(parts),
        MAX_KEYS,
    )
    if found := fetch(connection, statement):
        keys = [(row[1], key) for row in found for key in dict.fromkeys(row[2:])]
        message = f"the same {', '.join(index.parts)} here ({index.name})"
        yield _problem(FindingKind.DUPLICATE_KEY, table, message, int(found[0][0]), keys)


def _find_dangling(
    connection: Connection,
    table: AdoptedTable,
    key: ForeignKey,
    parent: AdoptedTable | None,
    rows: Rows,
) -> Iterator[Finding]:
    if not set(key.columns) <= table.values.keys():
        return
    mine = [sql.Identifier("c", name) for name in key.columns]
    conditions = [sql.SQL("{} IS NOT NULL").format(column) for column in mine]
    if parent is not None and set(key.references) <= parent.values.keys():
        same = [
            sql.SQL("{} = {}").format(sql.Identifier("p", theirs), column)
            for theirs, column in zip(key.references, mine, strict=True)
        ]
        if parent.route.column is not None and table.route.column is not None:
            same.append(sql.SQL("p.{0} = c.{0}").format(ORGANIZATION))
        conditions.append(
            sql.SQL("NOT EXISTS (SELECT FROM {} WHERE {})").format(
                _given(parent, rows, "p"), sql.SQL(" AND ").join(same)
            )
        )
    statement = sql.SQL("SELECT count(*) OVER (), c.{}, c.{} FROM {} WHERE {} LIMIT {}").format(
        ORGANIZATION,
        KEY,
        _given(table, rows, "c"),
        sql.SQL(" AND ").join(conditions),
        MAX_KEYS,
    )
    if found := fetch(connection, statement):
        message = (
            f"{', '.join(key.columns)} leads to no row of {key.table} of the same organization "
            f"({key.name})"
        )
        keys = [row[1:] for row in found]
        yield _problem(FindingKind.BROKEN_REFERENCE, table, message, found[0][0], keys)


def _given(table: AdoptedTable, rows: Rows, alias: str = "r") -> sql.Composable:
    """Return what follows FROM for the rows of a table that are somebody's."""
    if table.route.column is None:
        return sql.SQL("({}) AS {}").format(rows(table), sql.Identifier(alias))
    return sql.SQL("(SELECT * FROM ({}) AS a WHERE {} IS NOT NULL) AS {}").format(
        rows(table), ORGANIZATION, sql.Identifier(alias)
    )


def _is_unique_there(table: AdoptedTable, index: UniqueIndex) -> bool:
    """Return whether the source vouches for what is unique here."""
    if index.columns is None or not index.columns <= table.values.keys():
        return False
    values = [table.values[name] for name in index.columns]
    if not all(value.is_injective for value in values):
        return False
    there = {value.source for value in values}
    if not table.route.hops and table.route.column is not None:
        there.add(table.route.column)  # it is the same for all rows of an organization
    return any(i.columns is not None and i.columns <= there for i in table.source.uniques)


def _is_on_the_way(table: AdoptedTable, key: ForeignKey, parent: AdoptedTable | None) -> bool:
    """Return whether a row with an organization has what it refers to, in the same one."""
    if not table.route.hops or not set(key.columns) <= table.values.keys():
        return False
    hop = table.route.hops[0]
    if parent is None or parent.name != hop.table:
        return False
    there = tuple(table.values[name].source for name in key.columns)
    return there == hop.columns


def _problem(
    kind: FindingKind,
    table: AdoptedTable,
    message: str,
    count: int,
    keys: Iterable[tuple[str | None, ...]],
) -> Finding:
    found = list(keys)
    return Finding(
        kind=kind,
        severity=Severity.PROBLEM,
        table=table.name,
        message=message,
        rows=count,
        keys=tuple(str(key) for _, key in found),
        organizations=tuple(dict.fromkeys(str(one) for one, _ in found if one is not None)),
    )
