"""The modules' endpoints as resources, which a framework only has to route to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orgtenancy.adapters.web.requests import client_address
from orgtenancy.endpoints import Caller, Endpoint, endpoints_by_path
from orgtenancy.errors import ConfigurationError, MethodNotAllowed
from orgtenancy.identity.scopes import require_scopes

if TYPE_CHECKING:
    from orgtenancy.tenancy import Tenancy

MEDIA_TYPE = "application/json"


@dataclass(frozen=True)
class Operation:
    """An endpoint, as its module's settings have it.

    Attributes:
        endpoint: What it does.
        scopes: What the actor needs for it.
    """

    endpoint: Endpoint
    scopes: tuple[str, ...]

    def admit(self, client: str | None) -> Caller:
        """Return who calls, before anything of the request is read.

        Args:
            client: The client's address, as the server saw it.

        Raises:
            Unauthenticated: If nobody was identified.
            InsufficientScope: If the actor lacks a scope.
        """
        return Caller(require_scopes(*self.scopes), client_address(client))


@dataclass(frozen=True)
class Resource:
    """One path of the modules' API, for a framework to route to.

    Attributes:
        path: Below where the API is mounted, with `{name}` for each parameter.
        operations: What it does, by method.
    """

    path: str
    operations: Mapping[str, Operation]

    @property
    def name(self) -> str:
        """The name of its first endpoint."""
        return next(iter(self.operations.values())).endpoint.name

    def operation(self, method: str) -> Operation:
        """Return what a method does here.

        Raises:
            MethodNotAllowed: If it does nothing; neither do `HEAD` and `OPTIONS`.
        """
        operation = self.operations.get(method)
        if operation is None:
            raise MethodNotAllowed("the path does not have this method", allowed=self.operations)
        return operation


def resources_of(tenancy: Tenancy, names: Iterable[str]) -> list[Resource]:
    """Return the API of modules, in the order in which a framework matches paths.

    Args:
        tenancy: Whose modules.
        names: Which of them; those that have endpoints if not given.

    Raises:
        ConfigurationError: If there is no such module or it has no endpoints, or if two
            endpoints cannot be told apart.
    """
    scopes: dict[int, tuple[str, ...]] = {}
    endpoints: list[Endpoint] = []
    for name in tuple(names) or tenancy.modules:
        module = tenancy.modules.get(name)
        if module is None or (names and not module.endpoints):
            raise ConfigurationError(f"no module {name!r} with endpoints")
        for endpoint in module.endpoints:
            endpoint.prepare()
            endpoints.append(endpoint)
            scopes[id(endpoint)] = module.scopes_of(endpoint)
    return [
        Resource(path, {m: Operation(e, scopes[id(e)]) for m, e in methods.items()})
        for path, methods in endpoints_by_path(endpoints).items()
    ]
