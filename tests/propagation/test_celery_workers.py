"""Real workers of Celery on real brokers, with processes and with threads."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from celery import Celery, chain, chord, group

from orgtenancy import Organization, Tenancy, acting, embedded
from orgtenancy.adapters.celery import for_organization
from orgtenancy.errors import OrganizationNotFound, OrganizationUnavailable
from tests.propagation import celery_worker
from tests.propagation.celery_tasks import make_app
from tests.propagation.support import eventually, marks, note, wait_for, written

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("celery")]

Two = tuple[Organization, Organization]

COMBINATIONS = (
    "filesystem-prefork",
    "filesystem-threads",
    "filesystem-gevent",
    "redis-prefork",
    "redis-threads",
)


@dataclass
class Host:
    """A producer, whose tasks a worker runs in another process.

    Attributes:
        app: The producer's app.
        config: Its settings.
        worker: The worker's process.
        tenancy: To look at what was written.
    """

    app: Celery
    config: dict[str, Any]
    worker: celery_worker.Running
    tenancy: Tenancy

    def publish(self, organization: Organization, name: str, *args: Any, **options: Any) -> Any:
        """Publish a task as a request of ann's does."""
        with self.tenancy.session(organization), acting("ann", "http:1.2.3.4"):
            return self.app.tasks[name].apply_async(args, **options)

    def wait_for(self, organization: Organization, *expected: str) -> None:
        """Wait until the tasks with these marks, and no others, have written."""
        wait_for(self.tenancy, organization, *expected)


@pytest.fixture(scope="module", params=COMBINATIONS)
def host(
    request: pytest.FixtureRequest,
    server: embedded.EmbeddedServer,
    tenancy: Tenancy,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Host]:
    """A host with one broker and one kind of pool."""
    folder = tmp_path_factory.mktemp("celery")
    broker, _, pool = request.param.partition("-")
    if broker == "redis":
        config = celery_worker.redis(request.getfixturevalue("redis_socket"))
        config["task_default_queue"] = f"celery-{pool}"
    else:
        config = celery_worker.filesystem(folder)
    # One child, one thread: what is left in it meets the next task.
    with celery_worker.worker(server, config, folder, "--pool", pool, "-c", "1") as worker:
        app = make_app(config)
        yield Host(app, config, worker, tenancy)
        # A result says goodbye to Redis when it is collected, which may be gone by then.
        if consumer := getattr(app.backend, "result_consumer", None):
            consumer.stop()
            consumer.cancel_for = lambda task_id: None
        app.close()


def test_a_task_works_for_the_organization_that_it_was_published_for(
    host: Host, two_organizations: Two
) -> None:
    for organization in two_organizations:
        host.publish(organization, "write", "one")
        host.publish(organization, "write", "two", countdown=0.1)
    for organization in two_organizations:
        host.wait_for(organization, "one", "two")
        assert set(written(host.tenancy, organization)) == {
            note(organization, "one", "celery:write"),
            note(organization, "two", "celery:write"),
        }


def test_retries_chains_groups_and_chords_stay_in_their_organization(
    host: Host, two_organizations: Two
) -> None:
    tasks = host.app.tasks
    write, after = tasks["write"], tasks["write_after"]
    for organization in two_organizations:
        with host.tenancy.organization(organization), acting("ann", "http"):
            tasks["retry"].delay("retry")
            chain(write.si("1"), after.s("2"), group(after.s("3"), after.s("4")))()
            group(write.si("5"), write.si("6"))()
            chord([write.si("7"), write.si("8")], after.s("9"))()
            tasks["publish"].delay("10")
            tasks["call"].delay("11")
            write.map(["12"]).delay()
    for organization in two_organizations:
        host.wait_for(
            organization,
            *("retry 0", "retry 1", "retry 2"),
            *("1", "2 after 1", "3 after 2 after 1", "4 after 2 after 1"),
            *("5", "6", "7", "8", "9 after ['7', '8']"),
            *("10 inner", "11 inner", "12"),
        )
        assert {found.actor for found in written(host.tenancy, organization)} == {"ann"}


def test_a_task_of_the_control_side_in_a_chain_loses_no_organization(
    host: Host, two_organizations: Two
) -> None:
    write, after = host.app.tasks["write"], host.app.tasks["write_after"]
    nothing = host.app.tasks["nothing"]
    for organization in two_organizations:
        with host.tenancy.organization(organization), acting("ann", "http"):
            chain(nothing.si(), write.si("1"), nothing.si(), write.si("2"), after.s("3"))()
            chain(write.si("4"), nothing.si(), group(write.si("5"), write.si("6")))()
            chord([write.si("7"), nothing.si()], chain(nothing.si(), write.si("8")))()
    for organization in two_organizations:
        host.wait_for(organization, "1", "2", "3 after 2", *"45678")
        assert {found.actor for found in written(host.tenancy, organization)} == {"ann"}


def test_error_callbacks_work_for_the_organization_of_the_task_that_failed(
    host: Host, organization: Organization
) -> None:
    fail, tasks = host.app.tasks["fail"], host.app.tasks
    with host.tenancy.organization(organization), acting("ann", "http"):
        fail.apply_async(("1",), link_error=tasks["on_error"].s("called"))
        fail.apply_async(("2",), link_error=tasks["on_error_by_id"].s())
    host.wait_for(organization, "1", "2", "called: RuntimeError", "by id")


