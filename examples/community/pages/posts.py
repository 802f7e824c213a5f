"""A post: read, change, like, pin and lock it."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Form, Request
from starlette.responses import Response

from examples.community.pages.common import (
    Comments,
    Content,
    Groups,
    IsModerator,
    Likes,
    Members,
    PageFrame,
    Posts,
    Record,
    WantedPage,
    see,
    wants_part,
)
from examples.community.templating import is_htmx, render
from examples.community.views import PersonView, PostView, Viewer, tree
from orgtenancy import Page, PageRequest
from orgtenancy.adapters.fastapi import CurrentActor
from orgtenancy.community import (
    AsyncGroupMemberRepository,
    AsyncGroupRepository,
    AsyncPostLikeRepository,
    Post,
)

router = APIRouter()

_FEW = PageRequest(limit=3)


async def viewer(actor: CurrentActor, is_moderator: IsModerator) -> Viewer:
    """Return who looks."""
    return Viewer(id=actor.id, is_moderator=is_moderator)


CurrentViewer = Annotated[Viewer, Depends(viewer)]


class Showing:
    """Shows posts as one person sees them: what they like, and what they may change."""

    def __init__(
        self,
        viewer: Viewer,
        likes: AsyncPostLikeRepository,
        groups: AsyncGroupRepository,
        members: AsyncGroupMemberRepository,
    ) -> None:
        self.viewer = viewer
        self._likes = likes
        self._groups = groups
        self._members = members

    async def page(self, page: Page[Post]) -> Page[PostView]:
        """Return the views of a page of posts, with three queries for all of them."""
        group_ids = {post.group_id for post in page.items if post.group_id is not None}
        groups = {group.id: group for group in await self._groups.get_many(group_ids)}
        memberships = await self._members.memberships(self.viewer.id, group_ids)
        liked = await self._likes.liked_ids(self.viewer.id, [post.id for post in page.items])
        return page.map(
            lambda post: PostView.of(
                post,
                self.viewer,
                liked=post.id in liked,
                group=groups.get(post.group_id) if post.group_id else None,
                membership=memberships.get(post.group_id) if post.group_id else None,
            )
        )

    async def one(self, post: Post) -> PostView:
        """Return the view of a post."""
        (view,) = (await self.page(Page(items=(post,)))).items
        return view


async def showing(viewer: CurrentViewer, likes: Likes, groups: Groups, members: Members) -> Showing:
    """Return what shows posts to who asks."""
    return Showing(viewer, likes, groups, members)


Shown = Annotated[Showing, Depends(showing)]
Flag = Annotated[bool, Form()]


@router.post("/posts")
async def write_post(
    request: Request,
    actor: CurrentActor,
    posts: Posts,
    shown: Shown,
    record: Record,
    content: Content,
    group_id: Annotated[UUID | None, Form()] = None,
) -> Response:
    """Publish a post, to everyone or in a group."""
    post = await posts.create(user_id=actor.id, content=content, group_id=group_id)
    await record("post.create", post.id)
    view = await shown.one(post)
    if not is_htmx(request):
        return see("/" if view.group is None else f"/groups/{view.group.slug}")
    return render(request, "parts/new_post.html", post=view, group=view.group)


@router.get("/posts/{post_id}")
async def show_post(
    request: Request,
    frame: PageFrame,
    actor: CurrentActor,
    posts: Posts,
    likes: Likes,
    comments: Comments,
    shown: Shown,
    page: WantedPage,
    post_id: UUID,
) -> Response:
    """Show a post with its comments, or more of them."""
    post = await shown.one(await posts.get_visible(post_id, actor.id))
    threads = tree(await comments.list_tree(post_id, actor.id, page), shown.viewer)
    if wants_part(request, page):
        return render(request, "parts/threads.html", post=post, threads=threads)
    likers = (await likes.list_likers(post_id, actor.id, _FEW)).items
    return render(
        request,
        "post.html",
        frame=frame,
        post=post,
        threads=threads,
        likers=[PersonView.of(like.user, like.user_id) for like in likers],
    )


@router.get("/posts/{post_id}/likes")
async def show_likes(
    request: Request,
    frame: PageFrame,
    actor: CurrentActor,
    posts: Posts,
    likes: Likes,
    page: WantedPage,
    post_id: UUID,
) -> Response:
    """Show who likes a post, or more of them."""
    found = await likes.list_likers(post_id, actor.id, page)
    likers = found.map(lambda like: (PersonView.of(like.user, like.user_id), like.created_at))
    if wants_part(request, page):
        return render(request, "parts/likers.html", post_id=post_id, likers=likers)
    post = await posts.get_visible(post_id, actor.id)
    return render(request, "likes.html", frame=frame, post=post, post_id=post_id, likers=likers)


@router.post("/posts/{post_id}/like")
async def like_post(
    request: Request,
    actor: CurrentActor,
    posts: Posts,
    likes: Likes,
    shown: Shown,
    record: Record,
    post_id: UUID,
    liked: Flag,
) -> Response:
    """Like a post, or take the like back."""
    if await (likes.like if liked else likes.unlike)(post_id, actor.id):
        await record("post.like" if liked else "post.unlike", post_id)
    if not is_htmx(request):
        return see(f"/posts/{post_id}")
    post = await posts.get_visible(post_id, actor.id)
    return render(request, "parts/like.html", post=await shown.one(post))


@router.post("/posts/{post_id}/edit")
async def edit_post(
    request: Request,
    actor: CurrentActor,
    posts: Posts,
    shown: Shown,
    record: Record,
    post_id: UUID,
    content: Content,
    version: Annotated[int, Form()],
) -> Response:
    """Change one's own post, unless it was changed since it was read."""
    post = await posts.update(post_id, actor.id, expected_version=version, content=content)
    await record("post.update", post_id)
    return await _changed(request, post, shown)


@router.post("/posts/{post_id}/pin")
async def pin_post(
    request: Request,
    actor: CurrentActor,
    posts: Posts,
    shown: Shown,
    record: Record,
    post_id: UUID,
    pinned: Flag,
) -> Response:
    """Pin a post, or take the pin off."""
    moderating = shown.viewer.is_moderator
    post = await posts.pin(post_id, actor.id, pinned=pinned, moderating=moderating)
    await record("post.pin" if pinned else "post.unpin", post_id)
    return await _changed(request, post, shown)


@router.post("/posts/{post_id}/lock")
async def lock_post(
    request: Request,
    actor: CurrentActor,
    posts: Posts,
    shown: Shown,
    record: Record,
    post_id: UUID,
    locked: Flag,
) -> Response:
    """Close a post for comments, or open it again."""
    moderating = shown.viewer.is_moderator
    post = await posts.lock(post_id, actor.id, locked=locked, moderating=moderating)
    await record("post.lock" if locked else "post.unlock", post_id)
    return await _changed(request, post, shown)


@router.post("/posts/{post_id}/delete")
async def delete_post(
    request: Request,
    actor: CurrentActor,
    posts: Posts,
    record: Record,
    post_id: UUID,
    is_moderator: IsModerator,
) -> Response:
    """Delete a post."""
    await posts.soft_delete(post_id, actor.id, moderating=is_moderator)
    await record("post.delete", post_id)
    return render(request, "parts/gone.html") if is_htmx(request) else see("/")


async def _changed(request: Request, post: Post, shown: Showing) -> Response:
    if not is_htmx(request):
        return see(f"/posts/{post.id}")
    return render(request, "parts/post.html", post=await shown.one(post))
