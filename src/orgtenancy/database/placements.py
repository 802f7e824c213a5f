"""Placements: the servers that organizations live on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, SkipValidation
from sqlalchemy import URL
from sqlalchemy.exc import DBAPIError

from orgtenancy.database.engines import Database
from orgtenancy.errors import ConfigurationError, PlacementNotFound
from orgtenancy.naming import CONTROL_PLACEMENT
from orgtenancy.organizations import Organization


class Placement(BaseModel):
    """A database, on a server of its own, that organizations live in.

    Attributes:
        url: The app's login there. None for the control server, which has the tenancy's own.
        admin_url: The owner of the schemas there.
        weight: Its share of new organizations beside the others; 0 for none, unless they are
            placed on it by name.
        attributes: What a policy may choose by, such as `{"region": "eu"}`.
        max_organizations: How many it may hold; None for as many as come.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    url: SkipValidation[str | URL | None] = Field(default=None, repr=False)
    admin_url: SkipValidation[str | URL | None] = Field(default=None, repr=False)
    weight: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    attributes: Mapping[str, Any] = Field(default_factory=dict)
    max_organizations: PositiveInt | None = None


class Placements:
    """The databases of a tenancy, by the names of their placements.

    Args:
        control: The control server, which is a placement too.
        others: The other ones.

    Attributes:
        control: The control server.
        are_several: Whether there are others. Where there are none, nobody has to be asked
            where an organization is.
    """

    def __init__(self, control: Database, others: Mapping[str, Database]) -> None:
        self.control = control
        self.are_several = bool(others)
        self._databases = {control.name: control, **others}

    def of(self, organization: Organization) -> Database:
        """Return the database that an organization is in.

        Raises:
            PlacementNotFound: If the tenancy does not name its placement.
        """
        database = self._databases.get(organization.placement)
        if database is None:
            raise self._not_found(organization.placement, organization.id)
        return database

    def named(self, name: str, organization_id: str | None = None) -> Database:
        """Return the database of a placement.

        Args:
            name: The placement.
            organization_id: Which organization is looked for there, for the error.

        Raises:
            PlacementNotFound: If the tenancy does not name it.
        """
        database = self._databases.get(name)
        if database is None:
            raise self._not_found(name, organization_id)
        return database

    def apart(self, pool_size: int, transactions: Mapping[str, Any]) -> Placements:
        """Return the same placements with pools of their own, as `Database.apart` does."""
        control = self.control.apart(pool_size, transactions=transactions)
        others = {
            one.name: one.apart(pool_size, control, transactions=transactions)
            for one in self
            if one is not self.control
        }
        return Placements(control, others)

    def __iter__(self) -> Iterator[Database]:
        return iter(self._databases.values())

    def close(self) -> None:
        """Close the idle connections of the sync engines."""
        for database in self:
            database.close()

    async def aclose(self) -> None:
        """Close the idle connections of all engines."""
        for database in self:
            await database.aclose()

    def _not_found(self, name: str, organization_id: str | None) -> PlacementNotFound:
        subject = "" if organization_id is None else f"organization {organization_id!r} is on "
        return PlacementNotFound(
            f"{subject}placement {name!r}, which this tenancy does not name: give it to "
            "Tenancy(placements={...})",
            organization_id=organization_id,
            placement=name,
        )


def check_placements(placements: Mapping[str, Placement]) -> None:
    """Make sure that placements have names and URLs that can work.

    Raises:
        ConfigurationError: If they have not.
    """
    for name, placement in placements.items():
        # A name goes into commands, as in `eu/12`, and into messages.
        if not name or not name.isascii() or not name.replace("-", "").replace("_", "").isalnum():
            raise ConfigurationError(f"{name!r} is no name of a placement: use letters and digits")
        if name == CONTROL_PLACEMENT:
            if placement.url is not None or placement.admin_url is not None:
                raise ConfigurationError(
                    f"placement {name!r} is the control server: its URLs are the tenancy's own",
                    placement=name,
                )
        elif placement.url is None:
            raise ConfigurationError(f"placement {name!r} has no url", placement=name)


def tell_placement(error: BaseException | None, database: Database) -> None:
    """Note on an error of the database which placement it comes from, where it may be any."""
    if isinstance(error, DBAPIError) and database.name != CONTROL_PLACEMENT:
        note = f"on placement {database.name!r}"
        if note not in getattr(error, "__notes__", ()):
            error.add_note(note)
