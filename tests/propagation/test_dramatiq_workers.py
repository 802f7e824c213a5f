"""A real worker of Dramatiq, with processes, on Redis."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dramatiq
import pytest
from dramatiq.brokers.redis import RedisBroker

from orgtenancy import Organization, Tenancy, acting, embedded
from orgtenancy.adapters.dramatiq import for_organization
from tests.propagation import dramatiq_actors
from tests.propagation.support import eventually, marks, note, wait_for, written

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("dramatiq")]

PROJECT = Path(__file__).parents[2]
Two = tuple[Organization, Organization]
Actors = dict[str, dramatiq.Actor[Any, Any]]


@dataclass
class Host:
    """A producer, whose actors are run in other processes."""

    broker: RedisBroker
    actors: Actors


@pytest.fixture(scope="module")
def host(
    server: embedded.EmbeddedServer,
    tenancy: Tenancy,
    redis_socket: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Host]:
    """A worker with two processes, and a producer."""
    url = f"unix://{redis_socket}?db=2"
    log = tmp_path_factory.mktemp("dramatiq") / "log"
    environment = os.environ | {
        "TESTS_URL": server.url,
        "TESTS_ADMIN_URL": server.admin_url,
        "TESTS_REDIS": url,
        "PYTHONPATH": os.pathsep.join([str(PROJECT), *filter(None, sys.path)]),
    }
    options = ["--processes", "2", "--threads", "1"]
    command = [sys.executable, "-m", "dramatiq", "tests.propagation.dramatiq_actors", *options]
    with log.open("wb") as output:
        worker = subprocess.Popen(
            command, cwd=PROJECT, env=environment, stdout=output, stderr=output
        )
    broker = RedisBroker(url=url)  # type: ignore[no-untyped-call]
    try:
        eventually(lambda: log.read_text().count("is ready for action") >= 2, 60)
        yield Host(broker, dramatiq_actors.declare(broker))
    finally:
        broker.close()
        worker.send_signal(signal.SIGTERM)
        try:
            worker.wait(30)
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait(30)


def test_actors_work_for_the_organization_that_their_message_was_sent_for(
    host: Host, tenancy: Tenancy, two_organizations: Two
) -> None:
    for organization in two_organizations:
        with tenancy.session(organization), acting("ann", "http:1.2.3.4"):
            for number in range(5):
                host.actors["write_mark"].send(f"sync {number}")
            host.actors["write_async"].send("async")
            host.actors["write_mark"].send_with_options(args=("delayed",), delay=100)
            steps = [
                host.actors["write_mark"].message("1"),
                host.actors["write_after"].message("2"),
            ]
            dramatiq.pipeline(steps, broker=host.broker).run()  # type: ignore[no-untyped-call]
            host.actors["retry"].send("again")
    expected = sorted(
        ["1", "2 after 1", "again", "again", "again", "async", "delayed"]
        + [f"sync {number}" for number in range(5)]
    )
    for organization in two_organizations:
        wait_for(tenancy, organization, *expected)
        assert {found.actor for found in written(tenancy, organization)} == {"ann"}


def test_a_message_for_an_organization_that_is_fenced_is_put_off_and_one_that_is_suspended_dies(
    host: Host, tenancy: Tenancy, two_organizations: Two
) -> None:
    fenced, suspended = two_organizations
    tenancy.organizations.fence(fenced.id)
    tenancy.organizations.suspend(suspended.id)
    for organization in two_organizations:
        options = for_organization(organization.id, actor_id="ann")
        host.actors["write_mark"].send_with_options(args=("late",), **options)
    client = host.broker.client
    eventually(lambda: client.zcard("dramatiq:default.XQ"))
    tenancy.organizations.unfence(fenced.id)
    eventually(lambda: marks(tenancy, fenced))
    tenancy.organizations.resume(suspended.id)
    assert written(tenancy, fenced) == [note(fenced, "late", "dramatiq:write_mark")]
    assert marks(tenancy, suspended) == []


def test_an_actor_of_the_control_side_sends_for_the_organizations_that_it_enters(
    host: Host, tenancy: Tenancy, two_organizations: Two
) -> None:
    host.actors["fan_out"].send([organization.id for organization in two_organizations], "x")
    for organization in two_organizations:
        wait_for(tenancy, organization, "x")


def test_the_audit_tells_which_actor_it_was(
    host: Host, tenancy: Tenancy, organization: Organization
) -> None:
    with tenancy.organization(organization), acting("ann", "http"):
        host.actors["rename"].send("New name")

    def renamed() -> Any:
        page = tenancy.organizations.audit(organization_id=organization.id)
        return [entry for entry in page.items if entry.action == "renamed"]

    (entry,) = eventually(renamed)
    assert (entry.actor_id, entry.origin) == ("ann", "dramatiq:rename")
