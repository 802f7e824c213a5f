"""Comments: write, change and delete them; moderators remove them."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Form, Request
from starlette.responses import Response

from examples.community.pages.common import Comments, Content, Posts, Record, see
from examples.community.pages.posts import Showing, Shown
from examples.community.templating import is_htmx, render
from examples.community.views import CommentView
from orgtenancy.adapters.fastapi import CurrentActor
from orgtenancy.community import AsyncPostRepository, CommentThread, PostComment
from orgtenancy.errors import NotFound

router = APIRouter()


@router.post("/posts/{post_id}/comments")
async def write_comment(
    request: Request,
    actor: CurrentActor,
    posts: Posts,
    comments: Comments,
    shown: Shown,
    record: Record,
    post_id: UUID,
    content: Content,
    parent: Annotated[UUID | None, Form()] = None,
) -> Response:
    """Comment on a post, or reply to a comment."""
    comment = await comments.create(
        post_id=post_id, user_id=actor.id, content=content, parent_comment_id=parent
    )
    await record("comment.create", comment.id, post_id=str(post_id))
    if not is_htmx(request):
        return see(f"/posts/{post_id}#comment-{comment.id}")
    return render(
        request,
        "parts/new_comment.html",
        post=await shown.one(await posts.get_visible(post_id, actor.id)),
        comment=CommentView.of(CommentThread(head=comment), shown.viewer),
        parent=parent,
    )


@router.post("/comments/{comment_id}/edit")
async def edit_comment(
    request: Request,
    actor: CurrentActor,
    posts: Posts,
    comments: Comments,
    shown: Shown,
    record: Record,
    comment_id: UUID,
    content: Content,
) -> Response:
    """Change one's own comment."""
    comment = await comments.update(comment_id, actor.id, content)
    await record("comment.update", comment_id)
    return await _changed(request, comment, posts, shown)


@router.post("/comments/{comment_id}/delete")
async def delete_comment(
    request: Request,
    actor: CurrentActor,
    posts: Posts,
    comments: Comments,
    shown: Shown,
    record: Record,
    comment_id: UUID,
) -> Response:
    """Leave a tombstone of one's own comment, or as a moderator of somebody else's."""
    comment = await comments.get(comment_id)
    if comment is None:
        raise NotFound("no such comment")
    if comment.user_id == actor.id:
        await comments.soft_delete(comment_id, actor.id)
        await record("comment.delete", comment_id)
    else:
        moderating = shown.viewer.is_moderator
        await comments.remove(comment_id, actor.id, moderating=moderating)
        await record("comment.remove", comment_id)
    return await _changed(request, comment, posts, shown)


async def _changed(
    request: Request, comment: PostComment, posts: AsyncPostRepository, shown: Showing
) -> Response:
    if not is_htmx(request):
        return see(f"/posts/{comment.post_id}#comment-{comment.id}")
    return render(
        request,
        "parts/changed_comment.html",
        post=await shown.one(await posts.get_visible(comment.post_id, shown.viewer.id)),
        comment=CommentView.of(CommentThread(head=comment), shown.viewer),
    )
