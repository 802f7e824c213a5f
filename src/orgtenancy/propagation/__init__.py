"""Work that leaves a request: threads, processes, queues, schedules and messages.

An organization, an actor and an origin go along; with what is here a session does not, since it
belongs to one thread or task. What comes without an organization is refused where it begins.
"""

from orgtenancy.propagation.carried import Carried
from orgtenancy.propagation.processes import ProcessCall, for_process
from orgtenancy.propagation.queues import OrganizationItem, OrganizationQueue
from orgtenancy.propagation.schedules import FleetSchedule
from orgtenancy.propagation.threads import OrganizationExecutor, copy_context

__all__ = [
    "Carried",
    "FleetSchedule",
    "OrganizationExecutor",
    "OrganizationItem",
    "OrganizationQueue",
    "ProcessCall",
    "copy_context",
    "for_process",
]
