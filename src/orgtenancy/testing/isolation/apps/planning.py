"""Which requests there are: those that a host names, or those of its OpenAPI document."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from orgtenancy.testing.isolation.apps.asking import Ask

#: Scalars of an organization's answers: the path that was asked, the key, and the value.
Learned: TypeAlias = "list[tuple[str, str, object]]"

_numbers = itertools.count(secrets.randbelow(1_000_000_000) + 1_000)
_GIVEN = ("mark", "organization", "number", "unique", "other", "other_schema")
_MOST = 3  # values of one place


def fresh_values() -> dict[str, object]:
    """Return a number and a text that were never used."""
    return {"number": next(_numbers), "unique": f"u{secrets.token_hex(6)}"}


def places_to_learn(ask: Ask) -> tuple[str, ...]:
    """Return the places of a request that only an answer can fill."""
    return tuple(place for place in ask.places if place not in _GIVEN)


def told_by(path: str, values: Any) -> Iterator[tuple[str, str, object]]:
    """Return all scalars of an answer's JSON with their keys."""
    match values:
        case Mapping():
            for key, value in values.items():
                if isinstance(value, str | int) and not isinstance(value, bool):
                    yield path, str(key), value
                else:
                    yield from told_by(path, value)
        case list():
            for value in values:
                yield from told_by(path, value)


def values_for(ask: Ask, place: str, learned: Learned) -> list[object]:
    """Return what an organization's answers have for a place of a request, the likeliest first.

    `note_id` is what a key of that name had, or else an `id`, from the answer to the path
    before the place if there was one.
    """
    before = ask.path.split(f"{{{place}}}")[0].rstrip("/")
    last = place.rpartition("_")[2]

    def likelihood(one: tuple[str, str, object]) -> int | None:
        path, key, _ = one
        if key == place:
            return 0
        if key == last:
            return 1 if path.partition("?")[0].rstrip("/") == before else 2
        return None

    ranked = [(rank, one[2]) for one in learned if (rank := likelihood(one)) is not None]
    ordered = [value for _, value in sorted(ranked, key=lambda pair: pair[0])]
    return list(dict.fromkeys(ordered))[:_MOST]


def asks_of(document: Mapping[str, Any]) -> Iterator[Ask]:
    """Return the GET operations of an OpenAPI document.

    A query parameter of type string is a place to be filled if it must be given; one that is
    named like an organization is filled with the other one's id and schema besides.
    """
    for path, item in document.get("paths", {}).items():
        operation = item.get("get")
        if operation is None:
            continue
        parameters = [
            _resolved(one, document)
            for one in (*item.get("parameters", ()), *operation.get("parameters", ()))
        ]
        query = [one for one in parameters if one.get("in") == "query"]
        required = [_filled(one, document) for one in query if one.get("required")]
        yield Ask("GET", _joined(path, required))
        for one in query:
            if _names_organization(one["name"]):
                others = [part for part in required if not part.startswith(f"{one['name']}=")]
                for place in ("other", "other_schema"):
                    yield Ask("GET", _joined(path, [*others, f"{one['name']}={{{place}}}"]))


def unique(asks: Iterable[Ask]) -> Sequence[Ask]:
    """Return requests without those that are there already."""
    found: list[Ask] = []
    for ask in asks:
        if ask not in found:
            found.append(ask)
    return found


def _joined(path: str, query: Sequence[str]) -> str:
    return f"{path}?{'&'.join(query)}" if query else path


def _filled(parameter: Mapping[str, Any], document: Mapping[str, Any]) -> str:
    schema = _resolved(parameter.get("schema", {}), document)
    for found in (parameter, schema):
        for name in ("example", "default", "const"):
            if name in found:
                return f"{parameter['name']}={found[name]}"
    if schema.get("enum"):
        return f"{parameter['name']}={schema['enum'][0]}"
    by_type = {"integer": schema.get("minimum", 1), "number": 1, "boolean": "true"}
    return f"{parameter['name']}={by_type.get(str(schema.get('type')), 'x')}"


def _names_organization(name: str) -> bool:
    return any(part in name.lower() for part in ("org", "tenant", "schema", "account"))


def _resolved(value: Mapping[str, Any], document: Mapping[str, Any]) -> Mapping[str, Any]:
    reference = value.get("$ref")
    if reference is None:
        return value
    found: Any = document
    for step in reference.removeprefix("#/").split("/"):
        found = found[step]
    resolved: Mapping[str, Any] = found
    return resolved
