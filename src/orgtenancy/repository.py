"""Repositories that know their organization, sync and async from one body of logic.

A synchronous repository holds the logic, written against SQLAlchemy's `Session`. Its
async twin is the same class behind `AsyncSession.run_sync`, one typed line per method:

```python
class AsyncPostRepository(AsyncOrganizationAwareRepository[Post], sync=PostRepository):
    find_feed = awaitable(PostRepository.find_feed)
```
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Sequence
from functools import update_wrapper
from typing import (
    Any,
    ClassVar,
    Concatenate,
    Generic,
    ParamSpec,
    Self,
    TypeVar,
    cast,
    get_args,
    get_origin,
    overload,
)

from sqlalchemy import Integer, Select, bindparam, func, inspect, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, InstrumentedAttribute, Session

from orgtenancy.context import current_session
from orgtenancy.database.sessions import OrganizationAsyncSession, OrganizationSession
from orgtenancy.errors import OrganizationContextMissing
from orgtenancy.pagination import Page, PageRequest, decode_cursor, encode_cursor

Model = TypeVar("Model", bound=DeclarativeBase)
P = ParamSpec("P")
R = TypeVar("R")
Repository = TypeVar("Repository")

FIRST_PAGE = PageRequest()


class OrganizationAwareRepository(Generic[Model]):
    """Reads and writes one aggregate of the current organization.

    Args:
        session: The organization's session, or None for the context's.

    Attributes:
        model: The mapped class, taken from the type argument.
    """

    model: ClassVar[type[Any]]

    def __init__(self, session: Session | None = None) -> None:
        self._session = session

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        model = _type_argument(cls)
        if model is not None:
            cls.model = model

    @property
    def session(self) -> OrganizationSession:
        """The session that statements go through.

        Raises:
            OrganizationContextMissing: If it has none of an organization.
            OrganizationMismatch: If the context is bound to another organization.
        """
        session = self._session if self._session is not None else current_session()
        if isinstance(session, AsyncSession):
            session = session.sync_session
        if not isinstance(session, OrganizationSession):
            raise OrganizationContextMissing(
                f"{type(self).__name__} needs the session of an organization, "
                f"not a {type(session).__name__}"
            )
        session.check_context()
        return session

    def with_session(self, session: Session) -> Self:
        """Return a repository of the same kind that uses another session."""
        return type(self)(session)

    def get(self, key: Any) -> Model | None:
        """Return the row with this primary key, or None."""
        return cast("Model | None", self.session.get(self.model, key))

    def get_many(self, keys: Iterable[Any]) -> Sequence[Model]:
        """Return the rows with these primary keys, in the order asked, absent ones left out."""
        wanted = tuple(dict.fromkeys(keys))
        if not wanted:
            return ()
        column, *others = self._primary_key()
        if others:
            found = self.session.scalars(
                select(self.model).where(tuple_(column, *others).in_(wanted))
            )
            by_key = {inspect(row).identity: row for row in found}
        else:
            found = self.session.scalars(select(self.model).where(column.in_(wanted)))
            by_key = {inspect(row).identity[0]: row for row in found}
        return tuple(by_key[key] for key in wanted if key in by_key)

    def add(self, instance: Model) -> Model:
        """Insert a row now, and return it with what the server filled in.

        Raises:
            sqlalchemy.exc.IntegrityError: If a constraint forbids it.
        """
        session = self.session
        session.add(instance)
        session.flush()
        return instance

    def list(self, page: PageRequest = FIRST_PAGE) -> Page[Model]:
        """Return a page in the order of the primary key."""
        return self.select_page(
            select(self.model), self._primary_key(), page, order=self.model.__tablename__
        )

    def count(self) -> int:
        """Return how many rows there are."""
        return self.session.scalar(select(func.count()).select_from(self.model)) or 0

    def exists(self, key: Any) -> bool:
        """Return whether there is a row with this primary key."""
        values = key if isinstance(key, tuple) else (key,)
        matches = [c == v for c, v in zip(self._primary_key(), values, strict=True)]
        return bool(self.session.scalar(select(select(self.model).where(*matches).exists())))

    def delete(self, instance: Model) -> None:
        """Delete a row now."""
        session = self.session
        session.delete(instance)
        session.flush()

    def select_page(
        self,
        statement: Select[Any],
        key: Sequence[InstrumentedAttribute[Any]],
        page: PageRequest,
        *,
        order: str,
        descending: bool = False,
        literal_limit: bool = False,
    ) -> Page[Model]:
        """Run a statement and return one keyset page of it.

        Args:
            statement: What to select, without order and limit.
            key: Columns of the model that are unique together and never null, most
                significant first; an index on them makes every page cost the same.
            page: Which page.
            order: The name of this list, written into its cursors.
            descending: Whether the greatest key comes first.
            literal_limit: Whether the limit is part of the statement and no parameter. A
                prepared statement is planned anew each time as long as PostgreSQL takes a
                plan for any limit to be worse; worth it where a plan for this one is not.

        Raises:
            InvalidCursor: If the cursor was not made by this list.
        """
        if page.cursor is not None:
            types = [column.type.python_type for column in key]
            last = tuple_(*decode_cursor(order, page.cursor, len(key), types=types))
            row = tuple_(*key)
            statement = statement.where(row < last if descending else row > last)
        statement = statement.order_by(*((c.desc() if descending else c.asc()) for c in key))
        limit = bindparam(None, page.limit + 1, Integer, literal_execute=literal_limit)
        rows: Sequence[Model] = self.session.scalars(statement.limit(limit)).all()
        items = tuple(rows[: page.limit])
        if len(rows) <= page.limit:
            return Page(items=items)
        values = [getattr(items[-1], column.key) for column in key]
        return Page(items=items, next_cursor=encode_cursor(order, values))

    @classmethod
    def _primary_key(cls) -> Sequence[InstrumentedAttribute[Any]]:
        mapper = inspect(cls.model)
        return tuple(
            getattr(cls.model, mapper.get_property_by_column(c).key) for c in mapper.primary_key
        )


class awaitable(Generic[P, R]):  # noqa: N801 - reads as a declaration, like `property`
    """A synchronous repository's method, awaited on its async twin.

    Type checkers see the method's own signature, with a coroutine in place of the result.
    """

    # A type variable for `self`: with `Any` in its place, pyright takes the repository's
    # model for `Any` as well.
    def __init__(self, method: Callable[Concatenate[Repository, P], R]) -> None:
        self.method: Callable[Concatenate[Any, P], R] = method
        update_wrapper(cast("Callable[..., R]", self), method)

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...
    @overload
    def __get__(
        self, instance: AsyncOrganizationAwareRepository[Any], owner: type
    ) -> Callable[P, Coroutine[Any, Any, R]]: ...
    def __get__(
        self, instance: AsyncOrganizationAwareRepository[Any] | None, owner: type
    ) -> Self | Callable[P, Coroutine[Any, Any, R]]:
        if instance is None:
            return self
        repository, method = instance, self.method

        async def call(*args: P.args, **kwargs: P.kwargs) -> R:
            def run(session: Session) -> R:
                return method(repository.sync(session), *args, **kwargs)

            return await repository.session.run_sync(run)

        update_wrapper(call, method)
        return call


class AsyncOrganizationAwareRepository(Generic[Model]):
    """The async twin of a repository.

    Args:
        session: The organization's async session, or None for the context's.

    Attributes:
        sync: The synchronous repository whose methods it awaits.
    """

    sync: ClassVar[type[OrganizationAwareRepository[Any]]]

    def __init__(self, session: AsyncSession | None = None) -> None:
        self._session = session

    def __init_subclass__(
        cls, *, sync: type[OrganizationAwareRepository[Any]] | None = None, **kwargs: Any
    ) -> None:
        super().__init_subclass__(**kwargs)
        if sync is not None:
            cls.sync = sync

    @property
    def session(self) -> OrganizationAsyncSession:
        """The session that statements go through.

        Raises:
            OrganizationContextMissing: If it has none of an organization.
            OrganizationMismatch: If the context is bound to another organization.
        """
        session = self._session if self._session is not None else current_session()
        if not isinstance(session, OrganizationAsyncSession):
            raise OrganizationContextMissing(
                f"{type(self).__name__} needs the async session of an organization, "
                f"not a {type(session).__name__}"
            )
        session.sync_session.check_context()
        return session

    def with_session(self, session: AsyncSession) -> Self:
        """Return a repository of the same kind that uses another session."""
        return type(self)(session)

    get = awaitable(OrganizationAwareRepository[Model].get)
    get_many = awaitable(OrganizationAwareRepository[Model].get_many)
    add = awaitable(OrganizationAwareRepository[Model].add)
    list = awaitable(OrganizationAwareRepository[Model].list)
    count = awaitable(OrganizationAwareRepository[Model].count)
    exists = awaitable(OrganizationAwareRepository[Model].exists)
    delete = awaitable(OrganizationAwareRepository[Model].delete)


def _type_argument(cls: type) -> type[Any] | None:
    for base in getattr(cls, "__orig_bases__", ()):
        origin = get_origin(base)
        if isinstance(origin, type) and issubclass(origin, OrganizationAwareRepository):
            (argument,) = get_args(base)
            return argument if isinstance(argument, type) else None
    return None
