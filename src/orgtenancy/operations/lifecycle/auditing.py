"""Reading the audits of several placements as one."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import Any

from orgtenancy.database.engines import Database
from orgtenancy.organizations import AuditEntry
from orgtenancy.pagination import Page, PageRequest, decode_cursor, encode_cursor
from orgtenancy.registry import audit

_ORDER = "orgtenancy.audits"


def find_page(databases: Sequence[Database], page: PageRequest, **filters: Any) -> Page[AuditEntry]:
    """Return a page of the audits of all placements, newest first.

    Args:
        databases: The placements.
        page: Which page.
        **filters: As `audit.find_page` takes them.

    Raises:
        InvalidCursor: If the cursor was not made by this list.
    """
    if len(databases) == 1:
        with databases[0].admin_engine.begin() as connection:
            return audit.find_page(connection, page, **filters)
    order = f"{_ORDER}:{','.join(database.name for database in databases)}"
    # The number of the last entry that was shown of each placement.
    shown: list[int | None] = [None] * len(databases)
    if page.cursor is not None:
        shown = list(decode_cursor(order, page.cursor, len(databases)))
    found = []
    for database, last in zip(databases, shown, strict=True):
        with database.admin_engine.begin() as connection:
            own = PageRequest(limit=page.limit, cursor=audit.cursor_before(last))
            got = audit.find_page(connection, own, **filters)
        found.append([one.model_copy(update={"placement": database.name}) for one in got.items])
    merged = list(heapq.merge(*found, key=lambda one: one.recorded_at, reverse=True))
    items = tuple(merged[: page.limit])
    numbers = {database.name: number for number, database in enumerate(databases)}
    for entry in items:
        shown[numbers[entry.placement]] = entry.id
    is_more = len(merged) > page.limit or any(len(one) == page.limit for one in found)
    return Page(items=items, next_cursor=encode_cursor(order, shown) if is_more else None)
