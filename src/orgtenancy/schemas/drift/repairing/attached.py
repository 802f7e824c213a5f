"""Mending what belongs to a table: constraints, indexes, triggers, policies, rules, statistics."""

from __future__ import annotations

from collections.abc import Iterator

from psycopg import sql

from orgtenancy.schemas.drift.comparing import Mismatch
from orgtenancy.schemas.drift.items import Item
from orgtenancy.schemas.drift.repairing.workshop import CannotRepair, Phase, Piece, Workshop

_ENABLE = {"yes": "ENABLE", "no": "DISABLE", "on replicas": "ENABLE REPLICA"}


def mend_constraint(workshop: Workshop, mismatch: Mismatch) -> Iterator[Piece]:
    """Add, drop, validate or remake a constraint."""
    item, expected, actual = mismatch.item, mismatch.expected, mismatch.actual
    if item.facets["type"] in ("trigger", "not null"):
        raise CannotRepair(f"a {item.facets['type']} constraint is made by a revision only")
    if _only_differs(mismatch, "validated") and "validated" not in item.facets:
        yield Piece(Phase.CONSTRAINT, _alter(workshop, item, "VALIDATE CONSTRAINT"))
        return
    if expected is None:
        yield _drop_constraint(workshop, item)
    elif actual is None:
        yield _add_constraint(workshop, expected)
    else:
        yield from _remake_constraint(workshop, expected)


def mend_constraint_index(workshop: Workshop, mismatch: Mismatch) -> Iterator[Piece]:
    """Remake the constraint of an index."""
    if _follows_column(workshop, mismatch):
        return
    for item in workshop.children(mismatch.item.parent or ""):
        if item.kind == "constraint" and item.own_name == mismatch.item.name:
            yield from _remake_constraint(workshop, item)
            return
    raise CannotRepair("its constraint differs as well")


def mend_constraint_triggers(workshop: Workshop, mismatch: Mismatch) -> Iterator[Piece]:
    """Remake the constraint whose own triggers were switched off."""
    for item in workshop.expected:
        if item.kind == "constraint" and item.own_name == mismatch.item.own_name:
            yield from _remake_constraint(workshop, item)
            return
    raise CannotRepair("the reference has no constraint of this name")


def mend_index(workshop: Workshop, mismatch: Mismatch) -> Iterator[Piece]:
    """Make, drop or remake an index."""
    if _follows_column(workshop, mismatch):
        return
    if mismatch.actual is not None:
        name = workshop.identifier(mismatch.item.name)
        yield Piece(Phase.DROP_INDEX, sql.SQL("DROP INDEX {}").format(name))
    if mismatch.expected is not None:
        of_view = any(
            one.kind == "materialized view" and one.name == mismatch.expected.parent
            for one in workshop.expected
        )
        phase = Phase.ATTACHED if of_view else Phase.INDEX
        yield Piece(phase, workshop.definition(mismatch.expected))


def mend_trigger(workshop: Workshop, mismatch: Mismatch) -> Iterator[Piece]:
    """Make, drop, enable or remake a trigger."""
    item, expected, actual = mismatch.item, mismatch.expected, mismatch.actual
    remake = expected is None or actual is None or not _only_differs(mismatch, "enabled")
    if remake and actual is not None:
        yield _drop(workshop, item, "TRIGGER")
    if expected is None:
        return
    if remake:
        yield Piece(Phase.ATTACHED, workshop.server_text(expected.facets["definition"]))
    enabled = expected.facets["enabled"]
    if not remake or enabled != "yes":
        word = f"{_ENABLE.get(enabled, 'ENABLE ALWAYS')} TRIGGER"
        yield Piece(Phase.FLAG, _alter(workshop, item, word))


