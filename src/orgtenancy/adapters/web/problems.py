"""An error as a problem (RFC 9457): a stable `code`, and nothing of the inside."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus

import psycopg
from pydantic import BaseModel, ConfigDict
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from orgtenancy.errors import (
    AccessDenied,
    Conflict,
    DomainError,
    Forbidden,
    IdentityProviderRefused,
    IdentityProviderUnavailable,
    InputError,
    InsufficientScope,
    Invalid,
    InvalidCursor,
    InvalidOrganizationId,
    MethodNotAllowed,
    NotFound,
    OrganizationBusy,
    OrganizationExists,
    OrganizationNotFound,
    OrganizationUnavailable,
    OrgTenancyError,
    PayloadTooLarge,
    PurgeRefused,
    TransitionRefused,
    Unauthenticated,
    UnsupportedMediaType,
    WebhookForged,
    WebhookRefused,
)
from orgtenancy.organizations import OrganizationStatus

logger = logging.getLogger("orgtenancy.adapters")

PROBLEM_MEDIA_TYPE = "application/problem+json"

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
    WebhookRefused: 400,
    Unauthenticated: 401,
    WebhookForged: 401,
    AccessDenied: 403,
    NotFound: 404,
    Forbidden: 403,
    MethodNotAllowed: 405,
    Conflict: 409,
    TransitionRefused: 409,
    PurgeRefused: 409,
    PayloadTooLarge: 413,
    UnsupportedMediaType: 415,
    Invalid: 422,
    DomainError: 422,
    OrganizationBusy: 503,
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
        case OrganizationExists():
            return _problem(409, error.code, "there is such an organization already")
        case IdentityProviderUnavailable():
            return _problem(503, error.code, "the identity provider cannot be reached")
        case IdentityProviderRefused():
            return _problem(502, error.code, "the identity provider does not let this service in")
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
    # A provider that posts a webhook has no token to send instead.
    if problem.status == HTTPStatus.UNAUTHORIZED and not isinstance(error, WebhookForged):
        return {"WWW-Authenticate": "Bearer"}
    if problem.status == HTTPStatus.SERVICE_UNAVAILABLE:
        retry_after: int | None = getattr(error, "retry_after", None)
        return {"Retry-After": str(retry_after if retry_after is not None else _RETRY_AFTER)}
    return {}


def log_problem(problem: Problem, error: Exception) -> None:
    """Log what is the server's own trouble: the client is told nothing, the server no more."""
    if isinstance(error, (OrganizationBusy, OrganizationUnavailable)):
        logger.debug("%s: %s", problem.code, error)  # somebody meant it to be so
    elif problem.status >= 500:
        logger.error("%s: %s", problem.code, error, exc_info=error)


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
    if error.connection_invalidated or state in _BUSY or _is_unreachable(error):
        return _problem(503, "overloaded", "the service is busy")
    return None


def _is_unreachable(error: DBAPIError) -> bool:
    # What psycopg raises itself, about the connection, has no SQLSTATE.
    original = error.orig
    return isinstance(original, psycopg.OperationalError) and original.sqlstate is None


def _unknown_organization() -> Problem:
    return _problem(404, OrganizationNotFound.code, "there is no such organization")


def _problem(
    status: int, code: str, detail: str, errors: tuple[InputError, ...] | None = None
) -> Problem:
    title = HTTPStatus(status).phrase
    return Problem(title=title, status=status, code=code, detail=detail, errors=errors)
