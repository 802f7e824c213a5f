"""The audit: who did what to which organization, from where, when, and what came of it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Connection, insert, select
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from orgtenancy.context import current_actor, current_origin
from orgtenancy.database.engines import Database
from orgtenancy.errors import (
    BackupError,
    ErasureRefused,
    OrganizationBusy,
    ProvisioningFailed,
    RegistryError,
    SchemaError,
)
from orgtenancy.naming import REGISTRY_SCHEMA
from orgtenancy.organizations import AuditEntry
from orgtenancy.pagination import Page, PageRequest, decode_cursor, encode_cursor
from orgtenancy.registry.tables import audit

_ORDER = f"{REGISTRY_SCHEMA}.audit"

# Allowed, and yet it did not come to an end.
_FAILURES = (OrganizationBusy, ProvisioningFailed, DBAPIError)

logger = logging.getLogger("orgtenancy.audit")


def record(
    connection: Connection,
    action: str,
    organization_id: str | None,
    *,
    result: Literal["done", "refused", "failed"] = "done",
    details: Mapping[str, Any] | None = None,
) -> None:
    """Write what the context's actor did, in the transaction that does it.

    Args:
        connection: A connection in a transaction.
        action: A past participle, such as `suspended`.
        organization_id: What it was done to, or None.
        result: What came of it.
        details: What else is worth knowing.
    """
    record_each(connection, action, [organization_id], result=result, details=details)


def record_each(
    connection: Connection,
    action: str,
    organization_ids: Sequence[str | None],
    *,
    result: Literal["done", "refused", "failed"] = "done",
    details: Mapping[str, Any] | None = None,
) -> None:
    """Write what the context's actor did to several organizations, a line for each."""
    if not organization_ids:
        return
    actor = current_actor()
    common = {
        "action": action,
        "actor_id": None if actor is None else actor.id,
        "origin": current_origin(),
        "result": result,
        "details": dict(details or {}),
    }
    connection.execute(
        insert(audit).inline(),  # without the new row's number, which the app may not read
        [{"organization_id": one, **common} for one in organization_ids],
    )


@contextmanager
def told_if_not_done(
    database: Database, action: str, organization_id: str | None, **details: Any
) -> Iterator[None]:
    """Write what is refused or fails in a block, in a transaction of its own.

    Args:
        database: The control server.
        action: What was to be done, as a past participle.
        organization_id: To which organization, or None.
        **details: What else is worth knowing.
    """
    try:
        yield
    except (RegistryError, SchemaError, BackupError, ErasureRefused, DBAPIError) as error:
        failed = isinstance(error, _FAILURES)
        code = "database" if isinstance(error, DBAPIError) else error.code
        try:
            with database.admin_engine.begin() as connection:
                record(
                    connection,
                    action,
                    organization_id,
                    result="failed" if failed else "refused",
                    details={**details, "code": code},
                )
        except SQLAlchemyError as lost:
            # The server may be gone: the reason is what the caller has to hear.
            level = logging.INFO if isinstance(error, DBAPIError) else logging.WARNING
            logger.log(level, "%s of %r was not audited: %s", action, organization_id, lost)
        raise


def find_page(
    connection: Connection,
    page: PageRequest,
    *,
    organization_id: str | None = None,
    action: str | None = None,
    actor_id: str | None = None,
    since: datetime | None = None,
) -> Page[AuditEntry]:
    """Return a page of the audit, newest first.

    Args:
        connection: A connection of the owner.
        page: Which page.
        organization_id: Only what was done to this organization.
        action: Only this.
        actor_id: Only what this actor did.
        since: Only what was done from then on.
    """
    statement = select(audit).order_by(audit.c.id.desc()).limit(page.limit + 1)
    for column, value in (
        (audit.c.organization_id, organization_id),
        (audit.c.action, action),
        (audit.c.actor_id, actor_id),
    ):
        if value is not None:
            statement = statement.where(column == value)
    if since is not None:
        statement = statement.where(audit.c.recorded_at >= since)
    if page.cursor is not None:
        (last,) = decode_cursor(_ORDER, page.cursor, 1, types=[int])
        statement = statement.where(audit.c.id < last)
    rows = connection.execute(statement).all()
    items = tuple(AuditEntry.model_validate(row._asdict()) for row in rows[: page.limit])
    more = len(rows) > page.limit
    return Page(items=items, next_cursor=cursor_before(items[-1].id) if more else None)


def cursor_before(number: int | None) -> str | None:
    """Return the cursor of the page that begins before an entry; None for the first page."""
    return None if number is None else encode_cursor(_ORDER, [number])
