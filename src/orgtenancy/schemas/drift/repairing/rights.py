"""Mending rights, owners of schemas, and comments."""

from __future__ import annotations

from collections.abc import Iterator

from psycopg import sql

from orgtenancy.schemas.drift.comparing import Mismatch
from orgtenancy.schemas.drift.items import Item
from orgtenancy.schemas.drift.repairing.workshop import (
    CannotRepair,
    Phase,
    Piece,
    Workshop,
    joined,
)

_WITH_OPTION = " WITH GRANT OPTION"
_DEFAULTS = {
    "tables": sql.SQL("TABLES"),
    "sequences": sql.SQL("SEQUENCES"),
    "functions": sql.SQL("FUNCTIONS"),
    "types": sql.SQL("TYPES"),
}
_ROUTINES = ("function", "procedure", "aggregate")
_WITHIN_TABLE = ("constraint", "trigger", "policy")
_COMMENTED = {
    "table": sql.SQL("TABLE"),
    "partitioned table": sql.SQL("TABLE"),
    "view": sql.SQL("VIEW"),
    "materialized view": sql.SQL("MATERIALIZED VIEW"),
    "foreign table": sql.SQL("FOREIGN TABLE"),
    "sequence": sql.SQL("SEQUENCE"),
    "composite type": sql.SQL("TYPE"),
    "index": sql.SQL("INDEX"),
    "constraint": sql.SQL("CONSTRAINT"),
    "trigger": sql.SQL("TRIGGER"),
    "policy": sql.SQL("POLICY"),
    "type": sql.SQL("TYPE"),
    "domain": sql.SQL("DOMAIN"),
    "function": sql.SQL("FUNCTION"),
    "procedure": sql.SQL("PROCEDURE"),
}


def mend_schema(workshop: Workshop, mismatch: Mismatch) -> Iterator[Piece]:
    """Give a schema back to its owner."""
    yield Piece(
        Phase.OWNER,
        sql.SQL("ALTER SCHEMA {} OWNER TO CURRENT_USER").format(sql.Identifier(workshop.schema)),
    )


def mend_grants(workshop: Workshop, mismatch: Mismatch) -> Iterator[Piece]:
    """Take rights away, and give those that the reference gives."""
    item = mismatch.item
    kind = item.kind.removeprefix("grants on ")
    column = workshop.own(item) if kind == "column" else None
    phase = Phase.GRANT if column is None else Phase.COLUMN_GRANT
    for verb, privileges, label, option in _changes(mismatch):
        words = _privileges(privileges, column)
        statement = _verb(verb, words, _target(workshop, kind, item), workshop, label, option)
        yield Piece(phase, statement, place=verb == "GRANT")
    if kind == "table" and mismatch.actual is not None:
        yield from _regrant_columns(workshop, item.name)


def mend_default_privileges(workshop: Workshop, mismatch: Mismatch) -> Iterator[Piece]:
    """Set what roles may do with objects that are made later."""
    kind, _, maker = mismatch.item.name.partition(" of ")
    if kind not in _DEFAULTS:
        raise CannotRepair("unknown default privileges")
    prefix = sql.SQL("ALTER DEFAULT PRIVILEGES {}IN SCHEMA {} ").format(
        sql.SQL("FOR ROLE {} ").format(sql.Identifier(maker)) if maker else sql.SQL(""),
        sql.Identifier(workshop.schema),
    )
    for verb, privileges, label, option in _changes(mismatch):
        words = _privileges(privileges, None)
        statement = prefix + _verb(verb, words, _DEFAULTS[kind], workshop, label, option)
        yield Piece(Phase.GRANT, statement, place=verb == "GRANT")


def mend_comment(workshop: Workshop, mismatch: Mismatch) -> Iterator[Piece]:
    """Set or remove a comment."""
    item = mismatch.item
    comment = None if mismatch.expected is None else mismatch.expected.facets["text"]
    statement = sql.SQL("COMMENT ON {} IS {}").format(
        _commented(workshop, item.kind.removeprefix("comment on "), item), sql.Literal(comment)
    )
    yield Piece(Phase.COMMENT, statement)


def _changes(mismatch: Mismatch) -> Iterator[tuple[str, list[str], str, bool]]:
    new = {} if mismatch.expected is None else mismatch.expected.facets
    # What is made anew has the rights that default privileges give: all are taken first.
    old = new if mismatch.actual is None else mismatch.actual.facets
    made = mismatch.actual is None
    for label in sorted(new.keys() | old.keys()):
        if made or new.get(label) != old.get(label):
            if label in old:
                yield "REVOKE", ["ALL"], label, False
            if label in new:
                given = new[label].split(", ")
                plain = [one for one in given if not one.endswith(_WITH_OPTION)]
                option = [one.removesuffix(_WITH_OPTION) for one in given if one not in plain]
                for privileges, with_option in ((plain, False), (option, True)):
                    if privileges:
                        yield "GRANT", privileges, label, with_option


def _verb(
    verb: str,
    words: sql.Composable,
    target: sql.Composable,
    workshop: Workshop,
    label: str,
    option: bool,
) -> sql.Composable:
    return sql.SQL("{} {} ON {} {} {}{}").format(
        sql.SQL(verb),
        words,
        target,
        sql.SQL("TO" if verb == "GRANT" else "FROM"),
        workshop.grantee_of(label),
        sql.SQL(_WITH_OPTION if option else ""),
    )


def _privileges(privileges: list[str], column: sql.Composable | None) -> sql.Composable:
    of_column = sql.SQL("") if column is None else sql.SQL(" ({})").format(column)
    return joined(sql.SQL(privilege) + of_column for privilege in privileges)


def _target(workshop: Workshop, kind: str, item: Item) -> sql.Composable:
    match kind:
        case "schema":
            return sql.SQL("SCHEMA {}").format(sql.Identifier(workshop.schema))
        case "column":
            return sql.SQL("TABLE {}").format(workshop.table(item))
        case "function":
            return sql.SQL("ROUTINE {}").format(workshop.routine(item))
    return sql.SQL("{} {}").format(sql.SQL(kind.upper()), workshop.identifier(item.name))


def _regrant_columns(workshop: Workshop, table: str) -> Iterator[Piece]:
    """Taking a right on a table away takes it away on its columns as well."""
    for item in workshop.children(table):
        if item.kind == "grants on column":
            for piece in mend_grants(workshop, Mismatch(item, None)):
                if piece.place:
                    yield piece


def _commented(workshop: Workshop, kind: str, item: Item) -> sql.Composable:
    if kind == "schema":
        return sql.SQL("SCHEMA {}").format(sql.Identifier(workshop.schema))
    if kind == "column":
        return sql.SQL("COLUMN {}").format(workshop.identifier(item.parent or "", item.own_name))
    if kind not in _COMMENTED:
        raise CannotRepair(f"a comment on a {kind} is set by a revision only")
    if kind in _WITHIN_TABLE:
        return sql.SQL("{} {} ON {}").format(
            _COMMENTED[kind], workshop.own(item), workshop.table(item)
        )
    if kind in _ROUTINES:
        return _COMMENTED[kind] + sql.SQL(" ") + workshop.routine(item)
    return _COMMENTED[kind] + sql.SQL(" ") + workshop.identifier(item.name)
