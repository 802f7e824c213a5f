"""Groups: find one, found one, and what is written in it."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, Query, Request
from starlette.responses import Response

from examples.community.pages.common import (
    MANY,
    Field,
    Groups,
    Members,
    PageFrame,
    PageQuery,
    Posts,
    Record,
    WantedPage,
    see,
    wants_part,
)
from examples.community.pages.posts import Shown
from examples.community.templating import render
from examples.community.views import MODERATORS, PostView
from orgtenancy import Page
from orgtenancy.adapters.fastapi import CurrentActor
from orgtenancy.community import Group, GroupMember

router = APIRouter()


class GroupQuery(PageQuery):
    """Which groups."""

    q: str = ""
    category: str = ""
    mine: bool = False


class Place:
    """A group, and where the one who asks stands in it."""

    def __init__(self, group: Group, membership: GroupMember | None) -> None:
        self.group = group
        self.membership = membership
        self.status = "stranger" if membership is None else membership.status
        self.role = membership.role if membership and self.status == "active" else None

    @property
    def is_member(self) -> bool:
        """Whether they are an active member."""
        return self.role is not None

    @property
    def is_moderator(self) -> bool:
        """Whether they look after its members and posts."""
        return self.role in MODERATORS

    @property
    def is_admin(self) -> bool:
        """Whether they change the group and give roles."""
        return self.role in ("owner", "admin")


async def place(slug: str, actor: CurrentActor, groups: Groups, members: Members) -> Place:
    """Return the group of the address, if the one who asks may know of it."""
    group = await groups.get_by_slug(slug, actor.id)
    return Place(group, (await members.memberships(actor.id, [group.id])).get(group.id))


CurrentPlace = Annotated[Place, Depends(place)]


@router.get("/groups")
async def show_groups(
    request: Request,
    frame: PageFrame,
    actor: CurrentActor,
    groups: Groups,
    members: Members,
    wanted: Annotated[GroupQuery, Query()],
) -> Response:
    """Show the groups that somebody knows of, or more of them."""
    if wanted.q.strip():
        found = await groups.search(wanted.q, actor.id, wanted)
    elif wanted.mine:
        found = await groups.find_joined(actor.id, wanted)
    else:
        found = await groups.find_visible(actor.id, wanted, category=wanted.category)
    memberships = await members.memberships(actor.id, [group.id for group in found.items])
    places = found.map(lambda group: Place(group, memberships.get(group.id)))
    if wants_part(request, wanted):
        return render(request, "parts/groups.html", places=places, wanted=wanted)
    known = (await groups.find_visible(actor.id, MANY)).items
    invitations = (await members.find_invitations(actor.id, MANY)).items
    return render(
        request,
        "groups.html",
        frame=frame,
        places=places,
        wanted=wanted,
        categories=sorted({group.category for group in known if group.category}),
        invited=await groups.get_many(invitation.group_id for invitation in invitations),
    )


@router.post("/groups")
async def found_group(
    actor: CurrentActor,
    groups: Groups,
    record: Record,
    name: Field,
    privacy: Annotated[Any, Form()] = "public",
    category: Field = "",
    description: Field = "",
) -> Response:
    """Found a group, as its owner."""
    group = await groups.create(
        creator_id=actor.id,
        name=name,
        privacy=privacy,
        category=category,
        description=_plain(description),
    )
    await record("group.create", group.id)
    return see(f"/groups/{group.slug}")


@router.get("/groups/{slug}")
async def show_group(
    request: Request,
    frame: PageFrame,
    actor: CurrentActor,
    place: CurrentPlace,
    posts: Posts,
    members: Members,
    shown: Shown,
    page: WantedPage,
) -> Response:
    """Show a group with its posts, or more of them; they are for its members."""
    group, more = place.group, f"/groups/{place.group.slug}?"
    views: Page[PostView] = Page(items=())
    pinned: Page[PostView] = Page(items=())
    requests = 0
    if place.is_member:
        views = await shown.page(await posts.find_by_group(group.id, actor.id, page))
        if wants_part(request, page):
            return render(request, "parts/posts.html", posts=views, more=more)
        pinned = await shown.page(await posts.find_pinned(actor.id, group_id=group.id))
    if place.is_moderator:
        requests = len((await members.find_requests(group.id, actor.id, MANY)).items)
    return render(
        request,
        "group.html",
        frame=frame,
        place=place,
        group=group,
        posts=views,
        pinned=pinned,
        requests=requests,
        more=more,
    )


@router.post("/groups/{slug}/edit")
async def edit_group(
    actor: CurrentActor,
    place: CurrentPlace,
    groups: Groups,
    record: Record,
    name: Field,
    privacy: Annotated[Any, Form()],
    category: Field = "",
    description: Field = "",
    rules: Field = "",
) -> Response:
    """Change a group; for its admins and owners."""
    group = await groups.update(
        place.group.id,
        actor.id,
        name=name,
        privacy=privacy,
        category=category,
        description=_plain(description),
        rules=_plain(rules),
    )
    await record("group.update", group.id)
    return see(f"/groups/{group.slug}")


@router.post("/groups/{slug}/archive")
async def archive_group(
    actor: CurrentActor,
    place: CurrentPlace,
    groups: Groups,
    record: Record,
    archived: Annotated[bool, Form()],
) -> Response:
    """Close a group, or open it again; for its owners."""
    await (groups.archive if archived else groups.unarchive)(place.group.id, actor.id)
    await record("group.archive" if archived else "group.unarchive", place.group.id)
    return see(f"/groups/{place.group.slug}")


def _plain(text: str) -> str:
    return text.replace("\r\n", "\n")
