"""What an issuer's tokens must say beyond signature, issuer, audience and time.

Issuers sign more than access tokens with the same key: ID tokens, refresh tokens, sessions
that are not finished. These rules tell them apart, and say explicitly where an issuer's
tokens have no audience.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, field_validator, model_validator

from orgtenancy.errors import Unauthenticated
from orgtenancy.identity.claim_paths import ClaimPath, Claims, claim_at, malformed

_GUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


class IssuerTemplate(BaseModel):
    """An issuer that writes one of its tenants into `iss`, as Microsoft Entra does.

    Attributes:
        template: The `iss`, with the claim's name in braces where the tenant stands:
            `https://login.microsoftonline.com/{tid}/v2.0`.
        claim: The claim that names the tenant: a GUID in lower case.
        allowed: The tenants whose tokens are accepted; None for every one.
    """

    model_config = ConfigDict(frozen=True)

    template: str
    claim: str = "tid"
    allowed: frozenset[str] | None = None

    @field_validator("allowed")
    @classmethod
    def _are_guids(cls, allowed: frozenset[str] | None) -> frozenset[str] | None:
        if allowed is None:
            return None
        lowered = frozenset(tenant.lower() for tenant in allowed)
        if not lowered or not all(_GUID.fullmatch(tenant) for tenant in lowered):
            raise ValueError("a tenant is named by its GUID")
        return lowered

    @model_validator(mode="after")
    def _has_one_place(self) -> Self:
        if self.template.count(f"{{{self.claim}}}") != 1:
            raise ValueError(f"the issuer template must have {{{self.claim}}} in it, once")
        return self

    def is_issuer_of(self, claims: Claims) -> bool:
        """Return whether `iss` is the one of the tenant that the claims name."""
        tenant = claims.get(self.claim)
        if not isinstance(tenant, str) or not _GUID.fullmatch(tenant):
            return False
        if self.allowed is not None and tenant not in self.allowed:
            return False
        return claims.get("iss") == self.template.replace(f"{{{self.claim}}}", tenant)


class TokenRules(BaseModel):
    """Rules for the claims of one issuer's access tokens.

    Attributes:
        audience_by: What says that a token is meant for this API. `audience`: `aud`.
            `authorized_party`: the party that it was issued to, which must be one of
            `authorized_parties`. `issuer_keys`: the keys, where the issuer has keys for
            this API alone. Only with the last two may `aud` be absent; one that is
            there must fit all the same.
        authorized_parties: Who may use a token: its `azp` or `client_id`, and both where
            it has both. Anybody if empty.
        required: Claims that must have one of these texts.
        refused: Claims that must not have one of these texts; they may be absent.
        require_any: Claims of which one must be there.
        forbidden: Claims that must not be there. As it is, those that only an ID token
            has: it says who signed in to an app, and opens no API.
        subject_claim: The claim that holds the actor's id.
    """

    model_config = ConfigDict(frozen=True)

    audience_by: Literal["audience", "authorized_party", "issuer_keys"] = "audience"
    authorized_parties: frozenset[str] = frozenset()
    required: Mapping[ClaimPath, frozenset[str]] = {}
    refused: Mapping[ClaimPath, frozenset[str]] = {}
    require_any: tuple[str, ...] = ()
    forbidden: tuple[str, ...] = ("at_hash", "c_hash")
    subject_claim: str = "sub"

    def check(self, claims: Claims) -> None:
        """Let claims pass, or say what is wrong with them.

        Args:
            claims: The claims of a token whose signature was checked.

        Raises:
            Unauthenticated: If a rule is broken.
        """
        if any(name in claims for name in self.forbidden):
            raise Unauthenticated("the token is no access token")
        if self.require_any and not any(claims.get(name) for name in self.require_any):
            raise Unauthenticated(f"the token lacks {' and '.join(self.require_any)}")
        for path, values in self.required.items():
            if _text_at(claims, path) not in values:
                raise Unauthenticated(f"the token's claim {'.'.join(path)!r} is not accepted")
        for path, values in self.refused.items():
            if _text_at(claims, path) in values:
                raise Unauthenticated(f"the token's claim {'.'.join(path)!r} is not accepted")
        self._check_party(claims)

    def _check_party(self, claims: Claims) -> None:
        if not self.authorized_parties:
            return
        parties = [claims[name] for name in ("azp", "client_id") if claims.get(name) is not None]
        if not parties or not all(
            isinstance(party, str) and party in self.authorized_parties for party in parties
        ):
            raise Unauthenticated("the token was issued to another party")


def _text_at(claims: Claims, path: ClaimPath) -> str | None:
    value = claim_at(claims, path)
    if value is not None and not isinstance(value, str):
        raise malformed(path)
    return value
