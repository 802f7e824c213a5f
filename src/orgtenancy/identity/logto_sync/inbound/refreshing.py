"""Reading anew who is a member, where a webhook says only that somebody came or went.

Whoever adds a hundred members one by one causes a hundred events, and one reading shows all of
them. So an event is done without a reading of its own if the last one began after it was
received. A removal that was done since counts for more than what was read before it: the next
event leads to another reading, which says who came back.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from sqlalchemy import func, select

from orgtenancy.database.engines import Database
from orgtenancy.identity.logto_sync.api.pacing import no_longer_than
from orgtenancy.identity.logto_sync.inbound.events import REMOVAL
from orgtenancy.identity.logto_sync.names import SOURCE
from orgtenancy.registry import inbox
from orgtenancy.registry.inbox import InboxItem

_PATIENCE = 30.0  # seconds that a request may wait, while other events wait for this one
_MAX_READINGS = 10_000


class MembersReader:
    """Reads members anew for events, once for those that come together.

    Args:
        database: The control server.
        refresh: Reads the members of one organization.
    """

    def __init__(self, database: Database, refresh: Callable[[str], object]) -> None:
        self._database = database
        self._refresh = refresh
        # When the last reading of an organization began, by the database's clock.
        self._began_at: dict[str, datetime] = {}

    def read_for(self, item: InboxItem) -> None:
        """Make sure that the members of an event's organization were read since it happened.

        Raises:
            Exception: If they cannot be read; it may be tried again.
        """
        organization_id = item.subject
        if self._was_read_since(item):
            return
        with self._database.admin_engine.begin() as connection:
            clock: datetime = connection.execute(select(func.clock_timestamp())).scalar_one()
        with no_longer_than(_PATIENCE):
            self._refresh(organization_id)
        self._began_at.pop(organization_id, None)  # to the end of the line
        self._began_at[organization_id] = clock
        if len(self._began_at) > _MAX_READINGS:
            self._began_at.pop(next(iter(self._began_at)), None)

    def _was_read_since(self, item: InboxItem) -> bool:
        began_at = self._began_at.get(item.subject)
        if began_at is None or began_at < item.received_at:
            return False
        with self._database.admin_engine.begin() as connection:
            return not inbox.was_overtaken(connection, SOURCE, item, since=began_at, body=REMOVAL)
