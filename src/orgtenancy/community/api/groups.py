"""Groups over HTTP."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Self
from uuid import UUID

from pydantic import Field
from sqlalchemy.orm import Session

from orgtenancy.community.api.common import Body, Text, UserId, View, absent, record
from orgtenancy.community.groups import GroupRepository
from orgtenancy.community.members import GroupMemberRepository
from orgtenancy.community.models import Group, GroupMember, MembershipStatus, Privacy, Role
from orgtenancy.community.models.groups import (
    MAX_CATEGORY_LENGTH,
    MAX_DESCRIPTION_LENGTH,
    MAX_GROUP_NAME_LENGTH,
    MAX_RULES_LENGTH,
    MAX_SLUG_LENGTH,
)
from orgtenancy.endpoints import Caller
from orgtenancy.pagination import Page, PageRequest

Name = Annotated[Text, Field(min_length=1, max_length=MAX_GROUP_NAME_LENGTH)]
Slug = Annotated[Text, Field(min_length=1, max_length=MAX_SLUG_LENGTH)]
Description = Annotated[Text, Field(max_length=MAX_DESCRIPTION_LENGTH)]
Category = Annotated[Text, Field(max_length=MAX_CATEGORY_LENGTH)]
Rules = Annotated[Text, Field(max_length=MAX_RULES_LENGTH)]


class GroupView(View):
    """A group, as one person sees it: `status` and `role` are theirs, null for a stranger."""

    id: UUID
    name: str
    slug: str
    description: str | None
    privacy: Privacy
    category: str | None
    rules: str | None
    member_count: int
    owner_id: str
    archived: bool
    status: MembershipStatus | None
    role: Role | None
    created_at: datetime

    @classmethod
    def of(cls, group: Group, membership: GroupMember | None) -> Self:
        """Return the view of a group."""
        active = membership is not None and membership.status == "active"
        return cls(
            id=group.id,
            name=group.name,
            slug=group.slug,
            description=group.description,
            privacy=group.privacy,
            category=group.category,
            rules=group.rules,
            member_count=group.member_count,
            owner_id=group.owner_id,
            archived=group.archived_at is not None,
            status=None if membership is None else membership.status,
            role=membership.role if membership is not None and active else None,
            created_at=group.created_at,
        )


class NewGroup(Body):
    """A group to found; without a slug, one is made from the name."""

    name: Name
    slug: Slug | None = None
    description: Description | None = None
    privacy: Privacy = "public"
    category: Category | None = None
    rules: Rules | None = None


class GroupEdit(Body):
    """What of a group shall change; what is absent stays, and null clears."""

    name: Name = absent
    slug: Slug = absent
    description: Description | None = absent
    privacy: Privacy = absent
    category: Category | None = absent
    rules: Rules | None = absent


class GroupQuery(PageRequest):
    """Which groups: of a category, or only those one is a member of."""

    category: Category | None = None
    joined: bool = False


class NewOwner(Body):
    """Who shall own the group."""

    user_id: UserId


def list_groups(session: Session, caller: Caller, *, query: GroupQuery) -> Page[GroupView]:
    """List the groups that the caller knows of, by name."""
    groups = GroupRepository(session)
    if query.joined:
        found = groups.find_joined(caller.id, query)
    else:
        found = groups.find_visible(caller.id, query, category=query.category)
    return group_views(session, caller, found)


def create_group(session: Session, caller: Caller, *, body: NewGroup) -> GroupView:
    """Found a group, as its owner."""
    group = GroupRepository(session).create(creator_id=caller.id, **body.model_dump())
    record(session, caller, "group.create", group.id)
    return group_view(session, caller, group)


def read_group(session: Session, caller: Caller, *, group_id: UUID) -> GroupView:
    """Return a group."""
    return group_view(session, caller, GroupRepository(session).get_visible(group_id, caller.id))


def update_group(session: Session, caller: Caller, *, group_id: UUID, body: GroupEdit) -> GroupView:
    """Change a group; for its admins and owners."""
    changes = body.model_dump(exclude_unset=True)
    group = GroupRepository(session).update(group_id, caller.id, **changes)
    record(session, caller, "group.update", group_id, {"fields": sorted(changes)})
    return group_view(session, caller, group)


def archive_group(session: Session, caller: Caller, *, group_id: UUID) -> GroupView:
    """Close a group: it can be read, and nothing new happens in it. For its owners."""
    group = GroupRepository(session).archive(group_id, caller.id)
    record(session, caller, "group.archive", group_id)
    return group_view(session, caller, group)


def unarchive_group(session: Session, caller: Caller, *, group_id: UUID) -> GroupView:
    """Open an archived group again; for its owners."""
    group = GroupRepository(session).unarchive(group_id, caller.id)
    record(session, caller, "group.unarchive", group_id)
    return group_view(session, caller, group)


def transfer_group(
    session: Session, caller: Caller, *, group_id: UUID, body: NewOwner
) -> GroupView:
    """Make another member the owner, and oneself an admin."""
    GroupMemberRepository(session).transfer_ownership(group_id, caller.id, body.user_id)
    record(session, caller, "group.transfer", group_id, {"to": body.user_id})
    return group_view(session, caller, GroupRepository(session).get_visible(group_id, caller.id))


def group_view(session: Session, caller: Caller, group: Group) -> GroupView:
    """Return the view of a group."""
    memberships = GroupMemberRepository(session).memberships(caller.id, [group.id])
    return GroupView.of(group, memberships.get(group.id))


def group_views(session: Session, caller: Caller, page: Page[Group]) -> Page[GroupView]:
    """Return the views of a page of groups."""
    ids = [group.id for group in page.items]
    memberships = GroupMemberRepository(session).memberships(caller.id, ids)
    return page.map(lambda group: GroupView.of(group, memberships.get(group.id)))
