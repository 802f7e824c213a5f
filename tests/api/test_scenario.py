"""The same story in every framework: to the letter, and in what only reads to the byte."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from orgtenancy import Organization
from orgtenancy.community import community
from tests.api.conftest import Send
from tests.api.player import Player, transcript
from tests.api.scenario import READING, STORY

Pair = Callable[[], dict[str, Organization]]


def test_the_story_has_every_kind_of_answer() -> None:
    assert {step.status for step in STORY} == {
        *(200, 201, 204),
        *(401, 403, 404, 405, 409, 413, 415, 422),
    }


def test_every_framework_tells_the_same_story(senders: dict[str, Send], pair: Pair) -> None:
    told = {}
    for name, send in senders.items():
        player = Player(send, pair())
        told[name] = transcript(player.play(STORY))
        assert player.answered == {endpoint.name for endpoint in community.endpoints}
    for fastapi, starlette, flask in zip(*told.values(), strict=True):
        assert starlette == fastapi
        assert flask == fastapi


@pytest.mark.slow
def test_every_framework_reads_the_same_bytes(senders: dict[str, Send], pair: Pair) -> None:
    organizations = pair()
    writer = Player(senders["fastapi"], organizations)
    writer.play(STORY)
    read = {}
    for name, send in senders.items():
        reader = Player(send, organizations, dict(writer.kept))
        read[name] = [
            (asked, answer.status, answer.headers.get("content-type"), answer.body)
            for asked, answer in reader.play(READING)
        ]
    assert read["starlette"] == read["fastapi"]
    assert read["flask"] == read["fastapi"]
    assert any(b'_cursor":"' in body for *_, body in read["flask"])
