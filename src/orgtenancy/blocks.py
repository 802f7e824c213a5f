"""The blocks that `Tenancy` hands out: each serves `with` and `async with`.

A block is used once. What it sets in the context is reset by the frame that set it.
"""

from __future__ import annotations

import asyncio
from contextvars import Token
from typing import Any

import psycopg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from orgtenancy.context import current_organization, organization_var, session_var, unbind
from orgtenancy.database.engines import Database
from orgtenancy.database.placements import Placements, tell_placement
from orgtenancy.database.sessions import (
    ControlAsyncSession,
    ControlSession,
    OrganizationAsyncSession,
    OrganizationSession,
)
from orgtenancy.errors import OrganizationMismatch, OrganizationUnavailable
from orgtenancy.organizations import Organization
from orgtenancy.registry.directory import OrganizationDirectory, ensure_active

# What PostgreSQL answers where the rights in a schema were taken away. The schema drops out
# of the path, so a name in it is most often not found.
_REFUSED = frozenset(
    {
        "42501",  # insufficient_privilege: a qualified name, or SET ROLE
        "22023",  # invalid_parameter_value: SET ROLE, where the role is gone
        "42P01",  # undefined_table
        "42883",  # undefined_function
        "42704",  # undefined_object: a type
        "3F000",  # invalid_schema_name: CREATE, where no schema is left in the path
    }
)
_RETRY_AFTER = 1  # seconds


class OrganizationBlock:
    """Binds the context to an organization."""

    __slots__ = ("_directory", "_given", "_token")

    def __init__(self, directory: OrganizationDirectory, organization: str | Organization) -> None:
        self._directory = directory
        self._given = organization

    def __enter__(self) -> Organization:
        given = self._given
        return self._bind(self._directory.get(given) if isinstance(given, str) else given)

    def __exit__(self, *exc_info: object) -> None:
        unbind(organization_var, self._token)

    async def __aenter__(self) -> Organization:
        given = self._given
        return self._bind(
            await self._directory.get_async(given) if isinstance(given, str) else given
        )

    async def __aexit__(self, *exc_info: object) -> None:
        unbind(organization_var, self._token)

    def _bind(self, organization: Organization) -> Organization:
        self._token: Token[Organization | None] = organization_var.set(ensure_active(organization))
        return organization


