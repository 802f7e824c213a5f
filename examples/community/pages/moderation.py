"""What moderators of the organization do; others are refused before anything is read."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Form, Request
from starlette.responses import Response

from examples.community.pages.common import (
    MANY,
    Messages,
    PageFrame,
    Profiles,
    Record,
    people_of,
    person_by,
    see,
)
from examples.community.templating import render
from orgtenancy.adapters.fastapi import requires_scopes
from orgtenancy.community import CommunitySettings

router = APIRouter(
    prefix="/moderation", dependencies=[requires_scopes(CommunitySettings().moderator_scope)]
)


@router.get("")
async def show_moderation(
    request: Request, frame: PageFrame, messages: Messages, profiles: Profiles
) -> Response:
    """Show the messages that people reported, and who is deactivated."""
    flagged = (await messages.find_flagged(MANY)).items
    reporters = {flag["user_id"] for message in flagged for flag in message.flags}
    everybody = (await profiles.list(MANY)).items
    return render(
        request,
        "moderation.html",
        frame=frame,
        flagged=flagged,
        people=await people_of(profiles, reporters | {message.sender_id for message in flagged}),
        deactivated=[profile for profile in everybody if profile.status == "deactivated"],
        known=everybody,
    )


@router.post("/messages/{message_id}")
async def decide(
    messages: Messages, record: Record, message_id: UUID, remove: Annotated[bool, Form()]
) -> Response:
    """Remove a reported message, or let it stand."""
    await messages.resolve_flags(message_id, remove=remove)
    await record("message.resolve_flags", message_id, remove=remove)
    return see("/moderation")


@router.post("/people")
async def set_active(
    profiles: Profiles,
    record: Record,
    username: Annotated[str, Form()],
    active: Annotated[bool, Form()],
) -> Response:
    """Hide a person and what they wrote, or take that back."""
    person = await person_by(profiles, username)
    await (profiles.reactivate if active else profiles.deactivate)(person.user_id)
    await record("profile.reactivate" if active else "profile.deactivate", person.user_id)
    return see("/moderation")
