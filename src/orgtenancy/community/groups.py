"""Groups: circles of people, and who may know of them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any, Final, TypedDict, Unpack, get_args
from uuid import UUID

from sqlalchemy import Select, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.sql.dml import ReturningUpdate

from orgtenancy.community import inputs, slugs
from orgtenancy.community.models import Group, GroupMember, Privacy
from orgtenancy.community.models.groups import (
    MAX_CATEGORY_LENGTH,
    MAX_DESCRIPTION_LENGTH,
    MAX_GROUP_NAME_LENGTH,
    MAX_RULES_LENGTH,
    SLUG_INDEX,
)
from orgtenancy.community.rows import FRESH, WRITES, violated_constraint
from orgtenancy.community.search import matches
from orgtenancy.community.standing import lock_standing
from orgtenancy.community.visibility import group_visible_to, groups_of
from orgtenancy.errors import Conflict, Invalid, NotFound
from orgtenancy.pagination import Page, PageRequest
from orgtenancy.repository import (
    FIRST_PAGE,
    AsyncOrganizationAwareRepository,
    OrganizationAwareRepository,
    awaitable,
)

_BY_NAME: Final = (Group.name, Group.id)


class GroupChanges(TypedDict, total=False):
    """What of a group shall change; what is absent stays, and None clears."""

    name: str
    slug: str
    description: str | None
    privacy: Privacy
    category: str | None
    rules: str | None


def visible_groups(viewer: str) -> Select[Group]:
    """Select the groups that a person knows of."""
    return select(Group).where(group_visible_to(inputs.reader(viewer))).execution_options(**FRESH)


def change_statement(group_id: UUID, values: Mapping[str, Any]) -> ReturningUpdate[Group]:
    """Change what people see of a group."""
    return (
        update(Group)
        .where(Group.id == group_id)
        .values({**values, "updated_at": func.now()})
        .returning(Group)
    )


class GroupRepository(OrganizationAwareRepository[Group]):
    """The groups of the current organization."""

    def create(
        self,
        *,
        creator_id: str,
        name: str,
        slug: str | None = None,
        description: str | None = None,
        privacy: Privacy = "public",
        category: str | None = None,
        rules: str | None = None,
    ) -> Group:
        """Found a group and return it; its creator becomes the owner.

        Args:
            creator_id: Who founds it.
            name: 1 to 120 characters.
            slug: Names it in addresses, unique without regard to case; by default made
                from the name, with a suffix where that is taken.
            description: What it is about, up to 5,000 characters.
            privacy: `public` is open to join, `private` is visible and joined by request,
                `secret` is known to its members and those who are invited.
            category: Up to 60 characters.
            rules: Up to 10,000 characters.

        Raises:
            Conflict: If the slug is taken; the transaction goes on.
            Invalid: If a value breaks a rule.
        """
        values = _checked(
            {
                "name": name,
                "description": description,
                "privacy": privacy,
                "category": category,
                "rules": rules,
            }
        )
        group = self._insert(inputs.user_id(creator_id), slug, values)
        statement = insert(GroupMember).values(
            group_id=group.id, user_id=creator_id, role="owner", joined_at=func.now()
        )
        self.session.execute(statement)
        return group

    def get_visible(self, group_id: UUID, viewer: str) -> Group:
        """Return a group that a person knows of.

        Raises:
            NotFound: If there is none, or they may not know of it.
        """
        return self._one(visible_groups(viewer).where(Group.id == group_id))

    def get_by_slug(self, slug: str, viewer: str) -> Group:
        """Return a group that a person knows of, by its slug without regard to case.

        Raises:
            NotFound: If there is none, or they may not know of it.
        """
        if not slugs.is_slug(slug):
            raise NotFound("no such group")
        return self._one(visible_groups(viewer).where(func.lower(Group.slug) == slug.lower()))

    def find_visible(
        self, viewer: str, page: PageRequest = FIRST_PAGE, *, category: str | None = None
    ) -> Page[Group]:
        """Return a page of the groups that a person knows of, by name.

        Args:
            viewer: Who reads.
            page: Which page.
            category: Only groups of this one.

        Raises:
            InvalidCursor: If the cursor is not one of this list.
            Invalid: If no group can have the category.
        """
        statement = visible_groups(viewer)
        category = inputs.optional_text("category", category, MAX_CATEGORY_LENGTH)
        if category is not None:
            statement = statement.where(Group.category == category)
        return self.select_page(statement, _BY_NAME, page, order="groups")

    def find_joined(self, user_id: str, page: PageRequest = FIRST_PAGE) -> Page[Group]:
        """Return a page of the groups that a person is an active member of, by name.

        Raises:
            InvalidCursor: If the cursor is not one of this list.
        """
        statement = (
            select(Group)
            .where(Group.id.in_(groups_of(inputs.reader(user_id))))
            .execution_options(**FRESH)
        )
        return self.select_page(statement, _BY_NAME, page, order="joined")

    def search(self, query: str, viewer: str, page: PageRequest = FIRST_PAGE) -> Page[Group]:
        """Return a page of the groups a person knows of and whose words match, newest first.

        Args:
            query: What to look for in names and descriptions, as typed into a web search;
                1 to 200 characters.
            viewer: Who looks.
            page: Which page.

        Raises:
            InvalidCursor: If the cursor is not one of this list.
            Invalid: If the query is blank, too long, or cannot be stored.
        """
        statement = visible_groups(viewer).where(matches(Group.__table__.c.search, query))
        return self.select_page(statement, (Group.id,), page, order="groups found", descending=True)

    def update(self, group_id: UUID, actor_id: str, **changes: Unpack[GroupChanges]) -> Group:
        """Change a group and return it.

        Requests that are open when a group becomes public stay, and can be approved.

        Args:
            group_id: Which group.
            actor_id: Who changes it: an admin or owner.
            **changes: `name`, `slug`, `description`, `privacy`, `category`, `rules`.

        Raises:
            NotFound: If there is no such group, or the actor may not know of it.
            Forbidden: If the actor's rank does not suffice.
            Conflict: If the group is archived, or the slug is taken; the transaction goes on.
            Invalid: If a value breaks a rule.
        """
        values = _checked(changes)
        session = self.session
        standing = lock_standing(session, group_id, actor_id)
        standing.require_rank("admin")
        standing.require_open()
        statement = change_statement(group_id, values)
        try:
            with session.begin_nested() if "slug" in values else nullcontext():
                return session.scalars(statement, execution_options=WRITES).one()
        except IntegrityError as e:
            if violated_constraint(e) != SLUG_INDEX:
                raise
            raise Conflict("the slug is taken") from e

    def archive(self, group_id: UUID, actor_id: str) -> Group:
        """Close a group and return it: it stays readable, and nobody comes in.

        Raises:
            NotFound: If there is no such group, or the actor may not know of it.
            Forbidden: If the actor is no owner.
        """
        return self._set_archived(group_id, actor_id, archived=True)

    def unarchive(self, group_id: UUID, actor_id: str) -> Group:
        """Open an archived group again and return it.

        Raises:
            NotFound: If there is no such group, or the actor may not know of it.
            Forbidden: If the actor is no owner.
        """
        return self._set_archived(group_id, actor_id, archived=False)

    def _one(self, statement: Select[Group]) -> Group:
        group = self.session.scalar(statement)
        if group is None:
            raise NotFound("no such group")
        return group

    def _insert(self, owner_id: str, slug: str | None, values: dict[str, Any]) -> Group:
        if slug is None:
            candidates = slugs.made_from(values["name"])
        else:
            candidates = iter([slugs.checked(slug)])
        for candidate in candidates:
            # DO NOTHING waits for a concurrent insert of the same slug, and keeps the
            # transaction usable.
            statement = (
                insert(Group)
                .values(slug=candidate, owner_id=owner_id, member_count=1, **values)
                .on_conflict_do_nothing()
                .returning(Group)
            )
            group = self.session.scalar(statement, execution_options=WRITES)
            if group is not None:
                return group
        raise Conflict("no free slug was found" if slug is None else "the slug is taken")

    def _set_archived(self, group_id: UUID, actor_id: str, *, archived: bool) -> Group:
        session = self.session
        standing = lock_standing(session, group_id, actor_id)
        standing.require_rank("owner")
        if archived == (standing.group.archived_at is not None):
            return standing.group
        values = {"archived_at": func.now() if archived else None}
        return session.scalars(change_statement(group_id, values), execution_options=WRITES).one()


class AsyncGroupRepository(AsyncOrganizationAwareRepository[Group], sync=GroupRepository):
    """The async twin of `GroupRepository`."""

    create = awaitable(GroupRepository.create)
    get_visible = awaitable(GroupRepository.get_visible)
    get_by_slug = awaitable(GroupRepository.get_by_slug)
    find_visible = awaitable(GroupRepository.find_visible)
    find_joined = awaitable(GroupRepository.find_joined)
    search = awaitable(GroupRepository.search)
    update = awaitable(GroupRepository.update)
    archive = awaitable(GroupRepository.archive)
    unarchive = awaitable(GroupRepository.unarchive)


def _checked(changes: GroupChanges) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, value in changes.items():
        match name, value:
            case "name", str():
                values[name] = inputs.text(name, value, MAX_GROUP_NAME_LENGTH)
            case "slug", str():
                values[name] = slugs.checked(value)
            case "description", str() | None:
                values[name] = inputs.optional_text(name, value, MAX_DESCRIPTION_LENGTH)
            case "privacy", str():
                values[name] = inputs.word(name, value, get_args(Privacy))
            case "category", str() | None:
                values[name] = inputs.optional_text(name, value, MAX_CATEGORY_LENGTH)
            case "rules", str() | None:
                values[name] = inputs.optional_text(name, value, MAX_RULES_LENGTH)
            case _:
                raise Invalid(f"a group has no such {name}")
    return values
