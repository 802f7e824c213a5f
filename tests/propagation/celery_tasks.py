"""The Celery app of a host: the worker's process imports it, and so do the tests."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from celery import Celery, shared_task

from orgtenancy import Tenancy, current_organization
from orgtenancy.adapters.celery import OrganizationTask, for_organization, install
from orgtenancy.context import organization_var, origin_var
from orgtenancy.errors import OrganizationContextMissing
from tests.propagation.folders import use_whole_messages
from tests.propagation.support import bound, write
from tests.support.notes import notes

NOWHERE = "postgresql+psycopg://nobody@127.0.0.1:1/none"
host_var: ContextVar[str] = ContextVar("host", default="unset")
tasks: list[tuple[Callable[..., Any], dict[str, Any]]] = []

tenancy = Tenancy(
    os.environ.get("TESTS_URL", NOWHERE),
    admin_url=os.environ.get("TESTS_ADMIN_URL", NOWHERE),
    modules=[notes],
)


class HostTask(OrganizationTask):
    """A base class of the host's own."""

    abstract = True


def task(**options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Keep a function for the apps that are made."""

    def keep(function: Callable[..., Any]) -> Callable[..., Any]:
        tasks.append((function, options))
        return function

    return keep


def make_app(config: dict[str, Any], beat: list[dict[str, str]] | None = None) -> Celery:
    """Return an app with all tasks."""
    use_whole_messages()
    app = Celery("shop", set_as_current=False)
    app.conf.update(config)
    install(app, tenancy)
    for function, options in tasks:
        app.task(**options)(function)
    app.conf.beat_schedule = {
        entry["organization"]: {
            "task": "write",
            "schedule": 0.2,
            "args": [entry["mark"]],
            "options": for_organization(entry["organization"]),
        }
        for entry in beat or []
    }
    return app


@task(name="write", base=HostTask)
def write_mark(mark: Any, *before: Any) -> Any:
    """Write into the organization's schema."""
    return write(tenancy, str(mark))


@task(name="write_after")
def write_after(result: Any, mark: str) -> str:
    """Write as the next one of a chain, or as the body of a chord."""
    return write(tenancy, f"{mark} after {result}")


@task(name="fail")
def fail(mark: str) -> None:
    """Write, and fail."""
    write(tenancy, mark)
    raise RuntimeError(f"{mark} failed")


@task(name="on_error")
def on_error(request: Any, error: BaseException, traceback: Any, mark: str) -> None:
    """Write what the worker says of a failure; it calls this one as a function."""
    write(tenancy, f"{mark}: {type(error).__name__}")


@task(name="on_error_by_id")
def on_error_by_id(task_id: str) -> None:
    """Write that there was a failure; the worker publishes this one."""
    write(tenancy, "by id")


@task(name="tell", control=True)
def tell(request: Any, error: BaseException, traceback: Any, reply_to: str) -> None:
    """Write into another organization what failed, and why."""
    with tenancy.organization(reply_to):
        write(tenancy, f"{request.task}: {type(error).__name__}")


@task(name="retry", bind=True, max_retries=2, default_retry_delay=0)
def retry(self: Any, mark: str) -> None:
    """Write, and do so again until it is enough."""
    write(tenancy, f"{mark} {self.request.retries}")
    if self.request.retries < 2:
        raise self.retry()


@task(name="publish", bind=True)
def publish(self: Any, mark: str) -> None:
    """Publish from within a task."""
    self.app.tasks["write"].delay(f"{mark} inner")


@task(name="touch")
def touch(path: str) -> None:
    """Do what needs no organization."""
    Path(path).touch()


@task(name="call", bind=True)
def call(self: Any, mark: str) -> None:
    """Call a task as a function."""
    self.app.tasks["write"](f"{mark} inner")


@task(name="leave_behind")
def leave_behind() -> None:
    """Set what a task should not, and leave it."""
    host_var.set("left behind")
    origin_var.set("left behind")
    organization_var.set(current_organization())
    tenancy.session().__enter__()


@task(name="rename")
def rename(name: str) -> None:
    """Do what is audited."""
    tenancy.organizations.rename(current_organization().id, name)


@task(name="look", control=True)
def look(reply_to: str) -> None:
    """Write into another organization what a task of the control side finds bound."""
    found = {**bound(), "host": host_var.get(), "origin": origin_var.get()}
    with tenancy.organization(reply_to):
        write(tenancy, json.dumps(found))


@task(name="nothing", control=True)
def nothing() -> None:
    """Do nothing for nobody."""
    assert organization_var.get() is None


@task(name="fan_out", control=True, bind=True)
def fan_out(self: Any, organization_ids: list[str], mark: str) -> None:
    """Publish for each of several organizations."""
    try:
        self.app.tasks["write"].delay("nobody's")
    except OrganizationContextMissing:
        for organization_id in organization_ids:
            with tenancy.organization(organization_id):
                self.app.tasks["write"].delay(mark)


@shared_task(name="write_shared")
def write_shared(mark: str) -> None:
    """Write, as a task of a package that knows no app."""
    write(tenancy, mark)


if "TESTS_CELERY" in os.environ:
    app = make_app(
        json.loads(os.environ["TESTS_CELERY"]), json.loads(os.environ.get("TESTS_BEAT", "[]"))
    )
