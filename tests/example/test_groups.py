"""Groups in the example app: who gets in, who looks after them, and who knows of them."""

from __future__ import annotations

from uuid import uuid4

import httpx
import pytest

from tests.example.visiting import Visit, id_of

OWNER, OTHER, THIRD = "Lucas Brandt", "Yuki Tanabe", "Siobhan Kearney"


def found(owner: httpx.Client, privacy: str = "public") -> str:
    """Found a group and return its address."""
    form = {"name": f"Group {uuid4().hex[:8]}", "privacy": privacy, "category": "Tests"}
    response = owner.post("/groups", data=form)
    assert response.status_code == 303, response.text
    return response.headers["location"]


def test_a_public_group_is_joined_and_left(visit: Visit) -> None:
    owner, other = visit(OWNER), visit(OTHER)
    group = found(owner)
    owner.post("/posts", data={"content": "For members", "group_id": group_id(owner, group)})
    assert "For members" not in other.get(group).text
    assert other.post(f"{group}/join").headers["location"] == group
    assert "For members" in other.get(group).text
    assert other.post(f"{group}/leave").status_code == 303
    assert "For members" not in other.get(group).text


def test_a_private_group_is_entered_by_asking(visit: Visit) -> None:
    owner, other = visit(OWNER), visit(OTHER)
    group = found(owner, "private")
    assert other.post(f"{group}/join").status_code == 403
    other.post(f"{group}/ask")
    assert "You asked to join." in other.get(group).text
    assert "Asking to join" in owner.get(f"{group}/members").text
    assert other.get(f"{group}/members").status_code == 403
    owner.post(f"{group}/members/approve", data={"user_id": id_of(OTHER)})
    assert "you are a member" in other.get(group).text


def test_a_secret_group_is_known_to_who_is_invited(visit: Visit) -> None:
    owner, other, third = visit(OWNER), visit(OTHER), visit(THIRD)
    group = found(owner, "secret")
    assert other.get(group).status_code == 404
    owner.post(f"{group}/members/invite", data={"username": "yuki.tanabe"})
    assert f'action="{group}/accept"' in other.get("/groups").text
    assert other.post(f"{group}/accept").headers["location"] == group
    assert third.get(group).status_code == 404
    assert third.post(f"{group}/join").status_code == 404
    assert other.post(f"{group}/leave").headers["location"] == "/groups"


def test_moderators_of_a_group_remove_ban_and_give_roles(visit: Visit) -> None:
    owner, other, third = visit(OWNER), visit(OTHER), visit(THIRD)
    group = found(owner)
    for visitor in (other, third):
        visitor.post(f"{group}/join")
    ban = {"user_id": id_of(THIRD)}
    assert other.post(f"{group}/members/ban", data=ban).status_code == 403
    owner.post(f"{group}/role", data={"user_id": id_of(OTHER), "role": "moderator"})
    assert other.post(f"{group}/members/ban", data=ban).status_code == 303
    assert "You are banned" in third.get(group).text
    assert third.post(f"{group}/join").status_code == 403
    other.post(f"{group}/members/unban", data={"username": "siobhan.kearney"})
    assert third.post(f"{group}/join").status_code == 303
    owner.post(f"{group}/members/remove", data=ban)
    assert "Join" in third.get(group).text
    assert owner.post(f"{group}/members/nothing", data=ban).status_code == 404


def test_an_archived_group_is_read_and_nothing_more(visit: Visit) -> None:
    owner, other = visit(OWNER), visit(OTHER)
    group = found(owner)
    owner.post(f"{group}/archive", data={"archived": "true"})
    assert "archived" in other.get(group).text
    assert other.post(f"{group}/join").status_code == 409
    owner.post(f"{group}/archive", data={"archived": "false"})
    assert other.post(f"{group}/join").status_code == 303


def test_a_group_is_changed_by_those_who_look_after_it(visit: Visit) -> None:
    owner, other = visit(OWNER), visit(OTHER)
    group = found(owner)
    form = {"name": "Renamed here", "privacy": "public", "rules": "Be kind"}
    assert other.post(f"{group}/edit", data=form).status_code == 403
    assert owner.post(f"{group}/edit", data=form).status_code == 303
    assert "Renamed here" in other.get(group).text
    wrong = {**form, "privacy": "open"}
    assert owner.post(f"{group}/edit", data=wrong).status_code == 422


@pytest.mark.parametrize("path", ["", "/members", "/join", "/leave"])
def test_the_other_organization_does_not_know_of_it(visit: Visit, path: str) -> None:
    group = found(visit("Mateo Fuentes"))
    there = visit("Mateo Fuentes", "harbor")
    method = "GET" if path in ("", "/members") else "POST"
    assert there.request(method, group + path).status_code == 404


def test_groups_are_found_by_words_and_by_category(visit: Visit) -> None:
    browser = visit(OTHER)
    assert "Winter Alpinists" in browser.get("/groups", params={"category": "Mountains"}).text
    assert "Photo Circle" not in browser.get("/groups", params={"category": "Mountains"}).text
    assert "Tuesday Beginners" in browser.get("/groups", params={"q": "knots"}).text
    for query in ("knots", "rope", "yuki", "!!!", "the"):
        assert browser.get("/search", params={"q": query}).status_code == 200
    assert "Yuki Tanabe" in browser.get("/search", params={"q": "yu tan"}).text


def group_id(browser: httpx.Client, group: str) -> str:
    """Return the key of a group."""
    slug = group.rpartition("/")[2]
    groups = browser.get("/api/groups", params={"joined": True, "limit": 100}).json()["items"]
    return next(str(one["id"]) for one in groups if one["slug"] == slug)
