"""Conversations in the example app: said once, read when opened, and only by who takes part."""

from __future__ import annotations

from uuid import uuid4

import pytest

from tests.example.visiting import Visit, id_of, last_message, open_talk, say, unread

A, B, C = "Felix Aumann", "Chiara Lombardi", "Anders Nygaard"


def test_a_message_waits_until_it_is_opened(visit: Visit) -> None:
    sender, receiver = visit(A), visit(B)
    before = unread(receiver)
    talk = open_talk(sender, B)
    assert say(sender, talk, "Are you there?\r\nAnswer me").headers["location"] == talk
    assert unread(receiver) == before + 1
    assert f'href="{talk}"' in receiver.get("/conversations").text
    assert "Are you there?\nAnswer me" in receiver.get(talk).text
    assert unread(receiver) == before
    assert open_talk(receiver, A) == talk


def test_what_is_submitted_twice_is_said_once(visit: Visit) -> None:
    sender = visit(A)
    talk, word, key = open_talk(sender, B), uuid4().hex, uuid4().hex
    for _ in range(2):
        assert say(sender, talk, word, key).status_code == 303
    assert sender.get(talk).text.count(f'<p class="text">{word}</p>') == 1


def test_only_who_takes_part_knows_of_a_conversation(visit: Visit) -> None:
    sender, stranger = visit(A), visit(C)
    talk = open_talk(sender, B)
    say(sender, talk, "Between us")
    message = last_message(sender, talk)["id"]
    assert stranger.get(talk).status_code == 404
    assert stranger.get(f"{talk}/news", params={"after": 0}).status_code == 404
    assert say(stranger, talk, "Hello?").status_code == 404
    assert stranger.get(f"/messages/{message}").status_code == 404
    for step in ("edit", "delete", "flag"):
        form = {"content": "x", "reason": "x"}
        assert stranger.post(f"/messages/{message}/{step}", data=form).status_code == 404


@pytest.mark.parametrize("path", ["{talk}", "/messages/{message}", "/api{talk}/messages"])
def test_the_other_organization_does_not_know_of_it(visit: Visit, path: str) -> None:
    here, there = visit("Noor Haddad"), visit("Noor Haddad", "harbor")
    waiting = unread(there)
    talk = open_talk(here, "Emma Lindholm")
    say(visit("Emma Lindholm"), talk, "At the wall")
    address = path.format(talk=talk, message=last_message(here, talk)["id"])
    assert here.get(address).status_code in (200, 303)
    assert there.get(address).status_code == 404
    assert unread(there) == waiting


def test_one_changes_and_deletes_what_one_said_oneself(visit: Visit) -> None:
    sender, receiver = visit(A), visit(B)
    talk = open_talk(sender, B)
    say(sender, talk, "Wensday")
    message = f"/messages/{last_message(sender, talk)['id']}"
    assert receiver.post(f"{message}/edit", data={"content": "x"}).status_code == 403
    sender.post(f"{message}/edit", data={"content": "Wednesday"})
    assert "Wednesday" in receiver.get(talk).text
    assert receiver.post(f"{message}/delete").status_code == 403
    assert sender.post(f"{message}/delete").status_code == 303
    page = receiver.get(talk).text
    assert "Wednesday" not in page
    assert "This message was deleted." in page


def test_several_people_talk(visit: Visit) -> None:
    beginner, invited, late = visit(A), visit(B), visit(C)
    form = {"people": [id_of(B), id_of("Oskar Lindqvist")], "name": "Rope for three"}
    talk = beginner.post("/conversations", data=form).headers["location"]
    say(beginner, talk, "Who brings the rope?")
    assert "Rope for three" in invited.get("/conversations").text
    assert late.get(talk).status_code == 404
    beginner.post(f"{talk}/people", data={"username": "anders.nygaard"})
    assert late.get(talk).status_code == 200
    late.post(f"{talk}/rename", data={"name": "Rope for four"})
    assert "Rope for four" in invited.get(talk).text
    assert late.post(f"{talk}/leave").headers["location"] == "/conversations"
    assert late.get(talk).status_code == 404


def test_older_messages_come_on_demand(visit: Visit) -> None:
    sender = visit(A)
    talk = open_talk(sender, "Ben Okonjo")
    for number in range(35):
        say(sender, talk, f"Number {number}.")
    page = sender.get(talk).text
    assert "Number 34." in page
    assert "Number 4." not in page
    older = page.partition(f'href="{talk}?before=')[2].partition('"')[0]
    assert "Number 4." in sender.get(talk, params={"before": older}).text
    part = sender.get(talk, params={"before": older}, headers={"HX-Request": "true"}).text
    assert "Number 4." in part
    assert "<html" not in part


def test_an_open_conversation_asks_for_what_is_new(visit: Visit) -> None:
    sender, receiver = visit(A), visit(B)
    talk = open_talk(sender, B)
    say(sender, talk, "First")
    before = last_message(sender, talk)["sequence"]
    say(sender, talk, "Second")
    part = receiver.get(f"{talk}/news", params={"after": before}).text
    assert "First" not in part
    assert "Second" in part
    assert f'name="after" value="{before + 1}"' in part
    waiting = receiver.get("/api/conversations/unread").json()["conversations"]
    assert talk.rpartition("/")[2] not in waiting
