"""Waiting for what others hold, but not for ever."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Connection, func, select
from sqlalchemy.exc import OperationalError

from orgtenancy.errors import OrganizationBusy

T = TypeVar("T")

_MAX_ATTEMPTS = 30
_PAUSE = 0.1  # seconds between attempts, more or less

# deadlock_detected and lock_not_available
_RETRYABLE = frozenset({"40P01", "55P03"})


def limit_lock_wait(connection: Connection, seconds: float) -> None:
    """Bound what the transaction waits for each lock."""
    milliseconds = f"{max(1, round(seconds * 1000))}ms"
    connection.execute(select(func.set_config("lock_timeout", milliseconds, True)))


def patiently(organization_id: str, operation: str, work: Callable[[], T]) -> T:
    """Do a piece of work, again and again as long as others hold what it needs.

    Args:
        organization_id: Which organization it is about.
        operation: What the caller is about, for the error.
        work: A transaction, which bounds its waits itself.

    Raises:
        OrganizationBusy: If others hold it for too long.
    """
    attempt = 1
    while True:
        try:
            return work()
        except OperationalError as error:
            if getattr(error.orig, "sqlstate", None) not in _RETRYABLE:
                raise
            if attempt == _MAX_ATTEMPTS:
                raise OrganizationBusy(
                    f"others hold organization {organization_id!r}: {operation} it later",
                    operation=operation,
                    organization_id=organization_id,
                ) from error
        time.sleep(random.uniform(0.5, 1.5) * _PAUSE)  # noqa: S311 - jitter, no secret
        attempt += 1
