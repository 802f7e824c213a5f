"""Policies: which placement a new organization goes to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from orgtenancy.errors import PlacementUnavailable


@dataclass(frozen=True, slots=True)
class Candidate:
    """A placement that a new organization can go to: open, within reach, and not full.

    Attributes:
        name: Its name.
        organizations: How many it holds.
        weight: Its share of new organizations, beside the others; more than 0.
        attributes: What the tenancy says of it.
    """

    name: str
    organizations: int
    weight: float = 1.0
    attributes: Mapping[str, Any] = field(default_factory=dict)


#: Returns the name of one of the candidates, of which there is one at least, for an organization
#: with these attributes.
Policy: TypeAlias = Callable[[Mapping[str, Any], Sequence[Candidate]], str]


def fewest(attributes: Mapping[str, Any], candidates: Sequence[Candidate]) -> str:
    """Choose the placement with the fewest organizations."""
    return min(candidates, key=lambda one: (one.organizations, one.name)).name


def weighted(attributes: Mapping[str, Any], candidates: Sequence[Candidate]) -> str:
    """Choose the placement with the fewest organizations for its weight.

    One with twice the weight of another gets twice as many.
    """
    return min(candidates, key=lambda one: ((one.organizations + 1) / one.weight, one.name)).name


def by_attribute(name: str, *, default: Any = None, among: Policy = weighted) -> Policy:
    """Return a policy that chooses a placement with the same attribute as the organization has.

    The policy raises `PlacementUnavailable` if there is none: no other will do.

    Args:
        name: The attribute, such as `region`.
        default: What counts for an organization without it; None for no placement at all.
        among: Chooses where several have it.
    """

    def choose(attributes: Mapping[str, Any], candidates: Sequence[Candidate]) -> str:
        wanted = attributes.get(name, default)
        fitting = [one for one in candidates if one.attributes.get(name) == wanted]
        if wanted is None or not fitting:
            raise PlacementUnavailable(f"no placement that is open has {name} {wanted!r}")
        return among(attributes, fitting)

    return choose
