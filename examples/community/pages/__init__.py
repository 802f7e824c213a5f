"""The pages. No endpoint names an organization: each works in the one of its request.

Forms and links work without a script; where htmx sends them, the part of the page that
changes takes the place of the old one.
"""

from fastapi import APIRouter

from examples.community.pages import (
    activity,
    comments,
    conversations,
    feed,
    groups,
    members,
    messages,
    moderation,
    people,
    posts,
    search,
)

router = APIRouter(include_in_schema=False)
for chapter in (
    feed,
    posts,
    comments,
    people,
    groups,
    members,
    conversations,
    messages,
    search,
    activity,
    moderation,
):
    router.include_router(chapter.router)
