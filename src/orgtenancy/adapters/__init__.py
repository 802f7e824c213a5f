"""Adapters: thin, one file for each framework.

What all web adapters say the same way is here: an error as a problem (RFC 9457), with a
stable `code`, and with nothing of the inside: no schema, no role, no SQL, no address.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

from pydantic import BaseModel, ConfigDict
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from orgtenancy.errors import (
    AccessDenied,
    Conflict,
    DomainError,
    Forbidden,
    IdentityProviderUnavailable,
    InsufficientScope,
    Invalid,
    InvalidCursor,
    InvalidOrganizationId,
    NotFound,
    OrganizationNotFound,
    OrganizationUnavailable,
    OrgTenancyError,
    Unauthenticated,
)
from orgtenancy.organizations import OrganizationStatus

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
    """

    model_config = ConfigDict(frozen=True)

    type: str = "about:blank"
    title: str
    status: int
    code: str
    detail: str


# Their messages are made for whoever sent the request.
_SPEAKING: Mapping[type[BaseException], int] = {
    InvalidOrganizationId: 400,
    Unauthenticated: 401,
    AccessDenied: 403,
    NotFound: 404,
    Forbidden: 403,
    Conflict: 409,
    Invalid: 422,
    DomainError: 422,
}
_RETRY_AFTER = 1  # seconds, where nothing better is known

# SQLSTATEs that say something about the request or the moment; any other is a bug.
_CONFLICTS = {"23503", "23505", "23P01"}  # foreign key, unique, exclusion
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
        case OrganizationUnavailable():
            return _problem(403, error.code, f"the organization is {error.status or 'unavailable'}")
        case IdentityProviderUnavailable():
            return _problem(503, error.code, "the identity provider cannot be reached")
        case InvalidCursor():
            return _problem(422, error.code, "the cursor was not made by this list")
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
    if problem.status == HTTPStatus.UNAUTHORIZED:
        return {"WWW-Authenticate": "Bearer"}
    if problem.status == HTTPStatus.SERVICE_UNAVAILABLE:
        retry_after: int | None = getattr(error, "retry_after", None)
        return {"Retry-After": str(retry_after if retry_after is not None else _RETRY_AFTER)}
    return {}


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
    if state in _RETRYABLE:
        return _problem(409, Conflict.code, "the change met another one: try again")
    if error.connection_invalidated or state in _BUSY:
        return _problem(503, "overloaded", "the service is busy")
    return None


def _unknown_organization() -> Problem:
    return _problem(404, OrganizationNotFound.code, "there is no such organization")


def _problem(status: int, code: str, detail: str) -> Problem:
    return Problem(title=HTTPStatus(status).phrase, status=status, code=code, detail=detail)
