"""What it costs to verify a token, against PyJWT as its own manual uses it."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import jwt
from jwt.utils import base64url_decode

from orgtenancy.identity import IdentityProvider, RequestInfo, logto
from orgtenancy.testing import LocalIssuer

AUDIENCE = "https://api.example.com"
PEER = "PyJWT with PyJWKClient"
#: Longer than any measurement: no key is fetched in the middle of one.
KEEP = 86_400

_REQUIRED = ["exp", "iss", "sub"]


@dataclass(frozen=True)
class Verification:
    """One way of checking a token."""

    name: str
    check: Callable[[str], object]

    def run(self, work: Sequence[str]) -> None:
        """Check some tokens."""
        for token in work:
            self.check(token)

    def backends(self) -> Iterable[int]:
        """Return nothing: no database has a part in it."""
        return ()


def provider(issuer: LocalIssuer) -> IdentityProvider:
    """Return the settings for the issuer's tokens."""
    return logto(issuer.url, audiences=AUDIENCE)


def token(issuer: LocalIssuer, organization: str, user: str) -> str:
    """Return a token of a usual size, which is good for longer than any measurement."""
    return issuer.token(
        user,
        organization=organization,
        audience=AUDIENCE,
        scopes=["read:posts", "write:posts"],
        lifetime=KEEP,
    )


def verifications(issuer: LocalIssuer, algorithm: str) -> list[Verification]:
    """Return all that are compared, the peer first."""
    keys = issuer.keys(max_age=KEEP)
    verifier, resolver = provider(issuer).verifier(keys), provider(issuer).resolver(keys)
    client = jwt.PyJWKClient(issuer.jwks_url, lifespan=KEEP)
    bare = jwt.get_algorithm_by_name(algorithm)
    material = keys.find(issuer.signer.kid, algorithm).material

    def peer(token: str) -> object:
        return jwt.decode(
            token,
            client.get_signing_key_from_jwt(token),
            algorithms=[algorithm],
            audience=AUDIENCE,
            issuer=issuer.issuer,
            leeway=30,
            options={"require": _REQUIRED},
        )

    def identify(token: str) -> object:
        headers = {"authorization": [f"Bearer {token}"]}
        return resolver.resolve(RequestInfo("GET", "/", headers))

    def signature(token: str) -> None:
        content, _, signed = token.rpartition(".")
        assert bare.verify(content.encode(), material, base64url_decode(signed))

    return [
        Verification(PEER, peer),
        Verification(f"{PEER}, again", peer),
        Verification("`TokenVerifier.verify`", verifier.verify),
        Verification("`TokenResolver.resolve`: organization, actor, scopes", identify),
        Verification("the signature alone", signature),
        Verification("a verifier that remembered tokens", _Remembering(verifier.verify)),
    ]


class _Remembering:
    """What a verifier would cost that remembers tokens until they expire: no such is built."""

    def __init__(self, verify: Callable[[str], object]) -> None:
        self._verify = verify
        self._known: dict[bytes, tuple[float, object]] = {}

    def __call__(self, token: str) -> object:
        digest = hashlib.sha256(token.encode()).digest()
        known = self._known.get(digest)
        if known is not None and known[0] > time.time():
            return known[1]
        claims = self._verify(token)
        self._known[digest] = (time.time() + 60, claims)
        return claims
