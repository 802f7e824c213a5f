"""What an error says, without the rows that it is about."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
from sqlalchemy.exc import StatementError


def message_of(error: BaseException) -> str:
    """Return an error's text as it may be written down, and shown to operators.

    Of an error of the database it is the server's first line: what comes with it has values of
    rows and parameters, which may be personal. That holds, too, where the text of such an error
    is part of another one's.
    """
    if (first_line := _first_line(error)) is not None:
        return first_line
    text = str(error)
    for cause in _causes(error):
        if (first_line := _first_line(cause)) is not None:
            text = text.replace(str(cause), first_line)
    return text


def told(error: BaseException) -> str:
    """Return the same, after the kind of the error."""
    return f"{type(_original(error)).__name__}: {message_of(error)}"


def _first_line(error: BaseException) -> str | None:
    """Return what a database says first, or None if it is no error of one."""
    original = _original(error)
    if isinstance(original, psycopg.Error):
        return original.diag.message_primary or str(original)
    return None if original is error else str(original)


def _original(error: BaseException) -> BaseException:
    """Return the driver's error: the text of SQLAlchemy's has the statement's parameters."""
    if isinstance(error, StatementError) and error.orig is not None:
        return error.orig
    return error


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen = {id(error)}  # `raise error from error` is a circle
    cause = error.__cause__ or error.__context__
    while cause is not None and id(cause) not in seen:
        yield cause
        seen.add(id(cause))
        cause = cause.__cause__ or cause.__context__
