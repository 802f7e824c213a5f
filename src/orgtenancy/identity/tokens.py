"""Verification of signed tokens (JWT), strict by default.

What is refused follows RFC 8725, JSON Web Token Best Current Practices: the algorithm is
never the token's choice, and each key is bound to what its type can sign with.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import jwt
from jwt.exceptions import (
    DecodeError,
    ExpiredSignatureError,
    ImmatureSignatureError,
    InvalidAudienceError,
    InvalidIssuerError,
    InvalidSignatureError,
    MissingRequiredClaimError,
    PyJWTError,
)

from orgtenancy.errors import ConfigurationError, Unauthenticated
from orgtenancy.identity.keys import ASYMMETRIC_ALGORITHMS, KeySource, VerificationKey

Claims: TypeAlias = Mapping[str, Any]

DEFAULT_ALGORITHMS = ("ES384", "ES256", "RS256", "EdDSA")
_MAX_SUBJECT_LENGTH = 255  # OpenID Connect Core 1.0, section 2
# PyJWT's own messages name what it was given; these say what a client needs to know.
_REASONS: tuple[tuple[type[PyJWTError], str], ...] = (
    (ExpiredSignatureError, "the token has expired"),
    (ImmatureSignatureError, "the token is not valid yet"),
    (InvalidIssuerError, "the token is of another issuer"),
    (InvalidAudienceError, "the token is for another audience"),
    (InvalidSignatureError, "the token's signature is wrong"),
    (MissingRequiredClaimError, "the token lacks a required claim"),
)


class TokenVerifier:
    """Checks that a token is genuine, meant for this API, and valid now.

    Args:
        issuer: The exact `iss` of its tokens.
        keys: Where the issuer's public keys come from.
        audiences: Audiences of this API; one of the token's must be among them.
        audience_prefixes: Starts of audiences that count too, as Logto's
            `urn:logto:organization:`.
        algorithms: The signature algorithms to accept, asymmetric ones only.
        token_types: Accepted `typ` headers in lower case. A token without one passes.
        leeway: Seconds that clocks may differ.
        max_length: Characters that a token may have.

    Raises:
        ConfigurationError: If that would accept forged tokens, or tokens for others.
    """

    def __init__(
        self,
        issuer: str,
        keys: KeySource,
        *,
        audiences: Iterable[str] = (),
        audience_prefixes: Iterable[str] = (),
        algorithms: Iterable[str] = DEFAULT_ALGORITHMS,
        token_types: Iterable[str] = ("at+jwt", "jwt"),
        leeway: float = 30.0,
        max_length: int = 16_384,
    ) -> None:
        self.issuer = issuer
        self.keys = keys
        self.audiences = frozenset(_several("audiences", audiences))
        self.audience_prefixes = tuple(_several("audience_prefixes", audience_prefixes))
        self.algorithms = frozenset(_several("algorithms", algorithms))
        self.token_types = frozenset(_several("token_types", token_types))
        self.leeway = leeway
        self.max_length = max_length
        self._jwt = _StrictJWT()
        if not issuer:
            raise ConfigurationError("a token verifier needs the issuer")
        if not (self.audiences or self.audience_prefixes) or "" in self.audience_prefixes:
            raise ConfigurationError(
                "a token verifier needs an audience: without it, a token for any other API "
                "of the issuer would open this one"
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
        try:
            header = jwt.get_unverified_header(token)
        except (PyJWTError, UnicodeError) as error:
            raise Unauthenticated("the token is malformed") from error
        algorithm, kind, kid = header.get("alg"), header.get("typ"), header.get("kid")
        if not isinstance(algorithm, str) or algorithm not in self.algorithms:
            raise Unauthenticated("the token's algorithm is not accepted")
        if "crit" in header:
            # RFC 7515, section 4.1.11: extensions that are not understood must be refused.
            # PyJWT does so only in later versions.
            raise Unauthenticated("the token has critical extensions")
        if kind is not None and not self._accepts_type(kind):
            raise Unauthenticated("the token is of another type")
        # PyJWT has checked that `kid` is a string.
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
                issuer=self.issuer,
                leeway=self.leeway,
                # The audience is checked below: PyJWT knows no prefixes.
                options={"require": ["exp", "iss", "sub"], "verify_aud": False},
            )
        except (PyJWTError, ValueError, OverflowError) as error:
            reason = next((text for kind, text in _REASONS if isinstance(error, kind)), None)
            raise Unauthenticated(reason or "the token is malformed") from error
        if not self._is_audience(claims.get("aud")):
            raise Unauthenticated("the token is for another audience")
        if not _is_subject(claims["sub"]):
            raise Unauthenticated("the token's subject is malformed")
        return claims

    def _is_audience(self, claim: object) -> bool:
        audiences = [claim] if isinstance(claim, str) else claim
        if not isinstance(audiences, list) or not all(isinstance(a, str) for a in audiences):
            return False
        return any(
            audience in self.audiences or audience.startswith(self.audience_prefixes)
            for audience in audiences
        )


class _StrictJWT(jwt.PyJWT):
    """Refuses a payload that says one thing twice: parsers disagree on which one counts."""

    def _decode_payload(self, decoded: dict[str, Any]) -> dict[str, Any]:
        try:
            payload = json.loads(
                decoded["payload"], object_pairs_hook=_unique, parse_constant=_refuse_constant
            )
        except (ValueError, RecursionError) as error:
            raise DecodeError("the payload is malformed") from error
        if not isinstance(payload, dict):
            raise DecodeError("the payload is no object")
        return payload


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a claim appears twice")
    return members


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


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
