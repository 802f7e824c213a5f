"""One connection serves two organizations, one after the other."""

from __future__ import annotations

from orgtenancy.testing.isolation.catalogue import Group, World
from orgtenancy.testing.isolation.scripts import Steps

pooling = Group("pool")


@pooling.script("a pool of one, shared by two organizations")
def shared(world: World) -> Steps:
    """Work for one, the other and the first one again, on the same connection."""
    evidence = ""
    for organization in (world.a, world.b, world.a):
        evidence = yield world.reading(organization)
    return evidence
