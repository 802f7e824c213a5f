"""Where a token says which organization it is for.

Every place that may hold an organization is read. If two of them, or one of them twice,
name different organizations, the token is refused: picking one would be a guess, and
claims of one organization would open another.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from orgtenancy.errors import Unauthenticated
from orgtenancy.identity.claim_paths import ClaimPath, Claims, claim_at, malformed


class OrganizationClaims(BaseModel):
    """The places that an issuer uses.

    Attributes:
        paths: Claims that hold the id, each as the path to it: `("org_id",)`, or
            `("o", "id")` for `{"o": {"id": "acme"}}`. A name is never split at dots,
            since names may be URLs.
        audience_prefixes: An audience that starts with one of these ends with the id.
        mappings: Claims that hold a mapping with one key per organization, as Keycloak
            writes it: `{"organization": {"acme": {"id": "1f0c..."}}}`.
        mapping_id: The field of a mapping's value that holds the id; None where the
            mapping's key is the id. The claim may be a list of the keys then, too.
    """

    model_config = ConfigDict(frozen=True)

    paths: tuple[ClaimPath, ...] = ()
    audience_prefixes: tuple[str, ...] = ()
    mappings: tuple[ClaimPath, ...] = ()
    mapping_id: str | None = "id"

    def find(self, claims: Claims) -> str | None:
        """Return the id of the one organization that verified claims name.

        Args:
            claims: The claims of a token whose signature was checked.

        Returns:
            The id as the issuer wrote it, or None if the token names no organization.

        Raises:
            Unauthenticated: If the token names several, or something that is no id.
        """
        found = set(self._candidates(claims))
        if len(found) > 1:
            raise Unauthenticated("the token names more than one organization")
        return found.pop() if found else None

    def _candidates(self, claims: Claims) -> Iterator[str]:
        for path in self.paths:
            value = claim_at(claims, path)
            if value is not None:
                yield _checked(value, path)
        for audience in _audiences(claims):
            for prefix in self.audience_prefixes:
                if audience.startswith(prefix):
                    yield _checked(audience.removeprefix(prefix), ("aud",))
        for path in self.mappings:
            yield from self._keys(claim_at(claims, path), path)

    def _keys(self, mapping: Any, path: ClaimPath) -> Iterator[str]:
        if mapping is None:
            return
        if isinstance(mapping, list) and self.mapping_id is None:
            yield from (_checked(key, path) for key in mapping)
            return
        if not isinstance(mapping, Mapping):
            raise malformed(path)
        for key, value in mapping.items():
            if self.mapping_id is None:
                yield _checked(key, path)
            else:
                found = value.get(self.mapping_id) if isinstance(value, Mapping) else None
                yield _checked(found, path)


def _audiences(claims: Claims) -> tuple[str, ...]:
    audience = claims.get("aud")
    if isinstance(audience, str):
        return (audience,)
    return tuple(audience) if isinstance(audience, (list, tuple)) else ()


def _checked(value: Any, path: ClaimPath) -> str:
    if not isinstance(value, str) or not value:
        raise malformed(path)
    return value
