"""A walk through the running app over HTTP, as two people in two organizations."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from http.cookiejar import CookieJar
from typing import Any

from examples.community.people import Person, all_people, all_texts, members_of

_TIMEOUT = 10  # seconds


class Surprise(Exception):
    """The app answered otherwise than it should."""


class Client:
    """A browser with its cookies, or a program with a token."""

    def __init__(self, url: str, **headers: str) -> None:
        self.url = url
        self.headers = {"Origin": url, **headers}
        jar = urllib.request.HTTPCookieProcessor(CookieJar())
        # No proxy: the app is on this machine.
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), jar)

    def send(
        self,
        method: str,
        path: str,
        *,
        expect: int = 200,
        form: Mapping[str, str] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> str:
        """Return the text of an answer.

        Raises:
            Surprise: If its status is not the expected one.
        """
        data, sent = None, {**self.headers, **(headers or {})}
        if form is not None:
            data = urllib.parse.urlencode(form).encode()
        elif body is not None:
            data = json.dumps(body).encode()
            sent["Content-Type"] = "application/json"
        request = urllib.request.Request(  # noqa: S310 - always the demo's own address
            self.url + path, data, sent, method=method
        )
        try:
            with self.opener.open(request, timeout=_TIMEOUT) as response:
                status, text = response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            status, text = error.code, error.read().decode()
        if status != expect:
            raise Surprise(f"{method} {path} answered {status}, not {expect}: {text[:200]}")
        return str(text)

    def json(self, method: str, path: str, **options: Any) -> Any:
        """Return what an answer of the API holds."""
        return json.loads(self.send(method, path, **options))


def walk(url: str) -> None:
    """Walk through the app and print what is there.

    Raises:
        Surprise: If something is not as it should be.
    """
    first, second = all_texts()
    api = {texts.id: _program(url, members_of(texts.id)[-1], texts.id) for texts in (first, second)}

    for texts in (first, second):
        page = api[texts.id].json("GET", "/api/feed")
        _check(len(page["items"]) == 20 and page["next_cursor"], "a full first page")
        newest = page["items"][0]
        print(f"{texts.name}: {newest['author']['name']} wrote: {newest['content'][:60]}...")

    post = api[first.id].json("POST", "/api/posts", expect=201, body={"content": "Hello, rope!"})
    path = f"/api/posts/{post['id']}"
    liked = api[first.id].json("PUT", f"{path}/like")
    _check(liked["likes_count"] == 1 and liked["liked"], "one like")
    new_comment = {"content": "And hello to you."}
    comment = api[first.id].json("POST", f"{path}/comments", expect=201, body=new_comment)
    reply = {"content": "Likewise.", "parent_comment_id": comment["id"]}
    api[first.id].json("POST", f"{path}/comments", expect=201, body=reply)
    (thread,) = api[first.id].json("GET", f"{path}/comments")["items"]
    _check(thread["replies"][0]["content"] == "Likewise.", "the reply below its comment")
    print(f"{first.name}: published a post, liked it, commented on it and replied: {path}")

    api[first.id].send("GET", path)
    api[second.id].send("GET", path, expect=404)
    print(f"{second.name}: the same address is 404 with a token of this organization")
    api[first.id].send("GET", path, expect=403, headers={"X-Organization": second.id})
    print(f"{first.name}: its token with the other organization's header is 403")
    Client(url).send("GET", path, expect=401)
    print("Nobody: without a token it is 401")
    stranger = members_of(first.id)[-1]
    wanted = {"username": stranger.username, "organization": second.id}
    Client(url).send("POST", "/api/token", expect=403, body=wanted)
    print(f"{stranger.name}: no member of {second.name}, and gets no token for it: 403")

    _browse(url, next(person for person in all_people().values() if len(person.organizations) > 1))
    print("All as it should be.")


def _browse(url: str, person: Person) -> None:
    """Sign in as a member of both organizations, and switch from one to the other."""
    first, second = all_texts()
    browser = Client(url)
    form = {"person": person.id, "organization": first.id}
    _check(first.name in browser.send("POST", "/sign-in", form=form), f"the feed of {first.name}")
    _check("Hello, rope!" in browser.send("GET", "/"), "the new post in its feed")
    page = browser.send("POST", "/switch", form={"organization": second.id})
    _check(second.name in page and "Hello, rope!" not in page, f"the feed of {second.name}")
    elsewhere = {"Origin": "https://elsewhere.invalid"}
    browser.send("POST", "/posts", expect=403, form={"content": "Gotcha"}, headers=elsewhere)
    print(f"{person.name}: signed in, switched to {second.name}, and the post is not there")


def _program(url: str, person: Person, organization_id: str) -> Client:
    wanted = {"username": person.username, "organization": organization_id}
    token = Client(url).json("POST", "/api/token", body=wanted)["access_token"]
    return Client(url, Authorization=f"Bearer {token}")


def _check(holds: object, what: str) -> None:
    if not holds:
        raise Surprise(f"expected {what}")
