"""Pages from templates: the environment, and how times and people look."""

from __future__ import annotations

import zlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse

from orgtenancy.community import ActivityLog, CommunitySettings, Message

_DEEDS = {
    "post.create": "wrote a post",
    "post.update": "changed a post",
    "post.delete": "deleted a post",
    "post.pin": "pinned a post",
    "post.unpin": "took the pin off a post",
    "post.lock": "closed a post for comments",
    "post.unlock": "opened a post for comments",
    "post.like": "liked a post",
    "post.unlike": "took back a like",
    "comment.create": "commented on a post",
    "comment.update": "changed a comment",
    "comment.delete": "deleted a comment",
    "comment.remove": "removed somebody's comment",
    "profile.update": "changed a profile",
    "profile.deactivate": "deactivated somebody",
    "profile.reactivate": "reactivated somebody",
    "profile.anonymize": "anonymized somebody",
    "group.create": "founded a group",
    "group.update": "changed a group",
    "group.archive": "archived a group",
    "group.unarchive": "opened a group again",
    "group.transfer": "handed a group over",
    "group.join": "joined a group",
    "group.leave": "left a group",
    "group.request": "asked to join a group",
    "group.accept": "accepted an invitation",
    "group.approve": "let somebody into a group",
    "group.reject": "turned down a request",
    "group.invite": "invited somebody to a group",
    "group.remove": "removed somebody from a group",
    "group.ban": "banned somebody from a group",
    "group.unban": "lifted a ban",
    "group.set_role": "gave somebody a role",
    "conversation.create": "began a conversation",
    "conversation.rename": "renamed a conversation",
    "conversation.invite": "brought somebody into a conversation",
    "conversation.leave": "left a conversation",
    "message.edit": "changed a message",
    "message.delete": "deleted a message",
    "message.flag": "reported a message",
    "message.resolve_flags": "decided on a reported message",
}


def environment() -> Environment:
    """Return the templates."""
    made = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals["MAX_COMMENT_DEPTH"] = CommunitySettings().max_comment_depth
    for function in (ago, deed, editable, hue, initials, moment):
        made.filters[function.__name__] = function
    return made


def render(request: Request, template: str, *, status: int = 200, **values: Any) -> HTMLResponse:
    """Return a template as a response."""
    made: Environment = request.app.state.templates
    content = made.get_template(template).render(values, status=status)
    # A page and its parts have one address, and belong to one person in one organization.
    headers = {"Vary": "Cookie, HX-Request", "Cache-Control": "no-store"}
    return HTMLResponse(content, status, headers=headers)


def is_htmx(request: Request) -> bool:
    """Return whether a script asks for a part of a page."""
    return request.headers.get("hx-request") == "true"


def initials(name: str) -> str:
    """Return the letters of an avatar."""
    words = [word for word in name.split() if word[0].isalpha()] or ["?"]
    return (words[0][0] + (words[-1][0] if len(words) > 1 else "")).upper()


def hue(username: str) -> int:
    """Return the colour of an avatar, in degrees."""
    return zlib.crc32(username.encode()) % 360


def deed(log: ActivityLog) -> str:
    """Return what somebody did, in words."""
    return _DEEDS.get(log.action, log.action)


def editable(message: Message) -> bool:
    """Return whether the time to change a message is not over yet."""
    age = datetime.now(UTC) - message.created_at
    return message.content is not None and age < CommunitySettings().message_edit_window


def ago(time: datetime) -> str:
    """Return how long ago something was, as people say it."""
    minutes = int((datetime.now(UTC) - time).total_seconds() // 60)
    if minutes < 1:
        return "just now"
    if minutes < 60:
        return f"{minutes} min ago"
    if minutes < 24 * 60:
        return f"{minutes // 60} h ago"
    if minutes < 7 * 24 * 60:
        days = minutes // (24 * 60)
        return "yesterday" if days == 1 else f"{days} days ago"
    return (
        f"{time.day} {time:%b %Y}"
        if time.year != datetime.now(UTC).year
        else f"{time.day} {time:%b}"
    )


def moment(time: datetime) -> str:
    """Return a time in full."""
    return f"{time:%A}, {time.day} {time:%B %Y, %H:%M} UTC"
