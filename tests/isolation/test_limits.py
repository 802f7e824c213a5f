"""What the catalogue leaves out, because nothing holds it: shown, so that nobody relies on it."""

from __future__ import annotations

from collections.abc import Iterator

from orgtenancy import Tenancy
from orgtenancy.testing.isolation import Access, Group, Steps, Verdict, Work, World, prove

limits = Group("limits")


@limits.leak("a generator that switches the organization, and yields inside", pool_size=2)
def switching_generator(world: World, access: Access) -> str:
    def switched() -> Iterator[None]:
        with access.bound(world.a):
            yield

    with access.bound(world.b):
        generator = switched()
        next(generator)
        with access.current() as session:
            return world.see(session, world.b)


@limits.script("an object of one organization, merged into the other one's session")
def merged(world: World) -> Steps:
    found = yield Work(world.a, lambda session: session.get(world.subject.model, 1))
    yield Work(world.b, lambda session: session.merge(found))


def test_a_generator_that_switches_and_an_object_that_is_merged_get_through(
    tenancy: Tenancy,
) -> None:
    report = prove(tenancy, limits.leaks)
    assert len(report.of(Verdict.BROKEN)) == len(report.findings) == 3, report
