"""The feed: what is new for everybody."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from examples.community.pages.common import PageFrame, Posts, Profiles, WantedPage, wants_part
from examples.community.pages.posts import Shown
from examples.community.templating import render
from orgtenancy import PageRequest
from orgtenancy.adapters.fastapi import CurrentActor

router = APIRouter()

_FEW = PageRequest(limit=3)


@router.get("/")
async def show_feed(
    request: Request,
    frame: PageFrame,
    actor: CurrentActor,
    posts: Posts,
    profiles: Profiles,
    shown: Shown,
    page: WantedPage,
) -> Response:
    """Show the feed, or more of it."""
    views = await shown.page(await posts.find_feed(actor.id, page))
    if wants_part(request, page):
        return render(request, "parts/posts.html", posts=views, more="/?")
    return render(
        request,
        "feed.html",
        frame=frame,
        posts=views,
        more="/?",
        pinned=await shown.page(await posts.find_pinned(actor.id, _FEW)),
        people_count=await profiles.count(),
        posts_count=await posts.count(),
    )


@router.get("/tags/{tag}")
async def show_tag(
    request: Request,
    frame: PageFrame,
    actor: CurrentActor,
    posts: Posts,
    shown: Shown,
    page: WantedPage,
    tag: str,
) -> Response:
    """Show the posts with a tag, or more of them."""
    views = await shown.page(await posts.find_by_tag(tag, actor.id, page))
    template = "parts/posts.html" if wants_part(request, page) else "tag.html"
    return render(request, template, frame=frame, posts=views, more=f"/tags/{tag}?", tag=tag)
