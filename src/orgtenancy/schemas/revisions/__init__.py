"""Alembic revisions: compiled once into paths, and applied to any number of schemas."""

from orgtenancy.schemas.revisions.directory import HEADS, Revisions, is_relative, script_directory
from orgtenancy.schemas.revisions.paths import RevisionPath, Stage
from orgtenancy.schemas.revisions.rendering import StepKind
from orgtenancy.schemas.revisions.stamping import VERSION_TABLE, Heads

__all__ = [
    "HEADS",
    "VERSION_TABLE",
    "Heads",
    "RevisionPath",
    "Revisions",
    "Stage",
    "StepKind",
    "is_relative",
    "script_directory",
]
