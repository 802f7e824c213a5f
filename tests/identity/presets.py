"""The settings for every shape of token, as a host would write them."""

from __future__ import annotations

from orgtenancy.identity import (
    IdentityProvider,
    auth0,
    clerk,
    entra,
    keycloak,
    logto,
    oidc,
    workos,
    zitadel,
)
from orgtenancy.testing import SHAPES
from tests.identity.signing import API

TENANT = SHAPES["entra"].organization
PROJECT = "299385234567800000"
APP = "https://app.example.com"

CLERK = clerk("clerk.example.com", [APP])
LOGTO = logto("https://auth.example.com/", audiences=API)
PROVIDERS: dict[str, IdentityProvider] = {
    "logto": LOGTO,
    "logto_api": LOGTO,
    "auth0": auth0("tenant.eu.auth0.com", API),
    "workos": workos("client_123"),
    "clerk_v1": CLERK,
    "clerk_v2": CLERK,
    "keycloak": keycloak("https://sso.example.com", "staff", API),
    "keycloak_alias": keycloak("https://sso.example.com/", "staff", [API], by="alias"),
    "zitadel": zitadel("example.zitadel.cloud", PROJECT),
    "entra": entra("6e74172b-be56-4843-9ff4-e66a39bb12e3", tenants=[TENANT]),
    "oidc": oidc("https://issuer.example.com/", API, "org_id"),
}
CLERKS = ["org:dashboard:manage", "org:dashboard:read", "org:teams:read"]
SCOPES = {
    **{name: ["read:posts", "write:posts"] for name in PROVIDERS},
    "clerk_v1": CLERKS,
    "clerk_v2": CLERKS,
}
UNASKED = {"auth0": {"openid", "profile"}}
