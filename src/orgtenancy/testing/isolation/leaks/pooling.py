"""One connection serves two organizations, one after the other."""

from __future__ import annotations

from orgtenancy.testing.isolation.catalogue import Group, World
from orgtenancy.testing.isolation.subject import Access, AsyncAccess

pooling = Group("pool")


@pooling.leak("a pool of one, shared by two organizations")
def shared(world: World, access: Access) -> str:
    """Work for one, the other and the first one again, on the same connection."""
    evidence = ""
    for organization in (world.a, world.b, world.a):
        with access.session(organization) as session:
            evidence = world.see(session, organization)
    return evidence


@pooling.leak("a pool of one, shared by two organizations, async")
async def shared_async(world: World, access: AsyncAccess) -> str:
    """Do the same on the async engine."""
    evidence = ""
    for organization in (world.a, world.b, world.a):
        async with access.session(organization) as session:
            evidence = await world.see_async(session, organization)
    return evidence
