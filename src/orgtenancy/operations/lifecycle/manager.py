"""Organizations: the life of each of them, as one object that a host holds."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from orgtenancy.database.engines import Database
from orgtenancy.errors import RegistryError, SchemaError
from orgtenancy.naming import validate_organization_id
from orgtenancy.operations.lifecycle import purging, renaming
from orgtenancy.operations.lifecycle.auditing import find_page
from orgtenancy.operations.lifecycle.changing import ACTIONS, Changed, change
from orgtenancy.operations.lifecycle.draining import drain
from orgtenancy.operations.lifecycle.events import LifecycleEvents
from orgtenancy.operations.twins import in_thread
from orgtenancy.organizations import AuditEntry, Organization, OrganizationStatus
from orgtenancy.pagination import Page, PageRequest
from orgtenancy.schemas import SchemaManager

if TYPE_CHECKING:
    from orgtenancy.operations.moving.mover import Moved, Mover

_FIRST_PAGE = PageRequest()

logger = logging.getLogger("orgtenancy.lifecycle")


class Organizations(LifecycleEvents):
    """The life of the organizations. It works as the owner, by `admin_url`.

    Where there are several placements, it works on the one that the organization is on.

    Each operation changes the status, the organization's rights in the database and the audit
    in one transaction. It can be called again: where there is nothing left to do, the
    organization is returned as it is, and nothing is audited or told. What its status does not
    allow is `TransitionRefused`, and in the audit as well.

    Every method may raise `InvalidOrganizationId`, `OrganizationNotFound`, and
    `OrganizationBusy` if others hold the organization for `lifecycle_lock_timeout` seconds:
    nothing was changed then. The methods that end in `_async` do the same in a thread.

    Args:
        schemas: Finds organizations.
        mover: Moves them between placements.
        on_change: Called in this process with the id of an organization that changed.
    """

    def __init__(
        self,
        schemas: SchemaManager,
        mover: Mover,
        *,
        on_change: Callable[[str], None] = lambda organization_id: None,
    ) -> None:
        super().__init__()
        self._schemas = schemas
        self._mover = mover
        self._locations = schemas.locations
        self._placements = schemas.locations.placements
        self._on_change = on_change

    def get(self, organization_id: str) -> Organization:
        """Return an organization as the registry has it now, in whatever status."""
        return self._schemas.get(organization_id)

    def list(
        self, page: PageRequest = _FIRST_PAGE, *, status: OrganizationStatus | None = None
    ) -> Page[Organization]:
        """Return a page of the organizations, ordered by the bytes of their ids.

        Args:
            page: Which page.
            status: Only those with this status.
        """
        return self._schemas.list(page, status=status)

    def suspend(
        self, organization_id: str, *, reason: str | None = None, wait: float | None = None
    ) -> Organization:
        """Shut an organization until it is resumed: PostgreSQL refuses its role.

        A transaction that runs may commit what it wrote before, and even go on there with
        statements that are prepared; the next one is refused.

        Args:
            organization_id: Which organization.
            reason: Why, for people.
            wait: Seconds to wait until no write is under way any more; None does not wait.
                Past them it raises `OrganizationBusy`, and the organization stays suspended.
        """
        suspended = self._change("suspend", organization_id, reason=reason)
        if wait is not None:
            drain(self._placements.of(suspended), suspended, wait, operation="suspend")
        return suspended

    def resume(self, organization_id: str) -> Organization:
        """Open a suspended organization again."""
        return self._change("resume", organization_id)

    def fence(
        self, organization_id: str, *, reason: str | None = None, wait: float | None = None
    ) -> Organization:
        """Shut an organization for a moment, and return when no write is under way in it.

        Requests are told to come back in a second, and jobs leave it alone.

        Args:
            organization_id: Which organization.
            reason: Why, for people.
            wait: Seconds to wait for writes; `fence_timeout` of the settings if not given.
                Past them it raises `OrganizationBusy`, and the organization stays fenced:
                call it again, or `unfence`. It raises that too if somebody lifts the fence
                meanwhile.
        """
        fenced = self._change("fence", organization_id, reason=reason)
        database = self._placements.of(fenced)
        timeout = database.settings.fence_timeout if wait is None else wait
        drain(database, fenced, timeout, operation="fence")
        return fenced

    def unfence(self, organization_id: str) -> Organization:
        """Open a fenced organization again."""
        return self._change("unfence", organization_id)

    def archive(
        self,
        organization_id: str,
        *,
        reason: str | None = None,
        grace: timedelta | None = None,
        source: str | None = None,
    ) -> Organization:
        """Shut an organization that has ended; its data stays until it is purged.

        Args:
            organization_id: Which organization.
            reason: Why, for people.
            grace: How long it can be restored; `archive_grace` of the settings if not given.
            source: Who asks for it, such as `logto`; None for people.
        """
        if grace is None:
            grace = self._placements.control.settings.archive_grace
        if grace < timedelta():
            raise ValueError("the grace period cannot be negative")
        return self._change("archive", organization_id, reason=reason, source=source, grace=grace)

    def restore(self, organization_id: str) -> Organization:
        """Bring an archived organization back to the status that it was archived from.

        One that was suspended is suspended again. Once a purge has begun there is no way back.
        """
        return self._change("restore", organization_id)

    def purge(self, organization_id: str, *, confirm: str, now: bool = False) -> None:
        """Drop the data of an archived organization, for good.

        Its row of the registry stays, without name and attributes: the id is not used again.
        Killed on the way, it leaves the organization archived and shut; call it again.

        Args:
            organization_id: Which organization.
            confirm: The same id again, so that no slip of a variable purges another.
            now: Whether not to wait for the end of the grace period. It does not make an
                organization archived.

        Raises:
            PurgeRefused: If the grace period is not over, or `confirm` is not the id.
        """
        self._locations.at(
            organization_id,
            lambda database: self._purge(database, organization_id, confirm=confirm, now=now),
        )

    def purge_due(self, *, at: datetime | None = None, limit: int = 100) -> Sequence[str]:
        """Purge those whose grace period is over, and go on where a purge was broken off.

        One that cannot be purged is logged and audited, and does not keep the others.

        Args:
            at: What time it is, if not what the server says.
            limit: How many at the most: to drop a role costs every backend something.

        Returns:
            The ids of those that were purged.
        """
        purged: list[str] = []
        failure: DBAPIError | None = None
        for database in self._placements:
            try:
                purged.extend(self._purge_due(database, at, limit - len(purged)))
            except DBAPIError as error:  # that server's trouble, and no other's
                failure = error
        if failure is not None:
            raise failure
        return purged

    def rename(self, organization_id: str, name: str) -> Organization:
        """Give an organization another display name; its id and schema stay."""
        changed = self._locations.at(
            organization_id, lambda database: renaming.rename(database, organization_id, name)
        )
        return self._told("rename", changed)

    def set_attributes(self, organization_id: str, attributes: Mapping[str, Any]) -> Organization:
        """Replace the host's labels of an organization; there is no event for it."""
        changed = self._locations.at(
            organization_id,
            lambda database: renaming.set_attributes(database, organization_id, attributes),
        )
        return self._told("set_attributes", changed)

    def link(self, organization_id: str, *, source: str) -> Organization:
        """Note that an organization which was made by hand is another source's too.

        A reconciliation with that source archives it from then on when it is gone there. One
        that has a source keeps it. There is no event for it.

        Args:
            organization_id: Which organization.
            source: Such as `logto`.
        """
        changed = self._locations.at(
            organization_id, lambda database: renaming.link(database, organization_id, source)
        )
        return self._told("link", changed)

    def change_id(self, organization_id: str, new_id: str) -> Organization:
        """Give an organization another id; its schema is renamed with it.

        Its role and its data stay, but not its source, which knows it under the old id. A
        process that remembers the old id is refused by PostgreSQL and finds no such
        organization; the old id is free to be provisioned.

        Functions that have the schema's old name in their text, or in a `SET search_path`, do
        not follow. Migrations that run meanwhile are tried again under the new name.

        Raises:
            OrganizationExists: If the new id, or its schema, is there already.
        """
        validate_organization_id(new_id)

        def change_id(database: Database) -> Changed:
            with self._locations.renaming(organization_id, new_id, database):
                return renaming.change_id(database, organization_id, new_id)

        changed = self._locations.at(organization_id, change_id)
        if changed.is_news:
            self._on_change(organization_id)
        return self._told("change_id", changed)

    def move(self, organization_id: str, *, to: str) -> Organization:
        """Move an organization to another placement, while it is at work.

        It is copied first, and then fenced for as long as it takes to copy what changed
        meanwhile, and to compare both sides. A process that remembers where it was is refused
        by PostgreSQL there, and told to come back. Killed at any point, a move is gone on with
        by calling it again, or by `resume_move`; `undo_move` leaves the organization where it is.

        Args:
            organization_id: Which organization: active, suspended, archived or purged.
            to: The placement that it goes to; `@host:port` for another node of the Citus
                cluster that it is on, which needs no fence.

        Raises:
            PlacementNotFound: If the tenancy does not name the placement.
            PlacementUnavailable: If the placement takes no organizations.
            MoveFailed: If it could not be moved; it is where it was, and not fenced.
        """
        return self._moved(self._mover.move(organization_id, to))

    def resume_move(self, organization_id: str) -> Organization:
        """Go on with a move that was broken off.

        Raises:
            MoveFailed: If none was, or it could not be moved; it is where it was.
        """
        return self._moved(self._mover.resume(organization_id))

    def undo_move(self, organization_id: str) -> Organization:
        """Leave an organization where it is, whose move was broken off.

        Raises:
            MoveFailed: If none was, or it is on the other placement already: then only
                `resume_move` leads on.
        """
        self._mover.undo(organization_id)
        return self.get(organization_id)

    def audit(
        self,
        page: PageRequest = _FIRST_PAGE,
        *,
        organization_id: str | None = None,
        action: str | None = None,
        actor_id: str | None = None,
        since: datetime | None = None,
    ) -> Page[AuditEntry]:
        """Return a page of the audit, newest first.

        Each placement has its own. Of several, they are ordered by the clocks of their servers.

        Args:
            page: Which page.
            organization_id: Only what was done to this organization.
            action: Only this, such as `suspended`.
            actor_id: Only what this actor did.
            since: Only what was done from then on.
        """
        return find_page(
            list(self._placements),
            page,
            organization_id=organization_id,
            action=action,
            actor_id=actor_id,
            since=since,
        )

    get_async = in_thread(get)
    list_async = in_thread(list)  # noqa: A003 - the method above is meant
    suspend_async = in_thread(suspend)
    resume_async = in_thread(resume)
    fence_async = in_thread(fence)
    unfence_async = in_thread(unfence)
    archive_async = in_thread(archive)
    restore_async = in_thread(restore)
    purge_async = in_thread(purge)
    purge_due_async = in_thread(purge_due)
    rename_async = in_thread(rename)
    set_attributes_async = in_thread(set_attributes)
    link_async = in_thread(link)
    change_id_async = in_thread(change_id)
    move_async = in_thread(move)
    resume_move_async = in_thread(resume_move)
    undo_move_async = in_thread(undo_move)
    audit_async = in_thread(audit)

    def _change(self, operation: str, organization_id: str, **given: Any) -> Organization:
        changed = self._locations.at(
            organization_id, lambda database: change(database, operation, organization_id, **given)
        )
        return self._told(operation, changed)

    def _purge(
        self,
        database: Database,
        organization_id: str,
        *,
        confirm: str,
        now: bool = False,
        at: datetime | None = None,
    ) -> bool:
        try:
            changed = purging.purge(database, organization_id, confirm=confirm, now=now, at=at)
        finally:
            self._on_change(organization_id)  # it may be shut for good, and not purged
        if changed is not None:
            self._told("purge", changed)
        return changed is not None

    def _purge_due(self, database: Database, at: datetime | None, limit: int) -> Sequence[str]:
        with database.admin_engine.begin() as connection:
            found = purging.due(connection, at, limit)
        purged = []
        for organization_id in found:
            try:
                if self._purge(database, organization_id, confirm=organization_id, at=at):
                    purged.append(organization_id)
            except (RegistryError, SchemaError) as error:
                # Restored or dropped since we looked, or busy: no reason to keep the others.
                logger.info("%r is left for later: %s", organization_id, error)
            except DBAPIError as error:
                if isinstance(error, OperationalError | InterfaceError):
                    raise  # the server's trouble, and so everybody's
                # Something refers to its role, for instance: whoever waits longest comes
                # first, and would keep the others for ever.
                logger.warning("%r could not be purged: %s", organization_id, error)
        return purged

    def _moved(self, moved: Moved) -> Organization:
        if moved.is_news:
            self._fire("moved", moved.after, moved.before)
        return moved.after

    def _told(self, operation: str, changed: Changed) -> Organization:
        if changed.is_news:
            self._on_change(changed.after.id)
            self._fire(ACTIONS[operation], changed.after, changed.before)
        return changed.after

    def tell_provisioned(self, organization: Organization) -> None:
        """Call the host's functions for an organization that was made."""
        self._fire("provisioned", organization)

    def tell_adopted(self, organization: Organization) -> None:
        """Call the host's functions for an organization that came from a shared schema."""
        self._fire("adopted", organization)
