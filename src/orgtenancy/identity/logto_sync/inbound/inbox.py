"""Looking at Logto's events: what became of them, and letting one be tried again."""

from __future__ import annotations

from collections.abc import Sequence

from orgtenancy.errors import RegistryError
from orgtenancy.identity.logto_sync.host import Host
from orgtenancy.identity.logto_sync.names import SOURCE
from orgtenancy.registry import inbox
from orgtenancy.registry.inbox import InboxEntry


class LogtoInbox:
    """The events that Logto's webhooks left, as the owner of the schemas sees them.

    Args:
        host: The tenancy, with an `admin_url`.
    """

    def __init__(self, host: Host) -> None:
        self._database = host.schemas.builder.database

    def newest(self, *, limit: int = 20, only_failed: bool = False) -> Sequence[InboxEntry]:
        """Return events, the last ones received first.

        Args:
            limit: How many at the most.
            only_failed: Only those that could not be worked on.
        """
        with self._database.admin_engine.begin() as connection:
            return inbox.newest(connection, SOURCE, limit=limit, only_failed=only_failed)

    def retry(self, number: int) -> None:
        """Let a failed event be tried again.

        Args:
            number: The event's.

        Raises:
            RegistryError: If there is no such event, or it did not fail.
        """
        with self._database.admin_engine.begin() as connection:
            found = inbox.retry(connection, SOURCE, number)
        if not found:
            raise RegistryError(f"no event {number} has failed")
