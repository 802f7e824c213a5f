"""Making, finding and dropping the schemas of organizations."""

from orgtenancy.schemas.manager import SchemaManager

__all__ = ["SchemaManager"]
