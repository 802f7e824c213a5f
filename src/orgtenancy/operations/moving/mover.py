"""Mover: takes an organization from one placement to another, or finishes what was begun."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from orgtenancy.database.engines import Database
from orgtenancy.errors import (
    ConfigurationError,
    MoveFailed,
    OrganizationBusy,
    PlacementNotFound,
)
from orgtenancy.naming import new_role_name, validate_organization_id
from orgtenancy.operations.lifecycle.draining import drain
from orgtenancy.operations.moving import journal, steps
from orgtenancy.operations.moving.copying import Changes, Outdated, bring_up_to_date, make_copy
from orgtenancy.operations.moving.journal import Move, Phase
from orgtenancy.operations.moving.nodes import NODE, move_to_node
from orgtenancy.organizations import Organization, OrganizationStatus
from orgtenancy.registry import locations
from orgtenancy.registry.audit import told_if_not_done
from orgtenancy.schemas import SchemaManager
from orgtenancy.schemas.building import SchemaBuilder
from orgtenancy.schemas.fleet.lock import PlacementLock, is_held_by_anybody
from orgtenancy.schemas.fleet.workers import told
from orgtenancy.schemas.placing.choosing import Chooser

# So often the source may be migrated while it is copied, or changed while it is to be fenced.
_MAX_ATTEMPTS = 3

logger = logging.getLogger("orgtenancy.moving")


@dataclass(frozen=True, slots=True)
class Moved:
    """An organization that was moved.

    Attributes:
        before: As it was on the source.
        after: As it is on the target; the same object if it was there already.
    """

    before: Organization
    after: Organization

    @property
    def is_news(self) -> bool:
        """Whether it was moved."""
        return self.after is not self.before


class Mover:
    """Moves organizations between the placements of a tenancy. It works as the owner.

    Args:
        schemas: The schemas of all placements.
        chooser: Knows whether a placement takes organizations.
        on_change: Called in this process with the id of an organization that changed.
    """

    def __init__(
        self,
        schemas: SchemaManager,
        chooser: Chooser,
        *,
        on_change: Callable[[str], None] = lambda organization_id: None,
    ) -> None:
        self._schemas = schemas
        self._placements = schemas.locations.placements
        self._control = self._placements.control
        self._chooser = chooser
        self._on_change = on_change

    def move(self, organization_id: str, target: str) -> Moved:
        """Move an organization, or go on where a move of it to there was broken off.

        Args:
            organization_id: Which organization.
            target: The placement that it goes to, or `@host:port` for another node of the
                Citus cluster that it is on.

        Raises:
            InvalidOrganizationId: If the id breaks a naming rule.
            OrganizationNotFound: If the registry does not have it.
            PlacementNotFound: If the tenancy does not name the placement.
            PlacementUnavailable: If the placement takes no organizations.
            TransitionRefused: If its status does not allow a move.
            OrganizationBusy: If somebody else moves it, it was begun to be moved elsewhere, or
                others write in it for longer than `fence_timeout`.
            MoveFailed: If it could not be moved; it is where it was.
        """
        validate_organization_id(organization_id)
        if target.startswith(NODE):
            return self._move_to_node(organization_id, target)
        self._placements.named(target)
        with self._alone(organization_id):
            move = self._find(organization_id)
            if move is not None and move.phase is Phase.UNDOING:
                self._undo(move)
                move = None
            if move is None:
                organization = self._schemas.get(organization_id)
                if organization.placement == target:
                    return Moved(organization, organization)
                source = self._placements.of(organization)
            elif move.target == target:
                source, _ = self._ends(move)
            else:
                raise _broken_off(move)
            with told_if_not_done(source, "moved", organization_id, to=target):
                return self._attempt(organization_id, target, move)

    def resume(self, organization_id: str) -> Moved:
        """Go on with a move that was broken off, or with undoing it.

        Raises:
            MoveFailed: If none was, or it could not be moved; it is where it was.
            OrganizationBusy: As `move`.
        """
        move = self._begun(organization_id)
        if move.phase is not Phase.UNDOING:
            return self.move(organization_id, move.target)
        self.undo(organization_id)
        organization = self._schemas.get(organization_id)
        return Moved(organization, organization)

    def undo(self, organization_id: str) -> None:
        """Undo a move that was broken off before the organization was on the target.

        Raises:
            MoveFailed: If none was, or it is on the target already.
            OrganizationBusy: If somebody goes on with it.
        """
        with self._alone(organization_id):
            self._undo(self._begun(organization_id))

    def target_of(self, organization_id: str) -> str | None:
        """Return where an organization goes to whose move was broken off; None for others."""
        move = self._find(organization_id)
        return None if move is None or move.phase is Phase.UNDOING else move.target

    def _move_to_node(self, organization_id: str, target: str) -> Moved:
        with self._alone(organization_id):
            if (move := self._find(organization_id)) is not None:
                raise _broken_off(move)
            organization = self._schemas.get(organization_id)
            source = self._placements.of(organization)
            with told_if_not_done(source, "moved", organization_id, to=target):
                move_to_node(source, organization, target)
            return Moved(organization, organization)

    def _attempt(self, organization_id: str, target: str, move: Move | None) -> Moved:
        for attempt in range(1, _MAX_ATTEMPTS + 1):
            if move is None:
                move = self._begin(organization_id, target)
            try:
                return self._go_on(move)
            except Outdated:
                self._undo(move)
                if attempt == _MAX_ATTEMPTS:
                    raise move.failed("it was migrated or changed each time") from None
            move = None
        raise RuntimeError("unreachable")

    def _begin(self, organization_id: str, target: str) -> Move:
        self._chooser.check(target)
        organization = self._schemas.get(organization_id)
        row = steps.read_row(self._placements.of(organization), organization_id) or {}
        steps.check_is_movable(
            organization, is_being_purged=row.get("purge_started_at") is not None
        )
        role = new_role_name(str(self._placements.named(target).url.database))
        with self._control.admin_engine.begin() as connection:
            return journal.begin(connection, organization, target, role)

    def _go_on(self, move: Move) -> Moved:
        if move.phase is Phase.SWITCHED:
            return self._finish(move, {})
        try:
            move, details = self._switch(move)
        except Outdated:
            raise
        except BaseException:
            # Nobody is to stay fenced for a move that did not succeed.
            self._undo_if_not_switched(move)
            raise
        return self._finish(move, details)

    def _switch(self, move: Move) -> tuple[Move, Mapping[str, Any]]:
        """Do all that comes before the organization is on the target, and say that it is there.

        Returns:
            The move, and what the audit is to tell of it.
        """
        source, target = self._ends(move)
        has_data = self._schemas.get(move.organization_id).status is not OrganizationStatus.PURGED
        if has_data and move.phase is Phase.COPYING:
            make_copy(source, SchemaBuilder(target, self._schemas.revisions), move)
        began = time.monotonic()
        move, fenced = self._fence(source, move)
        changes = Changes(0, 0)
        if has_data:
            drain(source, fenced, source.settings.fence_timeout, operation="move")
            changes = bring_up_to_date(source, target, move)
        details = {
            "changed_tables": changes.tables,
            "changed_rows": changes.rows,
            "fenced_for": round(time.monotonic() - began, 3),
        }
        steps.check_has_room(target, move)
        with self._control.admin_engine.begin() as connection:
            # Whoever makes an organization of this id has locked the id before its row.
            locations.lock_id(connection, move.organization_id)
            move = journal.advance(connection, move, Phase.SWITCHED)
            if source is self._control:
                steps.give_way(connection, source, move)
            locations.set_placement(connection, move.organization_id, move.target)
            if target is self._control:
                steps.take_place(connection, target, move, details)
        return move, details

    def _fence(self, source: Database, move: Move) -> tuple[Move, Organization]:
        for _ in range(_MAX_ATTEMPTS):
            row = steps.read_row(source, move.organization_id)
            if row is None:
                raise move.failed("it was dropped meanwhile")
            if row["moving_to"] is None:
                organization = Organization.model_validate(row)
                is_begun = row["purge_started_at"] is not None
                steps.check_is_movable(organization, is_being_purged=is_begun)
                with self._control.admin_engine.begin() as connection:
                    move = journal.advance(connection, move, Phase.FENCING, organization=row)
            fenced = steps.fence(source, move)
            self._on_change(move.organization_id)
            if fenced is not None:
                return move, fenced
        raise move.failed("others change it all the time")

    def _finish(self, move: Move, details: Mapping[str, Any]) -> Moved:
        """Do all that comes after it is said that the organization is on the target."""
        source, target = self._ends(move)
        if target is not self._control:
            with target.admin_engine.begin() as connection:
                steps.take_place(connection, target, move, details)
        self._on_change(move.organization_id)
        if source is not self._control:
            with source.admin_engine.begin() as connection:
                steps.give_way(connection, source, move)
        steps.drop_unowned(source, move, move.source_role)
        with self._control.admin_engine.begin() as connection:
            journal.remove(connection, move)
        self._chooser.counts.forget()
        after = self._schemas.get(move.organization_id)
        return Moved(Organization.model_validate(move.organization), after)

    def _undo(self, move: Move) -> None:
        with self._control.admin_engine.begin() as connection:
            move = journal.advance(connection, move, Phase.UNDOING)
        # First of all it works again.
        if move.organization is not None:
            steps.unfence(self._placements.named(move.source, move.organization_id), move)
            self._on_change(move.organization_id)
        try:
            target = self._placements.named(move.target, move.organization_id)
            steps.drop_unowned(target, move, move.target_role)
        except PlacementNotFound:
            logger.warning(
                "placement %r is not named any more: the copy of %r on it is left as it is",
                move.target,
                move.organization_id,
            )
        with self._control.admin_engine.begin() as connection:
            journal.remove(connection, move)
        # It may have been dropped, or have got another id.
        self._schemas.locations.release(move.organization_id)

    def _undo_if_not_switched(self, move: Move) -> None:
        try:
            now = self._find(move.organization_id)
            if now is not None and now.number == move.number and now.phase is not Phase.SWITCHED:
                self._undo(now)
        except Exception as error:  # noqa: BLE001 - what went wrong first is what the caller hears
            logger.warning(
                "the move of %r could not be undone; `orgtenancy org move %s --undo` does: %s",
                move.organization_id,
                move.organization_id,
                told(error),
            )

    def _ends(self, move: Move) -> tuple[Database, Database]:
        named = self._placements.named
        return named(move.source, move.organization_id), named(move.target, move.organization_id)

    def _find(self, organization_id: str) -> Move | None:
        with self._control.admin_engine.begin() as connection:
            return journal.find(connection, organization_id)

    def _begun(self, organization_id: str) -> Move:
        validate_organization_id(organization_id)
        move = self._find(organization_id)
        if move is None:
            raise MoveFailed(
                f"no move of organization {organization_id!r} was broken off",
                organization_id=organization_id,
            )
        return move

    @contextmanager
    def _alone(self, organization_id: str) -> Iterator[None]:
        """Keep others from moving the same organization.

        Raises:
            OrganizationBusy: If somebody moves it.
        """
        if self._control.admin_url is None:
            raise ConfigurationError("this needs the owner of the schemas: give an admin_url")
        lock = PlacementLock(
            self._control.admin_url,
            _lock_name(organization_id),
            connect_timeout=self._control.settings.connect_timeout,
        )
        if not lock.acquire():
            raise _busy(organization_id, "somebody moves it")
        try:
            yield
        finally:
            lock.release()


def is_being_moved(connection: Connection, organization_id: str) -> bool:
    """Return whether somebody moves an organization now, or undoes a move.

    Args:
        connection: A connection of the control server's owner.
        organization_id: Which organization.
    """
    return is_held_by_anybody(connection, _lock_name(organization_id))


def _lock_name(organization_id: str) -> str:
    return f"move {organization_id}"


def _broken_off(move: Move) -> OrganizationBusy:
    return _busy(
        move.organization_id, f"a move to placement {move.target!r} was broken off: go on with it"
    )


def _busy(organization_id: str, reason: str) -> OrganizationBusy:
    return OrganizationBusy(
        f"organization {organization_id!r} is not moved: {reason}",
        operation="move",
        organization_id=organization_id,
    )
