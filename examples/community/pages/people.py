"""People: who is here, and what they wrote."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from examples.community.pages.common import (
    Field,
    PageFrame,
    Posts,
    Profiles,
    Record,
    WantedPage,
    person_by,
    see,
    wants_part,
)
from examples.community.pages.posts import Shown
from examples.community.templating import render
from examples.community.views import PersonView
from orgtenancy.adapters.fastapi import CurrentActor

router = APIRouter()


@router.get("/people")
async def show_people(
    request: Request, frame: PageFrame, profiles: Profiles, page: WantedPage
) -> Response:
    """Show who is in the organization, or more of them."""
    template = "parts/people.html" if wants_part(request, page) else "people.html"
    people = (await profiles.list(page)).map(lambda found: (PersonView.of(found), found))
    count = await profiles.count()
    return render(
        request, template, frame=frame, people=people, people_count=count, more="/people?"
    )


@router.get("/people/{username}")
async def show_person(
    request: Request,
    frame: PageFrame,
    actor: CurrentActor,
    profiles: Profiles,
    posts: Posts,
    shown: Shown,
    page: WantedPage,
    username: str,
) -> Response:
    """Show a person with what they wrote, or more of it."""
    profile = await person_by(profiles, username)
    views = await shown.page(await posts.find_by_author(profile.user_id, actor.id, page))
    more = f"/people/{profile.username}?"
    if wants_part(request, page):
        return render(request, "parts/posts.html", posts=views, more=more)
    return render(
        request,
        "person.html",
        frame=frame,
        profile=profile,
        person=PersonView.of(profile),
        is_me=profile.user_id == actor.id,
        posts=views,
        more=more,
    )


@router.post("/profile")
async def edit_profile(
    actor: CurrentActor,
    profiles: Profiles,
    record: Record,
    display_name: Field,
    bio: Field = "",
) -> Response:
    """Change one's own profile."""
    plain = bio.replace("\r\n", "\n")
    profile = await profiles.update(actor.id, display_name=display_name, bio=plain)
    await record("profile.update", actor.id)
    return see(f"/people/{profile.username}")
