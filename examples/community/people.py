"""Who there is, and who belongs where: what an identity provider knows."""

from __future__ import annotations

import re
import tomllib
import unicodedata
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

_TEXTS = Path(__file__).parent / "texts"


class Person(BaseModel):
    """Somebody with an account.

    Attributes:
        id: The subject of their tokens, the same in every organization.
        name: Their full name.
        username: Their name in addresses.
        organizations: The ids of those they are a member of.
        moderates: The ids of those they moderate.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    name: str
    username: str
    organizations: tuple[str, ...]
    moderates: tuple[str, ...] = ()


class Texts(BaseModel):
    """An organization's file in `texts/`."""

    model_config = ConfigDict(frozen=True)

    id: str
    name: str
    attributes: dict[str, str]
    posts: int
    moderators: list[str]
    people: dict[str, str]
    words: dict[str, list[str]]
    topics: list[dict[str, Any]]
    tails: list[str]
    comments: list[str]
    replies: list[str]
    groups: list[dict[str, Any]]
    talks: list[dict[str, Any]]
    reported: dict[str, str]


@cache
def all_texts() -> tuple[Texts, ...]:
    """Return the organizations of the demo."""
    return tuple(_read(_TEXTS / f"{name}.toml") for name in ("northwind", "harbor"))


@cache
def all_people() -> dict[str, Person]:
    """Return everybody by id; who is in both organizations comes first."""
    organizations: dict[str, list[str]] = {}
    for texts in all_texts():
        for name in texts.people:
            organizations.setdefault(name, []).append(texts.id)
    ordered = sorted(organizations, key=lambda name: -len(organizations[name]))
    people = [_person(name, organizations[name]) for name in ordered]
    return {person.id: person for person in people}


def person_named(name: str) -> Person:
    """Return the person with a full name."""
    return all_people()[_person(name, []).id]


def members_of(organization_id: str) -> list[Person]:
    """Return the members of an organization."""
    return [person for person in all_people().values() if organization_id in person.organizations]


def _person(name: str, organizations: list[str]) -> Person:
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    username = re.sub(r"[^a-z]+", ".", plain)
    return Person(
        id=f"demo|{username}",
        name=name,
        username=username,
        organizations=tuple(organizations),
        moderates=tuple(texts.id for texts in all_texts() if name in texts.moderators),
    )


def _read(path: Path) -> Texts:
    content = tomllib.loads(path.read_text(encoding="utf-8"))
    organization = content["organization"]
    return Texts(
        id=organization["id"],
        name=organization["name"],
        attributes={key: organization[key] for key in ("tagline", "accent", "emblem")},
        posts=organization["posts"],
        moderators=organization["moderators"],
        people=content["people"],
        words=content["words"],
        topics=content["topics"],
        tails=content["tails"]["posts"],
        comments=content["common"]["comments"],
        replies=content["common"]["replies"],
        groups=content["groups"],
        talks=content["talks"],
        reported=content["reported"],
    )
