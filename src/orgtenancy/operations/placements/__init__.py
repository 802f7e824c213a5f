"""The servers that organizations live on, as one object that a host holds."""

from orgtenancy.operations.placements.manager import Cell, PlacementManager, PlacementStatus

__all__ = ["Cell", "PlacementManager", "PlacementStatus"]
