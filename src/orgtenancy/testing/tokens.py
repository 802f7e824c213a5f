"""Claims of access tokens as each provider writes them.

Logto's were recorded from a running server; the others are written after their vendors'
documentation.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import EllipsisType
from typing import Any, TypeAlias

_Claims: TypeAlias = dict[str, Any]
_Writer: TypeAlias = Callable[[str | None, Sequence[str]], _Claims]

_CLIENT = "r23uzgz5vac2yzamaq2dn"
_API = "https://api.example.com"
_RESOURCE_OWNER = "urn:zitadel:iam:user:resourceowner"


@dataclass(frozen=True, slots=True)
class Shape:
    """How a provider's access tokens look.

    Attributes:
        algorithm: What it signs them with.
        token_type: The `typ` header.
        issuer: The `iss` of the claims, unless it is changed.
        organization: An organization's id as the provider makes it.
        write: Returns the claims that are the provider's own.
    """

    algorithm: str
    token_type: str
    issuer: str
    organization: str
    write: _Writer


def shape(
    provider: str,
    *,
    organization: str | EllipsisType | None = ...,
    subject: str = "alice",
    scopes: Iterable[str] = (),
    lifetime: int = 3600,
    **changes: Any,
) -> _Claims:
    """Return the claims of an access token as a provider writes it.

    Args:
        provider: One of `SHAPES`.
        organization: The organization's id; None for a token without one. As it is, an id
            of the provider's form.
        subject: The user's id.
        scopes: What the token grants; for Clerk `org:<feature>:<permission>`.
        lifetime: Seconds until it expires, from now.
        **changes: Other claims; one that is None is left out.
    """
    form = SHAPES[provider]
    known = form.organization if isinstance(organization, EllipsisType) else organization
    now = int(time.time())
    claims = {
        "iss": form.issuer,
        "sub": subject,
        "iat": now,
        "exp": now + lifetime,
        **form.write(known, tuple(scopes)),
        **changes,
    }
    return {name: value for name, value in claims.items() if value is not None}


def _logto(organization: str | None, scopes: Sequence[str]) -> _Claims:
    return {
        "jti": "Uc3Z5agKsvQC1nOf6htfa",
        "client_id": _CLIENT,
        "aud": None if organization is None else f"urn:logto:organization:{organization}",
        "scope": _spaced(scopes),
    }


def _logto_api(organization: str | None, scopes: Sequence[str]) -> _Claims:
    claims = _logto(None, scopes)
    return {**claims, "aud": _API, "organization_id": organization}


def _auth0(organization: str | None, scopes: Sequence[str]) -> _Claims:
    return {
        "aud": [_API, "https://tenant.eu.auth0.com/userinfo"],
        "azp": _CLIENT,
        "scope": "openid profile",
        "org_id": organization,
        "permissions": list(scopes),
    }


def _workos(organization: str | None, scopes: Sequence[str]) -> _Claims:
    return {
        "sid": "session_01HQAG1HENBZMAZD82YRXDFC0B",
        "jti": "01HQAG1HJ2T5CRJ5GK4CNTQ7D3",
        "org_id": organization,
        "role": None if organization is None else "member",
        "permissions": None if organization is None else list(scopes),
    }


def _clerk_v1(organization: str | None, scopes: Sequence[str]) -> _Claims:
    claims = {"azp": "https://app.example.com", "sid": "sess_123", "nbf": int(time.time()) - 10}
    if organization is None:
        return claims
    return {
        **claims,
        "org_id": organization,
        "org_slug": "acme",
        "org_role": "org:admin",
        "org_permissions": list(scopes),
    }


def _clerk_v2(organization: str | None, scopes: Sequence[str]) -> _Claims:
    claims = {
        "v": 2,
        "azp": "https://app.example.com",
        "sid": "sess_123",
        "jti": "8d3a6ba9b0b4a51f6e2a",
        "nbf": int(time.time()) - 10,
        "fva": [7, -1],
        "sts": "active",
    }
    if organization is None:
        return claims
    granted = [scope.removeprefix("org:").split(":") for scope in scopes]
    features = sorted({feature for feature, _ in granted})
    permissions = sorted({permission for _, permission in granted})
    masks = [
        sum(1 << i for i, name in enumerate(permissions) if [feature, name] in granted)
        for feature in features
    ]
    packed = {
        "per": ",".join(permissions),
        "fpm": ",".join(str(mask) for mask in masks),
    }
    return {
        **claims,
        "o": {"id": organization, "slg": "acme", "rol": "admin", **(packed if scopes else {})},
        "fea": ",".join(f"o:{feature}" for feature in features) or None,
    }


def _keycloak(organization: str | None, scopes: Sequence[str]) -> _Claims:
    claims = _keycloak_alias(None, scopes)
    return {
        **claims,
        "organization": None if organization is None else {"acme": {"id": organization}},
    }


def _keycloak_alias(organization: str | None, scopes: Sequence[str]) -> _Claims:
    return {
        "jti": "onrtac:6d4e8c0b-3f5d-4a57-9a0e-1d6b8f6f9a11",
        "typ": "Bearer",
        "azp": _CLIENT,
        "aud": [_API, "account"],
        "sid": "b9c1f6e0-6b0f-4d3c-8e4e-6f4f3f0a2d10",
        "acr": "1",
        "realm_access": {"roles": ["offline_access"]},
        "resource_access": {"posts": {"roles": ["editor"]}},
        "scope": _spaced(scopes),
        "organization": None if organization is None else [organization],
    }


def _zitadel(organization: str | None, scopes: Sequence[str]) -> _Claims:
    return {
        "jti": "V2_299385234567891234-at_299385234567891234",
        "aud": ["299385234567800001", "299385234567800002", "299385234567800000"],
        "client_id": "299385234567800001",
        "nbf": int(time.time()),
        f"{_RESOURCE_OWNER}:id": organization,
        f"{_RESOURCE_OWNER}:name": None if organization is None else "Acme",
        f"{_RESOURCE_OWNER}:primary_domain": None if organization is None else "acme.example",
        "urn:zitadel:iam:org:project:299385234567800000:roles": {
            role: {organization: "acme.example"} for role in scopes if organization is not None
        }
        or None,
    }


def _entra(organization: str | None, scopes: Sequence[str]) -> _Claims:
    return {
        "aud": "6e74172b-be56-4843-9ff4-e66a39bb12e3",
        "azp": "7b1a1d3f-0c6a-4f0e-a3c6-30f1f0d1a5b2",
        "azpacr": "0",
        "nbf": int(time.time()),
        "oid": "690222be-ff1a-4d56-abd1-7e4f7d38e474",
        "scp": _spaced(scopes) or "access_as_user",
        "tid": organization,
        "ver": "2.0",
        **(
            {"iss": f"https://login.microsoftonline.com/{organization}/v2.0"}
            if organization is not None
            else {}
        ),
    }


def _oidc(organization: str | None, scopes: Sequence[str]) -> _Claims:
    return {"aud": _API, "org_id": organization, "scope": _spaced(scopes)}


def _spaced(scopes: Sequence[str]) -> str | None:
    # Absent where none was asked for, as Logto does it.
    return " ".join(scopes) or None


_LOGTO, _KEYCLOAK = "https://auth.example.com/oidc", "https://sso.example.com/realms/staff"

#: How the access tokens of each provider look, by name.
SHAPES: Mapping[str, Shape] = {
    "logto": Shape("ES384", "at+jwt", _LOGTO, "7zp7flxblujn", _logto),
    "logto_api": Shape("ES384", "at+jwt", _LOGTO, "7zp7flxblujn", _logto_api),
    "auth0": Shape("RS256", "JWT", "https://tenant.eu.auth0.com/", "org_9ybsU1dN2dKfDkBi", _auth0),
    "workos": Shape(
        "RS256",
        "JWT",
        "https://api.workos.com/user_management/client_123",
        "org_01HRDMC6CM357W30QMHMQ96Q0S",
        _workos,
    ),
    "clerk_v1": Shape(
        "RS256", "JWT", "https://clerk.example.com", "org_2cXJhGCLzqoJYVjOBMgnbZ0qFyO", _clerk_v1
    ),
    "clerk_v2": Shape(
        "RS256", "JWT", "https://clerk.example.com", "org_2cXJhGCLzqoJYVjOBMgnbZ0qFyO", _clerk_v2
    ),
    "keycloak": Shape("RS256", "JWT", _KEYCLOAK, "42c3e46f-2477-44d7-a85b-d3b43f6b31fa", _keycloak),
    "keycloak_alias": Shape("RS256", "JWT", _KEYCLOAK, "acme", _keycloak_alias),
    "zitadel": Shape(
        "RS256", "JWT", "https://example.zitadel.cloud", "299385234567890123", _zitadel
    ),
    "entra": Shape(
        "RS256",
        "JWT",
        "https://login.microsoftonline.com/{tid}/v2.0",
        "8b87af7d-8647-4dc7-8df4-5f69a2011bb5",
        _entra,
    ),
    "oidc": Shape("ES384", "at+jwt", "https://issuer.example.com/", "acme", _oidc),
}
