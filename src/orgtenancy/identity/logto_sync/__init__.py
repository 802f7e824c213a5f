"""Organizations as they are in Logto: webhooks as they come, and the whole from time to time.

A package beside `providers/logto.py`, which is about Logto's tokens. Its name is not
`logto`, for that is the name of the settings that `orgtenancy.identity` exports.

The names load when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orgtenancy.identity.logto_sync.api.management import (
        LogtoOrganization,
        LogtoUser,
        ManagementApi,
    )
    from orgtenancy.identity.logto_sync.inbound.inbox import LogtoInbox
    from orgtenancy.identity.logto_sync.inbound.webhooks import LogtoWebhooks
    from orgtenancy.identity.logto_sync.inbound.worker import LogtoWorker
    from orgtenancy.identity.logto_sync.membership import LogtoMembership
    from orgtenancy.identity.logto_sync.reconciliation.plans import (
        LeftAlone,
        SyncFailure,
        SyncItem,
        SyncPlan,
        SyncReport,
    )
    from orgtenancy.identity.logto_sync.reconciliation.reconciling import Reconciliation
    from orgtenancy.identity.logto_sync.settings import LogtoSettings

_MODULES = {
    "inbound.inbox": ("LogtoInbox",),
    "api.management": ("LogtoOrganization", "LogtoUser", "ManagementApi"),
    "membership": ("LogtoMembership",),
    "reconciliation.reconciling": ("Reconciliation",),
    "settings": ("LogtoSettings",),
    "reconciliation.plans": ("LeftAlone", "SyncFailure", "SyncItem", "SyncPlan", "SyncReport"),
    "inbound.webhooks": ("LogtoWebhooks",),
    "inbound.worker": ("LogtoWorker",),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "LeftAlone",
    "LogtoInbox",
    "LogtoMembership",
    "LogtoOrganization",
    "LogtoSettings",
    "LogtoUser",
    "LogtoWebhooks",
    "LogtoWorker",
    "ManagementApi",
    "Reconciliation",
    "SyncFailure",
    "SyncItem",
    "SyncPlan",
    "SyncReport",
]


def __getattr__(name: str) -> Any:
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{module}"), name)
    globals()[name] = value
    return value
