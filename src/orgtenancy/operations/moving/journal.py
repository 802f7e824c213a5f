"""The journal of moves, on the control server: one line for each organization on its way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Row, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert

from orgtenancy.errors import MoveFailed
from orgtenancy.organizations import Organization
from orgtenancy.registry.tables import moves
from orgtenancy.schemas.fleet.journal import this_runner


class Phase(StrEnum):
    """How far a move is."""

    COPYING = "copying"
    """The organization is at work on the source."""

    FENCING = "fencing"
    """It is being fenced, or is fenced, and the last changes are copied."""

    SWITCHED = "switched"
    """It is on the target; what is left of the source goes away."""

    UNDOING = "undoing"
    """It stays on the source; what there is of the copy goes away."""


@dataclass(frozen=True, slots=True)
class Move:
    """A move that has not come to its end.

    Attributes:
        number: Its number.
        organization_id: Which organization.
        source: The placement that it leaves.
        target: The placement that it goes to.
        phase: How far it is.
        source_role: The role of its schema on the source.
        target_role: The role of its schema on the target.
        organization: Its row of the registry as it was before the fence.
    """

    number: int
    organization_id: str
    source: str
    target: str
    phase: Phase
    source_role: str
    target_role: str
    organization: Mapping[str, Any] | None

    def failed(self, reason: str) -> MoveFailed:
        """Return the error that says why it failed."""
        return MoveFailed(
            f"organization {self.organization_id!r} was not moved to {self.target!r}: {reason}",
            organization_id=self.organization_id,
            placement=self.source,
        )


def begin(
    connection: Connection, organization: Organization, target: str, target_role: str
) -> Move:
    """Write down that a move begins.

    Args:
        connection: A connection of the control server's owner.
        organization: Which organization, as it is on its placement.
        target: Where to.
        target_role: The role that its copy gets.
    """
    statement = insert(moves).values(
        organization_id=organization.id,
        source=organization.placement,
        target=target,
        phase=Phase.COPYING,
        source_role=organization.role_name,
        target_role=target_role,
        runner=this_runner().model_dump(mode="json"),
    )
    return _move_from(connection.execute(statement.returning(*moves.c)).one())


def find(connection: Connection, organization_id: str) -> Move | None:
    """Return the move of an organization, if there is one."""
    statement = select(moves).where(moves.c.organization_id == organization_id)
    row = connection.execute(statement).one_or_none()
    return None if row is None else _move_from(row)


def advance(connection: Connection, move: Move, phase: Phase, **values: Any) -> Move:
    """Write down that a move is in another phase than it was.

    Raises:
        MoveFailed: If somebody else has brought it to a phase from which that cannot be.
    """
    statement = (
        update(moves)
        .where(moves.c.number == move.number, moves.c.phase.in_(_SOURCES[phase]))
        .values(
            phase=phase,
            changed_at=func.clock_timestamp(),
            runner=this_runner().model_dump(mode="json"),
            **values,
        )
        .returning(*moves.c)
    )
    row = connection.execute(statement).one_or_none()
    if row is None:
        raise move.failed("somebody else has gone on with the move, or undone it")
    return _move_from(row)


def remove(connection: Connection, move: Move) -> None:
    """Write down that a move has come to its end."""
    connection.execute(delete(moves).where(moves.c.number == move.number))


_SOURCES: Mapping[Phase, tuple[Phase, ...]] = {
    Phase.FENCING: (Phase.COPYING, Phase.FENCING),
    Phase.SWITCHED: (Phase.FENCING,),
    Phase.UNDOING: (Phase.COPYING, Phase.FENCING, Phase.UNDOING),
}


def _move_from(row: Row[Any]) -> Move:
    return Move(
        number=row.number,
        organization_id=row.organization_id,
        source=row.source,
        target=row.target,
        phase=Phase(row.phase),
        source_role=row.source_role,
        target_role=row.target_role,
        organization=row.organization,
    )
