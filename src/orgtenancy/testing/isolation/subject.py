"""What is attacked: how work of an organization is done there.

The leaks know only this. `TenancySubject` is a host's `Tenancy`; another library is another
subject, so that the same attacks compare them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, contextmanager
from typing import Any, Protocol

from sqlalchemy import Engine, event
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session

from orgtenancy.testing.isolation.marks import NotApplicable


class Access(Protocol):
    """How synchronous work of an organization is done, on a pool of a known size."""

    @property
    def engine(self) -> Engine:
        """What the sessions run on."""
        ...

    def session(self, organization: str) -> AbstractContextManager[Session]:
        """Return one transaction of an organization: it commits, or rolls back on an error."""
        ...

    def bound(self, organization: str) -> AbstractContextManager[object]:
        """Return a block in whose context the work is an organization's, with no session yet."""
        ...

    def current(self) -> AbstractContextManager[Session]:
        """Return one transaction of the organization that the context is bound to."""
        ...


class AsyncAccess(Protocol):
    """The same for asynchronous work. `bound` is a plain `with` block."""

    @property
    def engine(self) -> AsyncEngine:
        """What the sessions run on."""
        ...

    def session(self, organization: str) -> AbstractAsyncContextManager[AsyncSession]:
        """Return one transaction of an organization."""
        ...

    def bound(self, organization: str) -> AbstractContextManager[object]:
        """Return a block in whose context the work is an organization's."""
        ...

    def current(self) -> AbstractAsyncContextManager[AsyncSession]:
        """Return one transaction of the organization that the context is bound to."""
        ...


class Subject(ABC):
    """A way to keep organizations apart, which is to be proven.

    Attributes:
        name: What the report calls it.
        model: An ORM class whose rows each organization has for itself, with the attributes
            `id` (an `int`, its key) and `mark` (a text). Every organization has the row 1 with
            its own mark.
        table: The table's name without a schema.
        refusals: The errors by which it refuses work, beside those of the database.
        stands_hostile_sql: Whether it promises to hold against whoever sends statements of
            their own choice, and not only against mistakes.
    """

    name: str
    model: type[Any]
    table: str
    refusals: tuple[type[BaseException], ...]
    stands_hostile_sql: bool = False

    @property
    @abstractmethod
    def owner(self) -> Engine:
        """What somebody works on who may do everything; it is not attacked."""

    @abstractmethod
    def prepared(self, marks: dict[str, str]) -> AbstractContextManager[None]:
        """Return a block in which organizations are there, each with row 1 and its mark.

        Args:
            marks: The mark of each organization, by its id.
        """

    @abstractmethod
    def opened(self, pool_size: int) -> AbstractContextManager[Access]:
        """Return a block with pools of their own, of so many connections and no more."""

    @abstractmethod
    def opened_async(self, pool_size: int) -> AbstractAsyncContextManager[AsyncAccess]:
        """Return the same for asynchronous work, in the running event loop."""

    @abstractmethod
    def stored(self, organization: str) -> list[str]:
        """Return the marks that are stored for an organization, read by somebody who may."""

    @abstractmethod
    def reset(self, organization: str, mark: str) -> None:
        """Give an organization row 1 with its mark again, and no other row."""

    @abstractmethod
    def schema_of(self, organization: str) -> str | None:
        """Return the schema with an organization's table, or None if all share one."""

    def role_of(self, organization: str) -> str | None:
        """Return the PostgreSQL role that an organization's work takes, or None."""
        return None

    def closed(self, organization: str, status: str) -> AbstractContextManager[None]:
        """Return a block in which an organization is closed, and afterwards open again.

        Args:
            organization: Which one.
            status: `suspended`, `fenced`, `archived` or `purged`.

        Raises:
            NotApplicable: If organizations cannot be closed in this way.
        """
        raise NotApplicable(f"{self.name} does not know {status} organizations")

    def carried(self, function: Callable[[], Any]) -> Callable[[], Any]:
        """Return a function that carries the context along to another thread.

        A subject without a way of its own returns the function as it is.
        """
        return function


@contextmanager
def connections_ended(engine: Engine) -> Iterator[None]:
    """Return a block after which all connections that an engine opened in it are closed.

    Also those that a leak never gave back: what they hold is in the way of the next one.
    """
    opened: list[Any] = []

    @event.listens_for(engine, "connect")
    def note(dbapi_connection: object, record: Any) -> None:
        opened.append(record.driver_connection)

    try:
        yield
    finally:
        for connection in opened:
            connection.pgconn.finish()
