"""Choosing a placement for a new organization, within the limits."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from orgtenancy.database.placements import Placement, Placements
from orgtenancy.errors import PlacementUnavailable
from orgtenancy.schemas.placing.counting import Counts, Health, is_open
from orgtenancy.schemas.placing.policies import Candidate, Policy

logger = logging.getLogger("orgtenancy.placements")

#: The share of `max_organizations` from which on a placement is nearly full.
NEARLY_FULL = 0.9


class Chooser:
    """Chooses placements for new organizations.

    Args:
        databases: The placements.
        settings: What the tenancy says of each of them.
        policy: Which of those that are left it is.

    Attributes:
        databases: The placements.
        counts: How they are.
    """

    def __init__(
        self, databases: Placements, settings: Mapping[str, Placement], policy: Policy
    ) -> None:
        self.databases = databases
        self._settings = settings
        self._policy = policy
        self.counts = Counts(databases)

    def choose(
        self,
        attributes: Mapping[str, Any],
        *,
        without: str | None = None,
        policy: Policy | None = None,
    ) -> str:
        """Return the placement that the policy chooses for an organization.

        Args:
            attributes: The organization's.
            without: A placement that it cannot be.
            policy: Another policy than the tenancy's.

        Raises:
            PlacementUnavailable: If none is open, within reach and not full, or the policy
                finds that none will do.
            PlacementNotFound: If the policy names another.
        """
        health, states = self.counts.get()
        reasons = {one.name: self._reason(one.name, health, states) for one in self.databases}
        candidates = [
            self._candidate(name, health)
            for name, reason in reasons.items()
            if reason is None and name != without and self._settings[name].weight > 0
        ]
        if not candidates:
            told = "; ".join(f"{name} {reason}" for name, reason in reasons.items() if reason)
            raise PlacementUnavailable(f"no placement takes organizations: {told or 'no weight'}")
        name = (policy or self._policy)(attributes, candidates)
        if name not in {one.name for one in candidates}:
            self.check(name)
        return self.databases.named(name).name

    def check(self, name: str) -> None:
        """Make sure that a placement which is asked for by name takes organizations.

        Raises:
            PlacementNotFound: If the tenancy does not name it.
            PlacementUnavailable: If it does not.
        """
        self.databases.named(name)
        health, states = self.counts.get()
        if reason := self._reason(name, health, states):
            raise PlacementUnavailable(f"placement {name!r} {reason}", placement=name)

    def placed(self, name: str) -> None:
        """Take note of an organization that was made on a placement."""
        self.counts.add(name)
        limit = self._settings[name].max_organizations
        found = self.counts.get()[0][name].organizations
        if is_nearly_full(found, limit):
            logger.warning("placement %r holds %s of at most %s organizations", name, found, limit)

    def _candidate(self, name: str, health: Mapping[str, Health]) -> Candidate:
        settings = self._settings[name]
        return Candidate(
            name, health[name].organizations or 0, settings.weight, settings.attributes
        )

    def _reason(
        self, name: str, health: Mapping[str, Health], states: Mapping[str, str]
    ) -> str | None:
        """Return why a placement takes no organization, or None if it does."""
        if not is_open(states, name):
            if name in states:
                return "is being drained"
            return f"was not added: `orgtenancy placements add {name}`"
        found = health[name]
        if found.organizations is None:
            return f"cannot be reached: {found.error}"
        limit = self._settings[name].max_organizations
        if limit is not None and found.organizations >= limit:
            return f"is full: it holds {found.organizations} of at most {limit} organizations"
        return None


def is_nearly_full(organizations: int | None, limit: int | None) -> bool:
    """Return whether a placement is near its limit, or past it."""
    return organizations is not None and limit is not None and organizations >= limit * NEARLY_FULL
