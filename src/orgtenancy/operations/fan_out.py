"""One read in many organizations: a function, in a read-only transaction of each.

No transaction here reads two organizations: each is entered as ever, as its own role, and what
it gives is put beside the others' in Python.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

from sqlalchemy.orm import Session

from orgtenancy.context import organization_var
from orgtenancy.errors import OrganizationMismatch

R = TypeVar("R")

#: Returns a block, `with` and `async with`, that is one transaction of an organization.
OpenSession: TypeAlias = Callable[[str], Any]

#: What transactions are like: several statements of one organization see the same rows.
TRANSACTION = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}


@dataclass(frozen=True, slots=True)
class FanOut(Generic[R]):
    """What a function gave in each organization.

    Attributes:
        values: What it returned, by the organization's id, in the order of the ids.
        errors: What it raised instead.
    """

    values: Mapping[str, R]
    errors: Mapping[str, Exception]

    def raise_errors(self) -> None:
        """Raise all errors together, if there are any; each has a note of whose it is.

        Raises:
            ExceptionGroup: With all of them.
        """
        for organization_id, error in self.errors.items():
            note = f"in organization {organization_id!r}"
            if note not in getattr(error, "__notes__", ()):
                error.add_note(note)
        if self.errors:
            raise ExceptionGroup("not all organizations could be read", [*self.errors.values()])


@dataclass(frozen=True, slots=True)
class _Failed:
    """What a function raised."""

    error: Exception


def fan_out(
    open_session: OpenSession,
    function: Callable[[Session], R],
    organization_ids: Sequence[str],
    *,
    workers: int,
) -> FanOut[R]:
    """Call `function(session)` in a read-only transaction of each organization, in threads.

    Args:
        open_session: Enters an organization, over engines whose transactions are `TRANSACTION`.
        function: What is called.
        organization_ids: Which organizations.
        workers: How many at a time.
    """

    def read(organization_id: str) -> R | _Failed:
        try:
            with open_session(organization_id) as session:
                return function(session)
        except Exception as error:  # noqa: BLE001 - it is the caller's to look at
            return _Failed(error)

    threads = ThreadPoolExecutor(workers, thread_name_prefix="orgtenancy-fan-out")
    try:
        # Each in a copy of the caller's context: actor and origin go along.
        futures = [threads.submit(copy_context().run, read, one) for one in organization_ids]
        found = [future.result() for future in futures]
    finally:
        threads.shutdown(cancel_futures=True)
    return _sorted_out(organization_ids, found)


async def fan_out_async(
    open_session: OpenSession,
    function: Callable[[Session], R],
    organization_ids: Sequence[str],
    *,
    workers: int,
) -> FanOut[R]:
    """Do what `fan_out` does on the async engine, in tasks instead of threads."""
    places = asyncio.Semaphore(workers)

    async def read(organization_id: str) -> R | _Failed:
        async with places:
            try:
                async with open_session(organization_id) as session:
                    return await session.run_sync(function)  # type: ignore[no-any-return]
            except Exception as error:  # noqa: BLE001 - it is the caller's to look at
                return _Failed(error)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(read(one)) for one in organization_ids]
    return _sorted_out(organization_ids, [task.result() for task in tasks])


def check_call(workers: int) -> None:
    """Make sure that there is a worker, and no organization is bound: its code may read no other.

    Raises:
        OrganizationMismatch: If one is.
    """
    if workers < 1:
        raise ValueError("it needs at least one worker")
    bound = organization_var.get()
    if bound is not None:
        raise OrganizationMismatch(
            f"other organizations were to be read inside the context of {bound.id!r}",
            organization_id=bound.id,
        )


def _sorted_out(organization_ids: Sequence[str], found: Sequence[R | _Failed]) -> FanOut[R]:
    pairs = list(zip(organization_ids, found, strict=True))
    return FanOut(
        values={one: value for one, value in pairs if not isinstance(value, _Failed)},
        errors={one: value.error for one, value in pairs if isinstance(value, _Failed)},
    )
