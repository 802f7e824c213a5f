"""The whole API of the community, in every framework, through PgBouncer."""

from __future__ import annotations

from uuid import uuid4

import pytest

from orgtenancy import Tenancy
from orgtenancy.identity import StaticKeys, TokenResolver
from tests.adapters.conftest import LOGTO, SIGNER
from tests.api.conftest import Send, senders
from tests.api.player import Player, transcript
from tests.api.scenario import STORY
from tests.identity.signing import key_set
from tests.pgbouncer.conftest import MakeTenancy

__all__ = ["senders"]

pytestmark = pytest.mark.slow


@pytest.fixture
def tenancy(make: MakeTenancy) -> Tenancy:
    return make(refuse_session_state=True)


@pytest.fixture
def tokens() -> TokenResolver:
    return LOGTO.resolver(StaticKeys(key_set(SIGNER)))


def test_every_framework_tells_the_same_story_as_without_it(
    senders: dict[str, Send], direct: Tenancy
) -> None:
    told = []
    for send in senders.values():
        organizations = {
            name: direct.schemas.provision(f"t{uuid4().hex[:12]}") for name in ("north", "south")
        }
        told.append(transcript(Player(send, organizations).play(STORY)))
    assert all(other == told[0] for other in told)
