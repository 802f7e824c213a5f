"""Clerk: after its page on session tokens, versions 1 and 2."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from orgtenancy.identity.claim_paths import Claims
from orgtenancy.identity.organization_claims import OrganizationClaims
from orgtenancy.identity.providers.base import IdentityProvider, base_url, several
from orgtenancy.identity.scope_claims import scopes_in
from orgtenancy.identity.token_rules import TokenRules


def clerk(
    frontend_api: str,
    authorized_parties: str | Iterable[str],
    *,
    audiences: str | Iterable[str] = (),
) -> IdentityProvider:
    """Return the settings for the session tokens of a Clerk instance.

    A token of version 2 names the organization in `o.id`, one of version 1 in `org_id`. It
    has no audience: what it is for is the origin in `azp`. A session with a pending task,
    such as choosing an organization, is refused. The permissions are the scopes, written
    as Clerk does: `org:dashboard:read`.

    Args:
        frontend_api: The instance's Frontend API, for instance `clerk.example.com`.
        authorized_parties: The origins of the web apps whose users may call this API, for
            instance `https://app.example.com`.
        audiences: What an `aud` may be, where a template of the host writes one.
    """
    base = base_url(frontend_api)
    return IdentityProvider(
        issuer=base,
        jwks_url=f"{base}/.well-known/jwks.json",
        organization=OrganizationClaims(paths=(("o", "id"), ("org_id",))),
        audiences=several(audiences),
        algorithms=("RS256",),
        token_types=("jwt",),
        rules=TokenRules(
            audience_by="authorized_party",
            authorized_parties=frozenset(several(authorized_parties)),
            refused={("sts",): frozenset({"pending"})},
        ),
        scope_claims=(),
        scopes=permissions,
    )


def permissions(claims: Claims) -> frozenset[str]:
    """Return the organization's permissions that a token of either version grants."""
    organization = claims.get("o")
    if isinstance(organization, Mapping):
        return frozenset(_unpacked(organization, claims.get("fea")))
    return scopes_in(claims, ["org_permissions"])


def _unpacked(organization: Mapping[str, Any], features: object) -> Iterable[str]:
    """Yield what `per` and `fpm` say, packed, about the features in `fea`.

    `per` lists permissions, `fpm` has one number for each of the organization's features
    in `fea`. The lowest bit of a number stands for the first permission. For example
    `o:dashboard,o:teams` with `manage,read` and `3,2` is `dashboard:manage`,
    `dashboard:read` and `teams:read`.
    """
    names = [name for scope, name in _scoped(_listed(features)) if "o" in scope]
    permissions = _listed(organization.get("per"))
    masks = _listed(organization.get("fpm"))
    if len(masks) > len(names):
        return  # not aligned: a permission would be given for another feature
    for name, mask in zip(names, masks, strict=False):
        if not (mask.isascii() and mask.isdigit() and len(mask) < 20):
            continue
        bits = int(mask)
        for position, permission in enumerate(permissions):
            if bits >> position & 1:
                yield f"org:{name}:{permission}"


def _scoped(features: Iterable[str]) -> Iterable[tuple[str, str]]:
    """Yield scope and name of each feature: `o:teams` is one of the organization."""
    for feature in features:
        scope, colon, name = feature.partition(":")
        if colon and name:
            yield scope, name


def _listed(value: object) -> list[str]:
    return [one.strip() for one in value.split(",")] if isinstance(value, str) and value else []
