"""Membership as Logto knows it now, for organizations that no token proves."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from orgtenancy.errors import IdentityProviderUnavailable
from orgtenancy.identity.membership import MembershipPolicy
from orgtenancy.organizations import Actor

_MAX_AGE_OF_NO = 5.0  # seconds: who was let in a moment ago wants to work
_THREADS = 8
_PATIENCE = 30.0  # seconds; whoever asks outlasts what the API waits for

# Questions under way at once: of all, and of one actor, who may name any organization.
_MAX_WAITING = 256
_MAX_OF_ONE = 4

_Key: TypeAlias = tuple[str, str]


class AsksMembership(Protocol):
    """What is needed of a `ManagementApi`."""

    def is_member(self, organization_id: str, user_id: str) -> bool:
        """Return whether a user is a member of an organization; blocks."""
        ...


@dataclass(eq=False, slots=True)
class _Question:
    """A question that is under way.

    Attributes:
        key: The organization, and the actor.
        deadline: From then on nobody waits for the answer.
        answer: What Logto says.
    """

    key: _Key
    deadline: float
    answer: Future[bool] = field(default_factory=Future)


class LogtoMembership(MembershipPolicy):
    """Asks Logto who is a member, and remembers the answers for a while.

    All who want to know the same at once wait for one request. Without an answer nobody is let
    in: `IdentityProviderUnavailable`. That is also the answer, at once, while 256 questions are
    under way, or four about the same actor.

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
            self._answer(question)
        try:
            return question.answer.result(_PATIENCE)
        except TimeoutError:
            raise _too_slow(organization_id) from None

    async def is_member_async(self, actor: Actor, organization_id: str) -> bool:
        """Return the same, without blocking the event loop."""
        key = (organization_id, actor.id)
        if (known := self._known(key)) is not None:
            return known
        question, is_mine = self._ask_once(key)
        if is_mine:
            self._hand_over(question)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(question.answer), _PATIENCE)
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
        # What is asked, for those who ask the same; and all that is not answered yet, also what
        # was forgotten since.
        self._running: dict[_Key, _Question] = {}
        self._under_way: set[_Question] = set()
        # Not the event loop's own threads: an outage of Logto would occupy all of them.
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="orgtenancy-membership")

    def _known(self, key: _Key) -> bool | None:
        found = self._answers.get(key)
        return found[1] if found is not None and self._clock() < found[0] else None

    def _ask_once(self, key: _Key) -> tuple[_Question, bool]:
        """Return the question that is on its way, and whether the caller has to put it.

        Raises:
            IdentityProviderUnavailable: If too many others are on their way.
        """
        with self._lock:
            if self._process != os.getpid():
                self._begin_anew()
            running = self._running.get(key)
            if running is not None:
                return running, False
            question = _Question(key, self._clock() + _PATIENCE)
            if (known := self._known(key)) is not None:  # answered just now
                question.answer.set_result(known)
                return question, False
            self._check_room(key)
            self._running[key] = question
            self._under_way.add(question)
            # One that is running cannot be cancelled: a task that gives up must not take the
            # others with it.
            question.answer.set_running_or_notify_cancel()
            return question, True

    def _check_room(self, key: _Key) -> None:
        organization_id, actor_id = key
        of_one = sum(other.key[1] == actor_id for other in self._under_way)
        if len(self._under_way) >= _MAX_WAITING or of_one >= _MAX_OF_ONE:
            raise IdentityProviderUnavailable(
                "too many questions about members wait for Logto's answer",
                organization_id=organization_id,
            )

    def _hand_over(self, question: _Question) -> None:
        """Let one of the threads ask."""
        try:
            self._threads.submit(self._answer, question)
        except RuntimeError as error:  # there is no thread, and none can be started
            self._settle(question)
            question.answer.set_exception(error)

    def _answer(self, question: _Question) -> None:
        """Ask Logto; whatever happens, those who wait are woken."""
        generation = self._generation
        try:
            if self._clock() > question.deadline:
                raise _too_slow(question.key[0])
            answer = self._api.is_member(*question.key)
        except BaseException as error:  # noqa: BLE001 - told to those who wait
            self._settle(question)
            question.answer.set_exception(error)
        else:
            self._settle(question, answer if generation == self._generation else None)
            question.answer.set_result(answer)

    def _settle(self, question: _Question, answer: bool | None = None) -> None:
        key = question.key
        with self._lock:
            self._under_way.discard(question)
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
