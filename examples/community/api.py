"""The JSON API of the same community, for programs."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field

from examples.community.identity import LIFETIME, IdentityProvider
from examples.community.people import all_people
from examples.community.views import CommentView, PersonView, PostView, View, post_views
from orgtenancy import Page, PageRequest
from orgtenancy.adapters.fastapi import (
    CurrentActor,
    CurrentOrganization,
    Repository,
    problem_responses,
)
from orgtenancy.community import (
    AsyncPostCommentRepository,
    AsyncPostLikeRepository,
    AsyncPostRepository,
    AsyncUserProfileRepository,
    CommentThread,
)
from orgtenancy.errors import AccessDenied

DESCRIPTION = """\
Every request works in the one organization that its token names, and PostgreSQL refuses
the others. Ask for a token and send it along, as below; in a browser where somebody is
signed in, addresses to read from work as they are.
"""

router = APIRouter(prefix="/api", responses=problem_responses(422))

Posts = Repository[AsyncPostRepository]
Likes = Repository[AsyncPostLikeRepository]
Comments = Repository[AsyncPostCommentRepository]
Profiles = Repository[AsyncUserProfileRepository]
WantedPage = Annotated[PageRequest, Query()]


class TokenRequest(BaseModel):
    """Whose token, and for which organization."""

    username: str = Field(examples=["mateo.fuentes"])
    organization: str = Field(examples=["northwind"])


class Token(View):
    """A token of the demo's identity provider."""

    access_token: str
    token_type: str = "Bearer"  # noqa: S105 - no secret
    expires_in: int = LIFETIME


class Me(View):
    """Who asks, and where."""

    person: PersonView
    organization_id: str
    organization_name: str


class NewPost(BaseModel):
    """A post to publish."""

    content: str
    tags: list[str] = Field(default=[], max_length=20)


class NewComment(BaseModel):
    """A comment to write; with a parent, a reply."""

    content: str
    parent_comment_id: UUID | None = None


@router.post("/token")
async def create_token(request: Request, wanted: TokenRequest) -> Token:
    """Stand in for the identity provider: a token for a member, without a password."""
    provider: IdentityProvider = request.app.state.provider
    for person in all_people().values():
        if person.username == wanted.username:
            return Token(access_token=provider.token(person, wanted.organization))
    raise AccessDenied("there is no such person")


@router.get("/me")
async def read_me(actor: CurrentActor, organization: CurrentOrganization, profiles: Profiles) -> Me:
    """Say who the token is for."""
    profile = await profiles.upsert_from_claims(actor.claims)
    return Me(
        person=PersonView.of(profile),
        organization_id=organization.id,
        organization_name=organization.name,
    )


@router.get("/feed")
async def read_feed(
    actor: CurrentActor, posts: Posts, likes: Likes, page: WantedPage
) -> Page[PostView]:
    """Return the posts of the organization, newest first."""
    return await post_views(await posts.find_feed(actor.id, page), likes, actor.id)


@router.post("/posts", status_code=201)
async def create_post(actor: CurrentActor, posts: Posts, new: NewPost) -> PostView:
    """Publish a post."""
    post = await posts.create(user_id=actor.id, content=new.content, tags=new.tags)
    return PostView.of(post, liked=False)


@router.get("/posts/{post_id}")
async def read_post(actor: CurrentActor, posts: Posts, likes: Likes, post_id: UUID) -> PostView:
    """Return a post."""
    post = await posts.get_visible(post_id, actor.id)
    liked = await likes.liked_ids(actor.id, [post_id])
    return PostView.of(post, liked=post_id in liked)


@router.put("/posts/{post_id}/like")
async def like_post(actor: CurrentActor, posts: Posts, likes: Likes, post_id: UUID) -> PostView:
    """Like a post; again is the same as once."""
    await likes.like(post_id, actor.id)
    return PostView.of(await posts.get_visible(post_id, actor.id), liked=True)


@router.delete("/posts/{post_id}/like")
async def unlike_post(actor: CurrentActor, posts: Posts, likes: Likes, post_id: UUID) -> PostView:
    """Take a like back."""
    await likes.unlike(post_id, actor.id)
    return PostView.of(await posts.get_visible(post_id, actor.id), liked=False)


@router.get("/posts/{post_id}/comments")
async def read_comments(
    actor: CurrentActor, comments: Comments, post_id: UUID, page: WantedPage
) -> Page[CommentView]:
    """Return the threads below a post, oldest first."""
    return (await comments.list_tree(post_id, actor.id, page)).map(CommentView.of)


@router.post("/posts/{post_id}/comments", status_code=201)
async def create_comment(
    actor: CurrentActor, comments: Comments, post_id: UUID, new: NewComment
) -> CommentView:
    """Comment on a post, or reply to a comment."""
    comment = await comments.create(
        post_id=post_id,
        user_id=actor.id,
        content=new.content,
        parent_comment_id=new.parent_comment_id,
    )
    return CommentView.of(CommentThread(head=comment))
