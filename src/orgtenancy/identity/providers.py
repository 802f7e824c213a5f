"""Ready settings for identity providers: what their tokens look like, as values.

A provider is data. Another one is another function here that returns such a value.
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urljoin

from pydantic import BaseModel, ConfigDict

from orgtenancy.identity.jwks import RemoteKeys
from orgtenancy.identity.keys import KeySource
from orgtenancy.identity.organization_claims import OrganizationClaims
from orgtenancy.identity.resolvers import HeaderResolver, TokenActor, TokenResolver
from orgtenancy.identity.tokens import DEFAULT_ALGORITHMS, TokenVerifier


class IdentityProvider(BaseModel):
    """What an issuer's access tokens look like.

    Attributes:
        issuer: The exact `iss`.
        jwks_url: Where its public keys are.
        organization: Where a token names its organization.
        audiences: Audiences of this API.
        audience_prefixes: Starts of audiences that count too.
        algorithms: Signature algorithms it uses.
        token_types: `typ` headers it uses, in lower case.
        scope_claims: Claims that hold scopes.
        leeway: Seconds that clocks may differ.
    """

    model_config = ConfigDict(frozen=True)

    issuer: str
    jwks_url: str
    organization: OrganizationClaims
    audiences: tuple[str, ...] = ()
    audience_prefixes: tuple[str, ...] = ()
    algorithms: tuple[str, ...] = DEFAULT_ALGORITHMS
    token_types: tuple[str, ...] = ("at+jwt", "jwt")
    scope_claims: tuple[str, ...] = ("scope",)
    leeway: float = 30.0

    def verifier(self, keys: KeySource | None = None) -> TokenVerifier:
        """Return a verifier of its tokens.

        Args:
            keys: Its public keys; fetched from `jwks_url` if not given.
        """
        return TokenVerifier(
            self.issuer,
            keys if keys is not None else RemoteKeys(self.jwks_url),
            audiences=self.audiences,
            audience_prefixes=self.audience_prefixes,
            algorithms=self.algorithms,
            token_types=self.token_types,
            leeway=self.leeway,
        )

    def actors(self, keys: KeySource | None = None) -> TokenActor:
        """Return what finds the subject and scopes of its bearer tokens."""
        return TokenActor(self.verifier(keys), scope_claims=self.scope_claims)

    def resolver(self, keys: KeySource | None = None) -> TokenResolver:
        """Return a resolver that opens the organization its tokens name, and no other."""
        return TokenResolver(self.actors(keys), self.organization)

    def header_resolver(
        self, *, header: str = "X-Organization", keys: KeySource | None = None
    ) -> HeaderResolver:
        """Return a resolver that opens the organization a header names.

        A token that names the same one proves it; for the rest, the membership policy
        decides.
        """
        return HeaderResolver(self.actors(keys), header=header, organization=self.organization)


def logto(endpoint: str, *, audiences: str | Iterable[str] = ()) -> IdentityProvider:
    """Return the settings for a Logto tenant.

    Logto names the organization in the audience of an organization token, and in
    `organization_id` of a token for an API resource. It signs with ES384, or RS256 after
    a key rotation.

    Args:
        endpoint: The tenant's base URL, for instance `https://auth.example.com/`.
        audiences: The API resources that this app is.
    """
    base = endpoint if endpoint.endswith("/") else f"{endpoint}/"
    prefix = "urn:logto:organization:"
    return IdentityProvider(
        issuer=urljoin(base, "oidc"),
        jwks_url=urljoin(base, "oidc/jwks"),
        organization=OrganizationClaims(paths=(("organization_id",),), audience_prefixes=(prefix,)),
        audiences=(audiences,) if isinstance(audiences, str) else tuple(audiences),
        audience_prefixes=(prefix,),
        algorithms=("ES384", "RS256"),
        token_types=("at+jwt",),
    )
