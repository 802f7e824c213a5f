"""A module: what a package contributes to every organization's schema."""

from __future__ import annotations

import re
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from sqlalchemy import MetaData

_is_name = re.compile(r"[a-z][a-z0-9_]{0,30}").fullmatch


class OrganizationModule(BaseModel):
    """Tables and migrations that every organization's schema gets.

    Attributes:
        name: The module's name, which is also the Alembic branch label of its revisions:
            1 to 31 of `[a-z0-9_]`, starting with a letter.
        metadata: Its tables. None of them may name a schema: the organization's
            `search_path` does.
        migrations: The folder with its Alembic revisions.
        requires: Names of modules whose tables its own refer to.
    """

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    name: str
    metadata: MetaData = Field(repr=False)
    migrations: Path
    requires: tuple[str, ...] = ()

    @field_validator("name")
    @classmethod
    def _check_name(cls, name: str) -> str:
        if not _is_name(name):
            raise ValueError("1 to 31 of [a-z0-9_], starting with a letter")
        return name

    @field_validator("migrations")
    @classmethod
    def _check_folder(cls, folder: Path) -> Path:
        if not folder.is_dir():
            raise ValueError(f"no folder {folder}")
        return folder

    @model_validator(mode="after")
    def _check_tables(self) -> OrganizationModule:
        named = sorted(t.fullname for t in self.metadata.tables.values() if t.schema)
        if self.metadata.schema or named:
            raise ValueError(
                "tables of a module have no schema of their own, the organization's is in "
                f"the search_path; found: {', '.join(named) or self.metadata.schema}"
            )
        return self
