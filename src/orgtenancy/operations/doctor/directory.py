"""What the control server knows of the other placements, against what they are."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import TypeAlias

from sqlalchemy import Connection, select

from orgtenancy.naming import CONTROL_PLACEMENT
from orgtenancy.operations.doctor.report import Finding, listed, ok, problem, warning
from orgtenancy.operations.moving.mover import is_being_moved
from orgtenancy.operations.placements import PlacementManager, PlacementStatus
from orgtenancy.registry.tables import locations, moves, organizations, spares
from orgtenancy.schemas import SchemaManager

_Check: TypeAlias = Callable[[PlacementManager], Iterable[Finding]]


def check_placements(placements: PlacementManager) -> Iterator[Finding]:
    """Look whether organizations can be made on the placements."""
    for one in placements.list():
        holds = f"{one.name} holds {one.organizations} organizations"
        if not one.is_reachable:
            message = f"{one.name} cannot be reached: its organizations cannot work"
            yield problem("placements", message, "look whether the server runs")
        elif one.state == "not added":
            message = f"{one.name} was not added: it gets no organizations"
            yield warning("placements", message, f"run `orgtenancy placements add {one.name}`")
        elif one.is_nearly_full:
            yield warning("placements", f"{holds} of at most {one.max_organizations}", _more(one))
        else:
            state = " and is being drained" if one.state == "draining" else ""
            yield ok("placements", holds + state)


def check_locations(placements: PlacementManager) -> Iterator[Finding]:
    """Look whether each organization is where the control server says."""
    located, moving = _read_control(placements)
    is_fine = True
    for name, cell in placements.items():
        if name == CONTROL_PLACEMENT:
            continue
        with cell.schemas.builder.database.admin_engine.begin() as connection:
            there = set(connection.scalars(select(organizations.c.id)))
        expected = {one for one, placement in located.items() if placement == name}
        if lost := sorted(there - expected - moving):
            is_fine = False
            message = f"{name} has organizations that are not known to be there: {listed(lost)}"
            yield problem("locations", message, "nobody can reach them: look whose they are")
        if missing := sorted(expected - there - moving):
            is_fine = False
            message = f"{name} is reserved for organizations that are not there: {listed(missing)}"
            yield warning("locations", message, "`orgtenancy org create`, or `drop`, ends it")
    unnamed = sorted(set(located.values()) - set(placements))
    if unnamed:
        is_fine = False
        message = f"organizations are on placements that nobody names here: {listed(unnamed)}"
        yield problem("locations", message, "give them to Tenancy(placements={...})")
    if is_fine:
        yield ok("locations", f"{len(located)} organizations are where the control server says")


def check_moves(placements: PlacementManager) -> Iterator[Finding]:
    """Tell which moves were broken off, and what is left of others."""
    with _control(placements) as connection:
        found = dict(connection.execute(select(moves.c.number, moves.c.organization_id)).all())
        waiting = [one for one in found.values() if not is_being_moved(connection, one)]
    if waiting:
        message = f"moves that were broken off: {listed(sorted(waiting))}"
        yield warning("moves", message, "`orgtenancy org move ID --resume`, or `--undo`")
    left = {name: _left_over(cell.schemas, found.keys()) for name, cell in placements.items()}
    for name, schemas in left.items():
        if schemas:
            yield warning(
                "moves",
                f"{name} has schemas of moves that are over: {listed(schemas)}",
                "UPDATE orgtenancy.spares SET move_number = NULL for them, then "
                "`orgtenancy spares discard`",
            )
    if not waiting and not any(left.values()):
        yield ok("moves", f"{len(found)} organizations are being moved")


def _left_over(schemas: SchemaManager, numbers: Collection[int]) -> list[str]:
    statement = select(spares.c.schema_name).where(
        spares.c.move_number.is_not(None), spares.c.move_number.not_in(numbers)
    )
    with schemas.builder.database.admin_engine.begin() as connection:
        return list(connection.scalars(statement))


#: What is looked at where there are several placements.
CHECKS: tuple[tuple[str, _Check], ...] = (
    ("placements", check_placements),
    ("locations", check_locations),
    ("moves", check_moves),
)


def _read_control(placements: PlacementManager) -> tuple[dict[str, str], set[str]]:
    with _control(placements) as connection:
        rows = connection.execute(select(locations.c.organization_id, locations.c.placement))
        located = {row[0]: row[1] for row in rows}
        return located, set(connection.scalars(select(moves.c.organization_id)))


def _control(placements: PlacementManager) -> AbstractContextManager[Connection]:
    return placements[CONTROL_PLACEMENT].schemas.builder.database.admin_engine.begin()


def _more(one: PlacementStatus) -> str:
    return f"add a placement, or raise max_organizations of {one.name}"
