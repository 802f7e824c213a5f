"""What an error tells about a leak: that it was refused, or nothing."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from orgtenancy.testing.isolation.marks import Leaked, NotApplicable

# Classes of SQLSTATE, and codes, by which PostgreSQL refuses no access: the connection, the
# server's resources, an operator; and a statement that could not work for anybody.
_PROVES_NOTHING = ("08", "53", "57", "58", "XX", "42601", "42703")


@contextmanager
def refusals_told(refusals: tuple[type[BaseException], ...]) -> Iterator[list[str]]:
    """Take refusals for what they are, and raise every other error.

    Args:
        refusals: What the subject itself refuses by.
    """
    refused: list[str] = []
    try:
        yield refused
    except Exception as caught:
        error = first_of(caught)
        if isinstance(error, Leaked | NotApplicable):
            raise error from caught
        if not is_refusal(error, refusals):
            raise
        refused.append(f"refused: {told(error)}")


def is_refusal(error: Exception, refusals: tuple[type[BaseException], ...]) -> bool:
    """Return whether an error means that the work was refused.

    Args:
        error: What an attack ended in.
        refusals: What the subject itself refuses by.
    """
    if isinstance(error, refusals):
        return True
    cause = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(cause, psycopg.Error):
        return not _sqlstate(cause).startswith(_PROVES_NOTHING)
    return isinstance(error, SQLAlchemyError) and not isinstance(error, PoolTimeoutError)


def first_of(error: Exception) -> Exception:
    """Return the first error of a group, which a `TaskGroup` raises, or the error itself."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


def told(error: BaseException) -> str:
    """Return an error in one line."""
    first, *_ = str(error).splitlines() or [""]
    return f"{type(error).__name__}: {first}"[:160]


def where(error: BaseException) -> str:
    """Return an error in one line, with where it was raised."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{told(error)} ({frame.name}, line {frame.lineno})"


def _sqlstate(error: psycopg.Error) -> str:
    # What the driver itself refuses has none. Nor has a connection that could not be made.
    made = not isinstance(error, psycopg.OperationalError)
    return error.sqlstate or ("" if made else "08000")
