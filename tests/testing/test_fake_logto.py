"""The Logto for tests is one: its Management API, its tokens, its webhooks, its bad days."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import httpx
import pytest

from orgtenancy.identity import Gate, RequestInfo, logto
from orgtenancy.identity.logto_sync import ManagementApi
from orgtenancy.testing import FakeLogto

RECORDED = Path(__file__).parents[1] / "data" / "logto" / "webhooks.jsonl"


@pytest.fixture
def fake() -> Iterator[FakeLogto]:
    with FakeLogto() as fake:
        yield fake


@pytest.fixture
def http(fake: FakeLogto) -> Iterator[httpx.Client]:
    """A client with a token for the Management API."""
    settings = fake.settings()
    secret = settings.client_secret
    form = {
        "grant_type": "client_credentials",
        "client_id": settings.client_id,
        "client_secret": secret.get_secret_value() if secret else "",
        "resource": settings.management_resource,
        "scope": "all",
    }
    token = httpx.post(f"{fake.url}/oidc/token", data=form).json()["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=f"{fake.url}/api", headers=headers) as client:
        yield client


def test_organizations_are_made_changed_and_deleted_over_http(http: httpx.Client) -> None:
    made = http.post("/organizations", json={"name": "Acme", "customData": {"plan": "pro"}})
    assert made.status_code == 201
    path = f"/organizations/{made.json()['id']}"
    assert http.get(path).json() == made.json()
    assert http.patch(path, json={"name": "Acme 2"}).json()["name"] == "Acme 2"
    assert http.get(path).json()["customData"] == {"plan": "pro"}
    assert http.delete(path).status_code == 204
    gone = http.get(path)
    assert (gone.status_code, gone.json()["code"]) == (404, "entity.not_exists_with_id")
    assert http.delete(path).status_code == 404


def test_users_become_members_and_leave_over_http(http: httpx.Client, fake: FakeLogto) -> None:
    organization = fake.data.create_organization("Acme")
    user = http.post("/users", json={"username": "alice", "name": "Alice"}).json()["id"]
    path = f"/organizations/{organization}/users"
    assert http.post(path, json={"userIds": [user]}).status_code == 201
    assert [one["id"] for one in http.get(path).json()] == [user]
    assert http.get(f"{path}/{user}/roles").json() == []
    assert http.patch(f"/users/{user}/is-suspended", json={"isSuspended": True}).json() == (
        http.get(f"/users/{user}").json()
    )
    assert http.delete(f"{path}/{user}").status_code == 204
    stranger = http.get(f"{path}/{user}/roles")
    assert (stranger.status_code, stranger.json()["code"]) == (
        422,
        "organization.require_membership",
    )
    assert http.delete(f"/users/{user}").status_code == 204
    assert http.get(f"/users/{user}").status_code == 404


def test_a_list_has_pages_and_a_total(http: httpx.Client, fake: FakeLogto) -> None:
    made = [fake.data.create_organization(f"Acme {n}") for n in range(25)]
    page = http.get("/organizations", params={"page": 2, "page_size": 10})
    assert page.headers["Total-Number"] == "25"
    assert [one["id"] for one in page.json()] == made[::-1][10:20]
    assert len(http.get("/organizations").json()) == 20
    assert http.get("/organizations", params={"page_size": 101}).status_code == 400
    assert http.get("/organizations", params={"page": 0}).status_code == 400


@pytest.mark.parametrize("content", [b"[]", b"no JSON", b"{}", b'{"name": 1}'])
def test_what_is_no_organization_is_refused(http: httpx.Client, content: bytes) -> None:
    assert http.post("/organizations", content=content).status_code == 400


def test_a_token_of_another_kind_does_not_let_in(fake: FakeLogto) -> None:
    tokens = [
        "",
        "Bearer invented",
        f"Bearer {fake.token('machine', audience='https://default.logto.app/api')}",
    ]
    for token in tokens:
        answer = httpx.get(f"{fake.url}/api/organizations", headers={"Authorization": token})
        assert answer.status_code == 401, token


def test_a_token_is_forgotten(http: httpx.Client, fake: FakeLogto) -> None:
    assert http.get("/organizations").status_code == 200
    fake.forget_tokens()
    assert http.get("/organizations").status_code == 401


def test_it_fails_as_often_as_it_is_told_to(http: httpx.Client, fake: FakeLogto) -> None:
    fake.fail_next(503, 2, retry_after=7, path="/api/organizations")
    assert http.get("/users/alice").status_code == 404
    for _ in range(2):
        answer = http.get("/organizations")
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "7")
    assert http.get("/organizations").status_code == 200
    fake.fail_next(None)
    with pytest.raises(httpx.RemoteProtocolError):
        http.get("/organizations")
    assert fake.requests("/api/organizations") == 4


def test_it_changes_while_it_is_read(http: httpx.Client, fake: FakeLogto) -> None:
    first = fake.data.create_organization("Acme")
    fake.shift_while_read(
        lambda: fake.data.create_organization("Globex"),
        lambda: fake.data.delete_organization(first),
    )
    lengths = [len(http.get("/organizations").json()) for _ in range(4)]
    assert lengths == [1, 2, 1, 1]


def test_its_tokens_are_verified_as_logtos(fake: FakeLogto) -> None:
    token = fake.token("alice", organization="acme", scopes=["read:posts"])
    request = RequestInfo("GET", "/", {"authorization": [f"Bearer {token}"]})
    identity = Gate(logto(fake.url, audiences="https://api").resolver()).identify(request)
    assert (identity.organization_id, identity.actor.id) == ("acme", "alice")


def test_the_settings_lead_to_it(fake: FakeLogto) -> None:
    with ManagementApi(fake.settings(page_size=5)) as api:
        assert api.organizations().is_whole
        assert api.settings.page_size == 5


def recorded() -> list[dict[str, Any]]:
    return [json.loads(line) for line in RECORDED.read_text().splitlines()]


def shape(body: dict[str, Any]) -> dict[str, Any]:
    """Return what a body says, without what differs from one run to the next."""
    return {
        **{name: sorted(value) for name, value in body.items() if isinstance(value, dict)},
        **{name: body.get(name) for name in ("event", "method", "status", "matchedRoute")},
        "names": sorted(body),
    }


def test_its_webhooks_have_the_shape_of_recorded_ones(fake: FakeLogto) -> None:
    organization = fake.data.create_organization("Acme", custom_data={"plan": "pro"})
    user = fake.data.create_user("alice")
    fake.data.add_members(organization, [user])
    fake.data.update_organization(organization, name="Acme 2")
    fake.data.remove_member(organization, user)
    fake.data.suspend_user(user)
    fake.data.delete_organization(organization)
    made = [shape(body) for body in fake.data.events if body["event"] != "User.Created"]
    wanted = [shape(body) for body in recorded() if "applications" not in body["matchedRoute"]]
    assert made == wanted


def test_events_have_times_in_their_order(fake: FakeLogto) -> None:
    for number in range(50):
        fake.data.create_organization(f"Acme {number}")
    times = [body["createdAt"] for body in fake.data.events]
    assert times == sorted(set(times))


def test_a_path_that_it_does_not_have_is_told_apart_from_an_entity(http: httpx.Client) -> None:
    answer = http.get("/roles")
    assert (answer.status_code, "code" in answer.json()) == (404, False)


def test_an_outage_closes_connections(fake: FakeLogto) -> None:
    fake.stop_answering()
    with pytest.raises((OSError, HTTPError)):
        urllib.request.urlopen(f"{fake.url}/oidc/jwks", timeout=30)
