"""The life of an organization: each operation is one transition, audited and told.

What an operation may do is in one table, `orgtenancy.organizations.LIFECYCLE`. The status,
the organization's rights in the database and the audit change in one transaction, so a
process that remembers an old status is refused by PostgreSQL.
"""

from orgtenancy.operations.lifecycle.events import LifecycleEvents, LifecycleHandler
from orgtenancy.operations.lifecycle.manager import Organizations
from orgtenancy.operations.lifecycle.table import transition_table

__all__ = ["LifecycleEvents", "LifecycleHandler", "Organizations", "transition_table"]
