"""What schemas consist of, read from the catalogs in one statement for any number of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files

from sqlalchemy import Connection, text

# Between the facets of an object, and in place of the schema's own name.
_FACET, _SCHEMA = "\x1f", "\x02"

_LOCK_TIMEOUT = "10s"
_MEMORY = "64MB"


def _read(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


# One statement, written in parts that follow each other.
_ITEMS = _read("objects.sql") + _read("rights.sql") + _read("items.sql")
_FINGERPRINTS = text(_ITEMS + _read("fingerprints.sql"))
_DETAILS = text(_ITEMS + _read("details.sql"))


@dataclass(frozen=True)
class Item:
    """One object of a schema.

    Attributes:
        kind: Such as `column`.
        parent: The table that it belongs to, if any.
        name: Within the schema: `posts.content`.
        detail: Its facets, as the server wrote them.
    """

    kind: str
    parent: str | None
    name: str
    detail: str

    @cached_property
    def facets(self) -> Mapping[str, str]:
        """Its facets: name and text."""
        parts = (part.partition(": ") for part in self.detail.split(_FACET) if part)
        return {name: value for name, _, value in parts}

    @property
    def key(self) -> tuple[str, str]:
        """What makes it the same object in another schema."""
        return self.kind, self.name

    @property
    def own_name(self) -> str:
        """Its name within its table."""
        prefix = f"{self.parent}."
        return self.name.removeprefix(prefix) if self.parent else self.name


def readable(detail: str) -> str:
    """Return a text in which the schema's own name is said as people read it."""
    return detail.replace(_SCHEMA, "$schema")


def within(detail: str, schema: str) -> str:
    """Return a text as it would be in a schema, whose name is given quoted."""
    return detail.replace(_SCHEMA, schema)


def prepare(connection: Connection) -> None:
    """Set what the statements here rely on, until the transaction ends."""
    connection.execute(
        text(
            "SELECT set_config('search_path', 'pg_catalog', true), set_config('jit', 'off', true), "
            "set_config('lock_timeout', :lock_timeout, true), set_config('work_mem', :memory, true)"
        ),
        {"lock_timeout": _LOCK_TIMEOUT, "memory": _MEMORY},
    )


def fingerprints(
    connection: Connection, schemas: Sequence[str], roles: Sequence[str]
) -> dict[str, str]:
    """Return a fingerprint of each schema that is there, in one statement.

    Args:
        connection: A connection of the owner, after `prepare`.
        schemas: Their names.
        roles: Who has the rights in each of them.
    """
    rows = connection.execute(_FINGERPRINTS, {"schemas": list(schemas), "roles": list(roles)})
    return {row[0]: row[1] for row in rows}


def items(
    connection: Connection, schemas: Sequence[str], roles: Sequence[str]
) -> dict[str, list[Item]]:
    """Return the objects of each schema that is there, in one statement."""
    found: dict[str, list[Item]] = {}
    for row in connection.execute(_DETAILS, {"schemas": list(schemas), "roles": list(roles)}):
        found.setdefault(row[0], []).append(Item(*row[1:]))
    return found
