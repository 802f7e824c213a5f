"""The example app over HTTP, as a browser without scripts and as a program."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import httpx

from examples.community.people import person_named

Visit = Callable[..., httpx.Client]
Event = tuple[str, dict[str, Any]]


def sign_in(browser: httpx.Client, name: str, organization: str) -> httpx.Response:
    """Become somebody in one of their organizations."""
    form = {"person": person_named(name).id, "organization": organization}
    return browser.post("/sign-in", data=form)


def id_of(name: str) -> str:
    """Return the subject of somebody's tokens."""
    return person_named(name).id


def open_talk(browser: httpx.Client, name: str) -> str:
    """Return the address of the conversation with somebody."""
    response = browser.post(f"/people/{person_named(name).username}/conversation")
    assert response.status_code == 303, response.text
    return response.headers["location"]


def say(browser: httpx.Client, talk: str, content: str, key: str | None = None) -> httpx.Response:
    """Send the form of a conversation."""
    form = {"content": content, "client_key": key or uuid4().hex, "after": "0"}
    return browser.post(f"{talk}/messages", data=form)


def last_message(browser: httpx.Client, talk: str) -> dict[str, Any]:
    """Return what was said last in a conversation."""
    found = browser.get(f"/api{talk}/messages", params={"limit": 1}).json()
    message: dict[str, Any] = found["items"][0]
    return message


def unread(browser: httpx.Client) -> int:
    """Return the number that the navigation shows."""
    badge = re.search(r'id="unread"[^>]*>(\d+)<', browser.get("/unread").text)
    assert badge is not None
    return int(badge[1])


@contextmanager
def following(browser: httpx.Client) -> Iterator[Iterator[Event]]:
    """Follow the stream of news from the moment on from which nothing is missed."""
    with browser.stream("GET", "/live", timeout=30) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")

        def read() -> Iterator[Event]:
            kind = ""
            for line in response.iter_lines():
                name, _, value = line.partition(": ")
                if name == "event":
                    kind = value
                elif name == "data":
                    yield kind, json.loads(value)

        events = read()
        assert next(events) == ("ready", {})
        yield events
