"""Runs one test body on the sync and on the async engine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

from sqlalchemy.orm import Session

from orgtenancy import Organization, Tenancy

R = TypeVar("R")


class Runner(Protocol):
    """Runs functions of a session, each in a transaction of its own."""

    kind: str

    def __call__(
        self,
        organization: Organization | str,
        function: Callable[..., R],
        *args: Any,
        **kwargs: Any,
    ) -> R:
        """Call `function(session, ...)` in one transaction of the organization."""

    def concurrently(
        self, organization: Organization | str, functions: Sequence[Callable[[Session], R]]
    ) -> list[R]:
        """Call all functions at the same time, each in a transaction of its own."""


class SyncRunner:
    """On the sync engine, concurrency by threads."""

    kind = "sync"

    def __init__(self, tenancy: Tenancy) -> None:
        self._tenancy = tenancy

    def __call__(
        self,
        organization: Organization | str,
        function: Callable[..., R],
        *args: Any,
        **kwargs: Any,
    ) -> R:
        with self._tenancy.session(organization) as session:
            return function(session, *args, **kwargs)

    def concurrently(
        self, organization: Organization | str, functions: Sequence[Callable[[Session], R]]
    ) -> list[R]:
        with ThreadPoolExecutor(len(functions)) as threads:
            return list(threads.map(lambda function: self(organization, function), functions))


class AsyncRunner:
    """On the async engine, concurrency by tasks."""

    kind = "async"

    def __init__(self, tenancy: Tenancy, loop: asyncio.Runner) -> None:
        self._tenancy = tenancy
        self._loop = loop

    def __call__(
        self,
        organization: Organization | str,
        function: Callable[..., R],
        *args: Any,
        **kwargs: Any,
    ) -> R:
        return self._loop.run(self._run(organization, function, *args, **kwargs))

    def concurrently(
        self, organization: Organization | str, functions: Sequence[Callable[[Session], R]]
    ) -> list[R]:
        async def gather() -> list[R]:
            return await asyncio.gather(*(self._run(organization, f) for f in functions))

        return self._loop.run(gather())

    async def _run(
        self,
        organization: Organization | str,
        function: Callable[..., R],
        *args: Any,
        **kwargs: Any,
    ) -> R:
        async with self._tenancy.session(organization) as session:
            return await session.run_sync(function, *args, **kwargs)
