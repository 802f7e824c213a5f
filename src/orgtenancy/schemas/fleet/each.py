"""A function of the host as the operation of a job."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import psycopg
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from orgtenancy.context import (
    acting,
    current_actor,
    current_origin,
    organization_var,
    session_var,
    unbind,
)
from orgtenancy.database.engines import Database
from orgtenancy.errors import ConfigurationError, OrganizationUnavailable
from orgtenancy.organizations import Organization, OrganizationStatus
from orgtenancy.registry import store
from orgtenancy.schemas.fleet import journal
from orgtenancy.schemas.fleet.targets import Target, TargetGone, find_targets
from orgtenancy.schemas.fleet.workers import Worker, should_retry
from orgtenancy.schemas.revisions.places import JournalEntry

TransactionFunction = Callable[[Session], Any]


class EachOrganization:
    """Calls a function in a transaction of each active organization.

    It works as the organization's role, as a request does: what it cannot do to others,
    PostgreSQL refuses. The journal is written after its commit, so a crash in between makes
    it run once more.

    Args:
        database: The placement.
        function: What is called, with a session; a function of a module, so that a resume
            finds it again.
        organization_ids: Only these organizations; None for all.

    Raises:
        ConfigurationError: If the function cannot be found by its name.
    """

    def __init__(
        self,
        database: Database,
        function: TransactionFunction,
        *,
        organization_ids: Sequence[str] | None = None,
    ) -> None:
        self._database = database
        self._function = function
        self._organization_ids = organization_ids
        # The job's threads know nothing of who began it.
        self._began = current_actor(), current_origin()
        self.kind = f"{function.__module__}:{function.__qualname__}"
        if find_object(self.kind) is not function:
            raise ConfigurationError(
                f"{self.kind} is not what its name says: a job needs a function of a module"
            )

    def is_needed(self, connection: Connection) -> bool:
        """Return whether there is any organization."""
        return bool(self.targets(connection))

    def targets(self, connection: Connection) -> list[Target]:
        """Return the active organizations."""
        return find_targets(
            connection,
            self._database.name,
            organization_ids=self._organization_ids,
            with_spares=False,
            status=OrganizationStatus.ACTIVE,
        )

    def late_targets(self) -> Sequence[Target]:
        """Return nobody: who comes later comes with what is new."""
        return ()

    def apply(self, worker: Worker, target: Target, entry: JournalEntry) -> None:
        """Call the function for one organization.

        What PostgreSQL refuses because the organization was closed on the way is no failure.
        If it is open again by then, the function is called once more.
        """
        organization = _open_organization(worker, target)
        try:
            self._call(organization)
        except (DBAPIError, psycopg.Error, OrganizationUnavailable) as error:
            if should_retry(error):
                raise
            now = _open_organization(worker, target)
            if now.status_changed_at == organization.status_changed_at:
                raise
            self._call(now)
        with worker.connection() as connection, connection.begin():
            journal.mark_done(connection, entry, target.role_name)

    def _call(self, organization: Organization) -> None:
        with self._database.session(organization) as session:
            bound = organization_var.set(organization), session_var.set(session)
            try:
                with acting(*self._began):
                    self._function(session)
                session.commit()
            finally:
                unbind(session_var, bound[1])
                unbind(organization_var, bound[0])


def _open_organization(worker: Worker, target: Target) -> Organization:
    """Return the organization behind a target, as it is now.

    Raises:
        TargetGone: If it is dropped, or not open for work.
    """
    with worker.connection() as connection, connection.begin():
        organization = store.find(connection, str(target.organization_id))
    if organization is None or organization.role_name != target.role_name:
        raise TargetGone("it is dropped")
    if not organization.is_active:
        raise TargetGone(f"it is {organization.status}")
    return organization


def find_object(place: str) -> Any:
    """Return what is at `package.module:name`.

    Raises:
        ConfigurationError: If there is nothing.
    """
    module, _, name = place.partition(":")
    if not module or not name:
        raise ConfigurationError(f"{place!r} names no object: write package.module:name")
    try:
        found: Any = import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except Exception as error:  # a module of the host may raise anything as it is imported
        reason = f"{type(error).__name__}: {error}"
        raise ConfigurationError(f"nothing at {place!r}: {reason}") from error
    return found
