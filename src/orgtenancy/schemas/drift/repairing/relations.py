"""Mending tables, views, sequences and columns."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

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

_WORDS = {
    "table": sql.SQL("TABLE"),
    "partitioned table": sql.SQL("TABLE"),
    "view": sql.SQL("VIEW"),
    "materialized view": sql.SQL("MATERIALIZED VIEW"),
    "foreign table": sql.SQL("FOREIGN TABLE"),
    "sequence": sql.SQL("SEQUENCE"),
}
_INTEGERS = ("smallint", "integer", "bigint")
_STORED_IN_PLACE = ("numeric", "inet", "cidr")
_text_with_limit = re.compile(r"character varying\((\d+)\)").fullmatch


def mend_table(workshop: Workshop, mismatch: Mismatch) -> Iterator[Piece]:
    """Make, drop or change a table."""
    expected, actual = mismatch.expected, mismatch.actual
    name, word = workshop.identifier(mismatch.item.name), _WORDS[mismatch.item.kind]
    if expected is None:
        yield Piece(
            Phase.DROP_TABLE,
            sql.SQL("DROP {} IF EXISTS {}").format(word, name),
            destructive=True,
        )
        return
    if actual is None:
        yield _create_table(workshop, expected)
        actual = Item(expected.kind, None, expected.name, "owner: $owner")
    yield from mend_owner(workshop, mismatch, word, name)
    yield from _mend_flags(workshop, expected, actual)


def mend_view(workshop: Workshop, mismatch: Mismatch) -> Iterator[Piece]:
    """Make, drop or change a view, with what the reference has on it."""
    expected, actual = mismatch.expected, mismatch.actual
    name, word = workshop.identifier(mismatch.item.name), _WORDS[mismatch.item.kind]
    if expected is not None and actual is not None and not _differs(mismatch, "definition"):
        yield from mend_owner(workshop, mismatch, word, name)
        yield from _mend_options(expected.facets, actual.facets, word, name)
        return
    if actual is not None:
        yield Piece(Phase.DROP_VIEW, sql.SQL("DROP {} {}").format(word, name))
    if expected is not None:
        yield Piece(
            Phase.VIEW,
            sql.SQL("CREATE {} {}{} AS {}").format(
                word, name, _options(expected.facets), workshop.definition(expected)
            ),
            place=workshop.place(expected),
        )


def mend_sequence(workshop: Workshop, mismatch: Mismatch) -> Iterator[Piece]:
    """Make, drop or change a sequence; where it stands is data, and stays."""
    expected, actual = mismatch.expected, mismatch.actual
    name = workshop.identifier(mismatch.item.name)
    if expected is None:
        yield Piece(
            Phase.DROP_SEQUENCE,
            sql.SQL("DROP SEQUENCE IF EXISTS {}").format(name),
            destructive=True,
        )
        return
    facets = expected.facets
    if actual is None and "identity" not in facets:
        yield Piece(Phase.SEQUENCE, sql.SQL("CREATE SEQUENCE {}").format(name))
    yield from mend_owner(workshop, mismatch, sql.SQL("SEQUENCE"), name)
    parameters = "AS {type} START {start} INCREMENT {increment} MINVALUE {minimum} "
    parameters += "MAXVALUE {maximum} CACHE {cache}"
    yield Piece(
        Phase.SEQUENCE_OWNER if "identity" in facets else Phase.SEQUENCE,
        sql.SQL("ALTER SEQUENCE {} {} {}").format(
            name,
            workshop.server_text(parameters.format_map(facets)),
            sql.SQL("CYCLE" if "cycle" in facets else "NO CYCLE"),
        ),
        place=1,
    )
    if "identity" not in facets and (actual is None or _differs(mismatch, "owned by")):
        table, _, column = facets.get("owned by", "").partition(".")
        owner = workshop.identifier(table, column) if table else sql.SQL("NONE")
        yield Piece(
            Phase.SEQUENCE_OWNER, sql.SQL("ALTER SEQUENCE {} OWNED BY {}").format(name, owner)
        )


def mend_column(workshop: Workshop, mismatch: Mismatch) -> Iterator[Piece]:
    """Add, drop or change a column."""
    item, expected, actual = mismatch.item, mismatch.expected, mismatch.actual
    if not any(one.kind == "table" and one.name == item.parent for one in workshop.expected):
        raise CannotRepair(f"{item.parent} is no table: its columns follow its definition")
    table = sql.SQL("ALTER TABLE {} ").format(workshop.table(item))
    if expected is None:
        yield Piece(
            Phase.DROP_COLUMN,
            table + sql.SQL("DROP COLUMN {}").format(workshop.own(item)),
            destructive=True,
        )
    elif actual is None:
        yield Piece(
            Phase.COLUMN,
            table + sql.SQL("ADD COLUMN ") + _column(workshop, expected),
            place=workshop.place(expected),
        )
    else:
        for change, destructive in _column_changes(workshop, mismatch, expected, actual):
            statement = table + sql.SQL("ALTER COLUMN {} ").format(workshop.own(item)) + change
            yield Piece(Phase.COLUMN, statement, destructive)


def mend_owner(
    workshop: Workshop, mismatch: Mismatch, word: sql.Composable, name: sql.Composable
) -> Iterator[Piece]:
    """Give an object back to its owner, before anything else is done with it."""
    if mismatch.actual is not None and _differs(mismatch, "owner"):
        owner = workshop.grantee_of(mismatch.expected.facets["owner"])  # type: ignore[union-attr]
        yield Piece(Phase.OWNER, sql.SQL("ALTER {} {} OWNER TO {}").format(word, name, owner))


def _differs(mismatch: Mismatch, facet: str) -> bool:
    expected, actual = mismatch.expected, mismatch.actual
    if expected is None or actual is None:
        return True
    return expected.facets.get(facet) != actual.facets.get(facet)


def _create_table(workshop: Workshop, table: Item) -> Piece:
    if table.kind != "table" or "parents" in table.facets or "partition" in table.facets:
        raise CannotRepair(f"a {table.kind} that is tied to others is made by a revision only")
    unlogged = table.facets.get("persistence") == "unlogged"
    columns = [_column(workshop, column) for column in workshop.columns(table.name)]
    return Piece(
        Phase.TABLE,
        sql.SQL("CREATE {}TABLE {} ({}){}").format(
            sql.SQL("UNLOGGED " if unlogged else ""),
            workshop.identifier(table.name),
            joined(columns),
            _options(table.facets),
        ),
    )


def _column(workshop: Workshop, column: Item) -> sql.Composable:
    facets = column.facets
    if "generated virtually" in facets:
        generated = f"GENERATED ALWAYS AS ({facets['generated virtually']}) VIRTUAL"
    elif "generated" in facets:
        generated = f"GENERATED ALWAYS AS ({facets['generated']}) STORED"
    elif "identity" in facets:
        generated = f"GENERATED {facets['identity'].upper()} AS IDENTITY"
    else:
        generated = f"DEFAULT {facets['default']}" if "default" in facets else ""
    words = [
        facets["type"],
        f"COLLATE {facets['collation']}" if "collation" in facets else "",
        generated,
        "NOT NULL" if facets["null"] == "no" else "",
    ]
    return workshop.own(column) + workshop.server_text(" " + " ".join(w for w in words if w))


def _column_changes(
    workshop: Workshop, mismatch: Mismatch, expected: Item, actual: Item
) -> Iterator[tuple[sql.Composable, bool]]:
    """Yield what comes after `ALTER COLUMN`, and whether it would lose data."""
    new, old = expected.facets, actual.facets
    for kind in ("generated", "generated virtually"):
        if new.get(kind) != old.get(kind):
            if kind in new:
                raise CannotRepair("a generated column is made by a revision only")
            yield sql.SQL("DROP EXPRESSION"), False
    if _differs(mismatch, "type") or _differs(mismatch, "collation"):
        if "default" in old:
            yield sql.SQL("DROP DEFAULT"), False
        collation = f" COLLATE {new['collation']}" if "collation" in new else ""
        yield (
            workshop.server_text(f"TYPE {new['type']}{collation} USING ")
            + sql.SQL("{}::").format(workshop.own(expected))
            + workshop.server_text(new["type"]),
            not _is_wider(old["type"], new["type"]),
        )
        if "default" in new:
            yield workshop.server_text(f"SET DEFAULT {new['default']}"), False
    elif _differs(mismatch, "default"):
        default = f"SET DEFAULT {new['default']}" if "default" in new else "DROP DEFAULT"
        yield workshop.server_text(default), False
    if _differs(mismatch, "null"):
        yield sql.SQL("SET NOT NULL" if new["null"] == "no" else "DROP NOT NULL"), False
    if _differs(mismatch, "identity"):
        yield workshop.server_text(_identity(new.get("identity"), old.get("identity"))), False
    yield from _storage_changes(workshop, new, old)


def _storage_changes(
    workshop: Workshop, new: Mapping[str, str], old: Mapping[str, str]
) -> Iterator[tuple[sql.Composable, bool]]:
    if new.get("storage") != old.get("storage"):
        # The word DEFAULT is known from 16 on.
        usual = "main" if new["type"].startswith(_STORED_IN_PLACE) else "extended"
        yield workshop.server_text(f"SET STORAGE {new.get('storage', usual)}"), False
    if new.get("compression") != old.get("compression"):
        yield workshop.server_text(f"SET COMPRESSION {new.get('compression', 'default')}"), False
    if new.get("statistics") != old.get("statistics"):
        yield workshop.server_text(f"SET STATISTICS {new.get('statistics', '-1')}"), False
    if new.get("options") != old.get("options"):
        if "options" in old:
            names = ", ".join(option.partition("=")[0] for option in old["options"].split(", "))
            yield workshop.server_text(f"RESET ({names})"), False
        if "options" in new:
            yield workshop.server_text(f"SET ({new['options']})"), False


def _identity(new: str | None, old: str | None) -> str:
    if new is None:
        return "DROP IDENTITY"
    if old is None:
        return f"ADD GENERATED {new.upper()} AS IDENTITY"
    return f"SET GENERATED {new.upper()}"


def _is_wider(old: str, new: str) -> bool:
    """Return whether every value of a type is also one of another."""
    if new == "text" and (old.startswith(("character", "uuid")) or old in _INTEGERS):
        return not old.startswith("character(")
    if old in _INTEGERS and new in _INTEGERS:
        return _INTEGERS.index(old) < _INTEGERS.index(new)
    if new == "character varying":
        return old == "text" or _text_with_limit(old) is not None
    before, after = _text_with_limit(old), _text_with_limit(new)
    if before and after:
        return int(before[1]) <= int(after[1])
    return old == new or (old in _INTEGERS and new == "numeric")


def _mend_flags(workshop: Workshop, expected: Item, actual: Item) -> Iterator[Piece]:
    new, old = expected.facets, actual.facets
    name = workshop.identifier(expected.name)
    for facet in ("parents", "partition", "partition key", "access method"):
        if new.get(facet) != old.get(facet):
            raise CannotRepair(f"the {facet} of a table is set by a revision only")
    changes = []
    if new.get("persistence") != old.get("persistence") and actual.detail != "owner: $owner":
        changes.append(f"SET {'UNLOGGED' if 'persistence' in new else 'LOGGED'}")
    elif "persistence" in old and "persistence" not in new:
        changes.append("SET LOGGED")
    if new.get("row security") != old.get("row security"):
        changes.append(f"{'ENABLE' if 'row security' in new else 'DISABLE'} ROW LEVEL SECURITY")
    forced = "row security of the owner"
    if new.get(forced) != old.get(forced):
        changes.append(f"{'FORCE' if forced in new else 'NO FORCE'} ROW LEVEL SECURITY")
    if new.get("replica identity") != old.get("replica identity"):
        identity = new.get("replica identity", "default")
        if identity.startswith("index "):
            raise CannotRepair("a replica identity by an index is set by a revision only")
        changes.append(f"REPLICA IDENTITY {identity.upper()}")
    for change in changes:
        statement = sql.SQL("ALTER TABLE {} ").format(name) + workshop.server_text(change)
        yield Piece(Phase.FLAG, statement)
    yield from _mend_options(new, old, sql.SQL("TABLE"), name)


def _mend_options(
    new: Mapping[str, str], old: Mapping[str, str], word: sql.Composable, name: sql.Composable
) -> Iterator[Piece]:
    if new.get("options") == old.get("options"):
        return
    alter = sql.SQL("ALTER {} {} ").format(word, name)
    if "options" in old:
        names = ", ".join(option.partition("=")[0] for option in old["options"].split(", "))
        yield Piece(Phase.FLAG, alter + sql.SQL("RESET (") + sql.SQL(names) + sql.SQL(")"))
    if "options" in new:
        options = sql.SQL("SET (") + sql.SQL(new["options"]) + sql.SQL(")")
        yield Piece(Phase.FLAG, alter + options)


def _options(facets: Mapping[str, str]) -> sql.Composable:
    if "options" not in facets:
        return sql.SQL("")
    return sql.SQL(" WITH (") + sql.SQL(facets["options"]) + sql.SQL(")")
