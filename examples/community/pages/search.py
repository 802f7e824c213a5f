"""Search: posts, people and groups by what they say."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from examples.community.pages.common import (
    Groups,
    Members,
    PageFrame,
    PageQuery,
    Posts,
    Profiles,
    wants_part,
)
from examples.community.pages.groups import GroupQuery, Place
from examples.community.pages.posts import Shown
from examples.community.templating import render
from examples.community.views import PersonView
from orgtenancy import Page, PageRequest
from orgtenancy.adapters.fastapi import CurrentActor
from orgtenancy.community import AsyncUserProfileRepository, UserProfile
from orgtenancy.errors import Invalid

router = APIRouter()


class SearchQuery(PageQuery):
    """What to look for, and among what."""

    q: str = ""
    kind: Literal["all", "posts", "people", "groups"] = "all"


@router.get("/search")
async def search(
    request: Request,
    frame: PageFrame,
    actor: CurrentActor,
    posts: Posts,
    profiles: Profiles,
    groups: Groups,
    members: Members,
    shown: Shown,
    wanted: Annotated[SearchQuery, Query()],
) -> Response:
    """Show what was found, the newest first: a few of each kind, or all of one."""
    query = wanted.q.strip()
    if not query:
        return render(request, "search.html", frame=frame, wanted=wanted)
    page = wanted if wanted.kind != "all" else PageRequest(limit=4)
    more = request.url.include_query_params(q=query).remove_query_params(["cursor", "limit"])
    values: dict[str, Any] = {"wanted": wanted, "more": f"/search?{more.query}&"}
    if wanted.kind in ("all", "posts"):
        values["posts"] = await shown.page(await posts.search(query, actor.id, page))
        if wants_part(request, wanted):
            return render(request, "parts/posts.html", **values)
    if wanted.kind in ("all", "people"):
        found = await _people(profiles, query, page)
        values["people"] = found.map(lambda profile: (PersonView.of(profile), profile))
        if wants_part(request, wanted):
            return render(request, "parts/people.html", **values)
    if wanted.kind in ("all", "groups"):
        named = await groups.search(query, actor.id, page)
        memberships = await members.memberships(actor.id, [group.id for group in named.items])
        values["places"] = named.map(lambda group: Place(group, memberships.get(group.id)))
        if wants_part(request, wanted):
            values["wanted"] = GroupQuery(q=query)
            return render(request, "parts/groups.html", **values)
    return render(request, "search.html", frame=frame, **values)


async def _people(
    profiles: AsyncUserProfileRepository, query: str, page: PageRequest
) -> Page[UserProfile]:
    try:
        return await profiles.search(query, page)
    except Invalid:
        return Page(items=())  # no word in it that a name could begin with
