"""Logto is asked who is a member: once for all who want to know, and never let in without."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from orgtenancy import Actor
from orgtenancy.errors import (
    AccessDenied,
    IdentityProviderRefused,
    IdentityProviderUnavailable,
)
from orgtenancy.identity import Gate, HeaderResolver, RequestInfo, logto
from orgtenancy.identity.logto_sync import LogtoMembership
from orgtenancy.identity.membership import MembershipPolicy
from orgtenancy.testing import FakeLogto
from tests.logto.times import Clock
from tests.schemas.databases import eventually

ALICE, BOB, CAROL = (Actor(id=name) for name in ("alice", "bob", "carol"))


class Answers:
    """Answers as it is told to, and counts.

    Attributes:
        members: Who is one.
        asked: How often each question was put.
        error: What it raises instead.
        go_on: To be set before it answers.
    """

    def __init__(self, *members: tuple[str, str]) -> None:
        self.members = set(members)
        self.asked: Counter[tuple[str, str]] = Counter()
        self.error: Exception | None = None
        self.go_on = threading.Event()
        self.go_on.set()

    def is_member(self, organization_id: str, user_id: str) -> bool:
        self.asked[organization_id, user_id] += 1
        found = (organization_id, user_id) in self.members
        self.go_on.wait(30)
        if self.error is not None:
            raise self.error
        return found


Ask = Callable[[LogtoMembership, Actor, str], bool]


@pytest.fixture(params=["sync", "async"])
def ask(request: pytest.FixtureRequest) -> Ask:
    if request.param == "sync":
        return LogtoMembership.is_member
    return lambda policy, actor, key: asyncio.run(policy.is_member_async(actor, key))


def test_a_member_is_let_in_and_a_stranger_is_not(ask: Ask, fake: FakeLogto, clock: Clock) -> None:
    organization = fake.data.create_organization("Acme")
    fake.data.add_members(organization, [fake.data.create_user("alice", user_id="alice")])
    with clock.api(fake) as api:
        policy = LogtoMembership(api)
        assert ask(policy, ALICE, organization)
        assert not ask(policy, BOB, organization)
        assert not ask(policy, ALICE, "elsewhere")


def test_an_answer_is_remembered_for_a_while(ask: Ask, clock: Clock) -> None:
    api = Answers(("acme", "alice"))
    policy = LogtoMembership(api, max_age=30, clock=clock.now)
    for actor, lasts in ((ALICE, 30), (BOB, 5)):
        first = ask(policy, actor, "acme")
        clock.pass_by(lasts - 1)
        assert ask(policy, actor, "acme") == first == (actor is ALICE)
        assert api.asked["acme", actor.id] == 1
        clock.pass_by(2)
        ask(policy, actor, "acme")
        assert api.asked["acme", actor.id] == 2


def test_a_removed_member_is_out_when_the_answer_is_old(ask: Ask, clock: Clock) -> None:
    api = Answers(("acme", "alice"))
    policy = LogtoMembership(api, max_age=30, clock=clock.now)
    assert ask(policy, ALICE, "acme")
    api.members.clear()
    clock.pass_by(31)
    assert not ask(policy, ALICE, "acme")


def test_what_changed_is_asked_for_anew(ask: Ask) -> None:
    api = Answers(("acme", "alice"), ("globex", "alice"))
    policy = LogtoMembership(api)
    assert ask(policy, ALICE, "acme")
    assert ask(policy, ALICE, "globex")
    api.members.clear()
    policy.forget("acme")
    assert not ask(policy, ALICE, "acme")
    assert ask(policy, ALICE, "globex")
    policy.forget()
    assert not ask(policy, ALICE, "globex")


def test_an_answer_on_its_way_is_not_remembered_when_something_changed() -> None:
    api = Answers(("acme", "alice"))
    api.go_on.clear()
    policy = LogtoMembership(api)
    with ThreadPoolExecutor(1) as threads:
        old = threads.submit(policy.is_member, ALICE, "acme")
        eventually(lambda: api.asked["acme", "alice"] == 1)
        api.members.clear()
        policy.forget("acme")
        api.go_on.set()
        assert old.result()
    assert not policy.is_member(ALICE, "acme")


def test_all_who_want_to_know_the_same_wait_for_one_request() -> None:
    api = Answers(("acme", "alice"))
    api.go_on.clear()
    policy = LogtoMembership(api)

    async def tasks() -> list[bool]:
        return await asyncio.gather(*(policy.is_member_async(ALICE, "acme") for _ in range(50)))

    with ThreadPoolExecutor(21) as threads:
        waiting = [threads.submit(policy.is_member, ALICE, "acme") for _ in range(20)]
        others = threads.submit(asyncio.run, tasks())
        eventually(lambda: api.asked["acme", "alice"] >= 1)
        api.go_on.set()
        assert all(one.result() for one in waiting)
        assert all(others.result())
    assert api.asked["acme", "alice"] == 1


def test_no_more_answers_are_remembered_than_allowed(ask: Ask) -> None:
    api = Answers()
    policy = LogtoMembership(api, max_entries=10)
    for number in range(100):
        ask(policy, Actor(id=f"user{number}"), "acme")
    ask(policy, Actor(id="user99"), "acme")
    assert api.asked["acme", "user99"] == 1
    ask(policy, Actor(id="user0"), "acme")
    assert api.asked["acme", "user0"] == 2
    assert len(policy._answers) == 10


@pytest.mark.parametrize(
    "error",
    [
        IdentityProviderUnavailable("down"),
        IdentityProviderRefused("no", http_status=403),
        RuntimeError("unexpected"),
    ],
)
def test_without_an_answer_nobody_is_let_in_and_it_is_asked_again(
    ask: Ask, error: Exception
) -> None:
    api = Answers(("acme", "alice"))
    api.error = error
    policy = LogtoMembership(api)
    for attempt in (1, 2):
        with pytest.raises(type(error)):
            ask(policy, ALICE, "acme")
        assert api.asked["acme", "alice"] == attempt
    api.error = None
    assert ask(policy, ALICE, "acme")


def test_an_outage_lets_in_whom_it_remembers_and_nobody_else(
    ask: Ask, fake: FakeLogto, clock: Clock
) -> None:
    organization = fake.data.create_organization("Acme")
    users = [fake.data.create_user(name, user_id=name) for name in ("alice", "bob")]
    fake.data.add_members(organization, users)
    with clock.api(fake) as api:
        policy = LogtoMembership(api, clock=clock.now)
        assert ask(policy, ALICE, organization)
        fake.stop_answering()
        assert ask(policy, ALICE, organization)
        with pytest.raises(IdentityProviderUnavailable):
            ask(policy, BOB, organization)
        clock.pass_by(31)
        with pytest.raises(IdentityProviderUnavailable):
            ask(policy, ALICE, organization)


def test_the_event_loop_runs_while_logto_is_asked() -> None:
    api = Answers(("acme", "alice"))
    api.go_on.clear()
    policy = LogtoMembership(api)

    async def main() -> bool:
        question = asyncio.create_task(policy.is_member_async(ALICE, "acme"))
        # Only the loop itself lets Logto answer.
        asyncio.get_running_loop().call_later(0.05, api.go_on.set)
        return await question

    assert asyncio.run(main())


def test_a_task_that_gives_up_does_not_take_the_others_with_it() -> None:
    api = Answers(("acme", "alice"))
    api.go_on.clear()
    policy = LogtoMembership(api)

    async def main() -> bool:
        first, second = (
            asyncio.create_task(policy.is_member_async(ALICE, "acme")) for _ in range(2)
        )
        await asyncio.sleep(0.05)
        first.cancel()
        await asyncio.wait([first])
        api.go_on.set()
        return await second

    assert asyncio.run(main())
    assert api.asked["acme", "alice"] == 1


def fill(monkeypatch: pytest.MonkeyPatch, *, waiting: int = 256, of_one: int = 4) -> None:
    """Allow so many questions at once."""
    module = "orgtenancy.identity.logto_sync.membership"
    monkeypatch.setattr(f"{module}._MAX_WAITING", waiting)
    monkeypatch.setattr(f"{module}._MAX_OF_ONE", of_one)


def test_more_questions_than_can_wait_are_refused_at_once(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(monkeypatch, waiting=2)
    api = Answers(("acme", "alice"), ("acme", "carol"))
    api.go_on.clear()
    policy = LogtoMembership(api)
    with ThreadPoolExecutor(3) as threads:
        first = [threads.submit(ask, policy, actor, "acme") for actor in (ALICE, BOB)]
        eventually(lambda: api.asked.total() == 2)
        with pytest.raises(IdentityProviderUnavailable, match="too many"):
            ask(policy, CAROL, "acme")
        # Who asks the same waits for the answer that is on its way.
        same = threads.submit(ask, policy, ALICE, "acme")
        api.go_on.set()
        assert [one.result() for one in (*first, same)] == [True, False, True]
    assert api.asked["acme", "carol"] == 0
    assert ask(policy, CAROL, "acme")


def test_one_actor_asks_about_a_few_organizations_at_once_and_takes_no_room_of_others(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(monkeypatch, of_one=2)
    api = Answers()
    api.go_on.clear()
    policy = LogtoMembership(api)
    with ThreadPoolExecutor(3) as threads:
        first = [threads.submit(ask, policy, ALICE, key) for key in ("acme", "globex")]
        eventually(lambda: api.asked.total() == 2)
        with pytest.raises(IdentityProviderUnavailable, match="too many"):
            ask(policy, ALICE, "initech")
        other = threads.submit(ask, policy, BOB, "initech")
        eventually(lambda: api.asked["initech", "bob"] == 1)
        api.go_on.set()
        assert not any(one.result() for one in (*first, other))
    assert not ask(policy, ALICE, "initech")


def test_what_is_forgotten_is_under_way_until_it_is_answered(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(monkeypatch, waiting=1)
    api = Answers()
    api.go_on.clear()
    policy = LogtoMembership(api)
    with ThreadPoolExecutor(1) as threads:
        old = threads.submit(ask, policy, ALICE, "acme")
        eventually(lambda: api.asked.total() == 1)
        policy.forget()
        for actor in (ALICE, BOB):
            with pytest.raises(IdentityProviderUnavailable, match="too many"):
                ask(policy, actor, "acme")
        api.go_on.set()
        assert not old.result()
    assert not ask(policy, ALICE, "acme")


def test_a_question_that_fails_makes_room(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(monkeypatch, waiting=1, of_one=1)
    api = Answers()
    policy = LogtoMembership(api)
    for error in (IdentityProviderUnavailable("down"), RuntimeError("unexpected"), KeyError()):
        api.error = error
        with pytest.raises(type(error)):
            ask(policy, ALICE, "acme")
    api.error = None
    assert not ask(policy, ALICE, "acme")


def test_a_question_that_no_thread_can_put_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    fill(monkeypatch, waiting=1)
    policy = LogtoMembership(Answers(("acme", "alice")))
    policy._threads.shutdown()
    with pytest.raises(RuntimeError):
        asyncio.run(policy.is_member_async(ALICE, "acme"))
    assert policy.is_member(ALICE, "acme")


def test_what_nobody_waits_for_any_more_is_not_asked(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orgtenancy.identity.logto_sync.membership._THREADS", 1)
    api = Answers(("acme", "alice"), ("acme", "bob"), ("acme", "carol"))
    api.go_on.clear()
    policy = LogtoMembership(api, clock=clock.now)

    async def main() -> list[bool | BaseException]:
        asking = [asyncio.create_task(policy.is_member_async(a, "acme")) for a in (ALICE, BOB)]
        await asyncio.to_thread(eventually, lambda: api.asked["acme", "alice"] == 1)
        clock.pass_by(31)
        asking.append(asyncio.create_task(policy.is_member_async(CAROL, "acme")))
        await asyncio.to_thread(eventually, lambda: len(policy._under_way) == 3)
        api.go_on.set()
        return await asyncio.gather(*asking, return_exceptions=True)

    first, late, in_time = asyncio.run(main())
    assert (first, in_time) == (True, True)
    assert isinstance(late, IdentityProviderUnavailable)
    assert api.asked["acme", "bob"] == 0
    assert policy._under_way == set()


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_forked_process_asks_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    fill(monkeypatch, waiting=1)
    api = Answers(("acme", "alice"))
    api.go_on.clear()
    policy = LogtoMembership(api)
    with ThreadPoolExecutor(1) as threads:
        threads.submit(policy.is_member, ALICE, "acme")
        eventually(lambda: api.asked["acme", "alice"] == 1)
        hear, tell = os.pipe()
        pid = os.fork()
        if pid == 0:
            # The parent's question is under way, and nobody here puts it.
            api.go_on = threading.Event()
            api.go_on.set()
            os.write(tell, b"1" if policy.is_member(ALICE, "acme") else b"0")
            os._exit(0)
        os.close(tell)
        answer = os.read(hear, 1)
        os.close(hear)
        os.waitpid(pid, 0)
        api.go_on.set()
    assert answer == b"1"


def test_a_gate_asks_it_about_what_no_token_proves(fake: FakeLogto, clock: Clock) -> None:
    organization = fake.data.create_organization("Acme")
    fake.data.add_members(organization, [fake.data.create_user("alice", user_id="alice")])
    tokens = logto(fake.url, audiences="https://api")
    with clock.api(fake) as api:
        policy: MembershipPolicy = LogtoMembership(api)
        gate = Gate(HeaderResolver(tokens.actors()), policy)

        def enter(user: str, key: str) -> str:
            token = fake.token(user, audience="https://api")
            headers = {"authorization": [f"Bearer {token}"], "x-organization": [key]}
            return gate.identify(RequestInfo("GET", "/", headers)).actor.id

        assert enter("alice", organization) == "alice"
        for user, key in (("bob", organization), ("alice", "elsewhere")):
            with pytest.raises(AccessDenied):
                enter(user, key)
