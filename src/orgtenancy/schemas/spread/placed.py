"""The schemas of a placement beside the control server."""

from __future__ import annotations

from contextlib import AbstractContextManager

from orgtenancy.errors import OrganizationNotFound
from orgtenancy.naming import validate_organization_id
from orgtenancy.schemas.manager import SchemaManager


class PlacedSchemas(SchemaManager):
    """Provisions, finds and drops organizations of a placement that is not the control server.

    The control server is told before an organization is made, and after it is dropped.
    """

    def drop(self, organization_id: str, *, confirm: str, force: bool = False) -> None:
        """Delete an organization with all its data, as `SchemaManager.drop` does."""
        try:
            super().drop(organization_id, confirm=confirm, force=force)
        except OrganizationNotFound:
            # A call that was killed may have left the control server to be told.
            if self.locations.database_of(organization_id) is not self._database:
                raise
        self.locations.release(organization_id)
        self._on_change(organization_id)

    def _making(self, organization_id: str) -> AbstractContextManager[None]:
        validate_organization_id(organization_id)
        _ = self.builder.path  # a broken module is found before anything is reserved
        return self.locations.reserved(organization_id, self._database)
