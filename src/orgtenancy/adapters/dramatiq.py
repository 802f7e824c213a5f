"""Dramatiq: an actor works for the organization that its message was sent for.

```python
broker = RedisBroker(url="redis://...")
install(broker, tenancy)
dramatiq.set_broker(broker)

@dramatiq.actor
def send_invoice(number):
    with tenancy.session():
        InvoiceRepository().send(number)

@dramatiq.actor(control=True)     # of the control side: no organization is bound in it
def rotate_keys(): ...
```

Organization, actor and origin travel in the options of the message. Sending without an
organization is refused, and so is a message without one, where it arrives: it is not run,
not retried, and goes where the broker keeps dead messages. The worker looks in the registry
before it begins: a message for an organization that is fenced or being set up is put off, and
one for an organization that is unknown, suspended or archived is refused. Retries, pipelines,
groups and callbacks stay in the organization of the message they come from.

A broker is trusted: whoever can write into it can work for every organization.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import wraps
from threading import current_thread, local
from typing import TYPE_CHECKING, Any

from dramatiq import Actor, Broker, Message, Middleware
from dramatiq.broker import MessageProxy
from dramatiq.errors import ActorNotFound
from dramatiq.middleware import MiddlewareError, Retries, SkipMessage
from dramatiq.worker import ConsumerThread

from orgtenancy.context import current_origin
from orgtenancy.errors import (
    ConfigurationError,
    IsolationError,
    OrganizationUnavailable,
    RegistryError,
)
from orgtenancy.propagation.carried import (
    Carried,
    to_publish,
    working_for,
    working_for_control,
)

if TYPE_CHECKING:
    from orgtenancy.tenancy import Tenancy

_CONTROL = "control"


class MessageRefused(MiddlewareError):
    """A message was not sent, or not run; the library's error is its cause."""


class _RefusedForGood(MessageRefused):
    """It would be refused again."""


class OrganizationMiddleware(Middleware):
    """Binds what a message carries while an actor runs, and everything that follows from it.

    Args:
        tenancy: Finds the organizations, in the worker.
    """

    def __init__(self, tenancy: Tenancy) -> None:
        self._tenancy = tenancy
        self._thread = local()

    @property
    def actor_options(self) -> set[str]:
        """`control`: whether an actor is of the control side, and belongs to no organization."""
        return {_CONTROL}

    def after_declare_actor(self, broker: Broker, actor: Actor[..., Any]) -> None:
        """Let an actor be of the control side where it is called as a function, too.

        And let none be asked whether a message is retried that would be refused again.
        """
        if actor.options.get(_CONTROL):
            actor.fn = _of_control_side(actor.fn)
        of_broker = next((m.retry_when for m in broker.middleware if isinstance(m, Retries)), None)
        if (retry_when := actor.options.get("retry_when", of_broker)) is not None:
            actor.options["retry_when"] = _unless_refused_for_good(retry_when)

    def before_enqueue(self, broker: Broker, message: Message[Any], delay: int | None) -> None:
        """Put on a message what it is to carry.

        Raises:
            MessageRefused: If no organization is bound, or another than it carries.
        """
        if isinstance(current_thread(), ConsumerThread):
            return  # it was sent, and comes back when its delay is over
        try:
            is_control = _is_control(broker, message.actor_name)
            carried = to_publish(
                Carried.from_headers(message.options),
                None,
                is_control=is_control,
                name=message.actor_name,
            )
            if not is_control:
                for callback in message.options.get("group_completion_callbacks") or ():
                    if not _is_control(broker, callback["actor_name"]):
                        carried.follow(callback["options"], name=callback["actor_name"])
        except Exception as error:  # dramatiq would log it, and send the message
            raise MessageRefused(str(error)) from error
        message.options.update(carried.headers())

    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:
        """Bind what a message carries.

        Raises:
            MessageRefused: If there is no organization that is open for work.
            SkipMessage: If there may be one soon: the message was put off.
        """
        try:
            self._enter(broker, message)
        except (IsolationError, RegistryError) as error:
            if isinstance(error, OrganizationUnavailable) and error.retry_after is not None:
                _put_off(broker, message, error.retry_after)
                message.options["store_results"] = False  # it has none yet
                raise SkipMessage(str(error)) from error
            message.fail()
            message.options["max_retries"] = 0
            raise _RefusedForGood(str(error)) from error
        except Exception as error:  # dramatiq would log it, and run the actor
            raise MessageRefused(f"{type(error).__name__}: {error}") from error

    def after_process_message(
        self,
        broker: Broker,
        message: MessageProxy,
        *,
        result: Any | None = None,
        exception: BaseException | None = None,
    ) -> None:
        """Unbind it, after all other middleware."""
        self._leave()

    def after_skip_message(self, broker: Broker, message: MessageProxy) -> None:
        """Unbind it, where another middleware skipped the message."""
        self._leave()

    def _enter(self, broker: Broker, message: MessageProxy) -> None:
        self._leave()
        carried = Carried.from_headers(message.options)
        origin = f"dramatiq:{message.actor_name}"
        with ExitStack() as bound:
            if _is_control(broker, message.actor_name):
                bound.enter_context(working_for_control(carried, origin=origin))
            else:
                bound.enter_context(working_for(self._tenancy, carried, origin=origin))
            self._thread.bound = bound.pop_all()

    def _leave(self) -> None:
        bound: ExitStack | None = self._thread.__dict__.pop("bound", None)
        if bound is not None:
            bound.close()


