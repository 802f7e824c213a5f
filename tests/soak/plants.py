"""Bugs to plant in a process, to see that the long run finds them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import event

from orgtenancy.database import sessions
from orgtenancy.database.driver import ScopedConnection
from orgtenancy.database.scope import ScopedBegin


def keep_the_scope() -> None:
    """A connection goes from one organization to the next with the scope of the first."""

    def pin(session: Any, transaction: Any, connection: Any) -> None:
        driver = connection.connection.driver_connection
        driver.scope = driver.scope or session.scope

    def take_back(self: ScopedConnection) -> None:
        self.organization = None

    event.remove(sessions.ScopedSession, "after_begin", sessions._pin_connection)
    event.listen(sessions.ScopedSession, "after_begin", pin)
    ScopedConnection.take_back = take_back  # type: ignore[method-assign]


def forget_after_a_rollback() -> None:
    """A transaction after one that was rolled back does not enter its organization."""
    send = ScopedConnection._exec_command

    def send_and_note(self: Any, command: Any, *arguments: Any) -> Any:
        was_rolled_back = getattr(self, "_rolled_back", False)
        self._rolled_back = command == b"ROLLBACK"
        if type(command) is ScopedBegin and was_rolled_back:
            command = b"BEGIN"
        return send(self, command, *arguments)

    def defer_nothing(self: Any) -> None:
        return None

    ScopedConnection._exec_command = send_and_note  # type: ignore[assignment, method-assign]
    ScopedConnection.defer_begin = defer_nothing  # type: ignore[method-assign]


def reuse_what_was_left() -> None:
    """A connection on which something was left for the session is used again."""
    ScopedConnection.is_as_new = lambda self: True  # type: ignore[method-assign]


def lose_commits() -> None:
    """A commit is a rollback."""
    ScopedConnection._commit_gen = ScopedConnection._rollback_gen  # type: ignore[assignment, method-assign]


PLANTS: dict[str, Callable[[], None]] = {
    "keep-the-scope": keep_the_scope,
    "forget-after-a-rollback": forget_after_a_rollback,
    "reuse-what-was-left": reuse_what_was_left,
    "lose-commits": lose_commits,
}
