"""Clauses that are written so that every server takes them, a coordinator of Citus as well.

Citus refuses in a statement that writes: what is not immutable in a CASE, a COALESCE or a DO
UPDATE SET, and what is volatile anywhere.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, DateTime, Interval, case, func, literal_column, type_coerce

_TIME = DateTime(timezone=True)


def now_if(condition: ColumnElement[bool]) -> ColumnElement[Any]:
    """Return the time of the transaction if a condition holds, else NULL.

    For `least` and `greatest`, which skip what is NULL.
    """
    nothing = case((condition, literal_column("interval '0'", Interval)))
    return type_coerce(func.now() + nothing, _TIME)


def this_moment() -> ColumnElement[Any]:
    """Return when the statement began: `now()` is when its transaction did."""
    return func.statement_timestamp(type_=_TIME)


def not_before(moment: Any) -> ColumnElement[Any]:
    """Return this moment, or another that is later.

    A statement that waited for a row began before others that had the row first. Beside what
    they wrote into it, its time is in the order of the rows.
    """
    return func.greatest(moment, this_moment(), type_=_TIME)
