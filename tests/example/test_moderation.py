"""Moderation in the example app: by the scope of the token, in this organization alone."""

from __future__ import annotations

import httpx
import pytest

from tests.example.visiting import Visit, last_message, open_talk, say

MODERATOR, SENDER, READER = "Ingrid Solheim", "Gabriel Roux", "Zanele Dube"


def report(visit: Visit, content: str) -> tuple[httpx.Client, str, str]:
    """Let somebody report a message; return their browser, the conversation and the message."""
    sender, reader = visit(SENDER), visit(READER)
    talk = open_talk(sender, READER)
    say(sender, talk, content)
    message = str(last_message(sender, talk)["id"])
    assert sender.post(f"/messages/{message}/flag", data={"reason": "x"}).status_code == 403
    assert reader.post(f"/messages/{message}/flag", data={"reason": "Rude"}).status_code == 303
    assert "you reported it" in reader.get(talk).text
    return reader, talk, message


@pytest.mark.parametrize("remove", [True, False])
def test_a_moderator_decides_on_what_was_reported(visit: Visit, remove: bool) -> None:
    content = f"Something rude, removed: {remove}"
    reader, talk, message = report(visit, content)
    moderator = visit(MODERATOR)
    page = moderator.get("/moderation").text
    assert content in page
    assert "Rude" in page
    assert moderator.get(talk).status_code == 404
    form = {"remove": str(remove).lower()}
    assert moderator.post(f"/moderation/messages/{message}", data=form).status_code == 303
    assert content not in moderator.get("/moderation").text
    assert (content in reader.get(talk).text) is not remove


@pytest.mark.parametrize(
    ("name", "organization"),
    [(SENDER, "northwind"), ("Mateo Fuentes", "northwind"), ("Amara Okafor", "harbor")],
)
def test_nobody_moderates_without_the_scope_of_this_organization(
    visit: Visit, name: str, organization: str
) -> None:
    browser = visit(name, organization)
    assert 'href="/moderation"' not in browser.get("/").text
    assert browser.get("/moderation").status_code == 403
    assert browser.get("/activity", params={"everybody": True}).status_code == 403
    assert browser.get("/api/moderation/flags").status_code == 403
    form = {"username": "kwame.asante", "active": "false"}
    assert browser.post("/moderation/people", data=form).status_code == 403


def test_a_deactivated_person_is_in_no_list_until_reactivated(visit: Visit) -> None:
    moderator, writer = visit(MODERATOR), visit("Astrid Halvorsen")
    writer.post("/posts", data={"content": "Newsletter is out today"})
    assert "Newsletter is out today" in moderator.get("/").text
    form = {"username": "astrid.halvorsen", "active": "false"}
    moderator.post("/moderation/people", data=form)
    assert "Newsletter is out today" not in moderator.get("/").text
    assert "Your profile is deactivated" in writer.get("/").text
    moderator.post("/moderation/people", data={**form, "active": "true"})
    assert "Newsletter is out today" in moderator.get("/").text


def test_the_activity_log_says_what_was_done_and_not_what_was_said(visit: Visit) -> None:
    writer, moderator = visit(SENDER), visit(MODERATOR)
    writer.post("/posts", data={"content": "Words of mine"})
    for page in (
        writer.get("/activity").text,
        moderator.get("/activity", params={"everybody": True}).text,
    ):
        assert "post.create" in page
        assert "Words of mine" not in page
    assert "Gabriel Roux" in moderator.get("/activity", params={"everybody": True}).text


def test_a_post_is_changed_by_its_author_and_moderated_by_moderators(visit: Visit) -> None:
    writer, moderator, other = visit(SENDER), visit(MODERATOR), visit(READER)
    post = writer.post("/api/posts", json={"content": "Frist version"}).json()["id"]
    path = f"/posts/{post}"
    form = {"content": "First version", "version": "1"}
    assert other.post(f"{path}/edit", data=form).status_code == 403
    assert writer.post(f"{path}/edit", data=form).status_code == 303
    assert writer.post(f"{path}/edit", data=form).status_code == 409
    for step, flag in (("pin", "pinned"), ("lock", "locked")):
        assert other.post(f"{path}/{step}", data={flag: "true"}).status_code == 403
        assert moderator.post(f"{path}/{step}", data={flag: "true"}).status_code == 303
    assert "closed for comments" in other.get(path).text
    assert 'aria-label="Pinned"' in other.get("/").text
    assert other.post(f"{path}/comments", data={"content": "Late"}).status_code == 403
    assert other.post(f"{path}/delete").status_code == 403
    assert moderator.post(f"{path}/delete").headers["location"] == "/"
    assert other.get(path).status_code == 404


def test_comments_leave_tombstones(visit: Visit) -> None:
    writer, moderator, other = visit(SENDER), visit(MODERATOR), visit(READER)
    post = writer.post("/api/posts", json={"content": "Comment on this"}).json()["id"]
    path = f"/posts/{post}"

    def comment(browser: httpx.Client, content: str) -> str:
        location = browser.post(f"{path}/comments", data={"content": content}).headers["location"]
        return "/comments/" + str(location).rpartition("#comment-")[2]

    mine, rude = comment(other, "Mine, soon gone"), comment(other, "Rude, soon removed")
    assert writer.post(f"{mine}/edit", data={"content": "x"}).status_code == 403
    assert other.post(f"{mine}/edit", data={"content": "Changed, soon gone"}).status_code == 303
    assert "Changed, soon gone" in writer.get(path).text
    assert writer.post(f"{rude}/delete").status_code == 403
    other.post(f"{mine}/delete")
    moderator.post(f"{rude}/delete")
    page = writer.get(path).text
    assert "soon" not in page
    assert "This comment was deleted." in page
    assert "A moderator removed this comment." in page


def test_who_likes_a_post_is_said(visit: Visit) -> None:
    writer, other = visit(SENDER), visit(READER)
    post = writer.post("/api/posts", json={"content": "Like this"}).json()["id"]
    other.post(f"/posts/{post}/like", data={"liked": "true"})
    assert "Liked by Zanele Dube" in writer.get(f"/posts/{post}").text
    assert "Zanele Dube" in writer.get(f"/posts/{post}/likes").text
