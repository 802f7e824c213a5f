"""What is needed of a tenancy, which is above and cannot be imported, and what it calls Logto."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Protocol

from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from orgtenancy.operations.lifecycle import Organizations
from orgtenancy.organizations import Organization
from orgtenancy.schemas import SchemaManager


class ControlBlock(
    AbstractContextManager[Session], AbstractAsyncContextManager[AsyncSession], Protocol
):
    """One transaction of the registry, sync or async."""


class SessionBlock(AbstractContextManager[Session], Protocol):
    """One transaction of an organization."""


class Host(Protocol):
    """A `Tenancy`, as the work for an identity provider sees it."""

    schemas: SchemaManager
    organizations: Organizations

    def control_session(self) -> ControlBlock:
        """Return a block that is one transaction of the registry, with the app's rights."""
        ...

    def session(self, organization: str | Organization | None = None) -> SessionBlock:
        """Return a block that is one transaction of an organization."""
        ...
