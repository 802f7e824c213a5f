"""What becomes of a shared schema, as a host declares it: in a file, or in Python."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from orgtenancy.errors import ConfigurationError

#: Changes of a row are seen by the transaction that wrote it last.
XMIN = "xmin"

_NAMESPACE = UUID("5a1c1e0f-6c3b-5d8e-9d0a-7b7f3a0c2f11")


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class KeyRule(StrEnum):
    """What the keys of a table become; whatever refers to them becomes the same."""

    SAME = "same"
    """They stay as they are."""

    UUID = "uuid"
    """A UUID that is made of them: see `uuid_of`."""

    ORDERED_UUID = "ordered_uuid"
    """A UUID that begins with the number, so that the order stays; from 0 to 2^48 - 1."""


class ColumnMapping(_Part):
    """What a column here gets. Exactly one of `source` and `value` is given.

    Attributes:
        source: The column there; `from` in a file.
        value: The same for all rows.
        default: What stands for NULL.
        key_of: The table there whose keys these are, where no foreign key says so.
        convert: `cast` as PostgreSQL does it, which may round and cut; `utc` for a timestamp
            without time zone that is meant in UTC.
        prefix: What a text begins with here.
    """

    source: str | None = Field(default=None, alias="from")
    value: Any = None
    default: Any = None
    key_of: str | None = None
    convert: Literal["cast", "utc"] | None = None
    prefix: str = ""

    @model_validator(mode="before")
    @classmethod
    def _accept_name(cls, given: Any) -> Any:
        return {"from": given} if isinstance(given, str) else given

    @model_validator(mode="after")
    def _check_kind(self) -> Self:
        if (self.source is None) is (self.value is None):
            raise ValueError("a column gets either a column, as `from`, or a `value`")
        return self


class Via(_Part):
    """How a table reaches its organization, where no foreign key says so.

    Attributes:
        columns: Its own columns.
        table: The table that they lead to.
        references: The columns there, which are unique.
    """

    columns: tuple[str, ...]
    table: str
    references: tuple[str, ...]


class TableMapping(_Part):
    """What becomes of a table.

    Attributes:
        to: The table here; the one of the same name if not given.
        columns: What columns here get. Others get the column of the same name.
        drop: Columns there that are left behind.
        organization_column: Where this table has the organization, if not where all have it.
        via: The column whose foreign key leads to the organization, where several could; or
            a way without one.
        copy_to_all: Whether all organizations get all rows.
        keys: What the keys become.
        changed_by: How changed rows are found: a column with the time of the last change,
            `xmin`, or None to compare all rows of the organization.
    """

    to: str | None = None
    columns: Mapping[str, ColumnMapping] = Field(default_factory=dict)
    drop: tuple[str, ...] = ()
    organization_column: str | None = None
    via: str | Via | None = None
    copy_to_all: bool = False
    keys: KeyRule = KeyRule.SAME
    changed_by: str | None = None

    @model_validator(mode="after")
    def _check_ways(self) -> Self:
        ways = (self.organization_column is not None, self.via is not None, self.copy_to_all)
        if sum(ways) > 1:
            raise ValueError("of `organization_column`, `via` and `copy_to_all` one at the most")
        return self


class OrganizationsMapping(_Part):
    """Which organizations there are, and what they are called here.

    Attributes:
        table: The table of them; without one they are those that rows name.
        key: Its column that rows refer to.
        id: Its column that is the id here; the key itself if not given.
        prefix: What the id begins with here.
        name: Its column with the display name; the id if not given.
        ignore: Keys of organizations that are left behind, as text.
    """

    table: str | None = None
    key: str = "id"
    id: str | None = None
    prefix: str = ""
    name: str | None = None
    ignore: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _check_table(self) -> Self:
        if self.table is None and (self.id is not None or self.name is not None):
            raise ValueError("`id` and `name` are columns of a `table`")
        return self


class AdoptionMapping(_Part):
    """What becomes of a shared schema.

    Attributes:
        source: The shared schema, in the database of the organizations.
        organization_column: Where tables have the organization.
        organizations: Which there are.
        tables: By their names there. One that is not named, and has a namesake here, is taken
            as it is.
        ignore: Tables that are left behind.
        namespace: What keys that become UUIDs are mixed with.
    """

    source: str
    organization_column: str = "organization_id"
    organizations: OrganizationsMapping = OrganizationsMapping()
    tables: Mapping[str, TableMapping] = Field(default_factory=dict)
    ignore: tuple[str, ...] = ()
    namespace: UUID = _NAMESPACE

    @classmethod
    def load(cls, file: Path | str) -> Self:
        """Read a mapping from a TOML file.

        Raises:
            ConfigurationError: If it cannot be read, or is no mapping.
        """
        path = Path(file)
        try:
            return cls.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ConfigurationError(f"{path} cannot be read: {error}") from error
        except ValidationError as error:
            wrong = "; ".join(
                f"{'.'.join(map(str, one['loc'])) or 'all of it'}: {one['msg']}"
                for one in error.errors(include_url=False)
            )
            raise ConfigurationError(f"{path} is no mapping: {wrong}") from error

    @property
    def digest(self) -> str:
        """What is another when rows would become others."""
        content = self.model_dump_json(exclude={"organizations": {"ignore"}, "ignore": True})
        return hashlib.blake2b(content.encode(), digest_size=16).hexdigest()
