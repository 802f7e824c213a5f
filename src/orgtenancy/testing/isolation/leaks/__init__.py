"""The leaks, one file for each kind."""

from __future__ import annotations

from orgtenancy.testing.isolation.catalogue import Group, Leak
from orgtenancy.testing.isolation.leaks.pooling import pooling

GROUPS: tuple[Group, ...] = (pooling,)

#: All of them.
LEAKS: tuple[Leak, ...] = tuple(leak for group in GROUPS for leak in group.leaks)
