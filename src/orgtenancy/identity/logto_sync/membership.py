"""Membership as Logto knows it now, for organizations that no token proves."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol, TypeAlias

from orgtenancy.errors import IdentityProviderUnavailable
from orgtenancy.identity.membership import MembershipPolicy
from orgtenancy.organizations import Actor

_MAX_AGE_OF_NO = 5.0  # seconds: who was let in a moment ago wants to work
_THREADS = 8
_PATIENCE = 30.0  # seconds; whoever asks outlasts what the API waits for

_Key: TypeAlias = tuple[str, str]


class AsksMembership(Protocol):
    """What is needed of a `ManagementApi`."""

    def is_member(self, organization_id: str, user_id: str) -> bool:
        """Return whether a user is a member of an organization; blocks."""
        ...


class LogtoMembership(MembershipPolicy):
    """Asks Logto who is a member, and remembers the answers for a while.

    All who want to know the same at once wait for one request. Without an answer nobody is let
    in: `IdentityProviderUnavailable`.

    Args:
        api: Asks Logto, such as a `ManagementApi`.
        max_age: Seconds for which a member is remembered; one who is none, 5 at the most.
        max_entries: How many answers are remembered.
        clock: Seconds that only ever grow.
    """

    def __init__(
        self,
        api: AsksMembership,
        *,
        max_age: float = 30.0,
        max_entries: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api = api
        self._max_ages = {True: max_age, False: min(max_age, _MAX_AGE_OF_NO)}
        self._max_entries = max_entries
        self._clock = clock
        self._lock = threading.Lock()
        self._answers: dict[_Key, tuple[float, bool]] = {}
        self._generation = 0
        self._begin_anew()

    def is_member(self, actor: Actor, organization_id: str) -> bool:
        """Return whether Logto says so; blocks where it has to be asked.

        Raises:
            IdentityProviderUnavailable: If it cannot be asked.
            IdentityProviderRefused: If it does not let us ask.
        """
        key = (organization_id, actor.id)
        if (known := self._known(key)) is not None:
            return known
        question, is_mine = self._ask_once(key)
        if is_mine:
            self._answer(key, question)
        try:
            return question.result(_PATIENCE)
        except TimeoutError:
            raise _too_slow(organization_id) from None

    async def is_member_async(self, actor: Actor, organization_id: str) -> bool:
        """Return the same, without blocking the event loop."""
        key = (organization_id, actor.id)
        if (known := self._known(key)) is not None:
            return known
        question, is_mine = self._ask_once(key)
        if is_mine:
            self._threads.submit(self._answer, key, question)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(question), _PATIENCE)
        except TimeoutError:
            raise _too_slow(organization_id) from None

    def forget(self, organization_id: str = "") -> None:
        """Forget what is remembered of an organization, or of all: something changed.

        What is on its way just now is not remembered either.
        """
        with self._lock:
            self._generation += 1
            if organization_id:
                for key in [key for key in self._answers if key[0] == organization_id]:
                    del self._answers[key]
            else:
                self._answers.clear()
            # Who asks from now on wants to know what is true from now on.
            self._running.clear()

    def _begin_anew(self) -> None:
        """Begin without questions under way: in the child of a fork, nobody puts them."""
        self._process = os.getpid()
        self._running: dict[_Key, Future[bool]] = {}
        # Not the event loop's own threads: an outage of Logto would occupy all of them.
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="orgtenancy-membership")

    def _known(self, key: _Key) -> bool | None:
        found = self._answers.get(key)
        return found[1] if found is not None and self._clock() < found[0] else None

    def _ask_once(self, key: _Key) -> tuple[Future[bool], bool]:
        """Return the question that is on its way, and whether the caller has to put it."""
        with self._lock:
            if self._process != os.getpid():
                self._begin_anew()
            running = self._running.get(key)
            if running is not None:
                return running, False
            question = Future[bool]()
            if (known := self._known(key)) is not None:  # answered just now
                question.set_result(known)
                return question, False
            self._running[key] = question
            # One that is running cannot be cancelled: a task that gives up must not take the
            # others with it.
            question.set_running_or_notify_cancel()
            return question, True

    def _answer(self, key: _Key, question: Future[bool]) -> None:
        """Ask Logto; whatever happens, those who wait are woken."""
        generation = self._generation
        try:
            answer = self._api.is_member(*key)
        except BaseException as error:  # noqa: BLE001 - told to those who wait
            self._settle(key, question)
            question.set_exception(error)
        else:
            self._settle(key, question, answer if generation == self._generation else None)
            question.set_result(answer)

    def _settle(self, key: _Key, question: Future[bool], answer: bool | None = None) -> None:
        with self._lock:
            if self._running.get(key) is question:
                del self._running[key]
            if answer is None:
                return
            self._answers.pop(key, None)  # to the end of the line
            self._answers[key] = (self._clock() + self._max_ages[answer], answer)
            while len(self._answers) > self._max_entries:
                del self._answers[next(iter(self._answers))]


def _too_slow(organization_id: str) -> IdentityProviderUnavailable:
    return IdentityProviderUnavailable(
        "Logto did not say in time who is a member", organization_id=organization_id
    )
