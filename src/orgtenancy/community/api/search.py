"""Search over HTTP."""

from __future__ import annotations

from sqlalchemy.orm import Session

from orgtenancy.community.api.common import Query, View
from orgtenancy.community.api.groups import GroupView, group_views
from orgtenancy.community.api.people import ProfileView
from orgtenancy.community.api.posts import PostView, post_views
from orgtenancy.community.groups import GroupRepository
from orgtenancy.community.posts import PostRepository
from orgtenancy.community.profiles import UserProfileRepository
from orgtenancy.endpoints import Caller
from orgtenancy.pagination import Page, PageRequest


class SearchQuery(PageRequest):
    """What to look for: words, "a phrase", `or`, and -not."""

    q: Query


class SearchResults(View):
    """The first findings of each kind; each cursor goes on at `/search/...`."""

    posts: Page[PostView]
    profiles: Page[ProfileView]
    groups: Page[GroupView]


def search(session: Session, caller: Caller, *, query: SearchQuery) -> SearchResults:
    """Search posts, people and groups."""
    first = query.model_copy(update={"cursor": None})
    return SearchResults(
        posts=search_posts(session, caller, query=first),
        profiles=search_profiles(session, caller, query=first),
        groups=search_groups(session, caller, query=first),
    )


def search_posts(session: Session, caller: Caller, *, query: SearchQuery) -> Page[PostView]:
    """Search the posts that the caller sees, newest first."""
    return post_views(session, caller, PostRepository(session).search(query.q, caller.id, query))


def search_profiles(session: Session, caller: Caller, *, query: SearchQuery) -> Page[ProfileView]:
    """Search people by the beginnings of their names."""
    return UserProfileRepository(session).search(query.q, query).map(ProfileView.of)


def search_groups(session: Session, caller: Caller, *, query: SearchQuery) -> Page[GroupView]:
    """Search the groups that the caller knows of, newest first."""
    return group_views(session, caller, GroupRepository(session).search(query.q, caller.id, query))
