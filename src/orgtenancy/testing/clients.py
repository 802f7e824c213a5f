"""Clients of the state machine: each has a context, a transaction, and knows what it changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import copy_context
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, SessionTransaction

from orgtenancy import Organization, Tenancy

_DO_NOT_WAIT = text("SET LOCAL lock_timeout = '2s'")

_LOCK_NOT_AVAILABLE = "55P03"

P = ParamSpec("P")
R = TypeVar("R")

#: What a key holds; None where it was removed.
Changes = dict[int, str | None]


class Abandoned(Exception):
    """Why a client rolls back."""


class Client:
    """One client, as a request is one: it works in a context of its own.

    All clients are in one thread, and take steps in turn.

    Args:
        tenancy: The host's tenancy.

    Attributes:
        organization: Whose transaction is open, or None.
        changes: What the open transaction has changed.
        keys: What it may hold locks on.
    """

    def __init__(self, tenancy: Tenancy) -> None:
        self._tenancy = tenancy
        self._context = copy_context()
        self._block: Any = None
        self._session: Any = None
        self._savepoints: list[tuple[SessionTransaction, Changes]] = []
        self.organization: Organization | None = None
        self.changes: Changes = {}
        self.keys: set[int] = set()

    @property
    def whose(self) -> Organization:
        """The organization of the open transaction."""
        if self.organization is None:
            raise ValueError("the client has no transaction")
        return self.organization

    @property
    def has_savepoint(self) -> bool:
        """Whether a savepoint of its transaction is open."""
        return bool(self._savepoints)

    def open(self, organization: Organization) -> Organization:
        """Open a transaction, unless one is open, and return whose it is."""
        if self.organization is None:
            self._block = self._tenancy.session(organization)
            self._session = self._context.run(self._block.__enter__)
            self.organization = organization
        return self.organization

    def call(
        self, function: Callable[Concatenate[Session, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Call a function of the session, which sees what others have committed by now."""
        session = self._session

        def call() -> R:
            session.flush()
            session.expire_all()
            result = function(session, *args, **kwargs)
            session.flush()
            return result

        return self._context.run(call)

    def change(self, function: Callable[..., None], key: int, *values: str) -> None:
        """Call a function of the session that changes the row of a key.

        Raises:
            AssertionError: If it waits for another client, which takes no step meanwhile.
        """

        def change(session: Session) -> None:
            session.execute(_DO_NOT_WAIT)
            function(session, key, *values)

        try:
            self.call(change)
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) != _LOCK_NOT_AVAILABLE:
                raise
            raise AssertionError(
                f"the change of key {key} waits for another client's, of another key: each key "
                "must have rows of its own, and its own values where they must be unique"
            ) from error

    def call_inside(self, other: Organization, function: Callable[[Session], R]) -> R:
        """Call a function of the session inside the context of another organization."""

        def call() -> R:
            with self._tenancy.organization(other):
                return function(self._session)

        return self._context.run(call)

    def expect(self, committed: Mapping[int, str]) -> dict[int, str]:
        """Return what the transaction is to see, of what was committed."""
        seen = {**committed, **self.changes}
        return {key: value for key, value in seen.items() if value is not None}

    def begin_savepoint(self) -> None:
        """Begin a savepoint."""
        nested = self._context.run(self._session.begin_nested)
        self._savepoints.append((nested, dict(self.changes)))

    def release_savepoint(self) -> None:
        """Keep what was changed since the innermost savepoint."""
        nested, _ = self._savepoints.pop()
        self._context.run(nested.commit)

    def roll_back_to_savepoint(self) -> None:
        """Undo what was changed since the innermost savepoint."""
        nested, self.changes = self._savepoints.pop()
        self._context.run(nested.rollback)

    def commit_and_go_on(self) -> Changes:
        """Commit in the middle of the block, and return what was changed."""
        self._context.run(self._session.commit)
        return self._forget_changes()

    def leave(self, failure: BaseException | None = None) -> tuple[Session, Changes]:
        """End the block: it commits, or rolls back if something has failed.

        Returns:
            The session, which has ended, and what was committed.
        """
        block, session = self._block, self._session
        self._block = self._session = self.organization = None
        changes = self._forget_changes()
        kind = None if failure is None else type(failure)
        self._context.run(block.__exit__, kind, failure, None)
        return session, changes if failure is None else {}

    def lose_connection(self) -> None:
        """Close the transaction's connection behind its back."""
        connection = self._context.run(self._session.connection)
        connection.connection.driver_connection.pgconn.finish()

    def _forget_changes(self) -> Changes:
        changes, self.changes = self.changes, {}
        self._savepoints.clear()
        self.keys.clear()
        return changes
