"""Telling the host what happened to an organization, after it was committed."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from typing import TypeAlias

from orgtenancy.context import current_actor, current_origin
from orgtenancy.errors import ConfigurationError
from orgtenancy.organizations import LifecycleEvent, Organization

LifecycleHandler: TypeAlias = Callable[[LifecycleEvent], None]

logger = logging.getLogger("orgtenancy.lifecycle")


class LifecycleEvents:
    """Functions of the host that are called when something happened to an organization.

    Each method takes a function, registers it and returns it, so that it serves as a decorator.

    They run after the commit, in the order in which they were registered, in the thread that
    did the work: a method that ends in `_async` has a thread of its own. They are told at most
    once, and only in the process that did it; what must not be missed is in the audit. What
    one raises is logged, and changes nothing.
    """

    def __init__(self) -> None:
        self._handlers: dict[str, list[LifecycleHandler]] = {}

    def on_provisioned(self, handler: LifecycleHandler) -> LifecycleHandler:
        """Call a function when an organization was made, by `SchemaManager.provision`."""
        return self._register("provisioned", handler)

    def on_adopted(self, handler: LifecycleHandler) -> LifecycleHandler:
        """Call a function when an organization was switched from a shared schema to its own."""
        return self._register("adopted", handler)

    def on_suspended(self, handler: LifecycleHandler) -> LifecycleHandler:
        """Call a function when an organization was suspended."""
        return self._register("suspended", handler)

    def on_resumed(self, handler: LifecycleHandler) -> LifecycleHandler:
        """Call a function when a suspended organization was opened again."""
        return self._register("resumed", handler)

    def on_fenced(self, handler: LifecycleHandler) -> LifecycleHandler:
        """Call a function when an organization was fenced; writes may still be under way."""
        return self._register("fenced", handler)

    def on_unfenced(self, handler: LifecycleHandler) -> LifecycleHandler:
        """Call a function when a fenced organization was opened again."""
        return self._register("unfenced", handler)

    def on_archived(self, handler: LifecycleHandler) -> LifecycleHandler:
        """Call a function when an organization was archived."""
        return self._register("archived", handler)

    def on_restored(self, handler: LifecycleHandler) -> LifecycleHandler:
        """Call a function when an archived organization was brought back."""
        return self._register("restored", handler)

    def on_purged(self, handler: LifecycleHandler) -> LifecycleHandler:
        """Call a function when the data of an organization was dropped."""
        return self._register("purged", handler)

    def on_renamed(self, handler: LifecycleHandler) -> LifecycleHandler:
        """Call a function when an organization got another display name."""
        return self._register("renamed", handler)

    def on_id_changed(self, handler: LifecycleHandler) -> LifecycleHandler:
        """Call a function when an organization got another id, and schema name."""
        return self._register("id_changed", handler)

    def on_moved(self, handler: LifecycleHandler) -> LifecycleHandler:
        """Call a function when an organization was moved to another placement."""
        return self._register("moved", handler)

    def _register(self, kind: str, handler: LifecycleHandler) -> LifecycleHandler:
        if inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(
            getattr(handler, "__call__", None)  # noqa: B004 - an object with an async __call__
        ):
            raise ConfigurationError(
                f"on_{kind} takes a plain function: an event is told in the thread that did the "
                "work, where no event loop runs"
            )
        self._handlers.setdefault(kind, []).append(handler)
        return handler

    def _fire(
        self, kind: str, organization: Organization, previous: Organization | None = None
    ) -> None:
        handlers = self._handlers.get(kind)
        if not handlers:
            return
        actor = current_actor()
        event = LifecycleEvent(
            kind=kind,
            organization=organization,
            previous=previous,
            actor_id=None if actor is None else actor.id,
            origin=current_origin(),
        )
        for handler in tuple(handlers):
            try:
                handler(event)
            except Exception:  # what was done is done
                logger.exception("a handler of %r failed for %r", kind, organization.id)
