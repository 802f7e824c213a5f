"""What the registry and the audit call Logto, and what is done for it."""

from __future__ import annotations

from typing import Final

#: In the inbox, and as an organization's source.
SOURCE: Final = "logto"

#: A reconciliation that came to its end, and where its work comes from.
SYNC_ACTION: Final = "logto.sync"
SYNC_ORIGIN: Final = "logto:sync"
