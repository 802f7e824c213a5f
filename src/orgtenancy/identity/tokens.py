"""Verification of signed tokens (JWT), strict by default.

What is refused follows RFC 8725, JSON Web Token Best Current Practices: the algorithm is
never the token's choice, and each key is bound to what its type can sign with.
"""

from __future__ import annotations

import binascii
import json
import math
import re
from base64 import urlsafe_b64decode
from collections.abc import Iterable
from typing import Any

import jwt
from jwt.exceptions import (
    DecodeError,
    ExpiredSignatureError,
    ImmatureSignatureError,
    InvalidSignatureError,
    MissingRequiredClaimError,
    PyJWTError,
)

from orgtenancy.errors import ConfigurationError, Unauthenticated
from orgtenancy.identity.claim_paths import Claims
from orgtenancy.identity.keys import ASYMMETRIC_ALGORITHMS, KeySource, VerificationKey
from orgtenancy.identity.token_rules import IssuerTemplate, TokenRules

DEFAULT_ALGORITHMS = ("ES384", "ES256", "RS256", "EdDSA")
_MAX_SUBJECT_LENGTH = 255  # OpenID Connect Core 1.0, section 2
_MAX_KID_LENGTH = 256
# RFC 7515, section 7.1. Python's decoder skips what is no base64, so one token would have
# many spellings; PyJWT minds it only in later versions.
_COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*")
# PyJWT's own messages name what it was given; these say what a client needs to know.
_REASONS: tuple[tuple[type[PyJWTError], str], ...] = (
    (ExpiredSignatureError, "the token has expired"),
    (ImmatureSignatureError, "the token is not valid yet"),
    (InvalidSignatureError, "the token's signature is wrong"),
    (MissingRequiredClaimError, "the token lacks a required claim"),
)


class TokenVerifier:
    """Checks that a token is genuine, meant for this API, and valid now.

    Args:
        issuer: The exact `iss` of its tokens, or the template of it.
        keys: Where the issuer's public keys come from.
        audiences: Audiences of this API; one of the token's must be among them.
        audience_prefixes: Starts of audiences that count too, as Logto's
            `urn:logto:organization:`.
        algorithms: The signature algorithms to accept, asymmetric ones only.
        token_types: Accepted `typ` headers in lower case. A token without one passes.
        rules: What its access tokens must say besides.
        leeway: Seconds that clocks may differ.
        max_length: Characters that a token may have.

    Raises:
        ConfigurationError: If that would accept forged tokens, or tokens for others.
    """

    def __init__(
        self,
        issuer: str | IssuerTemplate,
        keys: KeySource,
        *,
        audiences: Iterable[str] = (),
        audience_prefixes: Iterable[str] = (),
        algorithms: Iterable[str] = DEFAULT_ALGORITHMS,
        token_types: Iterable[str] = ("at+jwt", "jwt"),
        rules: TokenRules | None = None,
        leeway: float = 30.0,
        max_length: int = 16_384,
    ) -> None:
        self.issuer = issuer
        self.keys = keys
        self.audiences = frozenset(_several("audiences", audiences))
        self.audience_prefixes = tuple(_several("audience_prefixes", audience_prefixes))
        self.algorithms = frozenset(_several("algorithms", algorithms))
        self.token_types = frozenset(_several("token_types", token_types))
        self.rules = rules if rules is not None else TokenRules()
        self.leeway = leeway
        self.max_length = max_length
        self._jwt = _StrictJWT()
        self._refuse_unsafe_settings()

    def _refuse_unsafe_settings(self) -> None:
        if not self.issuer:
            raise ConfigurationError("a token verifier needs the issuer")
        if "" in self.audience_prefixes:
            raise ConfigurationError("every audience starts with an empty prefix")
        if self.rules.audience_by == "audience" and not (self.audiences or self.audience_prefixes):
            raise ConfigurationError(
                "a token verifier needs an audience: without it, a token for any other API "
                "of the issuer would open this one"
            )
        if self.rules.audience_by == "authorized_party" and not self.rules.authorized_parties:
            raise ConfigurationError(
                "a token verifier needs the authorized parties: without an audience, only "
                "they say that a token is meant for this API"
            )
        if unsafe := self.algorithms - ASYMMETRIC_ALGORITHMS:
            raise ConfigurationError(f"not a public-key algorithm: {', '.join(sorted(unsafe))}")

    def verify(self, token: str) -> Claims:
        """Return the claims of a token; blocks while the issuer's keys are fetched.

        Raises:
            Unauthenticated: If it proves nothing, with the reason.
            IdentityProviderUnavailable: If there is no key to check it with.
        """
        kid, algorithm = self._announced(token)
        return self._check(token, algorithm, self.keys.find(kid, algorithm))

    async def verify_async(self, token: str) -> Claims:
        """Return what `verify` returns, without blocking the event loop."""
        kid, algorithm = self._announced(token)
        return self._check(token, algorithm, await self.keys.find_async(kid, algorithm))

    def _announced(self, token: str) -> tuple[str | None, str]:
        """Return which key and algorithm the token's header announces, if acceptable."""
        if len(token) > self.max_length:
            raise Unauthenticated("the token is too long")
        header = _header(token)
        algorithm, kind, kid = header.get("alg"), header.get("typ"), header.get("kid")
        if not isinstance(algorithm, str) or algorithm not in self.algorithms:
            raise Unauthenticated("the token's algorithm is not accepted")
        if "crit" in header:
            # RFC 7515, section 4.1.11: extensions that are not understood must be refused.
            # PyJWT does so only in later versions.
            raise Unauthenticated("the token has critical extensions")
        if kind is not None and not self._accepts_type(kind):
            raise Unauthenticated("the token is of another type")
        if kid is not None and not _is_kid(kid):
            raise Unauthenticated("the token's key id is malformed")
        return kid, algorithm

    def _accepts_type(self, kind: object) -> bool:
        return (
            isinstance(kind, str) and kind.lower().removeprefix("application/") in self.token_types
        )

    def _check(self, token: str, algorithm: str, key: VerificationKey) -> Claims:
        try:
            claims = self._jwt.decode(
                token,
                key.material,
                algorithms=[algorithm],
                leeway=self.leeway,
                # Issuer, audience and subject are checked below: PyJWT knows no templates,
                # no prefixes, and no other subject than `sub`.
                options={
                    "require": ["exp", "iss", self.rules.subject_claim],
                    "verify_aud": False,
                    "verify_iss": False,
                },
            )
        except (PyJWTError, ValueError, OverflowError) as error:
            reason = next((text for kind, text in _REASONS if isinstance(error, kind)), None)
            raise Unauthenticated(reason or "the token is malformed") from error
        if not self._is_issuer(claims):
            raise Unauthenticated("the token is of another issuer")
        if not self._is_meant_for_us(claims):
            raise Unauthenticated("the token is for another audience")
        self.rules.check(claims)
        if not _is_subject(claims[self.rules.subject_claim]):
            raise Unauthenticated("the token's subject is malformed")
        return claims

    def _is_issuer(self, claims: Claims) -> bool:
        if isinstance(self.issuer, IssuerTemplate):
            return self.issuer.is_issuer_of(claims)
        return bool(claims["iss"] == self.issuer)

    def _is_meant_for_us(self, claims: Claims) -> bool:
        if "aud" not in claims and self.rules.audience_by != "audience":
            return True  # the rules ask for the party, or the keys have said it
        return self._is_audience(claims.get("aud"))

    def _is_audience(self, claim: object) -> bool:
        audiences = [claim] if isinstance(claim, str) else claim
        if not isinstance(audiences, list) or not all(isinstance(a, str) for a in audiences):
            return False
        return any(
            audience in self.audiences or audience.startswith(self.audience_prefixes)
            for audience in audiences
        )


