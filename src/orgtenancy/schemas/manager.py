"""SchemaManager: the schemas of all organizations, as their owner sees them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from orgtenancy.database.engines import Database
from orgtenancy.errors import OrganizationNotFound
from orgtenancy.modules import OrganizationModule
from orgtenancy.naming import validate_organization_id
from orgtenancy.organizations import Organization, OrganizationStatus
from orgtenancy.pagination import Page, PageRequest
from orgtenancy.registry import store
from orgtenancy.schemas.dropping import drop
from orgtenancy.schemas.installation import install
from orgtenancy.schemas.provisioning import provision
from orgtenancy.schemas.revisions import Revisions

_FIRST_PAGE = PageRequest()


class SchemaManager:
    """Provisions, finds and drops organizations. It works as the owner, by `admin_url`.

    The methods that end in `_async` do the same in a thread, and keep the event loop free.

    Args:
        database: The placement.
        modules: What every organization's schema contains.
        on_change: Called in this process with the id of an organization that changed.
    """

    def __init__(
        self,
        database: Database,
        modules: Sequence[OrganizationModule],
        *,
        on_change: Callable[[str], None] = lambda organization_id: None,
    ) -> None:
        self._database = database
        self._on_change = on_change
        self.revisions = Revisions(modules)

    def install(self) -> None:
        """Prepare the database: the registry, and the rights of the app's login.

        May run at every start: what is in place is left alone.

        Raises:
            ConfigurationError: If a module, a right or a setting cannot work.
        """
        _ = self.revisions.heads  # a broken module is found before the database is touched
        install(self._database)

    def provision(
        self,
        organization_id: str,
        *,
        name: str | None = None,
        attributes: Mapping[str, Any] | None = None,
    ) -> Organization:
        """Make an organization with all tables of the modules, ready for work.

        Calling it again, also from several processes at once, gives the same organization.

        Args:
            organization_id: The identity provider's id.
            name: The display name; the id if not given.
            attributes: The host's own labels.

        Raises:
            InvalidOrganizationId: If the id breaks a naming rule.
            OrganizationUnavailable: If it exists and is suspended, fenced or archived.
            ProvisioningFailed: If its schema could not be made; nothing of it remains.
        """
        organization = provision(
            self._database,
            self.revisions,
            organization_id,
            name=name,
            attributes=attributes or {},
        )
        self._on_change(organization_id)
        return organization

    async def provision_async(
        self,
        organization_id: str,
        *,
        name: str | None = None,
        attributes: Mapping[str, Any] | None = None,
    ) -> Organization:
        """Make an organization, as `provision` does."""
        return await asyncio.to_thread(
            self.provision, organization_id, name=name, attributes=attributes
        )

    def get(self, organization_id: str) -> Organization:
        """Return an organization as the registry has it now, in whatever status.

        Raises:
            InvalidOrganizationId: If the id breaks a naming rule.
            OrganizationNotFound: If the registry does not have it.
        """
        validate_organization_id(organization_id)
        with self._database.admin_engine.begin() as connection:
            organization = store.find(connection, organization_id)
        if organization is None:
            raise OrganizationNotFound(
                f"no organization {organization_id!r}", organization_id=organization_id
            )
        return organization

    async def get_async(self, organization_id: str) -> Organization:
        """Return an organization, as `get` does."""
        return await asyncio.to_thread(self.get, organization_id)

    def list(
        self, page: PageRequest = _FIRST_PAGE, *, status: OrganizationStatus | None = None
    ) -> Page[Organization]:
        """Return a page of the organizations, ordered by the bytes of their ids.

        Args:
            page: Which page.
            status: Only those with this status.

        Raises:
            InvalidCursor: If the cursor was not made by this list.
        """
        with self._database.admin_engine.begin() as connection:
            return store.list_page(connection, page, status)

    async def list_async(
        self, page: PageRequest = _FIRST_PAGE, *, status: OrganizationStatus | None = None
    ) -> Page[Organization]:
        """Return a page of the organizations, as `list` does."""
        return await asyncio.to_thread(self.list, page, status=status)

    def drop(self, organization_id: str, *, confirm: str, force: bool = False) -> None:
        """Delete an organization with all its data, for good.

        Killed on the way, it leaves the organization archived; calling it again finishes.

        Args:
            organization_id: Which organization.
            confirm: The same id again, so that no slip of a variable drops another.
            force: Drop it although it is open for work.

        Raises:
            InvalidOrganizationId: If the id breaks a naming rule.
            DropRefused: If a safeguard forbids it.
            OrganizationNotFound: If the registry does not have it.
        """
        drop(self._database, organization_id, confirm=confirm, force=force)
        self._on_change(organization_id)

    async def drop_async(self, organization_id: str, *, confirm: str, force: bool = False) -> None:
        """Delete an organization, as `drop` does."""
        await asyncio.to_thread(self.drop, organization_id, confirm=confirm, force=force)
