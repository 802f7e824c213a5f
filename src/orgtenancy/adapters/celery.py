"""Celery: a task works for the organization that it was published for.

```python
app = Celery("shop", broker="redis://...")
install(app, tenancy)

@app.task
def send_invoice(number):
    with tenancy.session():
        InvoiceRepository().send(number)

@app.task(control=True)     # of the control side: no organization is bound in it
def rotate_keys(): ...
```

Organization, actor and origin travel in the headers of the message. Publishing without an
organization is refused, and so is a message without one, where it arrives. The worker looks
in the registry before it begins: a task for an organization that is fenced or being set up
is put off, as it is while the registry cannot be read. It fails if the organization is
unknown, suspended or archived. Retries, chains, groups, chords and error callbacks stay in
the organization of the task they come from, also past a task of the control side in a chain.

A broker is trusted: whoever can write into it can work for every organization.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from contextvars import copy_context
from functools import wraps
from typing import TYPE_CHECKING, Any, ClassVar, cast
from weakref import WeakKeyDictionary

from celery import Celery, Task
from celery.app.task import Context
from celery.exceptions import Retry
from celery.utils.functional import maybe_list
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from orgtenancy.context import current_origin, organization_var
from orgtenancy.errors import ConfigurationError, OrganizationUnavailable
from orgtenancy.propagation.carried import (
    Carried,
    to_publish,
    working_for,
    working_for_control,
)

if TYPE_CHECKING:
    from orgtenancy.tenancy import Tenancy

    _Task = Task[Any, Any]
else:
    _Task = Task

# Of Celery itself: it removes old results, whosever they were.
_OWN_CONTROL_TASKS = frozenset({"celery.backend_cleanup"})
_ENTERED = "_orgtenancy_entered"

# Options that hold what is published after a task, by the worker.
_FOLLOWING = ("link", "link_error", "chain")

# While a server starts again, the registry cannot be read.
_UNREACHABLE = (OperationalError, InterfaceError, PoolTimeout)

_tenancies: WeakKeyDictionary[Celery, Tenancy] = WeakKeyDictionary()


class OrganizationTask(_Task):
    """The base of an app's tasks. A base class of the host's own derives from it.

    Attributes:
        control: Whether it is a task of the control side: it belongs to no organization, and
            sessions of one are refused in it until it enters one itself.
    """

    abstract = True
    control: ClassVar[bool] = False

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the task: as a message or `apply` asked for, or as a plain function."""
        request: Any = self.request
        if request.called_directly or getattr(request, _ENTERED, False):
            return self._call_as_function(args, kwargs)
        setattr(request, _ENTERED, True)
        request._protected = 1  # as Celery's own `__call__` marks what it let through
        # A thread of a worker serves many: what a task leaves in its context ends with it.
        return copy_context().run(self._work, request, args, kwargs)

    def apply(self, args: Any = None, kwargs: Any = None, *more: Any, **options: Any) -> Any:
        """Run the task here and now, for the current organization, as a worker would.

        Raises:
            OrganizationContextMissing: If none is bound.
        """
        options["headers"] = _headers_to_publish(self.app, self.name, self, options.get("headers"))
        return super().apply(args, kwargs, *more, **options)

    def _work(self, request: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        carried = Carried.from_headers(request.headers)
        origin = f"celery:{self.name}"
        if _is_control(self):
            with working_for_control(carried, origin=origin):
                return self.run(*args, **kwargs)
        with ExitStack() as bound:
            try:
                bound.enter_context(working_for(_tenancy_of(self.app), carried, origin=origin))
            except (OrganizationUnavailable, *_UNREACHABLE) as error:
                retry_after = getattr(error, "retry_after", 1)
                if carried is None or retry_after is None or request.is_eager:
                    raise
                self._put_off(request, carried, error, retry_after)
            return self.run(*args, **kwargs)

    def _put_off(self, request: Any, carried: Carried, error: Exception, retry_after: int) -> None:
        # Not `retry`, which counts: how long an organization is fenced, or the registry out of
        # reach, is not the task's fault.
        later, delay = carried.postpone(retry_after)
        headers = {**(request.headers or {}), **later.headers()}
        again = self.signature_from_request(request, countdown=delay, headers=headers)
        again.apply_async()
        seconds: Any = delay  # of a type that no number has, for type checkers
        raise Retry(str(error), exc=error, when=seconds, sig=again) from error

    def _call_as_function(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        if _is_control(self):
            with working_for_control(Carried.from_context(), origin=current_origin()):
                return super().__call__(*args, **kwargs)
        if organization_var.get() is not None:
            return super().__call__(*args, **kwargs)
        # An error callback is called by the worker, after the body of the task that failed; or,
        # where that was killed, by the worker's main process, with the task's request.
        carried = _carried_by_current_task(self.app)
        if carried is None and args and isinstance(args[0], Context):
            carried = Carried.from_headers(args[0].headers)
        if carried is None or carried.organization_id is None:
            return super().__call__(*args, **kwargs)
        with working_for(_tenancy_of(self.app), carried, origin=f"celery:{self.name}"):
            return super().__call__(*args, **kwargs)


def install(app: Celery, tenancy: Tenancy) -> None:
    """Make the tasks of an app carry the organization, and work for it.

    Call it in producers and workers alike, where the app is made: before any task is
    registered.

    Args:
        app: The app.
        tenancy: Finds the organizations, in the worker.

    Raises:
        ConfigurationError: If the app has a tenancy already, or tasks that know nothing of it.
    """
    if app in _tenancies:
        raise ConfigurationError(f"the Celery app {app.main!r} has a tenancy already")
    if cast("Any", app).finalized:
        raise ConfigurationError(
            f"the Celery app {app.main!r} has made its tasks already: install the tenancy "
            "before anything uses them"
        )
    _tenancies[app] = tenancy
    app.Task = type("Task", (OrganizationTask, app.Task), {"abstract": True})  # type: ignore[misc]
    app.send_task = _send_task(app, app.send_task)  # type: ignore[method-assign]


def for_organization(
    organization_id: str, *, actor_id: str | None = None, origin: str = "beat"
) -> dict[str, Any]:
    """Return options that publish a task for an organization where none is bound.

    ```python
    app.conf.beat_schedule = {
        "digest": {
            "task": "shop.digest", "schedule": 3600, "options": for_organization("acme"),
        },
    }
    ```

    Inside the context of another organization, publishing with them is refused.

    Args:
        organization_id: The organization.
        actor_id: Who acts, if anybody does.
        origin: Where the work comes from.
    """
    carried = Carried(organization_id=organization_id, actor_id=actor_id, origin=origin)
    return {"headers": carried.headers()}


def _send_task(app: Celery, send: Callable[..., Any]) -> Callable[..., Any]:
    # What every way to publish comes down to: delay, canvas, retries, beat.
    @wraps(send)
    def send_task(name: str, *arguments: Any, **options: Any) -> Any:
        task = options.get("task_type") or app.tasks.get(name)
        headers = options["headers"] = _headers_to_publish(app, name, task, options.get("headers"))
        carried = Carried.from_headers(headers)
        if _is_control(task):  # what follows from it is not, and is for whoever published this
            carried = Carried.from_context()
        if carried is not None and carried.organization_id is not None:
            for kind in _FOLLOWING:
                if options.get(kind):
                    options[kind] = [_after(app, carried, one) for one in maybe_list(options[kind])]
            if (body := options.get("chord")) is not None:
                # All tasks of a chord publish one and the same body: it is not copied.
                body.update(_after(app, carried, body))
        return send(name, *arguments, **options)

    return send_task


def _headers_to_publish(
    app: Celery, name: str, task: Any, given: Mapping[str, Any] | None
) -> dict[str, Any]:
    if task is not None and not isinstance(task, OrganizationTask):
        raise ConfigurationError(
            f"the base class of task {name!r} does not derive from OrganizationTask"
        )
    carried = to_publish(
        Carried.from_headers(given),
        _carried_by_current_task(app),
        is_control=_is_control(task),
        name=name,
    )
    return {**(given or {}), **carried.headers()}


def _after(app: Celery, carried: Carried, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what follows from a task: it says for whom it is, whoever publishes it."""
    kwargs: Mapping[str, Any] = given["kwargs"]  # a signature is a dictionary, as in a message

    def after(one: Any) -> Any:
        return _after(app, carried, one) if isinstance(one, Mapping) else [*map(after, one or ())]

    match given.get("subtask_type"):
        case "group" | "chain":
            return {**given, "kwargs": {**kwargs, "tasks": after(kwargs["tasks"])}}
        case "chord":
            parts = {"header": after(kwargs["header"]), "body": after(kwargs["body"])}
            return {**given, "kwargs": {**kwargs, **parts}}
    name: str = given["task"]
    if _is_control(app.tasks.get(name)):
        return dict(given)
    headers = dict(given["options"].get("headers") or {})
    carried.follow(headers, name=name)
    return {**given, "options": {**given["options"], "headers": headers}}


def _carried_by_current_task(app: Celery) -> Carried | None:
    """Return what the task carries that this thread works on, outside of its body as well."""
    task = app.current_worker_task
    return None if task is None else Carried.from_headers(task.request.headers)


def _is_control(task: _Task | None) -> bool:
    if not isinstance(task, OrganizationTask):
        return False
    return task.control or task.name in _OWN_CONTROL_TASKS


def _tenancy_of(app: Celery) -> Tenancy:
    tenancy = _tenancies.get(app)
    if tenancy is None:
        raise ConfigurationError(f"the Celery app {app.main!r} has no tenancy: call `install`")
    return tenancy
