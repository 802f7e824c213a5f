"""Adapters: thin, one file for each framework.

What all web adapters say the same way is here. An error is a problem (RFC 9457), with a
stable `code`, and with nothing of the inside: no schema, no role, no SQL, no address. The
modules' endpoints are resources, which a framework only has to route to.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from ipaddress import ip_address
from typing import TYPE_CHECKING, TypeAlias

from pydantic import BaseModel, ConfigDict
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from orgtenancy.endpoints import Caller, Endpoint, endpoints_by_path
from orgtenancy.errors import (
    AccessDenied,
    ConfigurationError,
    Conflict,
    DomainError,
    Forbidden,
    IdentityProviderUnavailable,
    InputError,
    InsufficientScope,
    Invalid,
    InvalidCursor,
    InvalidOrganizationId,
    MethodNotAllowed,
    NotFound,
    OrganizationNotFound,
    OrganizationUnavailable,
    OrgTenancyError,
    PayloadTooLarge,
    Unauthenticated,
    UnsupportedMediaType,
)
from orgtenancy.identity.requests import RequestInfo
from orgtenancy.identity.scopes import require_scopes
from orgtenancy.organizations import OrganizationStatus

if TYPE_CHECKING:
    from orgtenancy.tenancy import Tenancy

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/json"
PROBLEM_MEDIA_TYPE = "application/problem+json"

#: Paths, or a function: `/health` is that path alone, `/static/*` everything below it.
Exempt: TypeAlias = Iterable[str] | Callable[[RequestInfo], bool]

#: The exceptions that `problem_of` may have an answer for.
PROBLEM_ERRORS: tuple[type[Exception], ...] = (OrgTenancyError, DBAPIError, PoolTimeout)


class Problem(BaseModel):
    """The body of an error response.

    Attributes:
        type: Always `about:blank`: the `code` says which problem it is.
        title: The status in words.
        status: The HTTP status.
        code: A stable name of the problem, for programs.
        detail: What is wrong, for people.
        errors: What is wrong with which field of the input, where that is known.
    """

    model_config = ConfigDict(frozen=True)

    type: str = "about:blank"
    title: str
    status: int
    code: str
    detail: str
    errors: tuple[InputError, ...] | None = None

    @property
    def content(self) -> bytes:
        """The problem as JSON, the same in every adapter."""
        return self.model_dump_json(by_alias=True, exclude_none=True).encode()


# Their messages are made for whoever sent the request.
_SPEAKING: Mapping[type[BaseException], int] = {
    InvalidOrganizationId: 400,
    Unauthenticated: 401,
    AccessDenied: 403,
    NotFound: 404,
    Forbidden: 403,
    MethodNotAllowed: 405,
    Conflict: 409,
    PayloadTooLarge: 413,
    UnsupportedMediaType: 415,
    Invalid: 422,
    DomainError: 422,
}
_RETRY_AFTER = 1  # seconds, where nothing better is known

# SQLSTATEs that say something about the request or the moment; any other is a bug.
_CONFLICTS = {"23503", "23505", "23P01"}  # foreign key, unique, exclusion
_UNSTORABLE = {"22001", "22003"}  # a text too long, a number too large for the column
_RETRYABLE = {"40001", "40P01"}  # serialization failure, deadlock
_BUSY = {"53300", "55P03", "57014", "57P01", "57P02", "57P03"}  # too many clients ... shutting down


def problem_of(error: Exception) -> Problem | None:
    """Return the problem to answer with, or None if the error is none of the library's.

    Args:
        error: What was raised for the request.
    """
    match error:
        case OrganizationNotFound():
            return _unknown_organization()
        case OrganizationUnavailable(status=OrganizationStatus.PURGED):
            return _unknown_organization()
        case OrganizationUnavailable(status=OrganizationStatus.PROVISIONING):
            return _problem(503, error.code, "the organization is being set up")
        case OrganizationUnavailable(status=OrganizationStatus.FENCED):
            return _problem(503, error.code, "the organization is being worked on")
        case OrganizationUnavailable(status=None, retry_after=int()):
            return _problem(503, error.code, "the organization was closed for a moment")
        case OrganizationUnavailable():
            return _problem(403, error.code, f"the organization is {error.status or 'unavailable'}")
        case IdentityProviderUnavailable():
            return _problem(503, error.code, "the identity provider cannot be reached")
        case InvalidCursor():
            return _problem(422, error.code, "the cursor was not made by this list")
        case Invalid(errors=errors) if errors:
            return _problem(422, error.code, str(error), errors)
        case OrgTenancyError():
            return _of_class(error)
        case DBAPIError() | PoolTimeout():
            return _of_database(error)
        case _:
            return None


def problem_headers(error: Exception, problem: Problem) -> dict[str, str]:
    """Return the headers that belong to a problem: what to send, or when to come back."""
    if isinstance(error, InsufficientScope):
        scopes = " ".join(sorted(error.scopes))
        return {"WWW-Authenticate": f'Bearer error="insufficient_scope", scope="{scopes}"'}
    if isinstance(error, MethodNotAllowed):
        return {"Allow": ", ".join(sorted(error.allowed))}
    if problem.status == HTTPStatus.UNAUTHORIZED:
        return {"WWW-Authenticate": "Bearer"}
    if problem.status == HTTPStatus.SERVICE_UNAVAILABLE:
        retry_after: int | None = getattr(error, "retry_after", None)
        return {"Retry-After": str(retry_after if retry_after is not None else _RETRY_AFTER)}
    return {}


def log_problem(problem: Problem, error: Exception) -> None:
    """Log what is the server's own trouble: the client is told nothing, the server no more."""
    if problem.status >= 500:
        logger.error("%s: %s", problem.code, error, exc_info=error)