def install(broker: Broker, tenancy: Tenancy) -> None:
    """Make the messages of a broker carry the organization, and actors work for it.

    Call it in producers and workers alike, where the broker is made: before actors are
    declared, and after other middleware was added, which then works inside of it.

    Args:
        broker: The broker.
        tenancy: Finds the organizations, in the worker.

    Raises:
        ConfigurationError: If the broker has a tenancy already.
    """
    if any(isinstance(middleware, OrganizationMiddleware) for middleware in broker.middleware):
        raise ConfigurationError("the broker has a tenancy already")
    first = type(broker.middleware[0]) if broker.middleware else None
    broker.add_middleware(OrganizationMiddleware(tenancy), before=first)


def for_organization(
    organization_id: str, *, actor_id: str | None = None, origin: str = "schedule"
) -> dict[str, Any]:
    """Return options that send a message for an organization where none is bound.

    ```python
    send_digest.send_with_options(**for_organization("acme"))
    ```

    Inside the context of another organization, sending with them is refused.

    Args:
        organization_id: The organization.
        actor_id: Who acts, if anybody does.
        origin: Where the work comes from.
    """
    carried = Carried(organization_id=organization_id, actor_id=actor_id, origin=origin)
    return carried.headers()


def _put_off(broker: Broker, message: MessageProxy, retry_after: int) -> None:
    carried = Carried.from_headers(message.options)
    if carried is None:
        raise MessageRefused("the message carries no organization")
    later, delay = carried.postpone(retry_after)
    try:
        broker.enqueue(message.copy(options=later.headers()), delay=delay * 1000)
    except Exception as error:  # dramatiq would log it, and run the actor
        raise MessageRefused(f"it could not be put off: {error}") from error


def _of_control_side(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        with working_for_control(Carried.from_context(), origin=current_origin()):
            return function(*args, **kwargs)

    return call


def _unless_refused_for_good(
    retry_when: Callable[[int, BaseException], bool],
) -> Callable[[int, BaseException], bool]:
    @wraps(retry_when)
    def is_retried(retries: int, error: BaseException) -> bool:
        return not isinstance(error, _RefusedForGood) and retry_when(retries, error)

    return is_retried


def _is_control(broker: Broker, actor_name: str) -> bool:
    try:
        return bool(broker.get_actor(actor_name).options.get(_CONTROL))
    except ActorNotFound:
        return False
