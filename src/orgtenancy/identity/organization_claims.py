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

ClaimPath = tuple[str, ...]


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
            mapping's key is the id.
    """

    model_config = ConfigDict(frozen=True)

    paths: tuple[ClaimPath, ...] = ()
    audience_prefixes: tuple[str, ...] = ()
    mappings: tuple[ClaimPath, ...] = ()
    mapping_id: str | None = "id"

    def find(self, claims: Mapping[str, Any]) -> str | None:
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

    def _candidates(self, claims: Mapping[str, Any]) -> Iterator[str]:
        for path in self.paths:
            value = _at(claims, path)
            if value is not None:
                yield _checked(value)
        for audience in _audiences(claims):
            for prefix in self.audience_prefixes:
                if audience.startswith(prefix):
                    yield _checked(audience.removeprefix(prefix))
        for path in self.mappings:
            yield from self._keys(_at(claims, path))

    def _keys(self, mapping: Any) -> Iterator[str]:
        if mapping is None:
            return
        if not isinstance(mapping, Mapping):
            raise Unauthenticated("the token's organization claim is malformed")
        for key, value in mapping.items():
            if self.mapping_id is None:
                yield _checked(key)
            else:
                yield _checked(value.get(self.mapping_id) if isinstance(value, Mapping) else None)


def _at(claims: Mapping[str, Any], path: ClaimPath) -> Any:
    """Return what is at the end of a path; None where a step is absent or null."""
    value: Any = claims
    for name in path:
        if value is None:
            return None
        if not isinstance(value, Mapping):
            raise Unauthenticated("the token's organization claim is malformed")
        value = value.get(name)
    return value


def _audiences(claims: Mapping[str, Any]) -> tuple[str, ...]:
    audience = claims.get("aud")
    if isinstance(audience, str):
        return (audience,)
    return tuple(audience) if isinstance(audience, (list, tuple)) else ()


def _checked(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise Unauthenticated("the token's organization claim is malformed")
    return value
