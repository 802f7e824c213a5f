"""A walk through the running app over HTTP, as several people in two organizations."""

from __future__ import annotations

import urllib.parse
from uuid import uuid4

from examples.community.client import Client, Surprise
from examples.community.people import Person, all_people, all_texts, members_of


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
        print(
            f"{texts.name}: {newest['author']['display_name']} wrote: {newest['content'][:60]}..."
        )

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

    _meet(api[first.id], api[second.id])
    _moderate(url, _talk(url))
    _browse(url, next(person for person in all_people().values() if len(person.organizations) > 1))
    print("All as it should be.")


def _meet(here: Client, elsewhere: Client) -> None:
    """Found a group, write in it, and find both again."""
    name = "Crack Climbers"
    founded = {"name": name, "privacy": "private", "category": "Training"}
    group = here.json("POST", "/api/groups", expect=201, body=founded)
    _check(group["role"] == "owner" and group["member_count"] == 1, "its founder as the owner")
    word = f"jam{uuid4().hex}"
    post = {"content": f"Tape gloves and {word}", "group_id": group["id"]}
    here.json("POST", "/api/posts", expect=201, body=post)
    path = f"/api/groups/{group['id']}"
    _check(len(here.json("GET", f"{path}/posts")["items"]) == 1, "the post in the group")
    found = here.json("GET", f"/api/search?q={word}")
    _check(len(found["posts"]["items"]) == 1, "the post by a word in it")
    _check(not elsewhere.json("GET", f"/api/search?q={word}")["posts"]["items"], "nothing there")
    elsewhere.send("GET", path, expect=404)
    print(f"{name}: founded, written in and found; the other organization gets 404")


def _talk(url: str) -> str:
    """Send a message and see it arrive: counted, live, once, and nowhere else; return its id."""
    first, second = all_texts()
    listener = next(person for person in all_people().values() if len(person.organizations) > 1)
    sender, other = members_of(first.id)[-2:]
    there, here = _program(url, listener, second.id), _program(url, listener, first.id)
    speaker, nobody = _program(url, sender, first.id), _program(url, other, first.id)
    path = f"/api/conversations/direct/{urllib.parse.quote(listener.id)}"
    conversation = speaker.json("PUT", path)["id"]
    before = here.json("GET", "/api/conversations/unread")["total"]
    elsewhere = there.json("GET", "/api/conversations/unread")
    message = {"content": "Is the hut free on Sunday?", "client_key": uuid4().hex}
    path = f"/api/conversations/{conversation}"
    with here.events() as events, there.events() as events_there:
        said = speaker.json("POST", f"{path}/messages", expect=201, body=message)
        again = speaker.json("POST", f"{path}/messages", expect=201, body=message)
        _check(again["id"] == said["id"], "one message, though it was sent twice")
        heard = next(events)
        _check(heard == ("message", {"id": said["id"], "conversation": conversation}), "its event")
        there.json("POST", "/api/posts", expect=201, body={"content": "Only for bakers"})
        own = {"content": "A note", "client_key": uuid4().hex}
        neighbour = members_of(second.id)[-1]
        path_there = f"/api/conversations/direct/{urllib.parse.quote(neighbour.id)}"
        talk_there = there.json("PUT", path_there)["id"]
        there.json("POST", f"/api/conversations/{talk_there}/messages", expect=201, body=own)
        kind, data = next(events_there)
        _check(kind == "message" and data["conversation"] == talk_there, "its own event only")
    unread = here.json("GET", "/api/conversations/unread")
    _check(unread["total"] == before + 1 and unread["conversations"][conversation], "one unread")
    now = there.json("GET", "/api/conversations/unread")
    _check(now == elsewhere, "the same number elsewhere")
    for client in (nobody, there):
        client.send("GET", path, expect=404)
        client.send("GET", f"/api/messages/{said['id']}", expect=404)
    print(f"{sender.name} to {listener.name}: one message, one event, one unread; others get 404")
    report = {"reason": "only to see what happens"}
    here.send("POST", f"/api/messages/{said['id']}/flags", body=report)
    return str(said["id"])


def _moderate(url: str, message: str) -> None:
    """Decide on a reported message, which needs the scope for it."""
    (texts, _) = all_texts()
    moderator = next(person for person in members_of(texts.id) if texts.id in person.moderates)
    member = members_of(texts.id)[-1]
    _program(url, member, texts.id).send("GET", "/api/moderation/flags", expect=403)
    _browser(url, member, texts.id).send("GET", "/moderation", expect=403)
    here = _program(url, moderator, texts.id)
    flagged = here.json("GET", "/api/moderation/flags?limit=100")["items"]
    _check(message in [item["message"]["id"] for item in flagged], "the reported message")
    path = f"/api/messages/{message}/flags/resolve"
    _check(here.json("POST", path, body={"remove": True})["deleted"], "a tombstone")
    print(f"{moderator.name}: removed a reported message; {member.name} may not: 403")


def _browse(url: str, person: Person) -> None:
    """Sign in as a member of both organizations, and switch from one to the other."""
    first, second = all_texts()
    browser = _browser(url, person, first.id)
    _check("Hello, rope!" in browser.send("GET", "/"), "the new post in its feed")
    for path in ("/groups", "/conversations", "/people", "/search?q=rope", "/activity", "/docs"):
        browser.send("GET", path)
    page = browser.send("POST", "/switch", form={"organization": second.id})
    _check(second.name in page and "Hello, rope!" not in page, f"the feed of {second.name}")
    elsewhere = {"Origin": "https://elsewhere.invalid"}
    browser.send("POST", "/posts", expect=403, form={"content": "Gotcha"}, headers=elsewhere)
    print(f"{person.name}: signed in, switched to {second.name}, and the post is not there")


def _browser(url: str, person: Person, organization_id: str) -> Client:
    browser = Client(url)
    form = {"person": person.id, "organization": organization_id}
    _check(person.name in browser.send("POST", "/sign-in", form=form), f"a page for {person.name}")
    return browser


def _program(url: str, person: Person, organization_id: str) -> Client:
    wanted = {"username": person.username, "organization": organization_id}
    token = Client(url).json("POST", "/api/token", body=wanted)["access_token"]
    return Client(url, Authorization=f"Bearer {token}")


def _check(holds: object, what: str) -> None:
    if not holds:
        raise Surprise(f"expected {what}")
