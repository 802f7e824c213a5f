"""What was done: by oneself, and for moderators by everybody."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from examples.community.pages.common import (
    Activity,
    PageFrame,
    PageQuery,
    Profiles,
    people_of,
    wants_part,
)
from examples.community.templating import render
from orgtenancy.adapters.fastapi import CurrentActor
from orgtenancy.community import CommunitySettings
from orgtenancy.identity import require_scopes

router = APIRouter()


class ActivityQuery(PageQuery):
    """Whose activity."""

    limit: int = Query(default=30, ge=1, le=100)
    everybody: bool = False


@router.get("/activity")
async def show_activity(
    request: Request,
    frame: PageFrame,
    actor: CurrentActor,
    activity: Activity,
    profiles: Profiles,
    wanted: Annotated[ActivityQuery, Query()],
) -> Response:
    """Show the activity log, newest first, or more of it."""
    if wanted.everybody:
        require_scopes(CommunitySettings().moderator_scope)
    found = await activity.find(wanted, user_id=None if wanted.everybody else actor.id)
    people = await people_of(profiles, {log.user_id for log in found.items if log.user_id})
    template = "parts/activity.html" if wants_part(request, wanted) else "activity.html"
    return render(request, template, frame=frame, logs=found, people=people, wanted=wanted)
