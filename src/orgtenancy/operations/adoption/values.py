"""What a column here gets, as an expression of the columns there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from psycopg import sql

from orgtenancy.operations.adoption.catalog import Casts, ColumnInfo, TableInfo
from orgtenancy.operations.adoption.findings import FindingKind
from orgtenancy.operations.adoption.keys import uuid_expression
from orgtenancy.operations.adoption.mapping import (
    AdoptionMapping,
    ColumnMapping,
    KeyRule,
    TableMapping,
)
from orgtenancy.operations.adoption.tables import ROW, Value

_UUID, _UUIDS = 2950, 2951  # the numbers of the types
_NAIVE, _AWARE = 1114, 1184  # timestamp without, and with time zone


class Impossible(Exception):
    """A column cannot get what it should.

    Attributes:
        kind: Why, in a word.
    """

    def __init__(self, kind: FindingKind, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Values:
    """Makes the expressions.

    Args:
        mapping: What is declared.
        source: The tables there.
        target: The tables here.
        feeds: Which table there goes to which here.
        casts: What casts there are.
    """

    def __init__(
        self,
        mapping: AdoptionMapping,
        source: Mapping[str, TableInfo],
        target: Mapping[str, TableInfo],
        feeds: Mapping[str, str],
        casts: Casts,
    ) -> None:
        self._mapping, self._source, self._target = mapping, source, target
        self._feeds, self._casts = feeds, casts

    def of(self, table: str, column: str, declared: ColumnMapping | None) -> Value:
        """Return what a column here gets.

        Args:
            table: The table there.
            column: The column here.
            declared: What is declared of it; None takes the column of the same name.

        Raises:
            Impossible: If it cannot get that.
        """
        declared = declared or ColumnMapping(source=column)
        into = self._target[self._feeds[table]].columns[column]
        if declared.source is None:
            return Value(_constant(declared.value, into), f"= {declared.value!r}", None, False)
        name, columns = declared.source, self._source[table].columns
        if name not in columns:
            raise Impossible(
                FindingKind.UNKNOWN_NAME, f"{column!r} here: it has no column {name!r}"
            )
        has, told, injective = columns[name], name, True
        expression: sql.Composable = sql.Identifier(ROW, name)
        type_id = has.type_id
        parent = self._parent(table, column, declared)
        rule = self._mapping.tables.get(parent or "", TableMapping()).keys
        if parent is not None and rule is not KeyRule.SAME:
            expression = self._key(expression, parent, rule, is_array=has.is_array)
            type_id = _UUIDS if has.is_array else _UUID
            told = f"{told}, as {rule.value} of {parent}"
        if declared.prefix:
            expression = sql.SQL("{} || {}::text").format(declared.prefix, expression)
            type_id, told = 25, f"{told}, after {declared.prefix!r}"
        elif declared.convert == "utc":
            if (type_id, into.type_id) != (_NAIVE, _AWARE):
                raise Impossible(
                    FindingKind.TYPE,
                    f"{column!r} here: `utc` leads from timestamp to timestamptz, and this is "
                    f"from {has.base} to {into.base}",
                )
            expression = sql.SQL("{} AT TIME ZONE 'UTC'").format(expression)
            type_id, told = _AWARE, f"{told}, in UTC"
        elif declared.convert == "cast":
            expression = self._asked_cast(expression, type_id, has, into)
            type_id, told, injective = into.type_id, f"{told}, cast to {into.type}", False
        if type_id != into.type_id:
            expression = self._cast(expression, type_id, column, has, into)
        if declared.default is not None:
            expression = sql.SQL("coalesce({}, {})").format(
                expression, _constant(declared.default, into)
            )
            told, injective = f"{told}, or {declared.default!r}", False
        return Value(expression, told, name, injective)

    def _parent(self, table: str, column: str, declared: ColumnMapping) -> str | None:
        """Return the table whose keys a column has, if they become others."""
        if declared.key_of is not None:
            if declared.key_of not in self._source:
                raise Impossible(
                    FindingKind.UNKNOWN_NAME,
                    f"{column!r} here: there is no table {declared.key_of!r}",
                )
            return declared.key_of
        there, here = self._source[table], self._target[self._feeds[table]]
        candidates = [table] if there.table.key == (declared.source,) else []
        for key in there.foreign_keys:
            if declared.source in key.columns:
                theirs = key.references[key.columns.index(declared.source)]
                if self._source[key.table].table.key == (theirs,):
                    candidates.append(key.table)
        for key in here.foreign_keys:
            if column in key.columns:
                theirs = key.references[key.columns.index(column)]
                if self._target[key.table].table.key == (theirs,):
                    candidates += [name for name, into in self._feeds.items() if into == key.table]
        known = self._mapping.tables
        changed = (c for c in candidates if known.get(c, TableMapping()).keys is not KeyRule.SAME)
        return next(changed, None)

    def _key(
        self, expression: sql.Composable, parent: str, rule: KeyRule, *, is_array: bool
    ) -> sql.Composable:
        def made_of(key: sql.Composable) -> sql.Composable:
            return uuid_expression(
                self._mapping.namespace, parent, key, ordered=rule is KeyRule.ORDERED_UUID
            )

        if not is_array:
            return made_of(expression)
        return sql.SQL(
            "CASE WHEN {0} IS NOT NULL THEN ARRAY(SELECT {1} FROM unnest({0}) "
            "WITH ORDINALITY AS u (one, n) ORDER BY n) END"
        ).format(expression, made_of(sql.SQL("one")))

    def _asked_cast(
        self, expression: sql.Composable, type_id: int, has: ColumnInfo, into: ColumnInfo
    ) -> sql.Composable:
        """Return a cast as somebody asked for it, limits included."""
        is_direct = (type_id, into.type_id) in self._casts or has.is_text or into.is_text
        if not is_direct and type_id != into.type_id:
            expression = sql.SQL("CAST({} AS text)").format(expression)
        # The server wrote and quoted the name of the type.
        return sql.SQL("CAST({} AS {})").format(expression, sql.SQL(into.type))

    def _cast(
        self,
        expression: sql.Composable,
        type_id: int,
        column: str,
        has: ColumnInfo,
        into: ColumnInfo,
    ) -> sql.Composable:
        """Return a cast that loses nothing, if there is one."""
        # The same enum in another schema; a label that is missing is an error.
        if has.is_enum and into.is_enum:
            expression = sql.SQL("CAST({} AS text)").format(expression)
        elif not (
            self._casts.get((type_id, into.type_id), False)
            or (type_id == has.type_id and has.is_text and into.is_text)
        ):
            given = has.base if type_id == has.type_id else "a UUID"
            raise Impossible(
                FindingKind.TYPE,
                f"{column!r} here is {into.type} and would get {given}: say `convert`",
            )
        # Without the limits of the column: the insert keeps them, with an error.
        return sql.SQL("CAST({} AS {})").format(expression, sql.SQL(into.base))


def _constant(value: Any, into: ColumnInfo) -> sql.Composable:
    if into.base in ("json", "jsonb"):
        value = json.dumps(value)
    return sql.SQL("CAST({} AS {})").format(sql.Literal(value), sql.SQL(into.type))
