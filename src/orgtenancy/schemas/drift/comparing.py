"""The objects of a schema against those of its reference."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from orgtenancy.schemas.drift.items import Item, readable
from orgtenancy.schemas.drift.reports import Difference

#: What holds columns, constraints and the like, which are named `relation.name`.
RELATIONS = frozenset(
    {
        "table",
        "partitioned table",
        "view",
        "materialized view",
        "foreign table",
        "sequence",
        "composite type",
    }
)

# What comes and goes with an object of the same name.
_ATTACHED = ("grants on ", "comment on ", "index of ", "triggers of ")
_KINDS_OF = {
    "table": RELATIONS,
    "function": {"function", "procedure", "aggregate"},
    "type": {"enum", "range", "domain", "composite type"},
}


@dataclass
class Mismatch:
    """An object that differs.

    Attributes:
        expected: As the reference has it, if it does.
        actual: As the schema has it, if it does.
        along: What is missing or unexpected because the object is.
    """

    expected: Item | None
    actual: Item | None
    along: list[Mismatch] = field(default_factory=list)

    @property
    def item(self) -> Item:
        """The object, from whichever side has it."""
        found = self.expected or self.actual
        if found is None:
            raise ValueError("a mismatch has at least one side")
        return found

    @property
    def difference(self) -> Difference:
        """What people are told of it."""
        expected, actual = _described(self.expected, self.actual)
        return Difference(self.item.kind, self.item.name, expected, actual)


def compare(expected: Iterable[Item], actual: Iterable[Item]) -> list[Mismatch]:
    """Return what differs; what belongs to a missing or unexpected object goes along with it."""
    left = {item.key: item for item in expected}
    right = {item.key: item for item in actual}
    mismatches = [
        Mismatch(left.get(key), right.get(key))
        for key in sorted(left.keys() | right.keys())
        if not _same(left.get(key), right.get(key))
    ]
    heads: Mapping[tuple[str, str, bool], Mismatch] = {
        (m.item.kind, m.item.name, m.expected is None): m
        for m in mismatches
        if m.expected is None or m.actual is None
    }
    found = []
    for mismatch in mismatches:
        head = _head(mismatch, heads)
        if head is None:
            found.append(mismatch)
        else:
            head.along.append(mismatch)
    return found


def _same(left: Item | None, right: Item | None) -> bool:
    return left is not None and right is not None and left.detail == right.detail


def _head(mismatch: Mismatch, heads: Mapping[tuple[str, str, bool], Mismatch]) -> Mismatch | None:
    """Return the missing or unexpected object that this one came or went with."""
    item, side = mismatch.item, mismatch.expected is None
    if mismatch.expected is not None and mismatch.actual is not None:
        return None
    if item.parent is not None and item.kind not in RELATIONS:
        for kind in RELATIONS:
            if head := heads.get((kind, item.parent, side)):
                return head
    for prefix in _ATTACHED:
        if item.kind.startswith(prefix):
            kind = item.kind.removeprefix(prefix)
            # An index has the name of its constraint, which is within a table.
            name = f"{item.parent}.{item.name}" if prefix == "index of " else item.name
            for one in _KINDS_OF.get(kind, {kind}):
                if head := heads.get((one, name, side)):
                    return head
    return None


def _described(expected: Item | None, actual: Item | None) -> tuple[str | None, str | None]:
    if expected is None or actual is None:
        return (
            None if expected is None else _as_text(expected.facets),
            None if actual is None else _as_text(actual.facets),
        )
    names = [
        name
        for name in {**expected.facets, **actual.facets}
        if expected.facets.get(name) != actual.facets.get(name)
    ]
    return _as_text(expected.facets, names), _as_text(actual.facets, names)


def _as_text(facets: Mapping[str, str], names: Sequence[str] | None = None) -> str:
    parts = [
        f"{name}: {readable(facets[name])}" if name in facets else f"no {name}"
        for name in (facets if names is None else names)
    ]
    return "; ".join(parts)
