"""Organizations on several placements, as if they were on one.

Each placement has the machinery of one by itself: what is here sends an organization's work to
the placement that it is on, and what is about all of them to each placement after the other.
"""

from orgtenancy.schemas.spread.manager import SpreadSchemas
from orgtenancy.schemas.spread.placed import PlacedSchemas

__all__ = ["PlacedSchemas", "SpreadSchemas"]
