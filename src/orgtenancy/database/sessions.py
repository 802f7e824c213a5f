"""Sessions that belong to one organization for life, or to the registry."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, ClassVar, TypeVar, cast

from pydantic import BaseModel
from sqlalchemy import Connection, Engine, event
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session, SessionTransaction

from orgtenancy.context import organization_var
from orgtenancy.database.scope import Scope
from orgtenancy.errors import OrganizationMismatch
from orgtenancy.organizations import Organization

S = TypeVar("S", bound=BaseModel)

ModuleSettingsByType = Mapping[type[BaseModel], BaseModel]


class ScopedSession(Session):
    """A session whose transactions all enter the same scope.

    Args:
        bind: The engine of the placement, or a connection in a transaction.
        scope: What its transactions are for.
        **options: Options of SQLAlchemy's `Session`.
    """

    def __init__(self, bind: Engine | Connection, *, scope: Scope, **options: Any) -> None:
        super().__init__(bind, **options)
        self.scope = scope
        self._engine = bind

    def get_bind(
        self, mapper: Any = None, *, bind: Engine | Connection | None = None, **arguments: Any
    ) -> Engine | Connection:
        """Return the engine, for every statement that is about to run.

        Raises:
            OrganizationMismatch: If the statement names an engine of its own.
        """
        if bind is not None and bind is not self._engine:
            raise OrganizationMismatch("a scoped session runs on its own engine only")
        return self._engine


@event.listens_for(ScopedSession, "after_begin")
def _pin_connection(
    session: ScopedSession, transaction: SessionTransaction, connection: Connection
) -> None:
    # Fires before the driver's BEGIN, which is sent with the first statement.
    driver: Any = connection.connection.driver_connection
    driver.scope = session.scope


class OrganizationSession(ScopedSession):
    """A session of one organization.

    An identity map must never mix organizations, so the organization is fixed when the
    session is made.
    """

    def __init__(
        self,
        bind: Engine | Connection,
        *,
        organization: Organization,
        scope: Scope,
        module_settings: ModuleSettingsByType | None = None,
        **options: Any,
    ) -> None:
        super().__init__(bind, scope=scope, **options)
        self.organization = organization
        self._module_settings = module_settings if module_settings is not None else {}

    def module_settings(self, kind: type[S]) -> S:
        """Return the settings of the registered module that has settings of this class.

        Where no such module is registered, they are what the class itself says: its
        defaults and the environment.
        """
        found = self._module_settings.get(kind)
        return cast("S", found) if found is not None else _unregistered(kind)

    def get_bind(
        self, mapper: Any = None, *, bind: Engine | Connection | None = None, **arguments: Any
    ) -> Engine | Connection:
        """Return the engine, for every statement that is about to run.

        Raises:
            OrganizationMismatch: If the context is bound to another organization, or the
                statement names an engine of its own.
        """
        self.check_context()
        return super().get_bind(mapper, bind=bind, **arguments)

    def check_context(self) -> None:
        """Make sure that the context is not bound to another organization.

        Raises:
            OrganizationMismatch: If it is.
        """
        current = organization_var.get()
        if current is None or current is self.organization:
            return
        if current.id != self.organization.id:
            raise OrganizationMismatch(
                f"a session of organization {self.organization.id!r} was used inside the "
                f"context of {current.id!r}",
                organization_id=self.organization.id,
                schema=self.organization.schema_name,
                placement=self.organization.placement,
            )


@cache
def _unregistered(kind: type[S]) -> S:
    return kind()


class ControlSession(ScopedSession):
    """A session of the registry and of shared tables, outside any organization."""


class OrganizationAsyncSession(AsyncSession):
    """An async session of one organization."""

    sync_session_class: ClassVar[type[Session]] = OrganizationSession  # type: ignore[misc]
    sync_session: OrganizationSession

    @property
    def organization(self) -> Organization:
        """The organization it belongs to."""
        return self.sync_session.organization


class ControlAsyncSession(AsyncSession):
    """An async session of the registry and of shared tables."""

    sync_session_class: ClassVar[type[Session]] = ControlSession  # type: ignore[misc]
