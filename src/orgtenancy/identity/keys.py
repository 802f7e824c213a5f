"""Public keys that tokens are checked with.

A key says itself which algorithms it may verify, by its type and, where it has one, its
`alg`. What a token announces only chooses among them, so a public key can never be taken
for the secret of an HMAC.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt import PyJWK
from jwt.exceptions import PyJWTError

from orgtenancy.errors import ConfigurationError, Unauthenticated

PublicKey: TypeAlias = EllipticCurvePublicKey | RSAPublicKey | Ed25519PublicKey

_RSA_ALGORITHMS = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
_CURVE_ALGORITHMS = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
_MIN_RSA_BITS = 2048  # RFC 7518, section 3.3

ASYMMETRIC_ALGORITHMS = _RSA_ALGORITHMS | frozenset(_CURVE_ALGORITHMS.values()) | {"EdDSA"}


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """One public key.

    Attributes:
        kid: Its id within the issuer's set, or None.
        algorithms: The algorithms it may verify.
        material: The key itself.
    """

    kid: str | None
    algorithms: frozenset[str]
    material: PublicKey


class KeySource(Protocol):
    """Finds the key that a token says it was signed with."""

    def find(self, kid: str | None, algorithm: str) -> VerificationKey:
        """Return the key; may block while keys are fetched.

        Raises:
            Unauthenticated: If the issuer has no such key.
            IdentityProviderUnavailable: If that cannot be known now.
        """
        ...

    async def find_async(self, kid: str | None, algorithm: str) -> VerificationKey:
        """Return the same, without blocking the event loop."""
        ...


class KeySet:
    """The usable keys of one JWK set.

    Args:
        keys: The keys, in the set's order.
    """

    __slots__ = ("_by_kid", "_keys")

    def __init__(self, keys: Iterable[VerificationKey]) -> None:
        self._keys = tuple(keys)
        self._by_kid: dict[str, list[VerificationKey]] = {}
        for key in self._keys:
            if key.kid is not None:
                self._by_kid.setdefault(key.kid, []).append(key)

    def __len__(self) -> int:
        return len(self._keys)

    def get(self, kid: str | None, algorithm: str) -> VerificationKey | None:
        """Return the key with this id that may verify the algorithm, or None.

        Without an id, the key is the only one that can do it; a choice is not made.
        """
        candidates: Sequence[VerificationKey] = (
            self._keys if kid is None else self._by_kid.get(kid, ())
        )
        fitting = [key for key in candidates if algorithm in key.algorithms]
        return fitting[0] if len(fitting) == 1 else None


class StaticKeys:
    """Keys that never change.

    Args:
        jwks: A JWK set, `{"keys": [...]}`.

    Raises:
        ConfigurationError: If there is no usable public key in it.
    """

    def __init__(self, jwks: Mapping[str, Any]) -> None:
        self._keys = parse_key_set(jwks)
        if not self._keys:
            raise ConfigurationError("the key set has no usable public key")

    def find(self, kid: str | None, algorithm: str) -> VerificationKey:
        """Return the key.

        Raises:
            Unauthenticated: If there is none.
        """
        key = self._keys.get(kid, algorithm)
        if key is None:
            raise unknown_key()
        return key

    async def find_async(self, kid: str | None, algorithm: str) -> VerificationKey:
        """Return what `find` returns."""
        return self.find(kid, algorithm)


def parse_key_set(jwks: object) -> KeySet:
    """Return the keys of a JWK set that can verify signatures.

    Keys for encryption, of unknown types, symmetric, private or too short ones are left
    out, as RFC 7517, section 5, asks: an issuer may add a kind of key at any time.

    Raises:
        ValueError: If it is no JWK set at all.
    """
    members = jwks.get("keys") if isinstance(jwks, Mapping) else None
    if not isinstance(members, list):
        raise ValueError("not a JWK set")
    return KeySet(key for member in members if isinstance(member, dict) and (key := _parse(member)))


def unknown_key() -> Unauthenticated:
    """Return the error for a token whose key the issuer does not have."""
    return Unauthenticated("the token was signed with an unknown key")


def _parse(jwk: dict[str, Any]) -> VerificationKey | None:
    kid, operations = jwk.get("kid"), jwk.get("key_ops")
    if jwk.get("use", "sig") != "sig" or not isinstance(kid, str | None):
        return None
    if operations is not None and "verify" not in operations:
        return None
    try:
        # Only the type counts here: PyJWT refuses an `alg` that it does not know, and an
        # issuer may leave it out, as Logto does for RSA.
        material = PyJWK({name: value for name, value in jwk.items() if name != "alg"}).key
    except (PyJWTError, ValueError, TypeError):
        return None
    algorithms = _algorithms_of(material)
    declared = jwk.get("alg")
    if declared is not None:
        algorithms &= {declared} if isinstance(declared, str) else set()
    return VerificationKey(kid, algorithms, material) if algorithms else None


def _algorithms_of(key: object) -> frozenset[str]:
    """Return what a key may verify: nothing if it is no public key of a known type."""
    match key:
        case RSAPublicKey() if key.key_size >= _MIN_RSA_BITS:
            return _RSA_ALGORITHMS
        case EllipticCurvePublicKey():
            algorithm = _CURVE_ALGORITHMS.get(key.curve.name)
            return frozenset({algorithm} if algorithm else ())
        case Ed25519PublicKey():
            return frozenset({"EdDSA"})
        case _:
            return frozenset()
