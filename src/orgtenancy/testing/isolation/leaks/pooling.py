"""One connection serves two organizations, one after the other."""

from __future__ import annotations

from orgtenancy.testing.isolation.catalogue import Group, World
from orgtenancy.testing.isolation.scripts import Steps, Work

pooling = Group("pool")


@pooling.script("a pool of one, shared by two organizations")
def shared(world: World) -> Steps:
    """Work for one, the other and the first one again, on the same connection."""
    evidence = ""
    for organization in (world.a, world.b, world.a):
        evidence = yield world.reading(organization)
    return evidence


@pooling.script("a pool of one, shared by the contexts of two organizations")
def shared_by_contexts(world: World) -> Steps:
    """Do the same with sessions that only the context says the organization of."""
    evidence = ""
    for organization in (world.a, world.b, world.a):
        evidence = yield world.reading(None, within=organization)
    return evidence


@pooling.script("core connections of a pool of one, in the contexts of two organizations")
def shared_by_connections(world: World) -> Steps:
    """Do the same without the ORM."""
    evidence = ""
    for organization in (world.a, world.b, world.a):
        evidence = yield Work(
            None,
            lambda connection, of=organization: world.see(connection, of),  # type: ignore[misc]
            within=organization,
            core=True,
        )
    return evidence


@pooling.script("a pool of one, written to by two organizations")
def written(world: World) -> Steps:
    """Write for one and the other on the same connection."""
    evidence = ""
    for organization in (world.a, world.b, world.a):
        evidence = yield world.writing(organization)
    return evidence