class SessionBlock:
    """One transaction of an organization: commits on success, rolls back on an error."""

    __slots__ = (
        "_database",
        "_directory",
        "_given",
        "_organization_token",
        "_placements",
        "_session",
        "_session_token",
    )

    _session: Any

    def __init__(
        self,
        placements: Placements,
        directory: OrganizationDirectory,
        organization: str | Organization | None,
    ) -> None:
        self._placements = placements
        self._directory = directory
        self._given = organization

    def __enter__(self) -> OrganizationSession:
        known = self._known_organization()
        organization = self._directory.get(known) if isinstance(known, str) else known
        self._database = self._placements.of(ensure_active(organization))
        session = self._database.session(organization)
        self._bind(organization, session)
        return session

    def __exit__(self, exc_type: object, exc: BaseException | None, traceback: object) -> None:
        failure = exc
        try:
            if exc is None:
                # Read-only work too: psycopg forgets its prepared statements at ROLLBACK.
                self._session.commit()
        except (OrganizationUnavailable, DBAPIError) as error:  # what was added is sent now
            failure = error
            raise
        finally:
            self._unbind()
            self._session.close()
            if failure is not None and (refused := self._forget_if_refused(failure)):
                self._explain(self._directory.get(refused))

    async def __aenter__(self) -> OrganizationAsyncSession:
        known = self._known_organization()
        organization = await self._directory.get_async(known) if isinstance(known, str) else known
        self._database = self._placements.of(ensure_active(organization))
        session = self._database.async_session(organization)
        self._bind(organization, session)
        return session

    async def __aexit__(
        self, exc_type: object, exc: BaseException | None, traceback: object
    ) -> None:
        failure = exc
        try:
            if exc is None:
                await self._session.commit()
        except (OrganizationUnavailable, DBAPIError) as error:  # what was added is sent now
            failure = error
            raise
        finally:
            self._unbind()
            await _close(self._session)
            if failure is not None and (refused := self._forget_if_refused(failure)):
                self._explain(await self._directory.get_async(refused))

    def _known_organization(self) -> str | Organization:
        if self._given is None:
            return current_organization()
        current = organization_var.get()
        if current is None:
            return self._given
        given_id = self._given if isinstance(self._given, str) else self._given.id
        if given_id != current.id:
            raise OrganizationMismatch(
                f"a session of organization {given_id!r} was asked for inside the context of "
                f"{current.id!r}; switch with `tenancy.organization({given_id!r})` first",
                organization_id=given_id,
            )
        return current

    def _bind(self, organization: Organization, session: Session | AsyncSession) -> None:
        self._session = session
        self._organization_token: Token[Organization | None] = organization_var.set(organization)
        self._session_token: Token[Session | AsyncSession | None] = session_var.set(session)

    def _unbind(self) -> None:
        unbind(session_var, self._session_token)
        unbind(organization_var, self._organization_token)

    def _forget_if_refused(self, failure: BaseException) -> str | None:
        """Return the organization to look up again if PostgreSQL refused it.

        What this process remembers of it may be out of date then, and the registry knows why.
        """
        tell_placement(failure, self._database)
        if not self._is_refusal(failure):
            return None
        organization_id: str = self._session.organization.id
        self._directory.forget(organization_id)
        return organization_id

    def _explain(self, found: Organization) -> None:
        """Raise why PostgreSQL refused, if the registry knows; else the failure stands.

        Args:
            found: The organization as the registry has it now.

        Raises:
            OrganizationUnavailable: If it is closed, or was meanwhile.
        """
        ensure_active(found)
        used: Organization = self._session.organization
        if not _is_as_it_was(found, used):
            raise OrganizationUnavailable(
                f"organization {found.id!r} was closed and opened again meanwhile",
                retry_after=_RETRY_AFTER,
                organization_id=found.id,
                schema=found.schema_name,
                placement=found.placement,
            )

    def _is_refusal(self, failure: BaseException) -> bool:
        if isinstance(failure, OrganizationUnavailable):
            return failure.status is None
        if isinstance(failure, DBAPIError):
            sqlstate = getattr(failure.orig, "sqlstate", None)
        elif isinstance(failure, psycopg.Error):  # COPY, and what else goes past SQLAlchemy
            sqlstate = failure.sqlstate
        else:
            return False
        # A connection that was never made has no SQLSTATE: at level `login`, the
        # organization's login may be gone.
        return sqlstate in _REFUSED or (sqlstate is None and self._database.has_logins)


class ControlBlock:
    """One transaction of the registry: commits on success, rolls back on an error."""

    __slots__ = ("_database", "_session", "_token")

    _session: Any

    def __init__(self, database: Database) -> None:
        self._database = database

    def __enter__(self) -> ControlSession:
        session = self._session = self._database.control_session()
        self._token: Token[Session | AsyncSession | None] = session_var.set(session)
        return session

    def __exit__(self, exc_type: object, exc: BaseException | None, traceback: object) -> None:
        try:
            if exc is None:
                self._session.commit()
        finally:
            unbind(session_var, self._token)
            self._session.close()

    async def __aenter__(self) -> ControlAsyncSession:
        session = self._session = self._database.control_async_session()
        self._token = session_var.set(session)
        return session

    async def __aexit__(
        self, exc_type: object, exc: BaseException | None, traceback: object
    ) -> None:
        try:
            if exc is None:
                await self._session.commit()
        finally:
            unbind(session_var, self._token)
            await _close(self._session)


def _is_as_it_was(found: Organization, used: Organization) -> bool:
    """Return whether an organization was neither closed meanwhile nor made anew."""
    return (
        (found.role_name, found.schema_name) == (used.role_name, used.schema_name)
        # Unknown in an object that did not come from the registry.
        and used.status_changed_at in (None, found.status_changed_at)
    )


async def _close(session: AsyncSession) -> None:
    # A task cancelled while it closes must still give its connection back.
    await asyncio.shield(asyncio.create_task(session.close()))
