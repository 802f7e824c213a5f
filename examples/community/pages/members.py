"""Who belongs to a group: come in, go, and look after those who are there."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Form, Request
from starlette.responses import Response

from examples.community.pages.common import (
    MANY,
    Field,
    Members,
    PageFrame,
    Profiles,
    Record,
    WantedPage,
    people_of,
    person_by,
    see,
    wants_part,
)
from examples.community.pages.groups import CurrentPlace, Place
from examples.community.templating import render
from orgtenancy.adapters.fastapi import CurrentActor
from orgtenancy.errors import NotFound

router = APIRouter()


@router.get("/groups/{slug}/members")
async def show_members(
    request: Request,
    frame: PageFrame,
    actor: CurrentActor,
    place: CurrentPlace,
    members: Members,
    profiles: Profiles,
    page: WantedPage,
) -> Response:
    """Show the members, and moderators who asked and who is invited."""
    found = await members.find_members(place.group.id, actor.id, page)
    asking: Any = ()
    invited: Any = ()
    banned: Any = ()
    if place.is_moderator and page.cursor is None:
        asking = (await members.find_requests(place.group.id, actor.id, MANY)).items
        invited = (await members.find_invited(place.group.id, actor.id, MANY)).items
        banned = (await members.find_banned(place.group.id, actor.id, MANY)).items
    everybody = [member.user_id for member in (*found.items, *asking, *invited, *banned)]
    people = await people_of(profiles, everybody)
    if wants_part(request, page):
        return render(
            request, "parts/members.html", place=place, members=found, people=people, me=actor.id
        )
    return render(
        request,
        "group_members.html",
        frame=frame,
        place=place,
        group=place.group,
        members=found,
        asking=asking,
        invited=invited,
        banned=banned,
        people=people,
        me=actor.id,
        known=(await profiles.list(MANY)).items if place.is_moderator else (),
    )


@router.post("/groups/{slug}/members/{step}")
async def change_membership(
    actor: CurrentActor,
    place: CurrentPlace,
    members: Members,
    profiles: Profiles,
    record: Record,
    step: str,
    user_id: Field = "",
    username: Field = "",
) -> Response:
    """Let somebody in or not, invite, remove or ban them; for moderators of the group."""
    steps = {
        "approve": members.approve,
        "reject": members.reject,
        "invite": members.invite,
        "remove": members.remove,
        "ban": members.ban,
        "unban": members.unban,
    }
    if step not in steps:
        raise NotFound("there is no such page")
    if username:
        user_id = (await person_by(profiles, username)).user_id
    await steps[step](place.group.id, actor.id, user_id)
    await record(f"group.{step}", place.group.id, user_id=user_id)
    return see(_path(place, "/members"))


@router.post("/groups/{slug}/role")
async def give_role(
    actor: CurrentActor,
    place: CurrentPlace,
    members: Members,
    record: Record,
    user_id: Field,
    role: Annotated[Any, Form()],
) -> Response:
    """Give a member another role; for admins and owners."""
    await members.set_role(place.group.id, actor.id, user_id, role)
    await record("group.set_role", place.group.id, user_id=user_id, role=role)
    return see(_path(place, "/members"))


@router.post("/groups/{slug}/{step}")
async def change_own_membership(
    actor: CurrentActor, place: CurrentPlace, members: Members, record: Record, step: str
) -> Response:
    """Join a group, ask to, accept an invitation, or leave: a group, a request, an invitation."""
    steps = {
        "join": ("group.join", members.join),
        "ask": ("group.request", members.request),
        "accept": ("group.accept", members.accept),
        "leave": ("group.leave", members.leave),
    }
    if step not in steps:
        raise NotFound("there is no such page")
    action, change = steps[step]
    await change(place.group.id, actor.id)
    await record(action, place.group.id)
    is_gone = step == "leave" and place.group.privacy == "secret"
    return see("/groups" if is_gone else _path(place))


def _path(place: Place, below: str = "") -> str:
    return f"/groups/{place.group.slug}{below}"
