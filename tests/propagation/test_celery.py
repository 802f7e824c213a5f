"""Publishing to Celery, and tasks that are run where they are published."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery, Task, chain, chord, group
from celery.app.task import Context
from celery.app.trace import build_tracer

from orgtenancy import Organization, Tenancy, acting, current_session, embedded
from orgtenancy.adapters import celery
from orgtenancy.adapters.celery import for_organization, install
from orgtenancy.errors import (
    ConfigurationError,
    OrganizationContextMissing,
    OrganizationMismatch,
    OrganizationNotFound,
    OrganizationUnavailable,
)
from orgtenancy.propagation.carried import HEADER
from tests.propagation import celery_tasks
from tests.propagation.celery_tasks import make_app
from tests.propagation.dramatiq_actors import NOWHERE
from tests.propagation.support import bound, marks, note, written

Two = tuple[Organization, Organization]

MEMORY = {"broker_url": "memory://", "result_backend": "cache+memory://"}


@pytest.fixture
def app(
    tenancy: Tenancy, server: embedded.EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Celery]:
    """An app that keeps in memory what is published, and whose tasks use this server."""
    monkeypatch.setattr(celery_tasks, "tenancy", tenancy)
    app = make_app(MEMORY)
    yield app
    app.close()


@pytest.fixture
def eager(app: Celery) -> Celery:
    """The app, which runs tasks where they are published."""
    app.conf.task_always_eager = True
    app.conf.task_eager_propagates = True
    return app


def messages(app: Celery) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Return the headers of all messages with what is to follow from each, and remove them."""
    found = []
    with app.connection_for_read() as connection:
        queue = connection.SimpleQueue("celery")
        while queue.qsize():
            message = queue.get_nowait()
            message.ack()
            *_, following = message.payload
            found.append((message.headers, following))
        queue.close()
    return found


def published(app: Celery) -> list[dict[str, Any]]:
    """Return the headers of all messages, and remove them."""
    return [headers for headers, _ in messages(app)]


def whose(following: Any) -> list[tuple[str, str | None]]:
    """Return the tasks in what follows, however deep, each with the organization it is for."""
    match following:
        case {"task": str(name), "options": dict(options)} if not name.startswith("celery."):
            carried = options.get("headers", {}).get(HEADER, {})
            return [(name, carried.get("organization_id"))]
        case dict():
            return [one for value in following.values() for one in whose(value)]
        case list():
            return [one for value in following for one in whose(value)]
    return []


def test_what_is_published_carries_organization_actor_and_origin(
    app: Celery, tenancy: Tenancy, organization: Organization
) -> None:
    write: Any = app.tasks["write"]
    with tenancy.session(organization), acting("ann", "http:1.2.3.4"):
        write.delay("x")
        write.apply_async(("x",), countdown=60, headers={"mine": 1})
        app.send_task("write", ["x"])
        app.send_task("elsewhere", ["x"])
        write.s("x").apply_async(expires=60)
        group(write.s("x"), write.s("x"))()
    messages = published(app)
    assert len(messages) == 7
    for headers in messages:
        assert headers[HEADER] == {
            "organization_id": organization.id,
            "actor_id": "ann",
            "scopes": [],
            "origin": "http:1.2.3.4",
            "postponed": 0,
        }
    assert messages[1]["mine"] == 1


def test_publishing_without_an_organization_is_refused(app: Celery) -> None:
    write: Any = app.tasks["write"]
    ways = (
        lambda: write.delay("x"),
        lambda: write.apply_async(("x",), headers={HEADER: {"actor_id": "ann"}}),
        lambda: write.apply_async(("x",), headers={HEADER: "acme"}),
        lambda: app.send_task("write", ["x"]),
        lambda: app.send_task("elsewhere"),
        lambda: chain(write.si("1"), write.si("2"))(),
        lambda: write.apply(("x",)),
    )
    for way in ways:
        with pytest.raises(OrganizationContextMissing):
            way()
    assert published(app) == []


def test_a_task_of_the_control_side_carries_no_organization(
    app: Celery, tenancy: Tenancy, organization: Organization
) -> None:
    app.tasks["fan_out"].delay([], "x")
    with tenancy.organization(organization), acting("ann", "http"):
        app.send_task("fan_out", [[], "x"])
        app.tasks["celery.backend_cleanup"].delay()
    carried = [headers[HEADER] for headers in published(app)]
    assert [found["organization_id"] for found in carried] == [None] * 3
    assert [found["actor_id"] for found in carried] == [None, "ann", "ann"]


