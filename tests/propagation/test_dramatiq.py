"""Messages of Dramatiq carry the organization, and are refused without one."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import dramatiq
import pytest
from dramatiq.brokers.stub import StubBroker
from dramatiq.middleware import GroupCallbacks, Middleware, Retries
from dramatiq.rate_limits.backends import StubBackend as RateLimiterBackend
from dramatiq.results import ResultMissing, Results
from dramatiq.results.backends import StubBackend

from orgtenancy import Organization, Settings, Tenancy, acting, embedded
from orgtenancy.adapters.dramatiq import MessageRefused, for_organization, install
from orgtenancy.errors import (
    ConfigurationError,
    OrganizationContextMissing,
    OrganizationMismatch,
)
from tests.propagation import dramatiq_actors
from tests.propagation.support import bound, eventually, marks, note, wait_for, written

dramatiq_group: Any = dramatiq.group
result_backend: Any = StubBackend
result_middleware: Any = Results
rate_limits: Any = RateLimiterBackend

Two = tuple[Organization, Organization]


@dataclass
class Host:
    """A broker in memory, and a worker with one thread.

    Attributes:
        broker: The broker.
        actors: By name.
    """

    broker: StubBroker
    actors: dict[str, dramatiq.Actor[Any, Any]]

    def wait(self) -> None:
        self.broker.join("default", fail_fast=False, timeout=30_000)

    @property
    def dead(self) -> list[str]:
        return [message.actor_name for message in self.broker.dead_letters]


@pytest.fixture
def host(
    tenancy: Tenancy, server: embedded.EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Host]:
    """A host whose worker has a tenancy of its own."""
    broker = StubBroker()
    long_remembering = Settings(listen=False, registry_max_age=3600)
    with Tenancy(server.url, admin_url=server.admin_url, settings=long_remembering) as workers:
        monkeypatch.setattr(dramatiq_actors, "begun", [])
        monkeypatch.setattr(dramatiq_actors, "dead", [])
        monkeypatch.setattr(dramatiq_actors, "tenancy", workers)
        previous = dramatiq.get_broker()
        dramatiq.set_broker(broker)
        actors = dramatiq_actors.declare(broker)
        broker.emit_after("process_boot")
        worker = dramatiq.Worker(broker, worker_timeout=100, worker_threads=1)
        worker.start()
        try:
            yield Host(broker, actors)
        finally:
            worker.stop()
            broker.emit_before("process_stop")
            broker.close()
            dramatiq.set_broker(previous)


def test_an_actor_works_for_the_organization_that_its_message_was_sent_for(
    host: Host, tenancy: Tenancy, two_organizations: Two
) -> None:
    for organization in two_organizations:
        with tenancy.session(organization), acting("ann", "http:1.2.3.4"):
            host.actors["write_mark"].send("sync")
            host.actors["write_async"].send("async")
            host.actors["publish"].send("outer")
    host.wait()
    for organization in two_organizations:
        assert sorted(written(tenancy, organization), key=lambda n: n.mark) == [
            note(organization, "async", "dramatiq:write_async"),
            note(organization, "outer inner", "dramatiq:write_mark"),
            note(organization, "sync", "dramatiq:write_mark"),
        ]


def test_retries_and_pipelines_stay_in_their_organization(
    host: Host, tenancy: Tenancy, two_organizations: Two
) -> None:
    actors = host.actors
    for organization in two_organizations:
        with tenancy.organization(organization):
            actors["retry"].send("again")
            steps = [actors["write_mark"].message("1"), actors["write_after"].message("2")]
            dramatiq.pipeline(steps).run()  # type: ignore[no-untyped-call]
    expected = ["1", "2 after 1", "again", "again", "again"]
    for organization in two_organizations:
        wait_for(tenancy, organization, *expected)


def test_sending_without_an_organization_is_refused(host: Host) -> None:
    with pytest.raises(MessageRefused) as refusal:
        host.actors["write_mark"].send("nobody's")
    assert isinstance(refusal.value.__cause__, OrganizationContextMissing)
    assert host.broker.queues["default"].empty()


def test_a_message_cannot_be_sent_for_another_organization_by_mistake(
    host: Host, tenancy: Tenancy, two_organizations: Two
) -> None:
    a, b = two_organizations
    with tenancy.organization(a):
        with pytest.raises(MessageRefused) as refusal:
            host.actors["write_mark"].send_with_options(args=("x",), **for_organization(b.id))
        assert isinstance(refusal.value.__cause__, OrganizationMismatch)
        message = host.actors["write_mark"].message_with_options(
            args=("same",), **for_organization(a.id, actor_id="bob")
        )
        host.broker.enqueue(message)
    with tenancy.organization(b), pytest.raises(MessageRefused):
        host.broker.enqueue(message)
    host.wait()
    assert written(tenancy, a) == [note(a, "same", "dramatiq:write_mark", "bob")]
    assert marks(tenancy, b) == []


def test_a_message_that_carries_nothing_is_dead_and_was_not_run(
    host: Host, tenancy: Tenancy, organization: Organization
) -> None:
    message = host.actors["write_mark"].message("lost")
    for options in ({}, {"orgtenancy": {"organization_id": None}}, {"orgtenancy": "?"}):
        host.broker.queues["default"].put(message.copy(options=options).encode())
    host.wait()
    assert host.dead == ["write_mark"] * 3
    with tenancy.organization(organization):
        host.actors["write_mark"].send("next")
    host.wait()
    assert marks(tenancy, organization) == ["next"]


def test_a_message_for_a_closed_or_unknown_organization_is_dead_and_was_not_run(
    host: Host, tenancy: Tenancy, organization: Organization
) -> None:
    with tenancy.organization(organization):
        host.actors["write_mark"].send("open")
    host.wait()  # the worker remembers it as active
    tenancy.organizations.suspend(organization.id)
    for organization_id in (organization.id, "nobody-knows-it"):
        host.actors["write_mark"].send_with_options(
            args=("late",), **for_organization(organization_id)
        )
    host.wait()
    assert host.dead == ["write_mark"] * 2
    assert dramatiq_actors.begun == ["open"]
    eventually(lambda: dramatiq_actors.dead == ["write_mark"] * 2)
    tenancy.organizations.resume(organization.id)
    assert marks(tenancy, organization) == ["open"]


def test_a_message_for_an_organization_that_is_fenced_is_put_off(
    host: Host, tenancy: Tenancy, organization: Organization
) -> None:
    tenancy.organizations.fence(organization.id)
    options = for_organization(organization.id, actor_id="ann")
    host.actors["write_mark"].send_with_options(args=("late",), **options)
    eventually(lambda: host.broker.queues["default.DQ"].unfinished_tasks)
    tenancy.organizations.unfence(organization.id)
    eventually(lambda: marks(tenancy, organization))
    assert written(tenancy, organization) == [note(organization, "late", "dramatiq:write_mark")]
    assert host.dead == []


def test_a_delayed_message_that_carries_nothing_is_dead_when_its_time_comes(
    host: Host, tenancy: Tenancy, organization: Organization
) -> None:
    message = host.actors["write_mark"].message("lost")
    delayed = message.copy(
        queue_name="default.DQ", options={"eta": int(time.time() * 1000) - 1_000}
    )
    host.broker.queues["default.DQ"].put(delayed.encode())
    eventually(lambda: host.dead)
    assert host.dead == ["write_mark"]
    assert marks(tenancy, organization) == []


def test_a_message_that_is_put_off_has_no_result_yet(
    host: Host, tenancy: Tenancy, organization: Organization
) -> None:
    results = result_backend()
    host.broker.add_middleware(result_middleware(backend=results, store_results=True))
    tenancy.organizations.fence(organization.id)
    options = for_organization(organization.id)
    message = host.actors["write_mark"].send_with_options(args=("late",), **options)
    eventually(lambda: host.broker.queues["default.DQ"].unfinished_tasks)
    with pytest.raises(ResultMissing):
        results.get_result(message)
    tenancy.organizations.unfence(organization.id)
    eventually(lambda: marks(tenancy, organization))
    assert results.get_result(message, block=True, timeout=10_000) == "late"


def test_what_a_group_calls_when_it_is_done_is_of_its_organization(
    host: Host, two_organizations: Two
) -> None:
    host.broker.add_middleware(GroupCallbacks(rate_limits()))
    write = host.actors["write_mark"]
    messages = [
        write.message_with_options(args=("x",), **for_organization(one.id))
        for one in two_organizations
    ]
    over_both: Any = dramatiq_group(messages, broker=host.broker)
    over_both.add_completion_callback(write.message("done"))
    with pytest.raises(MessageRefused) as refused:
        over_both.run()
    assert isinstance(refused.value.__cause__, OrganizationMismatch)


def test_an_actor_is_not_run_while_the_registry_cannot_be_read(
    host: Host, tenancy: Tenancy, organization: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Tenancy(dramatiq_actors.NOWHERE) as unreachable, tenancy.organization(organization):
        (middleware, *_) = host.broker.middleware
        monkeypatch.setattr(middleware, "_tenancy", unreachable)
        host.actors["write_mark"].send("lost")
        eventually(lambda: host.dead, 120)  # after its retries
    assert dramatiq_actors.begun == []
    assert marks(tenancy, organization) == []


class Acknowledging(Middleware):
    """Looks at what is bound when a message is done."""

    def __init__(self) -> None:
        self.bound: list[dict[str, Any]] = []

    def before_ack(self, broker: dramatiq.Broker, message: Any) -> None:
        self.bound.append(bound())


def test_nothing_is_left_in_the_thread_between_messages(
    host: Host, tenancy: Tenancy, two_organizations: Two
) -> None:
    a, b = two_organizations
    acknowledging = Acknowledging()
    host.broker.add_middleware(acknowledging)
    with tenancy.organization(a), acting("ann", "http"):
        host.actors["leave_behind"].send()
        host.actors["look"].send(b.id)
    host.wait()
    (found,) = marks(tenancy, b)
    assert json.loads(found) == {"organization": None, "actor": "ann", "session": False}
    eventually(lambda: len(acknowledging.bound) == 2)
    nothing = {"organization": None, "actor": None, "session": False}
    assert acknowledging.bound == [nothing, nothing]


def test_an_actor_of_the_control_side_sends_for_the_organizations_that_it_enters(
    host: Host, tenancy: Tenancy, two_organizations: Two
) -> None:
    host.actors["fan_out"].send([organization.id for organization in two_organizations], "x")
    host.wait()
    for organization in two_organizations:
        wait_for(tenancy, organization, "x")


def test_an_actor_of_the_control_side_is_one_where_it_is_called_as_a_function(
    host: Host, tenancy: Tenancy, two_organizations: Two
) -> None:
    a, b = two_organizations
    with tenancy.session(a), acting("ann", "http"):
        host.actors["look"](b.id)
        from_event_loop = host.actors["look_async"]()
        assert bound()["organization"] == a.id
    expected = {"organization": None, "actor": "ann", "session": False}
    assert json.loads(from_event_loop) == expected
    assert [json.loads(mark) for mark in marks(tenancy, b)] == [expected]


@pytest.mark.parametrize("of_broker", [False, True])
def test_what_is_refused_for_good_is_not_retried_whatever_decides_on_retries(
    host: Host, tenancy: Tenancy, organization: Organization, of_broker: bool
) -> None:
    actor = host.actors["retry_always"]
    if of_broker:
        (retries,) = (one for one in host.broker.middleware if isinstance(one, Retries))
        retries.retry_when = dramatiq_actors.retry_when
        quick: dict[str, Any] = {"broker": host.broker, "min_backoff": 1, "max_backoff": 1}
        declare = dramatiq.actor(actor_name="as_the_broker_says", **quick)
        actor = declare(dramatiq_actors.retry_always)
    with tenancy.organization(organization):
        actor.send("retried")
    wait_for(tenancy, organization, "retried")
    tenancy.organizations.suspend(organization.id)
    host.broker.enqueue(
        actor.message_with_options(args=("x",), **for_organization(organization.id))
    )
    host.wait()
    tenancy.organizations.resume(organization.id)
    assert host.dead == [actor.actor_name]
    assert (host.broker.dead_letters[0].options["retries"], dramatiq_actors.begun) == (
        1,
        ["retried", "retried"],
    )


def test_a_broker_has_one_tenancy(host: Host, tenancy: Tenancy) -> None:
    with pytest.raises(ConfigurationError, match="has a tenancy already"):
        install(host.broker, tenancy)
