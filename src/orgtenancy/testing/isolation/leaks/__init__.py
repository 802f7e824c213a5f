"""The leaks, one file for each kind."""

from __future__ import annotations

from orgtenancy.testing.isolation.catalogue import Group, Leak
from orgtenancy.testing.isolation.leaks.concurrency import concurrency
from orgtenancy.testing.isolation.leaks.contexts import contexts
from orgtenancy.testing.isolation.leaks.copying import copying
from orgtenancy.testing.isolation.leaks.interruptions import interruptions
from orgtenancy.testing.isolation.leaks.later import later
from orgtenancy.testing.isolation.leaks.leftovers import leftovers
from orgtenancy.testing.isolation.leaks.names import names
from orgtenancy.testing.isolation.leaks.objects import objects
from orgtenancy.testing.isolation.leaks.plans import plans
from orgtenancy.testing.isolation.leaks.pooling import pooling
from orgtenancy.testing.isolation.leaks.statements import statements
from orgtenancy.testing.isolation.leaks.statuses import statuses
from orgtenancy.testing.isolation.leaks.transactions import transactions

GROUPS: tuple[Group, ...] = (
    pooling,
    interruptions,
    transactions,
    contexts,
    later,
    concurrency,
    statements,
    copying,
    leftovers,
    plans,
    names,
    objects,
    statuses,
)

#: All of them.
LEAKS: tuple[Leak, ...] = tuple(leak for group in GROUPS for leak in group.leaks)
