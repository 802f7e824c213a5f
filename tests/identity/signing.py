"""Keys and tokens of a local issuer, and the claims that a real Logto put in its own."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import get_default_algorithms

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey

ISSUER = "https://issuer.example/oidc"
API = "https://api.example.com"
PREFIX = "urn:logto:organization:"


class Signer:
    """One signing key of an issuer."""

    def __init__(self, kid: str, algorithm: str = "ES384", key: PrivateKey | None = None) -> None:
        self.kid = kid
        self.algorithm = algorithm
        self.key = key if key is not None else new_key(algorithm)

    def jwk(self, **changes: Any) -> dict[str, Any]:
        """Return the public key; a change to None leaves the member out."""
        public: dict[str, Any] = get_default_algorithms()[self.algorithm].to_jwk(
            self.key.public_key(), as_dict=True
        )
        public.pop("key_ops", None)
        members = {**public, "kid": self.kid, "use": "sig", "alg": self.algorithm, **changes}
        return {name: value for name, value in members.items() if value is not None}

    def sign(self, claims: Mapping[str, Any], **headers: Any) -> str:
        header = {"kid": self.kid, "typ": "at+jwt", **headers}
        return jwt.encode(
            dict(claims),
            self.key,
            self.algorithm,
            {name: value for name, value in header.items() if value is not None},
        )


def new_key(algorithm: str) -> PrivateKey:
    match algorithm:
        case "ES384":
            return ec.generate_private_key(ec.SECP384R1())
        case "ES256":
            return ec.generate_private_key(ec.SECP256R1())
        case "EdDSA":
            return ed25519.Ed25519PrivateKey.generate()
        case _:
            return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def claims(**changes: Any) -> dict[str, Any]:
    """Return the claims of a good token, changed; a change to None leaves a claim out."""
    now = int(time.time())
    members = {
        "iss": ISSUER,
        "sub": "afb6zw2tnuqy",
        "aud": API,
        "iat": now,
        "exp": now + 3600,
        "organization_id": "7zp7flxblujn",
        "scope": "read:posts write:posts",
        **changes,
    }
    return {name: value for name, value in members.items() if value is not None}


def key_set(*signers: Signer) -> dict[str, Any]:
    return {"keys": [signer.jwk() for signer in signers]}


def recorded(kind: str) -> dict[str, Any]:
    """Return claims recorded from a running Logto, with their times moved to now."""
    (found,) = (entry for entry in json.loads(_RECORDED) if entry["kind"] == kind)
    now = int(time.time())
    return {**found["claims"], "iat": now, "exp": now + 3600}


_RECORDED = """[
 {"kind": "management", "claims": {"jti": "IrsYp7s5x8mv2ZkOfFGDE", "sub": "m-default",
  "iat": 1795408390, "exp": 1795411990, "scope": "all", "client_id": "m-default",
  "iss": "http://127.0.0.1:33002/oidc", "aud": "https://default.logto.app/api"}},
 {"kind": "machine, organization", "claims": {"jti": "PlhFc4jYx4irdOoJnBCvB",
  "sub": "ff8z24hozx8byeexhf1wk", "iat": 1795408391, "exp": 1795411991,
  "scope": "manage:members read:posts", "client_id": "ff8z24hozx8byeexhf1wk",
  "iss": "http://127.0.0.1:33001/oidc", "aud": "urn:logto:organization:7zp7flxblujn"}},
 {"kind": "machine, API of organization", "claims": {"organization_id": "7zp7flxblujn",
  "jti": "yX-HhNFQ9qQdyfRPp5T1m", "sub": "ff8z24hozx8byeexhf1wk", "iat": 1795408391,
  "exp": 1795411991, "scope": "write:posts", "client_id": "ff8z24hozx8byeexhf1wk",
  "iss": "http://127.0.0.1:33001/oidc", "aud": "https://api.example.com"}},
 {"kind": "user, organization", "claims": {"jti": "Uc3Z5agKsvQC1nOf6htfa",
  "sub": "afb6zw2tnuqy", "iat": 1795408391, "exp": 1795411991, "scope": "read:posts",
  "client_id": "r23uzgz5vac2yzamaq2dn", "iss": "http://127.0.0.1:33001/oidc",
  "aud": "urn:logto:organization:7zp7flxblujn"}},
 {"kind": "user, API of organization", "claims": {"organization_id": "7zp7flxblujn",
  "jti": "aAzm7CzHBKHI73_SVUnYG", "sub": "afb6zw2tnuqy", "iat": 1795408391,
  "exp": 1795411991, "scope": "write:posts", "client_id": "r23uzgz5vac2yzamaq2dn",
  "iss": "http://127.0.0.1:33001/oidc", "aud": "https://api.example.com"}},
 {"kind": "user, API alone", "claims": {"jti": "hbFOuDlo2uywXfVAOH221",
  "sub": "afb6zw2tnuqy", "iat": 1795408391, "exp": 1795411991, "scope": "write:posts",
  "client_id": "r23uzgz5vac2yzamaq2dn", "iss": "http://127.0.0.1:33001/oidc",
  "aud": "https://api.example.com"}}
]"""