def test_a_producer_cannot_publish_for_another_organization_by_mistake(
    app: Celery, tenancy: Tenancy, two_organizations: Two
) -> None:
    a, b = two_organizations
    write: Any = app.tasks["write"]
    for_b = write.s("x").set(**for_organization(b.id))
    with tenancy.organization(a):
        for way in (
            lambda: for_b.delay(),
            lambda: write.apply_async(("x",), **for_organization(b.id)),
            lambda: app.send_task("write", ["x"], **for_organization(b.id)),
            lambda: for_b.apply(),
        ):
            with pytest.raises(OrganizationMismatch, match="inside the context of"):
                way()
        assert published(app) == []
    for_b.delay()
    with tenancy.organization(b):
        for_b.delay()
    assert [headers[HEADER]["organization_id"] for headers in published(app)] == [b.id] * 2


def test_the_body_of_a_chord_is_of_the_organization_of_its_tasks(
    app: Celery, two_organizations: Two
) -> None:
    write, control = app.tasks["write"], app.tasks["look"]
    tasks = [write.s("x").set(**for_organization(one.id)) for one in two_organizations]
    with pytest.raises(OrganizationMismatch):
        chord(tasks)(write.si("all"))
    published(app)
    chord(tasks)(control.si("nobody"))
    assert len(published(app)) == 2
    body = write.si("all")
    options: dict[str, Any] = {"chord": body, **for_organization(two_organizations[0].id)}
    app.send_task("write", ("x",), **options)
    published(app)
    assert body.options["headers"][HEADER]["organization_id"] == two_organizations[0].id


def test_callbacks_say_themselves_for_whom_they_are(
    app: Celery, tenancy: Tenancy, two_organizations: Two
) -> None:
    a, b = two_organizations
    write, control = app.tasks["write"], app.tasks["look"]
    callback = write.si("done")
    for organization in (a, b):  # what is published once does not keep it
        with tenancy.organization(organization):
            write.apply_async(("x",), link=callback, link_error=[callback, control.si("nobody")])
    assert callback.options == {}
    for organization, (_, following) in zip((a, b), messages(app), strict=True):
        assert whose(following["callbacks"] + following["errbacks"]) == [
            ("write", organization.id),
            ("write", organization.id),
            ("look", None),
        ]
    with pytest.raises(OrganizationMismatch), tenancy.organization(a):
        write.apply_async(("x",), link_error=write.si("y").set(**for_organization(b.id)))
    assert published(app) == []


def test_an_error_callback_that_the_main_process_calls_works_for_the_task_that_failed(
    app: Celery, tenancy: Tenancy, organization: Organization
) -> None:
    request = Context(headers=for_organization(organization.id)["headers"])
    app.tasks["on_error"](request, ValueError("x"), None, "killed")
    assert marks(tenancy, organization) == ["killed: ValueError"]


def test_an_eager_task_works_as_in_a_worker(
    eager: Celery, tenancy: Tenancy, two_organizations: Two
) -> None:
    a, b = two_organizations
    tasks = eager.tasks
    for organization in (a, b):
        with tenancy.session(organization) as session, acting("ann", "http"):
            tasks["write"].delay("delay")
            tasks["write"].apply(("apply",))
            chain(tasks["write"].si("1"), tasks["write_after"].s("2"))()
            eager.conf.task_eager_propagates = False  # with it, a retry is an error
            tasks["retry"].delay("retry")
            eager.conf.task_eager_propagates = True
            tasks["publish"].delay("3")
            tasks["call"].delay("4")
            assert current_session() is session
    for organization in (a, b):
        found = written(tenancy, organization)
        assert [one.mark for one in found] == [
            *("delay", "apply", "1", "2 after 1"),
            *("retry 0", "retry 1", "retry 2", "3 inner", "4 inner"),
        ]
        assert found[0] == note(organization, "delay", "celery:write")
    assert bound()["organization"] is None


def test_an_eager_task_leaves_nothing_in_the_context_of_its_caller(
    eager: Celery, tenancy: Tenancy, two_organizations: Two
) -> None:
    a, b = two_organizations
    with tenancy.organization(a), acting("ann", "http"):
        before = bound()
        eager.tasks["leave_behind"].delay()
        assert (bound(), celery_tasks.host_var.get()) == (before, "unset")
        eager.tasks["look"].delay(b.id)
    (found,) = marks(tenancy, b)
    assert json.loads(found)["organization"] is None


