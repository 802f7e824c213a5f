"""Members by what their own token lists."""

from __future__ import annotations

from collections.abc import Mapping

from orgtenancy.errors import ConfigurationError
from orgtenancy.identity.claim_paths import ClaimPath, claim_at, malformed
from orgtenancy.identity.membership import MembershipPolicy
from orgtenancy.organizations import Actor


class ClaimedMembership(MembershipPolicy):
    """Lets an actor into the organizations that its verified token lists.

    The claim is a list of ids, or a mapping with one key per organization. It says what was
    true when the token was made: a removed member is out when it expires.

    Args:
        path: The path to the claim.
        mapping_id: The field of a mapping's value that holds the id; None where the
            mapping's key is the id.

    Raises:
        ConfigurationError: If the path is empty, or a text: a name is never split.
    """

    def __init__(
        self, path: ClaimPath = ("organizations",), *, mapping_id: str | None = None
    ) -> None:
        given: object = path  # what a caller without type checks may pass
        if not isinstance(given, tuple) or not given:
            raise ConfigurationError(f"a claim's path is a tuple of names, not {path!r}")
        self._path = path
        self._mapping_id = mapping_id

    def is_member(self, actor: Actor, organization_id: str) -> bool:
        """Return whether the token lists the organization; without the claim it lists none.

        Raises:
            Unauthenticated: If the claim is neither a list nor a mapping.
        """
        claim = claim_at(actor.claims, self._path)
        if claim is None:
            return False
        if isinstance(claim, Mapping):
            return self._is_in(claim, organization_id)
        if isinstance(claim, list):
            return organization_id in claim
        raise malformed(self._path)

    async def is_member_async(self, actor: Actor, organization_id: str) -> bool:
        """Return what `is_member` returns: there is nothing to wait for."""
        return self.is_member(actor, organization_id)

    def _is_in(self, claim: Mapping[str, object], organization_id: str) -> bool:
        if self._mapping_id is None:
            return organization_id in claim
        return any(
            isinstance(value, Mapping) and value.get(self._mapping_id) == organization_id
            for value in claim.values()
        )
