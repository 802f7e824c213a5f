"""A mapping is read from a file or made in Python, and tells what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from orgtenancy.errors import ConfigurationError
from orgtenancy.operations.adoption import (
    AdoptionMapping,
    ColumnMapping,
    KeyRule,
    OrganizationsMapping,
    TableMapping,
    Via,
)

FILE = """
source = "public"
ignore = ["sessions"]

[organizations]
table = "teams"
id = "slug"

[tables.items]
to = "products"
keys = "uuid"
via = { columns = ["shop"], table = "shops", references = ["id"] }

[tables.items.columns]
title = "name"
price = { from = "cents", convert = "cast", default = 0 }
kind = { value = "item" }
"""


def test_a_file_says_what_python_does(tmp_path: Path) -> None:
    file = tmp_path / "mapping.toml"
    file.write_text(FILE)
    assert AdoptionMapping.load(file) == AdoptionMapping(
        source="public",
        ignore=("sessions",),
        organizations=OrganizationsMapping(table="teams", id="slug"),
        tables={
            "items": TableMapping(
                to="products",
                keys=KeyRule.UUID,
                via=Via(columns=("shop",), table="shops", references=("id",)),
                columns={
                    "title": ColumnMapping(source="name"),
                    "price": ColumnMapping(source="cents", convert="cast", default=0),
                    "kind": ColumnMapping(value="item"),
                },
            )
        },
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("source = ", "cannot be read"),
        ("sauce = 'public'", "sauce: Extra inputs"),
        ("source = 'a'\n[tables.b.columns]\nc = {prefix = 'x'}", "a column, as `from`, or a `val"),
        ("source = 'a'\n[tables.b]\nvia = 'c'\ncopy_to_all = true", "one at the most"),
        ("source = 'a'\n[organizations]\nid = 'slug'", "columns of a `table`"),
    ],
)
def test_a_file_that_is_no_mapping_is_told(tmp_path: Path, text: str, reason: str) -> None:
    file = tmp_path / "mapping.toml"
    file.write_text(text)
    with pytest.raises(ConfigurationError, match=reason):
        AdoptionMapping.load(file)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        AdoptionMapping.load(tmp_path / "none.toml")


def test_a_mapping_is_another_when_rows_would_become_others() -> None:
    one = AdoptionMapping(source="a", tables={"b": TableMapping()})
    dropped = AdoptionMapping(source="a", tables={"b": TableMapping(drop=("c",))})
    ignoring = AdoptionMapping(source="a", tables={"b": TableMapping()}, ignore=("c",))
    assert one.digest != dropped.digest
    assert one.digest == ignoring.digest


def test_a_column_gets_one_thing() -> None:
    with pytest.raises(ValidationError, match="either"):
        ColumnMapping(source="a", value=1)
