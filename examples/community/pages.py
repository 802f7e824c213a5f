"""The pages. No endpoint names an organization: each works in the one of its request.

Forms and links work without a script; where htmx sends them, the answer is the part of the
page that changes.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Form, Query, Request
from pydantic import BaseModel, ConfigDict
from starlette.responses import RedirectResponse, Response

from examples.community.people import Texts, all_people, all_texts
from examples.community.templating import is_htmx, render
from examples.community.views import CommentView, PersonView, PostView, post_views
from orgtenancy import Organization, PageRequest
from orgtenancy.adapters.fastapi import CurrentActor, CurrentOrganization, Repository
from orgtenancy.community import (
    AsyncPostCommentRepository,
    AsyncPostLikeRepository,
    AsyncPostRepository,
    AsyncUserProfileRepository,
    CommentThread,
)
from orgtenancy.errors import NotFound

router = APIRouter(include_in_schema=False)

Posts = Repository[AsyncPostRepository]
Likes = Repository[AsyncPostLikeRepository]
Comments = Repository[AsyncPostCommentRepository]
Profiles = Repository[AsyncUserProfileRepository]
Content = Annotated[str, Form()]


class PageQuery(PageRequest):
    """Which page of a list."""

    limit: int = Query(default=15, ge=1, le=50)


WantedPage = Annotated[PageQuery, Query()]


class Frame(BaseModel):
    """What stands around every page: who is where, and where they could go."""

    model_config = ConfigDict(frozen=True)

    organization: Organization
    me: PersonView
    organizations: tuple[Texts, ...]
    people_count: int
    posts_count: int


async def frame(
    actor: CurrentActor, organization: CurrentOrganization, profiles: Profiles, posts: Posts
) -> Frame:
    """Return the frame; a member's first page makes their profile."""
    me = await profiles.upsert_from_claims(actor.claims)
    mine = all_people()[actor.id].organizations
    return Frame(
        organization=organization,
        me=PersonView.of(me),
        organizations=tuple(texts for texts in all_texts() if texts.id in mine),
        people_count=await profiles.count(),
        posts_count=await posts.count(),
    )


PageFrame = Annotated[Frame, Depends(frame)]


@router.get("/")
async def show_feed(
    request: Request,
    frame: PageFrame,
    actor: CurrentActor,
    posts: Posts,
    likes: Likes,
    page: WantedPage,
) -> Response:
    """Show the feed, or more of it."""
    views = await post_views(await posts.find_feed(actor.id, page), likes, actor.id)
    template = "parts/posts.html" if is_htmx(request) else "feed.html"
    return render(request, template, frame=frame, posts=views, more="/")


@router.post("/posts")
async def write_post(
    request: Request, actor: CurrentActor, posts: Posts, content: Content
) -> Response:
    """Publish a post."""
    post = await posts.create(user_id=actor.id, content=_plain(content))
    if not is_htmx(request):
        return _see("/")
    return render(request, "parts/new_post.html", post=PostView.of(post, liked=False))


@router.get("/posts/{post_id}")
async def show_post(
    request: Request,
    frame: PageFrame,
    actor: CurrentActor,
    posts: Posts,
    likes: Likes,
    comments: Comments,
    page: WantedPage,
    post_id: UUID,
) -> Response:
    """Show a post with its comments, or more of them."""
    post = await posts.get_visible(post_id, actor.id)
    threads = (await comments.list_tree(post_id, actor.id, page)).map(CommentView.of)
    liked = await likes.liked_ids(actor.id, [post_id])
    view = PostView.of(post, liked=post_id in liked)
    template = "parts/threads.html" if is_htmx(request) else "post.html"
    return render(request, template, frame=frame, post=view, threads=threads)


@router.post("/posts/{post_id}/like")
async def like_post(
    request: Request,
    actor: CurrentActor,
    posts: Posts,
    likes: Likes,
    post_id: UUID,
    liked: Annotated[bool, Form()],
) -> Response:
    """Like a post, or take the like back."""
    await (likes.like if liked else likes.unlike)(post_id, actor.id)
    if not is_htmx(request):
        return _see(f"/posts/{post_id}")
    post = await posts.get_visible(post_id, actor.id)
    return render(request, "parts/like.html", post=PostView.of(post, liked=liked))


@router.post("/posts/{post_id}/comments")
async def write_comment(
    request: Request,
    actor: CurrentActor,
    posts: Posts,
    comments: Comments,
    post_id: UUID,
    content: Content,
    parent: Annotated[UUID | None, Form()] = None,
) -> Response:
    """Comment on a post, or reply to a comment."""
    comment = await comments.create(
        post_id=post_id, user_id=actor.id, content=_plain(content), parent_comment_id=parent
    )
    if not is_htmx(request):
        return _see(f"/posts/{post_id}#comment-{comment.id}")
    post = await posts.get_visible(post_id, actor.id)
    return render(
        request,
        "parts/new_comment.html",
        post=PostView.of(post, liked=False),
        comment=CommentView.of(CommentThread(head=comment)),
        parent=parent,
    )


@router.get("/people")
async def show_people(
    request: Request, frame: PageFrame, profiles: Profiles, page: WantedPage
) -> Response:
    """Show who is in the organization, or more of them."""
    template = "parts/people.html" if is_htmx(request) else "people.html"
    people = (await profiles.list(page)).map(lambda found: (PersonView.of(found), found.bio))
    return render(request, template, frame=frame, people=people)


@router.get("/people/{username}")
async def show_person(
    request: Request,
    frame: PageFrame,
    actor: CurrentActor,
    profiles: Profiles,
    posts: Posts,
    likes: Likes,
    page: WantedPage,
    username: str,
) -> Response:
    """Show a person with what they wrote, or more of it."""
    profile = await profiles.get_by_username(username)
    if profile is None:
        raise NotFound("there is nobody of that name in this organization")
    found = await posts.find_by_author(profile.user_id, actor.id, page)
    views = await post_views(found, likes, actor.id)
    more = f"/people/{profile.username}"
    if is_htmx(request):
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
    display_name: Content,
    bio: Annotated[str, Form()] = "",
) -> Response:
    """Change one's own profile."""
    profile = await profiles.update(actor.id, display_name=display_name, bio=_plain(bio))
    return _see(f"/people/{profile.username}")


def _plain(text: str) -> str:
    return text.replace("\r\n", "\n")  # browsers send lines as RFC 7578 wants them


def _see(path: str) -> Response:
    return RedirectResponse(path, HTTPStatus.SEE_OTHER)