def test_nothing_is_left_in_the_worker_between_tasks(host: Host, two_organizations: Two) -> None:
    a, b = two_organizations
    host.publish(a, "leave_behind")
    host.publish(a, "look", b.id)
    (found,) = eventually(lambda: written(host.tenancy, b))
    assert json.loads(found.mark) == {
        "organization": None,
        "actor": "ann",
        "session": False,
        "host": "unset",
        "origin": "celery:look",
    }


def test_a_task_of_the_control_side_publishes_for_the_organizations_that_it_enters(
    host: Host, two_organizations: Two
) -> None:
    host.app.tasks["fan_out"].delay([organization.id for organization in two_organizations], "x")
    for organization in two_organizations:
        host.wait_for(organization, "x")


def test_a_message_that_carries_no_organization_is_refused_and_fails(
    host: Host, organization: Organization, tmp_path: Path
) -> None:
    bare = Celery("shop", set_as_current=False)  # a producer that installed no tenancy
    bare.conf.update(host.config)
    for number, headers in enumerate(
        ({}, {"orgtenancy": {"organization_id": None}}, {"orgtenancy": {"organization_id": "a b"}})
    ):
        result = bare.send_task(
            "touch", [str(tmp_path / "run")], headers=headers, task_id=f"bare-{number}"
        )
        wait_for_state(result, "FAILURE")
        assert type(result.result).__name__ == "OrganizationContextMissing"
    assert not (tmp_path / "run").exists()
    bare.close()
    host.publish(organization, "write", "next")
    host.wait_for(organization, "next")
    assert host.worker.says("OrganizationContextMissing")


def test_a_task_for_a_closed_or_unknown_organization_fails_without_being_run(
    host: Host, two_organizations: Two
) -> None:
    a, b = two_organizations
    host.publish(a, "write", "open")
    host.wait_for(a, "open")  # the worker remembers it as active
    host.tenancy.organizations.suspend(a.id)
    unavailable = publish_unbound(host, a)
    host.tenancy.schemas.drop(b.id, confirm=b.id, force=True)
    gone = publish_unbound(host, b)
    for result, kind in ((unavailable, OrganizationUnavailable), (gone, OrganizationNotFound)):
        wait_for_state(result, "FAILURE")
        assert isinstance(result.result, kind)
    host.tenancy.organizations.resume(a.id)
    assert marks(host.tenancy, a) == ["open"]


def test_a_task_of_the_control_side_is_told_of_tasks_that_were_refused(
    host: Host, two_organizations: Two
) -> None:
    a, b = two_organizations
    host.tenancy.organizations.suspend(a.id)
    publish_unbound(host, a, link_error=host.app.tasks["tell"].s(b.id))
    host.wait_for(b, "write: OrganizationUnavailable")


def test_a_task_for_an_organization_that_is_fenced_is_put_off(
    host: Host, organization: Organization
) -> None:
    host.tenancy.organizations.fence(organization.id)
    result = publish_unbound(host, organization)
    wait_for_state(result, "RETRY")
    host.tenancy.organizations.unfence(organization.id)
    host.wait_for(organization, "late")
    wait_for_state(result, "SUCCESS")


def wait_for_state(result: Any, state: str) -> None:
    eventually(lambda: result.state == state)


def wait_for_any(tenancy: Tenancy, organization: Organization) -> None:
    eventually(lambda: marks(tenancy, organization))


def publish_unbound(host: Host, organization: Organization, **more: Any) -> Any:
    options = for_organization(organization.id, actor_id="ann")
    return host.app.tasks["write"].apply_async(("late",), **options, **more)


def test_the_audit_tells_which_task_it_was(host: Host, organization: Organization) -> None:
    host.publish(organization, "rename", "New name")

    def renamed() -> Any:
        page = host.tenancy.organizations.audit(organization_id=organization.id)
        return [entry for entry in page.items if entry.action == "renamed"]

    (entry,) = eventually(renamed)
    assert (entry.actor_id, entry.origin) == ("ann", "celery:rename")


def test_beat_publishes_for_the_organizations_of_its_entries(
    server: embedded.EmbeddedServer,
    tenancy: Tenancy,
    two_organizations: Two,
    tmp_path: Path,
) -> None:
    config = celery_worker.filesystem(tmp_path)
    entries = [{"organization": o.id, "mark": o.name} for o in two_organizations]
    schedule = ["--schedule", str(tmp_path / "schedule"), "--max-interval", "1"]
    pidfile = ["--pidfile", str(tmp_path / "beat.pid")]
    threads = ["--pool", "threads", "-c", "1"]
    with (
        celery_worker.celery(server, config, tmp_path, "beat", *schedule, *pidfile, beat=entries),
        celery_worker.worker(server, config, tmp_path, *threads),
    ):
        for organization in two_organizations:
            wait_for_any(tenancy, organization)
    for organization in two_organizations:
        assert set(written(tenancy, organization)) == {
            note(organization, organization.name, "celery:write", actor=None)
        }
