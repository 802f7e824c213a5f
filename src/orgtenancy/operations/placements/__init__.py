"""The servers that organizations live on, as one object that a host holds."""

from orgtenancy.operations.moving.draining import DrainReport
from orgtenancy.operations.placements.manager import Cell, PlacementManager, PlacementStatus

__all__ = ["Cell", "DrainReport", "PlacementManager", "PlacementStatus"]