def mend_policy(workshop: Workshop, mismatch: Mismatch) -> Iterator[Piece]:
    """Make, drop or remake a policy of row security."""
    item, expected = mismatch.item, mismatch.expected
    if mismatch.actual is not None:
        yield _drop(workshop, item, "POLICY")
    if expected is None:
        return
    facets = expected.facets
    roles = [workshop.grantee_of(label) for label in facets["roles"].split(", ")]
    kind = "RESTRICTIVE" if "restrictive" in facets else "PERMISSIVE"
    statement = sql.SQL("CREATE POLICY {} ON {} AS {} FOR {} TO {}").format(
        workshop.own(item),
        workshop.table(item),
        sql.SQL(kind),
        sql.SQL(facets["command"]),
        sql.SQL(", ").join(roles),
    )
    for facet, words in (("using", " USING ("), ("with check", " WITH CHECK (")):
        if facet in facets:
            statement += sql.SQL(words) + workshop.server_text(facets[facet]) + sql.SQL(")")
    yield Piece(Phase.ATTACHED, statement)


def mend_rule(workshop: Workshop, mismatch: Mismatch) -> Iterator[Piece]:
    """Make, drop or remake a rule."""
    if mismatch.actual is not None:
        yield _drop(workshop, mismatch.item, "RULE")
    if mismatch.expected is not None:
        definition = mismatch.expected.facets["definition"].rstrip(";")
        yield Piece(Phase.ATTACHED, workshop.server_text(definition))


def mend_statistics(workshop: Workshop, mismatch: Mismatch) -> Iterator[Piece]:
    """Make, drop or remake extended statistics."""
    if mismatch.actual is not None:
        name = workshop.identifier(mismatch.item.name)
        yield Piece(Phase.DROP_ATTACHED, sql.SQL("DROP STATISTICS {}").format(name))
    if mismatch.expected is not None:
        definition = mismatch.expected.facets["definition"]
        yield Piece(Phase.ATTACHED, workshop.server_text(definition))


def _only_differs(mismatch: Mismatch, *names: str) -> bool:
    if mismatch.expected is None or mismatch.actual is None:
        return False
    left, right = mismatch.expected.facets, mismatch.actual.facets
    return all(left.get(n) == right.get(n) for n in {*left, *right}.difference(names))


def _follows_column(workshop: Workshop, mismatch: Mismatch) -> bool:
    """Return whether an index becomes right as soon as its column has the right type."""
    return mismatch.item.parent in workshop.retyped and _only_differs(
        mismatch, "operator classes", "collations"
    )


def _remake_constraint(workshop: Workshop, item: Item) -> Iterator[Piece]:
    """Drop and add a constraint, and the foreign keys that rest on it."""
    yield _drop_constraint(workshop, item)
    yield _add_constraint(workshop, item)
    if item.facets["type"] in ("primary key", "unique"):
        for other in workshop.expected:
            if other.facets.get("references", "").startswith(f"{item.parent} ("):
                yield _drop_constraint(workshop, other)
                yield _add_constraint(workshop, other)


def _drop_constraint(workshop: Workshop, item: Item) -> Piece:
    foreign = item.facets["type"] == "foreign key"
    return Piece(
        Phase.DROP_FOREIGN_KEY if foreign else Phase.DROP_CONSTRAINT,
        _alter(workshop, item, "DROP CONSTRAINT IF EXISTS"),
    )


def _add_constraint(workshop: Workshop, item: Item) -> Piece:
    foreign = item.facets["type"] == "foreign key"
    return Piece(
        Phase.FOREIGN_KEY if foreign else Phase.CONSTRAINT,
        _alter(workshop, item, "ADD CONSTRAINT") + sql.SQL(" ") + workshop.definition(item),
        place=workshop.place(item),
    )


def _alter(workshop: Workshop, item: Item, words: str) -> sql.Composable:
    return sql.SQL("ALTER TABLE {} {} {}").format(
        workshop.table(item), sql.SQL(words), workshop.own(item)
    )


def _drop(workshop: Workshop, item: Item, word: str) -> Piece:
    statement = sql.SQL("DROP {} {} ON {}").format(
        sql.SQL(word), workshop.own(item), workshop.table(item)
    )
    return Piece(Phase.DROP_ATTACHED, statement)
