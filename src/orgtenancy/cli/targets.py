"""What a command works on: all placements of the tenancy, or one, and how it tells of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from orgtenancy.cli.output import Table, show
from orgtenancy.operations.placements import Cell
from orgtenancy.tenancy import Tenancy

PlacementName = Annotated[
    str | None, typer.Option("--placement", metavar="NAME", help="Only this placement.")
]


@dataclass(frozen=True, slots=True)
class Result:
    """What a command has to say of one placement.

    Attributes:
        placement: Its name.
        document: All of it.
        parts: The same for people.
    """

    placement: str
    document: Any
    parts: Sequence[Table | str]


def cells_of(tenancy: Tenancy, placement: str | None) -> list[Cell]:
    """Return the placements that are meant: one that is named, or all.

    Raises:
        PlacementNotFound: If the tenancy does not name it.
    """
    if placement is not None:
        return [tenancy.placements[placement]]
    return list(tenancy.placements.values())


def targets_of(
    tenancy: Tenancy, placement: str | None, organizations: Sequence[str] | None
) -> list[tuple[Cell, Sequence[str] | None]]:
    """Return the placements that are meant, each with those organizations that are on it.

    Args:
        tenancy: The tenancy.
        placement: The one that is named, if any.
        organizations: The ids that are named; None for all organizations.
    """
    if placement is not None or organizations is None or len(tenancy.placements) == 1:
        return [(cell, organizations) for cell in cells_of(tenancy, placement)]
    found = tenancy.schemas.locations.databases_of(organizations)
    return [(tenancy.placements[database.name], ids) for database, ids in found.items()]


def show_each(as_json: bool, results: Sequence[Result], *, is_whole: bool) -> None:
    """Write the results of a command.

    Where the tenancy has one placement, or one was named, it is that one's result. Otherwise
    each placement has its own, under its name.

    Args:
        as_json: Whether the document is wanted.
        results: Of each placement.
        is_whole: Whether it is about all of several placements.
    """
    if not is_whole:
        for result in results:
            show(as_json, result.document, *result.parts)
        return
    parts = [part for one in results for part in (f"{one.placement}:", *one.parts)]
    show(as_json, {"placements": {one.placement: one.document for one in results}}, *parts)


def is_about_several(tenancy: Tenancy, placement: str | None) -> bool:
    """Return whether a command is about several placements."""
    return placement is None and len(tenancy.placements) > 1
