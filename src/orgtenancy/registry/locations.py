"""Which placement an organization is on, where there are several.

The control server has a row for each organization that is elsewhere, and none for its own. Such
a row comes before the organization and goes after it: a row without an organization is a
reservation, and no organization is without its row. Who makes an organization elsewhere keeps
that row locked meanwhile, so that a reservation nobody fills can be told, and taken back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from sqlalchemy import Connection, Select, delete, exists, func, literal, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError

from orgtenancy.database.engines import Database
from orgtenancy.database.placements import Placements
from orgtenancy.errors import (
    OrganizationBusy,
    OrganizationExists,
    OrganizationNotFound,
    OrgTenancyError,
)
from orgtenancy.naming import CONTROL_PLACEMENT, validate_organization_id
from orgtenancy.registry import store
from orgtenancy.registry.tables import locations, moves, organizations

T = TypeVar("T")

#: What PostgreSQL says where an id would be on the control server and elsewhere.
ELSEWHERE = "OT005"


def locating(organization_id: str) -> Select[Any]:
    """Return the statement that asks the control server for an organization.

    It gives no row if there is none. The column `location` says which placement it is on, or
    is null where the row itself is the organization's.
    """
    key = select(literal(organization_id).label("key")).subquery()
    return (
        select(locations.c.placement.label("location"), *organizations.c)
        .select_from(key)
        .outerjoin(locations, locations.c.organization_id == key.c.key)
        .outerjoin(organizations, organizations.c.id == key.c.key)
        .where(
            locations.c.organization_id.is_not(None) | organizations.c.id.is_not(None),
        )
    )


class Locations:
    """Where organizations are, as the owner of the control server sees it.

    Args:
        placements: The databases.

    Attributes:
        placements: The databases.
    """

    def __init__(self, placements: Placements) -> None:
        self.placements = placements

    def database_of(self, organization_id: str) -> Database:
        """Return the database that an organization is in, or would be looked for in.

        Raises:
            PlacementNotFound: If the tenancy does not name its placement.
        """
        control = self.placements.control
        if not self.placements.are_several:
            return control
        with control.admin_engine.begin() as connection:
            name = find(connection, organization_id)
        return control if name is None else self.placements.named(name, organization_id)

    def others(self, database: Database) -> list[Database]:
        """Return the databases of all placements but one."""
        return [one for one in self.placements if one is not database]

    def at(self, organization_id: str, work: Callable[[Database], T]) -> T:
        """Do a piece of work where an organization is; once more if it was moved meanwhile.

        Args:
            organization_id: Which organization.
            work: Takes the database, and raises `OrganizationNotFound` if it is not there.
        """
        validate_organization_id(organization_id)
        database = self.database_of(organization_id)
        try:
            return work(database)
        except OrganizationNotFound:
            now = self.database_of(organization_id)
            if now is database:
                raise
        return work(now)

    def databases_of(self, organization_ids: Sequence[str]) -> Mapping[Database, list[str]]:
        """Return the databases that some organizations are in, each with its organizations."""
        statement = select(locations.c.organization_id, locations.c.placement).where(
            locations.c.organization_id.in_(organization_ids)
        )
        with self.placements.control.admin_engine.begin() as connection:
            known = {row[0]: row[1] for row in connection.execute(statement)}
        found: dict[Database, list[str]] = {}
        for organization_id in organization_ids:
            name = known.get(organization_id, CONTROL_PLACEMENT)
            database = self.placements.named(name, organization_id)
            found.setdefault(database, []).append(organization_id)
        return found

    @contextmanager
    def reserved(self, organization_id: str, database: Database) -> Iterator[None]:
        """Reserve an id for a placement, for the block in which the organization is made there.

        What the block does not make because of an error of this library leaves no reservation.

        Args:
            organization_id: The id.
            database: A placement that is not the control server.

        Raises:
            OrganizationExists: If the id is on another placement, which the error names.
            OrganizationBusy: If it is just being moved there.
        """
        with self.placements.control.admin_engine.connect() as connection:
            self._reserve(connection, organization_id, database)
            # Between the switch of a move and its end it is nowhere for a moment.
            if _is_moving(connection, organization_id) and not _has(database, organization_id):
                raise _moving(organization_id)
            try:
                yield
            except OrgTenancyError:
                if not _has(database, organization_id):
                    remove(connection, organization_id)
                    connection.commit()
                raise

    @contextmanager
    def renaming(self, organization_id: str, new_id: str, database: Database) -> Iterator[None]:
        """Reserve another id for an organization, for the block in which it gets it.

        Args:
            organization_id: The organization.
            new_id: Its id from then on.
            database: Where it is.

        Raises:
            OrganizationExists: If the new id is on another placement.
            OrganizationBusy: If it is just being moved there.
        """
        if database is self.placements.control:
            yield
            return
        try:
            with self.reserved(new_id, database):
                yield
        finally:  # whichever of them is no organization's now
            self.release(organization_id)
            self.release(new_id)

    def check_is_free(self, organization_id: str) -> None:
        """Make sure that an id which no registry has is not about to be in one.

        Raises:
            OrganizationBusy: If it is just being moved.
        """
        with self.placements.control.admin_engine.begin() as connection:
            if _is_moving(connection, organization_id):
                raise _moving(organization_id)

    def release(self, organization_id: str) -> None:
        """Take back the reservation of an id that is no organization's any more."""
        with self.placements.control.admin_engine.begin() as connection:
            name = find(connection, organization_id, lock=True)
            if name is None or _is_moving(connection, organization_id):
                return
            if not _has(self.placements.named(name, organization_id), organization_id):
                remove(connection, organization_id)

    def _reserve(self, connection: Connection, organization_id: str, database: Database) -> None:
        """Reserve an id, and lock the reservation until the transaction ends."""
        while True:
            with connection.begin():
                _insert(connection, organization_id, database.name)
            # Committed before anything is made: whatever is there after a crash is found by it.
            connection.begin()
            name = find(connection, organization_id, lock=True)
            if name == database.name:
                return
            if name is not None:
                other = self.placements.named(name, organization_id)
                if _is_moving(connection, organization_id) or _has(other, organization_id):
                    raise elsewhere(organization_id, name)
                set_placement(connection, organization_id, database.name)
            connection.commit()  # somebody took it back, or left one that nobody fills


