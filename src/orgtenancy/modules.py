"""A module: what a package contributes to every organization's schema."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, Self, TypeAlias, TypeVar

from alembic import op
from pydantic import BaseModel, ConfigDict, Field, SerializeAsAny, field_validator, model_validator
from sqlalchemy import MetaData
from sqlalchemy.orm import Session

from orgtenancy.endpoints import Endpoint, endpoints_by_path
from orgtenancy.settings import ModuleSettings

S = TypeVar("S", bound=ModuleSettings)

#: The option of Alembic's `MigrationContext` that carries the settings of all modules.
SETTINGS_OPTION = "module_settings"

#: The `info` of a column whose values are people's ids, alone or in arrays or JSON: what an
#: erasure replaces.
PERSON: Final = {"orgtenancy.person": True}

#: Forgets a person in a module's own way: gets a session of the organization, the person's id,
#: and the pseudonym that stands for it from then on.
ErasePerson: TypeAlias = Callable[[Session, str, str], object]

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
        endpoints: Its HTTP API, which every web adapter mounts as it is. A literal segment
            of a path goes before a parameter.
        erase: Called when a person is erased, before the ids in columns with the info `PERSON`
            are replaced: for what is personal beyond the id. It works in the erasure's
            transaction, with the owner's rights, and does not end it.
        settings: What of it a host can tune. Repositories read it with
            `session.module_settings(...)`, revisions with `revision_settings(...)`.

    Raises:
        ConfigurationError: If two endpoints cannot be told apart.
    """

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    name: str
    metadata: MetaData = Field(repr=False)
    migrations: Path
    requires: tuple[str, ...] = ()
    endpoints: tuple[Endpoint, ...] = Field(default=(), repr=False)
    erase: ErasePerson | None = Field(default=None, repr=False)
    settings: SerializeAsAny[ModuleSettings] = Field(default_factory=ModuleSettings)

    def with_settings(self, settings: ModuleSettings) -> Self:
        """Return the module with other settings.

        Raises:
            ValueError: If they are of another class, or speak of an unknown endpoint.
        """
        if type(settings) is not type(self.settings):
            raise ValueError(
                f"module {self.name!r} has {type(self.settings).__name__}, "
                f"not {type(settings).__name__}"
            )
        return self.model_validate({**dict(self), "settings": settings})

    def scopes_of(self, endpoint: Endpoint) -> tuple[str, ...]:
        """Return which scopes an endpoint of the module asks for."""
        return self.settings.scopes_of(endpoint.name, endpoint.scopes)

    @property
    def people(self) -> Mapping[str, tuple[str, ...]]:
        """The columns that hold people's ids, by the names of their tables."""
        found = {
            table.name: tuple(c.name for c in table.columns if PERSON.items() <= c.info.items())
            for table in self.metadata.tables.values()
        }
        return {table: columns for table, columns in found.items() if columns}

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

    @model_validator(mode="after")
    def _check_endpoints(self) -> OrganizationModule:
        endpoints_by_path(self.endpoints)  # refuses those that cannot be told apart
        names = [endpoint.name for endpoint in self.endpoints]
        if unknown := sorted(set(self.settings.scopes).difference(names)):
            raise ValueError(f"scopes are set for unknown endpoints: {', '.join(unknown)}")
        return self


def revision_settings(kind: type[S]) -> S:
    """Return the settings of a module, inside one of its revisions.

    Where Alembic was started without the module's settings, they are what the class
    itself says: its defaults and the environment.
    """
    known: Sequence[ModuleSettings] = op.get_context().opts.get(SETTINGS_OPTION, ())
    return next((settings for settings in known if type(settings) is kind), None) or kind()
