"""The spares of several placements."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sqlalchemy.exc import SQLAlchemyError

from orgtenancy.errors import OrgTenancyError
from orgtenancy.schemas.building import SchemaBuilder
from orgtenancy.schemas.spares import SpareCounts, Spares


class SpreadSpares(Spares):
    """The spares of all placements: each number is meant for each of them.

    Args:
        builder: Makes the schemas of the control server.
        parts: The spares of each placement.
    """

    def __init__(self, builder: SchemaBuilder, parts: Sequence[Spares]) -> None:
        super().__init__(builder)
        self._parts = parts

    def count(self) -> SpareCounts:
        """Return how many spares there are on all placements."""
        found = [part.count() for part in self._parts]
        return SpareCounts(
            ready=sum(one.ready for one in found),
            stale=sum(one.stale for one in found),
            unfinished=sum(one.unfinished for one in found),
        )

    def fill_while(self, number: int, go_on: Callable[[], bool]) -> int:
        """Make spares on each placement; one that is down does not keep the others."""
        made, failure = 0, None
        for part in self._parts:
            try:
                made += part.fill_while(number, go_on)
            except (SQLAlchemyError, OrgTenancyError) as error:
                failure = failure or error
        if failure is not None:
            raise failure
        return made

    def discard(self, *, only_stale: bool = True) -> int:
        """Drop spares of all placements, and return how many."""
        return sum(part.discard(only_stale=only_stale) for part in self._parts)
