"""Modules, before any server sees them."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError
from sqlalchemy import Column, Integer, MetaData, Table

from orgtenancy import OrganizationModule


@pytest.mark.parametrize("name", ["a", "billing", "billing_2", "a" * 31])
def test_a_name_of_lower_case_letters_digits_and_underscores_is_taken(
    name: str, tmp_path: Path
) -> None:
    assert OrganizationModule(name=name, metadata=MetaData(), migrations=tmp_path).name == name


@pytest.mark.parametrize(
    "name", ["", "A", "Billing", "2fa", "_a", "a-b", "a b", "a" * 32, "é", "a\n", "a@head", "a\0"]
)
def test_any_other_name_is_refused_with_the_rule(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match=r"1 to 31 of \[a-z0-9_\], starting with a letter"):
        OrganizationModule(name=name, metadata=MetaData(), migrations=tmp_path)


def test_a_table_with_a_schema_of_its_own_is_refused_by_name(tmp_path: Path) -> None:
    metadata = MetaData()
    Table("invoices", metadata, Column("id", Integer), schema="public")
    Table("payments", metadata, Column("id", Integer))
    with pytest.raises(ValidationError, match=r"found: public\.invoices") as caught:
        OrganizationModule(name="billing", metadata=metadata, migrations=tmp_path)
    assert "payments" not in str(caught.value)


def test_metadata_with_a_schema_is_refused_even_without_tables(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="found: shared"):
        OrganizationModule(name="billing", metadata=MetaData(schema="shared"), migrations=tmp_path)


def test_a_missing_folder_of_migrations_is_refused(tmp_path: Path) -> None:
    missing, file = tmp_path / "missing", tmp_path / "file"
    file.touch()
    for path in (missing, file):
        with pytest.raises(ValidationError, match=f"no folder {path}"):
            OrganizationModule(name="billing", metadata=MetaData(), migrations=path)


def test_a_module_is_frozen(tmp_path: Path) -> None:
    module = OrganizationModule(name="billing", metadata=MetaData(), migrations=tmp_path)
    with pytest.raises(ValidationError, match="frozen"):
        module.name = "other"  # type: ignore[misc]
