"""The actors of a host: the worker's processes import them, and so do the tests."""

from __future__ import annotations

import json
import os
from typing import Any

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.brokers.stub import StubBroker
from dramatiq.middleware import AsyncIO

from orgtenancy import Tenancy, current_organization
from orgtenancy.adapters.dramatiq import MessageRefused, install
from orgtenancy.context import origin_var
from tests.propagation.support import bound, write
from tests.support.notes import notes

NOWHERE = "postgresql+psycopg://nobody@127.0.0.1:1/none"

#: What was begun in this process, and what is dead.
begun: list[str] = []
dead: list[str] = []

tenancy = Tenancy(
    os.environ.get("TESTS_URL", NOWHERE),
    admin_url=os.environ.get("TESTS_ADMIN_URL", NOWHERE),
    modules=[notes],
)


def declare(broker: dramatiq.Broker) -> dict[str, dramatiq.Actor[Any, Any]]:
    """Give a broker the tenancy and all actors."""
    broker.add_middleware(AsyncIO())
    install(broker, tenancy)
    quick: dict[str, Any] = {"broker": broker, "min_backoff": 1, "max_backoff": 1, "max_retries": 2}
    functions = (write_mark, write_after, write_async, retry, publish, leave_behind, rename)
    told = quick | {"on_retry_exhausted": "hear_of_dead"}
    actors = {fn.__name__: dramatiq.actor(**told)(fn) for fn in functions}
    actors["retry_always"] = dramatiq.actor(retry_when=retry_when, **told)(retry_always)
    control = (look, fan_out, hear_of_dead, look_async)
    return actors | {fn.__name__: dramatiq.actor(control=True, **quick)(fn) for fn in control}


def retry_when(retries: int, error: BaseException) -> bool:
    """Retry whatever it is, until it was done."""
    return retries < 3


def retry_always(mark: str) -> None:
    """Write, and fail the first time."""
    begun.append(mark)
    if begun.count(mark) == 1:
        raise RuntimeError(mark)
    write(tenancy, mark)


def write_mark(mark: str) -> str:
    """Write into the organization's schema."""
    begun.append(mark)
    return write(tenancy, mark)


def write_after(mark: str, result: str) -> None:
    """Write as the next one of a pipeline."""
    write(tenancy, f"{mark} after {result}")


async def write_async(mark: str) -> None:
    """Write from the event loop of the worker."""
    write(tenancy, mark)


def retry(mark: str) -> None:
    """Write and fail, until there are no retries left."""
    write(tenancy, mark)
    raise RuntimeError(mark)


def publish(mark: str) -> None:
    """Send from within an actor."""
    dramatiq.get_broker().get_actor("write_mark").send(f"{mark} inner")


def leave_behind() -> None:
    """Open what an actor should not leave open."""
    origin_var.set("left behind")
    tenancy.session().__enter__()


def rename(name: str) -> None:
    """Do what is audited."""
    tenancy.organizations.rename(current_organization().id, name)


def look(reply_to: str) -> None:
    """Write into another organization what an actor of the control side finds bound."""
    found = json.dumps(bound())
    with tenancy.organization(reply_to):
        write(tenancy, found)


async def look_async() -> str:
    """Return what is bound in the event loop of the worker."""
    return json.dumps(bound())


def fan_out(organization_ids: list[str], mark: str) -> None:
    """Send for each of several organizations."""
    sending = dramatiq.get_broker().get_actor("write_mark")
    try:
        sending.send("nobody's")
    except MessageRefused:
        for organization_id in organization_ids:
            with tenancy.organization(organization_id):
                sending.send(mark)


def hear_of_dead(message: dict[str, Any], retries: dict[str, int]) -> None:
    """Hear of a message that will not be run."""
    dead.append(message["actor_name"])


def make_broker() -> dramatiq.Broker:
    """Return the broker that the environment names."""
    url = os.environ.get("TESTS_REDIS")
    return RedisBroker(url=url) if url else StubBroker()  # type: ignore[no-untyped-call]


if "TESTS_REDIS" in os.environ:
    broker = make_broker()
    dramatiq.set_broker(broker)
    declare(broker)