def test_an_eager_task_for_a_closed_organization_is_refused(
    eager: Celery, tenancy: Tenancy, two_organizations: Two
) -> None:
    a, b = two_organizations
    write = eager.tasks["write"]
    tenancy.organizations.suspend(a.id)
    tenancy.organizations.fence(b.id)  # there is no later: it is refused as well
    for organization in (a, b):
        with pytest.raises(OrganizationUnavailable):
            write.apply_async(("late",), **for_organization(organization.id))
    with pytest.raises(OrganizationNotFound):
        write.apply_async(("late",), **for_organization("nobody-knows-it"))
    tenancy.organizations.resume(a.id)
    tenancy.organizations.unfence(b.id)
    assert marks(tenancy, a) + marks(tenancy, b) == []


def test_a_task_is_put_off_while_the_registry_cannot_be_read(
    app: Celery, organization: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    headers = for_organization(organization.id)["headers"]
    run: Any = build_tracer("write", app.tasks["write"], app=app)
    with Tenancy(NOWHERE) as unreachable:
        monkeypatch.setitem(celery._tenancies, app, unreachable)
        outcome = run("1", ("late",), {}, {"id": "1", "headers": headers})
    assert outcome.info.state == "RETRY"
    (message,) = published(app)
    assert (message["id"], message[HEADER]["postponed"]) == ("1", 1)


def test_a_task_that_is_called_works_in_the_context_of_its_caller(
    app: Celery, tenancy: Tenancy, organization: Organization
) -> None:
    with tenancy.organization(organization), acting("ann", "http"):
        app.tasks["write"]("called")
    assert written(tenancy, organization) == [note(organization, "called", "http")]
    with pytest.raises(OrganizationContextMissing):
        app.tasks["write"]("lost")


def test_a_task_of_the_control_side_is_one_where_it_is_called_as_a_function(
    app: Celery, tenancy: Tenancy, two_organizations: Two
) -> None:
    a, b = two_organizations
    with tenancy.session(a), acting("ann", "http"):
        app.tasks["look"](b.id)
    (found,) = written(tenancy, b)
    assert json.loads(found.mark) == {
        "organization": None,
        "actor": "ann",
        "session": False,
        "host": "unset",
        "origin": "http",
    }


def test_what_follows_in_a_chain_says_itself_for_whom_it_is(
    app: Celery, tenancy: Tenancy, two_organizations: Two
) -> None:
    a, b = two_organizations
    write, after, control = app.tasks["write"], app.tasks["write_after"], app.tasks["look"]
    canvas = chain(
        control.si("nobody"),
        write.si("1"),
        control.si("nobody"),
        group(after.s("2"), chain(after.s("3"), control.si("nobody"), write.si("4"))),
        write.si("5"),
    )
    for organization in (a, b):  # what is published once does not keep it
        with tenancy.organization(organization):
            canvas.delay()
        ((headers, following),) = messages(app)
        assert headers[HEADER]["organization_id"] is None
        assert sorted(whose(following["chain"]), key=str) == [
            *[("look", None)] * 2,
            *[("write", organization.id)] * 3,
            *[("write_after", organization.id)] * 2,
        ]
    for_b = group(write.si("x"), write.si("y").set(**for_organization(b.id)))
    with pytest.raises(OrganizationMismatch), tenancy.organization(a):
        chain(write.si("z"), for_b).delay()
    assert published(app) == []


def test_a_base_class_that_knows_nothing_of_organizations_is_refused(
    app: Celery, tenancy: Tenancy, organization: Organization
) -> None:
    class Foreign(Task):  # type: ignore[type-arg]
        abstract = True

    foreign = app.task(name="foreign", base=Foreign)(celery_tasks.fail)
    with (
        tenancy.organization(organization),
        pytest.raises(ConfigurationError, match="does not derive from OrganizationTask"),
    ):
        foreign.delay("x")


def test_the_tenancy_is_installed_once_and_before_the_tasks_are_made(
    app: Celery, tenancy: Tenancy
) -> None:
    with pytest.raises(ConfigurationError, match="has a tenancy already"):
        install(app, tenancy)
    used = Celery("used", set_as_current=False)
    used.finalize()
    with pytest.raises(ConfigurationError, match="has made its tasks already"):
        install(used, tenancy)
