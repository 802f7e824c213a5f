"""An id of another organization is answered like one that nobody ever had, to the byte."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest

from orgtenancy import Organization, Tenancy
from orgtenancy.community import community
from orgtenancy.endpoints import Endpoint
from tests.adapters.asgi import Answer
from tests.api.conftest import Send, token_of
from tests.api.player import MODERATOR as MODERATOR_SCOPE
from tests.api.seeding import MEMBER, MODERATOR, Side, seed

BODIES: dict[str, Any] = {
    "add_participants": {"user_ids": [MODERATOR]},
    "create_comment": {"content": "x"},
    "flag_message": {},
    "invite_member": {"user_id": MODERATOR},
    "mark_read": {"sequence": 1},
    "mute_conversation": {},
    "resolve_flags": {"remove": True},
    "send_message": {"content": "x"},
    "transfer_group": {"user_id": "somebody"},
    "update_comment": {"content": "x"},
    "update_conversation": {"name": "x"},
    "update_group": {"name": "x"},
    "update_member": {"role": "member"},
    "update_message": {"content": "x"},
    "update_post": {"expected_version": 1, "content": "x"},
}

WITH_IDS = [
    endpoint
    for endpoint in community.endpoints
    if any(endpoint.types[name] is UUID for name in endpoint.parameters)
]


@pytest.fixture
def sides(tenancy: Tenancy, pair: Callable[[], dict[str, Organization]]) -> tuple[Side, Side]:
    """Two organizations full of rows."""
    made = [Side(each, name, named=f"{name}named") for name, each in pair().items()]
    for side in made:
        with tenancy.session(side.organization) as session:
            seed(session, side)
    return made[0], made[1]


def test_most_endpoints_have_ids() -> None:
    assert len(WITH_IDS) > 45
    assert set(BODIES) == {endpoint.name for endpoint in WITH_IDS if endpoint.reads_body}


@pytest.mark.parametrize("user", [pytest.param(MEMBER, marks=pytest.mark.slow), MODERATOR])
def test_foreign_ids_are_unknown(
    user: str, sides: tuple[Side, Side], senders: dict[str, Send]
) -> None:
    for here, there in (sides, sides[::-1]):
        scope = MODERATOR_SCOPE if user == MODERATOR else ""
        headers = {"authorization": f"Bearer {token_of(here.organization.id, user, scope)}"}

        def ask(
            method: str, path: str, body: Any = None, headers: dict[str, str] = headers
        ) -> Answer:
            raw = b"" if body is None else json.dumps(body).encode()
            sent = {**headers, "content-type": "application/json", "content-length": str(len(raw))}
            return senders["fastapi"](method, f"/api{path}", sent, body=[raw])

        for endpoint in WITH_IDS:
            body = BODIES.get(endpoint.name)
            absent = ask(endpoint.method, path_of(endpoint), body)
            if not (MODERATOR_SCOPE in endpoint.scopes and not scope):
                assert absent.status == 404, endpoint.name
            for number in range(3):
                path = path_of(endpoint, there, number)
                foreign = ask(endpoint.method, path, body)
                assert (foreign.status, foreign.body) == (absent.status, absent.body), path
        for parent in there.ids["comment"]:
            reply = {"content": "x", "parent_comment_id": parent}
            for post in here.ids["post"][:2]:
                assert ask("POST", f"/posts/{post}/comments", reply).status == 404
        for group in there.ids["group"]:
            assert ask("POST", "/posts", {"content": "x", "group_id": group}).status == 404
            assert ask("GET", f"/posts/pinned?group_id={group}").status == 404
        for name in (f"{there.marker}friend", there.named):
            assert ask("GET", f"/profiles/{name}").status == 404
            assert ask("PUT", f"/conversations/direct/{name}").status == 404
            assert ask("POST", "/conversations", {"participants": [name]}).status == 404


def path_of(endpoint: Endpoint, side: Side | None = None, number: int = 0) -> str:
    """Return a path with the ids of a side; without one, with ids that nobody has."""

    def value(name: str) -> str:
        if name == "user_id":
            return "somebody"
        if side is None:
            return str(uuid4())
        known = side.ids[name.removesuffix("_id")]
        return known[number % len(known)]

    return endpoint.path.format_map({name: value(name) for name in endpoint.parameters})