def find(connection: Connection, organization_id: str, *, lock: bool = False) -> str | None:
    """Return which placement an organization is on, or None if the control server has it if any.

    Args:
        connection: A connection of the control server's owner.
        organization_id: Which organization.
        lock: Whether to keep that so until the transaction ends.
    """
    statement = select(locations.c.placement).where(locations.c.organization_id == organization_id)
    found: str | None = connection.scalar(statement.with_for_update() if lock else statement)
    return found


def lock_id(connection: Connection, organization_id: str) -> None:
    """Keep others from reserving or taking an id until the transaction ends."""
    connection.execute(select(func.orgtenancy.lock_id(organization_id)))


def set_placement(connection: Connection, organization_id: str, placement: str) -> None:
    """Write down which placement an organization is on, in the caller's transaction.

    Args:
        connection: A connection of the control server's owner.
        organization_id: Which organization; one that was on the control server must be gone
            from its registry, and the id locked.
        placement: Where it is now.
    """
    if placement == CONTROL_PLACEMENT:
        remove(connection, organization_id)
        return
    given = insert(locations).values(organization_id=organization_id, placement=placement)
    changed = update(locations).where(locations.c.organization_id == organization_id)
    if connection.execute(changed.values(placement=placement, changed_at=func.now())).rowcount == 0:
        connection.execute(given)
    store.announce(connection, organization_id)


def remove(connection: Connection, organization_id: str) -> None:
    """Delete the row of an organization, in the caller's transaction."""
    connection.execute(delete(locations).where(locations.c.organization_id == organization_id))
    store.announce(connection, organization_id)


def elsewhere(organization_id: str, placement: str) -> OrganizationExists:
    """Return the error for an id that is on another placement."""
    return OrganizationExists(
        f"organization {organization_id!r} is on placement {placement!r}",
        organization_id=organization_id,
        placement=placement,
    )


def is_elsewhere(error: Exception) -> bool:
    """Return whether PostgreSQL refused an id because it is on another placement."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    return getattr(cause, "sqlstate", None) == ELSEWHERE


def _insert(connection: Connection, organization_id: str, placement: str) -> None:
    given = insert(locations).values(organization_id=organization_id, placement=placement)
    try:
        connection.execute(given.on_conflict_do_nothing())
    except DBAPIError as error:
        if not is_elsewhere(error):
            raise
        raise elsewhere(organization_id, CONTROL_PLACEMENT) from error


def _is_moving(connection: Connection, organization_id: str) -> bool:
    return bool(
        connection.scalar(select(exists().where(moves.c.organization_id == organization_id)))
    )


def _has(database: Database, organization_id: str) -> bool:
    with database.admin_engine.begin() as connection:
        return store.find(connection, organization_id) is not None


def _moving(organization_id: str) -> OrganizationBusy:
    return OrganizationBusy(
        f"organization {organization_id!r} is being moved to another placement",
        operation="provision",
        organization_id=organization_id,
    )
