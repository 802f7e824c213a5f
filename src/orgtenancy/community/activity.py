"""The activity log: who did what, written once and never changed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Select, any_, delete, event, func, select
from sqlalchemy.orm import Mapper, object_session

from orgtenancy.community import inputs
from orgtenancy.community.models import ActivityLog
from orgtenancy.community.models.activity import MAX_ACTION_LENGTH, MAX_ENTITY_LENGTH
from orgtenancy.community.rows import FRESH
from orgtenancy.errors import Conflict, Invalid
from orgtenancy.pagination import Page, PageRequest
from orgtenancy.repository import (
    FIRST_PAGE,
    AsyncOrganizationAwareRepository,
    OrganizationAwareRepository,
    awaitable,
)

MAX_PURGE_BATCH = 10_000

_is_action = re.compile(r"[a-z0-9_.]+").fullmatch


class ActivityLogRepository(OrganizationAwareRepository[ActivityLog]):
    """The activity log of the current organization.

    It says that something was done, and to what. What was said has no place in it: no
    message, no text of a post, nothing that is deleted elsewhere and would live on here.
    """

    def record(
        self,
        action: str,
        *,
        user_id: str | None = None,
        entity_type: str | None = None,
        entity_id: str | UUID | None = None,
        metadata: Mapping[str, Any] | None = None,
        ip_address: str | None = None,
    ) -> ActivityLog:
        """Record an action in the transaction that does it, and return the record.

        What is rolled back was not done: its record goes with it.

        Args:
            action: What was done, like `post.create`: 1 to 100 of `[a-z0-9_.]`.
            user_id: Who did it; None for what the system did.
            entity_type: What kind of thing it was done to, like `post`.
            entity_id: Which one.
            metadata: A JSON object with details, none of them a person's words.
            ip_address: Where the person was.

        Raises:
            Invalid: If a value breaks a rule.
        """
        return self.add(
            ActivityLog(
                action=_checked_action(action),
                user_id=None if user_id is None else inputs.user_id(user_id),
                entity_type=_entity("entity_type", entity_type),
                entity_id=_entity("entity_id", entity_id),
                metadata_=inputs.json_object("metadata", {} if metadata is None else metadata),
                ip_address=inputs.ip_address(ip_address),
            )
        )

    def find(
        self,
        page: PageRequest = FIRST_PAGE,
        *,
        user_id: str | None = None,
        action: str | None = None,
    ) -> Page[ActivityLog]:
        """Return a page of the records, newest first.

        Args:
            page: Which page.
            user_id: Whose, or None for everybody's.
            action: Of which action, or None for all.

        Raises:
            InvalidCursor: If the cursor is not one of this list.
        """
        statement = select(ActivityLog)
        if user_id is not None:
            statement = statement.where(ActivityLog.user_id == inputs.reader(user_id))
        if action is not None:
            if _is_action(action) is None:
                return Page(items=())
            statement = statement.where(ActivityLog.action == action)
        return self._newest(statement, page, order="activity")

    def for_target(
        self, entity_type: str, entity_id: str | UUID, page: PageRequest = FIRST_PAGE
    ) -> Page[ActivityLog]:
        """Return a page of what was done to one thing, newest first.

        Raises:
            InvalidCursor: If the cursor is not one of this list.
        """
        if not (inputs.storable(entity_type) and inputs.storable(str(entity_id))):
            return Page(items=())
        statement = select(ActivityLog).where(
            ActivityLog.entity_type == entity_type, ActivityLog.entity_id == str(entity_id)
        )
        return self._newest(statement, page, order="target")

    def purge(self, before: datetime, batch: int = 1_000) -> int:
        """Delete the oldest of the records made before a time, and return how many.

        Fewer than `batch` were the last of them. Several can purge at the same time: what
        one is deleting, another passes over.

        Args:
            before: A time with its zone.
            batch: How many at the most, 1 to 10,000.

        Raises:
            Invalid: If a value breaks a rule.
        """
        if before.utcoffset() is None:
            raise Invalid("before must be a time with its zone")
        if not 1 <= batch <= MAX_PURGE_BATCH:
            raise Invalid(f"batch must be 1 to {MAX_PURGE_BATCH:,}")
        # A CTE that locks is computed once. A subquery in its place may run again for each
        # row, pass over those that are deleted by then, and so go beyond the batch.
        doomed = (
            select(ActivityLog.id)
            .where(ActivityLog.created_at < before)
            .order_by(ActivityLog.created_at)
            .limit(batch)
            .with_for_update(skip_locked=True)
            .cte("doomed")
        )
        statement = (
            delete(ActivityLog)
            # An array, which a plan for any batch takes for a few keys and not for a table.
            .where(ActivityLog.id == any_(func.array(select(doomed.c.id).scalar_subquery())))
            .returning(ActivityLog.id)
        )
        deleted = self.session.scalars(
            statement, execution_options={"synchronize_session": "fetch"}
        ).all()
        return len(deleted)

    def _newest(
        self, statement: Select[ActivityLog], page: PageRequest, *, order: str
    ) -> Page[ActivityLog]:
        return self.select_page(
            statement.execution_options(**FRESH),
            (ActivityLog.id,),
            page,
            order=order,
            descending=True,
        )


class AsyncActivityLogRepository(
    AsyncOrganizationAwareRepository[ActivityLog], sync=ActivityLogRepository
):
    """The async twin of `ActivityLogRepository`."""

    record = awaitable(ActivityLogRepository.record)
    find = awaitable(ActivityLogRepository.find)
    for_target = awaitable(ActivityLogRepository.for_target)
    purge = awaitable(ActivityLogRepository.purge)


@event.listens_for(ActivityLog, "before_update")
def _refuse_update(mapper: Mapper[Any], connection: Connection, record: ActivityLog) -> None:
    session = object_session(record)
    # Also called for a row whose attributes were set to what they were.
    if session is None or session.is_modified(record):
        raise Conflict("the activity log is append-only")


@event.listens_for(ActivityLog, "before_delete")
def _refuse_delete(mapper: Mapper[Any], connection: Connection, record: ActivityLog) -> None:
    raise Conflict("the activity log is append-only")


def _checked_action(action: str) -> str:
    given: object = action  # what a caller without type checks may pass
    if not isinstance(given, str) or len(given) > MAX_ACTION_LENGTH or _is_action(given) is None:
        raise Invalid(f"an action is 1 to {MAX_ACTION_LENGTH} of a-z, 0-9, '_' and '.'")
    return action


def _entity(field: str, value: str | UUID | None) -> str | None:
    if value is None:
        return None
    plain = str(value) if isinstance(value, UUID) else value
    if not inputs.storable(plain) or not 1 <= len(plain) <= MAX_ENTITY_LENGTH:
        raise Invalid(f"{field} is a text of 1 to {MAX_ENTITY_LENGTH} characters")
    return plain
