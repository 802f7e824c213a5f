"""Signing keys of a test issuer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import get_default_algorithms

PrivateKey: TypeAlias = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


class Signer:
    """One signing key of an issuer.

    Args:
        kid: The key's id.
        algorithm: What it signs with: ES256, ES384, RS256 or another of RSA's, EdDSA.
        key: The key itself; a new one if not given.
    """

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
        """Return a token of these claims; a header that is None is left out."""
        header = {"kid": self.kid, "typ": "at+jwt", **headers}
        return jwt.encode(
            dict(claims),
            self.key,
            self.algorithm,
            {name: value for name, value in header.items() if value is not None},
        )


def new_key(algorithm: str) -> PrivateKey:
    """Return a new private key for an algorithm.

    Raises:
        ValueError: If it is none that this can make a key for.
    """
    match algorithm:
        case "ES384":
            return ec.generate_private_key(ec.SECP384R1())
        case "ES256":
            return ec.generate_private_key(ec.SECP256R1())
        case "EdDSA":
            return ed25519.Ed25519PrivateKey.generate()
        case "RS256" | "RS384" | "RS512" | "PS256" | "PS384" | "PS512":
            return rsa.generate_private_key(public_exponent=65537, key_size=2048)
        case _:
            raise ValueError(f"no key can be made for {algorithm!r}")


def key_set(*signers: Signer) -> dict[str, Any]:
    """Return the JWK set of these keys."""
    return {"keys": [signer.jwk() for signer in signers]}
