"""PostgreSQL 18 and 15 as the placements of one tenancy, under the whole API of the community."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from orgtenancy import Tenancy
from orgtenancy.community import community
from tests.api.conftest import Send, senders, tokens
from tests.api.player import Player, transcript
from tests.api.scenario import READING, STORY
from tests.placements.cells import Cells, new_id
from tests.placements.servers import two_cells, two_servers
from tests.support.notes import notes

__all__ = ["senders", "tokens", "two_cells", "two_servers"]

pytestmark = pytest.mark.slow


@pytest.fixture
def tenancy(two_cells: Cells, event_loop_runner: asyncio.Runner) -> Iterator[Tenancy]:
    """A tenancy with the community on both servers."""
    tenancy = two_cells.tenancy(modules=[community, notes])
    tenancy.install()
    yield tenancy
    event_loop_runner.run(tenancy.aclose())


@pytest.mark.parametrize("north", ["default", "old"])
def test_the_story_of_two_organizations_is_told_on_both_servers_at_once(
    tenancy: Tenancy, senders: dict[str, Send], north: str
) -> None:
    versions = [one.server_version for one in tenancy.placements.list()]
    assert versions == [18, 15]
    south = "old" if north == "default" else "default"
    told = {}
    for name, send in senders.items():
        pair = {
            "north": tenancy.schemas.provision(new_id(), placement=north),
            "south": tenancy.schemas.provision(new_id(), placement=south),
        }
        player = Player(send, pair)
        told[name] = transcript(player.play(STORY))
        assert player.answered == {endpoint.name for endpoint in community.endpoints}
    fastapi, *others = told.values()
    assert all(other == fastapi for other in others)


def test_what_is_read_after_a_move_to_the_other_version_is_the_same(
    tenancy: Tenancy, senders: dict[str, Send], two_cells: Cells
) -> None:
    pair = {
        name: tenancy.schemas.provision(new_id(), placement="default")
        for name in ("north", "south")
    }
    writer = Player(senders["fastapi"], pair)
    writer.play(STORY)

    def read() -> list[bytes]:
        answers = Player(senders["flask"], pair, dict(writer.kept)).play(READING)
        return [answer.body for _, answer in answers]

    before = read()
    for target in ("old", "default", "old"):
        for organization in pair.values():
            moved = tenancy.organizations.move(organization.id, to=target)
            assert two_cells.where(organization.id) == [moved.placement] == [target]
        assert read() == before
        assert tenancy.schemas.drift([one.id for one in pair.values()]).is_clean
    Player(senders["starlette"], pair).play(STORY[:7])
