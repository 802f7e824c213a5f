"""What every provider's settings are made of."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict

from orgtenancy.errors import ConfigurationError
from orgtenancy.identity.claim_paths import ClaimPath
from orgtenancy.identity.discovery import discovered_keys
from orgtenancy.identity.jwks import RemoteKeys
from orgtenancy.identity.keys import KeySource
from orgtenancy.identity.organization_claims import OrganizationClaims
from orgtenancy.identity.resolvers import (
    HeaderResolver,
    PathResolver,
    SubdomainResolver,
    TokenActor,
    TokenResolver,
)
from orgtenancy.identity.scope_claims import ScopeReader
from orgtenancy.identity.token_rules import IssuerTemplate, TokenRules
from orgtenancy.identity.tokens import DEFAULT_ALGORITHMS, TokenVerifier


class IdentityProvider(BaseModel):
    """What an issuer's access tokens look like.

    Attributes:
        issuer: The exact `iss`, or the template of it.
        jwks_url: Where its public keys are; None where its discovery document says so.
        organization: Where a token names its organization.
        audiences: Audiences of this API.
        audience_prefixes: Starts of audiences that count too.
        algorithms: Signature algorithms it uses.
        token_types: `typ` headers it uses, in lower case.
        rules: What its access tokens must say besides.
        scope_claims: Claims that hold scopes: names, or paths.
        scopes: Reads scopes that are not written as themselves, in addition.
        leeway: Seconds that clocks may differ.
    """

    model_config = ConfigDict(frozen=True)

    issuer: str | IssuerTemplate
    jwks_url: str | None = None
    organization: OrganizationClaims
    audiences: tuple[str, ...] = ()
    audience_prefixes: tuple[str, ...] = ()
    algorithms: tuple[str, ...] = DEFAULT_ALGORITHMS
    token_types: tuple[str, ...] = ("at+jwt", "jwt")
    rules: TokenRules = TokenRules()
    scope_claims: tuple[str | ClaimPath, ...] = ("scope",)
    scopes: ScopeReader | None = None
    leeway: float = 30.0

    def keys(self) -> KeySource:
        """Return its public keys, fetched when they are needed.

        Raises:
            ConfigurationError: If nothing says where they are.
        """
        if self.jwks_url is not None:
            return RemoteKeys(self.jwks_url)
        if isinstance(self.issuer, IssuerTemplate):
            raise ConfigurationError("an issuer with many tenants needs a `jwks_url`")
        return discovered_keys(self.issuer)

    def verifier(self, keys: KeySource | None = None) -> TokenVerifier:
        """Return a verifier of its tokens.

        Args:
            keys: Its public keys; fetched from it if not given.
        """
        return TokenVerifier(
            self.issuer,
            keys if keys is not None else self.keys(),
            audiences=self.audiences,
            audience_prefixes=self.audience_prefixes,
            algorithms=self.algorithms,
            token_types=self.token_types,
            rules=self.rules,
            leeway=self.leeway,
        )

    def actors(self, keys: KeySource | None = None) -> TokenActor:
        """Return what finds the subject and scopes of its bearer tokens."""
        return TokenActor(self.verifier(keys), scope_claims=self.scope_claims, scopes=self.scopes)

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

    def subdomain_resolver(
        self,
        base_domain: str,
        *,
        reserved: Iterable[str] = ("www", "api"),
        keys: KeySource | None = None,
    ) -> SubdomainResolver:
        """Return a resolver that opens the organization the host names, like `header_resolver`."""
        return SubdomainResolver(
            self.actors(keys), base_domain, reserved=reserved, organization=self.organization
        )

    def path_resolver(
        self, template: str = "/o/{organization}/*", *, keys: KeySource | None = None
    ) -> PathResolver:
        """Return a resolver that opens the organization the path names, like `header_resolver`."""
        return PathResolver(self.actors(keys), template, organization=self.organization)


def base_url(domain: str) -> str:
    """Return the base URL of a provider's domain, without a slash at its end.

    Args:
        domain: A domain, or a URL with its scheme.
    """
    url = domain if domain.startswith(("https://", "http://")) else f"https://{domain}"
    return url.rstrip("/")


def several(values: str | Iterable[str]) -> tuple[str, ...]:
    """Return one value or several as a tuple."""
    return (values,) if isinstance(values, str) else tuple(values)