class PathList:
    """Matches whole paths, and everything below those that end in `/*`.

    Args:
        patterns: Like `/health` or `/static/*`.

    Raises:
        ConfigurationError: If one would not do what it seems to.
    """

    def __init__(self, patterns: Iterable[str]) -> None:
        if isinstance(patterns, str):
            raise ConfigurationError(f"exempt takes several paths: write [{patterns!r}]")
        given = tuple(patterns)
        for pattern in given:
            if not pattern.startswith("/") or "*" in pattern.removesuffix("/*"):
                raise ConfigurationError(
                    f"an exempt path is like '/health' or '/static/*', not {pattern!r}"
                )
        self._paths = frozenset(pattern for pattern in given if not pattern.endswith("/*"))
        self._folders = tuple(pattern[:-1] for pattern in given if pattern.endswith("/*"))

    def __call__(self, request: RequestInfo) -> bool:
        """Return whether the path of a request is one of them."""
        return request.path in self._paths or request.path.startswith(self._folders)


def asked_host(values: Iterable[str]) -> str:
    """Return the host that the `Host` header names, or an empty text if it is not one."""
    given = list(values)
    if len(given) != 1:
        return ""
    host = given[0].strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


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


def client_address(host: str | None) -> str | None:
    """Return an IP address in its one spelling, or None for anything else."""
    try:
        address = ip_address((host or "").partition("%")[0])
    except ValueError:
        return None  # a Unix socket, or a test client
    return str(getattr(address, "ipv4_mapped", None) or address)


def _of_class(error: OrgTenancyError) -> Problem:
    for kind in type(error).__mro__:
        if kind in _SPEAKING:
            return _problem(_SPEAKING[kind], error.code, str(error))
    # The host's or the library's own mistake. Its message may name what is inside.
    return _problem(500, error.code, "the request could not be served")


def _of_database(error: DBAPIError | PoolTimeout) -> Problem | None:
    if isinstance(error, PoolTimeout):
        return _problem(503, "overloaded", "the service is busy")
    state = getattr(error.orig, "sqlstate", None)
    if state in _CONFLICTS:
        return _problem(409, Conflict.code, "the change contradicts what is stored")
    if state in _UNSTORABLE:
        return _problem(422, Invalid.code, "a value does not fit where it is stored")
    if state in _RETRYABLE:
        return _problem(409, Conflict.code, "the change met another one: try again")
    if error.connection_invalidated or state in _BUSY:
        return _problem(503, "overloaded", "the service is busy")
    return None


def _unknown_organization() -> Problem:
    return _problem(404, OrganizationNotFound.code, "there is no such organization")


def _problem(
    status: int, code: str, detail: str, errors: tuple[InputError, ...] | None = None
) -> Problem:
    title = HTTPStatus(status).phrase
    return Problem(title=title, status=status, code=code, detail=detail, errors=errors)
