"""An organization that the request names: in a header, in the host, or in the path."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterable

from orgtenancy.errors import ConfigurationError
from orgtenancy.identity.organization_claims import OrganizationClaims
from orgtenancy.identity.requests import RequestInfo
from orgtenancy.identity.resolvers.base import (
    ActorFirstResolver,
    ActorSource,
    Identity,
    contradiction,
)
from orgtenancy.organizations import Actor

_DOMAIN = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)*")
_PLACEHOLDER = "{organization}"
_BELOW = "/*"


class NamedOrganizationResolver(ActorFirstResolver):
    """An organization that the request names, and an actor from its credentials.

    The name proves nothing, so the membership policy decides. A subclass says in
    `named_organization` where the name is.

    Args:
        actors: Who asks.
        organization: Where the actor's token may name an organization itself. It must be
            the same one then, and proves the membership. Give it wherever the issuer
            makes such tokens: their scopes are of that organization and of no other.
    """

    def __init__(
        self, actors: ActorSource, *, organization: OrganizationClaims | None = None
    ) -> None:
        super().__init__(actors)
        self._organization = organization if organization is not None else OrganizationClaims()

    @abstractmethod
    def named_organization(self, request: RequestInfo) -> str | None:
        """Return the organization that the request names, or None."""

    def _identify(self, request: RequestInfo, actor: Actor) -> Identity | None:
        named = self.named_organization(request)
        if named is None:
            return None
        proven = self._organization.find(actor.claims)
        if proven not in (None, named):
            raise contradiction()
        return Identity(organization_id=named, actor=actor, proven=proven is not None)


class HeaderResolver(NamedOrganizationResolver):
    """The organization that a header names.

    Args:
        actors: Who asks: `TokenActor`, or the host's own source.
        header: The header's name.
        organization: Where the actor's token may name an organization itself.
    """

    def __init__(
        self,
        actors: ActorSource,
        *,
        header: str = "X-Organization",
        organization: OrganizationClaims | None = None,
    ) -> None:
        super().__init__(actors, organization=organization)
        self._header = header.lower()

    def named_organization(self, request: RequestInfo) -> str | None:
        """Return the header's value, or None where it was not sent."""
        return request.header(self._header)


class SubdomainResolver(NamedOrganizationResolver):
    """The organization that the host's first label names: `acme` of `acme.example.com`.

    Exactly one label stands before the base domain; any other host names no organization.
    Hosts have no case and arrive in lower case, so an id with a capital letter cannot come
    this way: it is another organization than the one in lower case. Behind a proxy, the
    header `Host` must be the one that the client sent.

    Args:
        actors: Who asks: `TokenActor`, or the host's own source.
        base_domain: What follows the label: `example.com`.
        reserved: Labels that are no organizations.
        organization: Where the actor's token may name an organization itself.

    Raises:
        ConfigurationError: If the base domain is no domain name.
    """

    def __init__(
        self,
        actors: ActorSource,
        base_domain: str,
        *,
        reserved: Iterable[str] = ("www", "api"),
        organization: OrganizationClaims | None = None,
    ) -> None:
        super().__init__(actors, organization=organization)
        if isinstance(reserved, str):
            raise ConfigurationError(f"reserved takes several labels: write [{reserved!r}]")
        base = base_domain.lower()
        if not _DOMAIN.fullmatch(base):
            raise ConfigurationError(f"a base domain is like 'example.com', not {base_domain!r}")
        self._suffix = f".{base}"
        self._reserved = frozenset(label.lower() for label in reserved)

    def named_organization(self, request: RequestInfo) -> str | None:
        """Return the label before the base domain, or None where there is not just one."""
        host = request.host.removesuffix(".")  # a fully qualified name is the same host
        if not host.endswith(self._suffix):
            return None
        label = host.removesuffix(self._suffix)
        return None if not label or "." in label or label in self._reserved else label


class PathResolver(NamedOrganizationResolver):
    """The organization that a segment of the path names: `acme` of `/o/acme/posts`.

    The path is the one that the app routes by: below where it is mounted, and decoded once,
    by the server. A segment that is no valid id is refused like one from anywhere else.

    Args:
        actors: Who asks: `TokenActor`, or the host's own source.
        template: The path, with `{organization}` as one of its segments. It is that path
            alone; one that ends in `/*` is also everything below it.
        organization: Where the actor's token may name an organization itself.

    Raises:
        ConfigurationError: If the template would not do what it seems to.
    """

    def __init__(
        self,
        actors: ActorSource,
        template: str = "/o/{organization}/*",
        *,
        organization: OrganizationClaims | None = None,
    ) -> None:
        super().__init__(actors, organization=organization)
        self._pattern = _pattern(template)

    def named_organization(self, request: RequestInfo) -> str | None:
        """Return the segment of the path, or None where the path is another one."""
        found = self._pattern.fullmatch(request.path)
        return None if found is None else found["organization"]


def _pattern(template: str) -> re.Pattern[str]:
    segments = template.removesuffix(_BELOW).split("/")
    others = "".join(segment for segment in segments if segment != _PLACEHOLDER)
    if segments[0] or segments.count(_PLACEHOLDER) != 1 or set("{}*") & set(others):
        raise ConfigurationError(
            f"a template is like '/o/{_PLACEHOLDER}' or '/o/{_PLACEHOLDER}/*', not {template!r}"
        )
    parts = ("(?P<organization>[^/]+)" if s == _PLACEHOLDER else re.escape(s) for s in segments)
    below = "(?:/.*)?" if template.endswith(_BELOW) else ""
    # A decoded path may hold any character, and a dot is to match them all.
    return re.compile("/".join(parts) + below, re.DOTALL)
