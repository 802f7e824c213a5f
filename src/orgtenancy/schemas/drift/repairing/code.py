"""Mending functions, types and text search configurations."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from psycopg import sql

from orgtenancy.schemas.drift.comparing import Mismatch
from orgtenancy.schemas.drift.items import Item
from orgtenancy.schemas.drift.repairing.relations import mend_owner
from orgtenancy.schemas.drift.repairing.workshop import (
    CannotRepair,
    Phase,
    Piece,
    Workshop,
    joined,
)

_WORDS_OF_KIND = "words of kind "


def mend_routine(workshop: Workshop, mismatch: Mismatch) -> Iterator[Piece]:
    """Make, drop, replace or remake a function or procedure."""
    item, expected, actual = mismatch.item, mismatch.expected, mismatch.actual
    word = sql.SQL("PROCEDURE" if item.kind == "procedure" else "FUNCTION")
    name = workshop.routine(item)
    if expected is not None and actual is not None:
        yield from mend_owner(workshop, mismatch, word, name)
        if _without(expected, "owner") == _without(actual, "owner"):
            return
    if actual is not None and (expected is None or _signature(expected) != _signature(actual)):
        yield Piece(Phase.DROP_FUNCTION, sql.SQL("DROP {} {}").format(word, name))
    if expected is not None:
        # A body that is parsed when it is made needs the tables that it names.
        parsed = "BEGIN ATOMIC" in expected.facets["body"] or "RETURN " in expected.facets["body"]
        phase = Phase.FUNCTION_OF_TABLES if parsed else Phase.FUNCTION
        yield Piece(phase, workshop.definition(expected), place=workshop.place(expected))


def mend_enum(workshop: Workshop, mismatch: Mismatch) -> Iterator[Piece]:
    """Make an enum, drop it, or add values to it."""
    item, expected, actual = mismatch.item, mismatch.expected, mismatch.actual
    name = workshop.identifier(item.name)
    if expected is None:
        yield Piece(Phase.DROP_TYPE, sql.SQL("DROP TYPE {}").format(name))
        return
    if actual is None:
        values = workshop.server_text(expected.facets.get("values", ""))
        yield Piece(Phase.TYPE, sql.SQL("CREATE TYPE {} AS ENUM ({})").format(name, values))
        return
    yield from mend_owner(workshop, mismatch, sql.SQL("TYPE"), name)
    wanted, there = _values(expected), _values(actual)
    if [value for value in wanted if value in there] != there:
        raise CannotRepair("values of an enum cannot be removed, renamed or reordered")
    for number, value in enumerate(wanted):
        if value not in there:
            statement = sql.SQL("ALTER TYPE {} ADD VALUE {}").format(name, _literal(value))
            if number:
                statement += sql.SQL(" AFTER {}").format(_literal(wanted[number - 1]))
            elif there:
                statement += sql.SQL(" BEFORE {}").format(_literal(there[0]))
            yield Piece(Phase.TYPE, statement, place=number)


def mend_domain(workshop: Workshop, mismatch: Mismatch) -> Iterator[Piece]:
    """Make or drop a domain, or change its default, checks and whether it takes null."""
    item, expected, actual = mismatch.item, mismatch.expected, mismatch.actual
    name = workshop.identifier(item.name)
    if expected is None:
        yield Piece(Phase.DROP_TYPE, sql.SQL("DROP DOMAIN {}").format(name))
        return
    new = expected.facets
    if actual is None:
        yield Piece(
            Phase.TYPE,
            sql.SQL("CREATE DOMAIN {} AS {}{}").format(
                name,
                workshop.server_text(new["type"]),
                workshop.server_text(f" COLLATE {new['collation']}" if "collation" in new else ""),
            ),
        )
        actual = Item(expected.kind, None, expected.name, f"type: {new['type']}")
    else:
        yield from mend_owner(workshop, mismatch, sql.SQL("DOMAIN"), name)
    old = actual.facets
    if new["type"] != old["type"]:
        raise CannotRepair("the type of a domain cannot be changed")
    for change in _domain_changes(new, old):
        statement = sql.SQL("ALTER DOMAIN {} ").format(name) + workshop.server_text(change)
        yield Piece(Phase.TYPE, statement, place=1)


def mend_type(workshop: Workshop, mismatch: Mismatch) -> Iterator[Piece]:
    """Make or drop a composite type."""
    item, expected, actual = mismatch.item, mismatch.expected, mismatch.actual
    name = workshop.identifier(item.name)
    if expected is None:
        yield Piece(Phase.DROP_TYPE, sql.SQL("DROP TYPE {}").format(name))
    elif actual is None and item.kind == "composite type":
        columns = [
            workshop.own(column) + workshop.server_text(f" {column.facets['type']}")
            for column in workshop.columns(item.name)
        ]
        yield Piece(Phase.TYPE, sql.SQL("CREATE TYPE {} AS ({})").format(name, joined(columns)))
    elif actual is not None and _without(expected, "owner") == _without(actual, "owner"):
        yield from mend_owner(workshop, mismatch, sql.SQL("TYPE"), name)
    else:
        raise CannotRepair(f"a {item.kind} is made and changed by a revision only")


def mend_text_search(workshop: Workshop, mismatch: Mismatch) -> Iterator[Piece]:
    """Make or drop a text search configuration, or change what it does with words."""
    item, expected, actual = mismatch.item, mismatch.expected, mismatch.actual
    name, word = workshop.identifier(item.name), sql.SQL("TEXT SEARCH CONFIGURATION")
    if expected is None:
        yield Piece(Phase.DROP_TYPE, sql.SQL("DROP {} {}").format(word, name))
        return
    new = expected.facets
    if actual is None:
        yield Piece(
            Phase.TYPE,
            sql.SQL("CREATE {} {} (PARSER = {})").format(
                word, name, workshop.server_text(new["parser"])
            ),
        )
        old: Mapping[str, str] = {"parser": new["parser"]}
    else:
        old = actual.facets
        yield from mend_owner(workshop, mismatch, word, name)
    if new["parser"] != old["parser"]:
        raise CannotRepair("the parser of a text search configuration cannot be changed")
    for facet in sorted(new.keys() | old.keys()):
        if facet.startswith(_WORDS_OF_KIND) and new.get(facet) != old.get(facet):
            change = _mapping(facet, new.get(facet), old.get(facet))
            statement = sql.SQL("ALTER {} {} ").format(word, name) + workshop.server_text(change)
            yield Piece(Phase.TEXT_SEARCH, statement)


def refuse(workshop: Workshop, mismatch: Mismatch) -> Iterator[Piece]:
    """Say that a revision has to do it.

    Raises:
        CannotRepair: Always.
    """
    raise CannotRepair(f"a {mismatch.item.kind} is made and changed by a revision only")


def _mapping(facet: str, new: str | None, old: str | None) -> str:
    kind = facet.removeprefix(_WORDS_OF_KIND)
    if new is None:
        return f"DROP MAPPING FOR {kind}"
    return f"{'ADD' if old is None else 'ALTER'} MAPPING FOR {kind} WITH {new}"


def _domain_changes(new: Mapping[str, str], old: Mapping[str, str]) -> Iterator[str]:
    if new.get("default") != old.get("default"):
        yield f"SET DEFAULT {new['default']}" if "default" in new else "DROP DEFAULT"
    if new.get("null") != old.get("null"):
        yield "SET NOT NULL" if "null" in new else "DROP NOT NULL"
    for facet in sorted(new.keys() | old.keys()):
        if facet.startswith("constraint ") and new.get(facet) != old.get(facet):
            quoted = sql.Identifier(facet.removeprefix("constraint ")).as_string(None)
            if facet in old:
                yield f"DROP CONSTRAINT {quoted}"
            if facet in new:
                yield f"ADD CONSTRAINT {quoted} {new[facet]}"


def _signature(item: Item) -> tuple[str | None, ...]:
    return tuple(item.facets.get(facet) for facet in ("arguments", "returns"))


def _without(item: Item, facet: str) -> dict[str, str]:
    return {name: value for name, value in item.facets.items() if name != facet}


def _values(item: Item) -> list[str]:
    # Quoted by the server; a quote within a value is doubled, so it cannot end one.
    return re.findall(r"'(?:[^']|'')*'", item.facets.get("values", ""))


def _literal(value: str) -> sql.Composable:
    return sql.Literal(value[1:-1].replace("''", "'"))