class _StrictJWT(jwt.PyJWT):
    """Refuses a payload that says one thing twice, or a time that is no number."""

    def _decode_payload(self, decoded: dict[str, Any]) -> dict[str, Any]:
        try:
            payload = _json_object(decoded["payload"])
        except (ValueError, RecursionError) as error:
            raise DecodeError("the payload is malformed") from error
        for name in ("exp", "iat", "nbf"):
            if name in payload and not _is_time(payload[name]):
                raise DecodeError(f"{name} is no time")
        return payload


def _header(token: str) -> dict[str, Any]:
    """Return the JOSE header of a token in compact form."""
    if not _COMPACT.fullmatch(token):
        raise Unauthenticated("the token is malformed")
    segment = token.partition(".")[0]
    try:
        return _json_object(urlsafe_b64decode(segment + "=" * (-len(segment) % 4)))
    except (binascii.Error, ValueError, RecursionError) as error:
        raise Unauthenticated("the token is malformed") from error


def _json_object(text: bytes) -> dict[str, Any]:
    """Return a decoded object that says nothing twice: parsers disagree on what counts."""
    # Given bytes, `json` would also take UTF-16, which other parsers read differently.
    decoded = json.loads(
        text.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse_constant
    )
    if not isinstance(decoded, dict):
        raise ValueError("no object")
    return decoded


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member appears twice")
    return members


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _is_time(value: object) -> bool:
    # JSON's `true` is a number to Python, and 1e400 is infinite.
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_kid(kid: object) -> bool:
    """Whether it can be looked up and logged as a key's id."""
    return isinstance(kid, str) and 0 < len(kid) <= _MAX_KID_LENGTH and kid.isprintable()


def _is_subject(subject: object) -> bool:
    """Whether it can be stored and logged as a user's id."""
    return (
        isinstance(subject, str)
        and 0 < len(subject) <= _MAX_SUBJECT_LENGTH
        and subject.isprintable()
    )


def _several(name: str, values: Iterable[str]) -> Iterable[str]:
    # A lone string is an iterable of its characters, and one of them may match anything.
    if isinstance(values, str):
        raise ConfigurationError(f"{name} takes several: write [{values!r}]")
    return values
