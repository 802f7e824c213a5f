"""What a process of a pool imports: a tenancy of its own, and work to do."""

from __future__ import annotations

import os
from collections.abc import Iterator

from orgtenancy import Tenancy, current_organization
from tests.propagation.support import bound, write
from tests.support.notes import notes

tenancy = Tenancy(
    os.environ.get("TESTS_URL", "postgresql+psycopg://nobody@127.0.0.1:1/none"), modules=[notes]
)
no_tenancy = "a text"


def write_here(mark: str) -> int:
    """Write for the organization, and say in which process."""
    write(tenancy, mark)
    return os.getpid()


def look() -> dict[str, object]:
    """Return what is bound."""
    return bound()


def need_organization() -> str:
    """Return the organization that is bound, and fail without one."""
    return current_organization().id


async def coroutine() -> None:
    """Never run."""


def generator() -> Iterator[int]:
    """Never run."""
    yield 1
