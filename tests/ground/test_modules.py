"""Modules, before any server sees them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import ValidationError
from pydantic_settings import SettingsConfigDict
from sqlalchemy import Column, Integer, MetaData, Table
from sqlalchemy.orm import Session

from orgtenancy import (
    Caller,
    Endpoint,
    ModuleSettings,
    Organization,
    OrganizationModule,
    Tenancy,
)
from orgtenancy.errors import ConfigurationError


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


class BillingSettings(ModuleSettings):
    model_config = SettingsConfigDict(env_prefix="TEST_BILLING_")

    currency: str = "EUR"


def read_invoice(session: Session, caller: Caller, *, number: int) -> int:
    """Return an invoice."""
    return number


@pytest.fixture
def billing(tmp_path: Path) -> OrganizationModule:
    return OrganizationModule(
        name="billing",
        metadata=MetaData(),
        migrations=tmp_path,
        endpoints=(Endpoint("GET", "/invoices/{number}", read_invoice, scopes=("bills",)),),
        settings=BillingSettings(),
    )


def test_other_settings_make_another_module(billing: OrganizationModule) -> None:
    other = billing.with_settings(BillingSettings(currency="CHF"))
    assert other.settings == BillingSettings(currency="CHF")
    assert billing.settings == BillingSettings()
    assert (other.name, other.metadata, other.endpoints) == (
        billing.name,
        billing.metadata,
        billing.endpoints,
    )


def test_settings_of_another_class_are_refused(billing: OrganizationModule) -> None:
    with pytest.raises(ValueError, match="'billing' has BillingSettings, not ModuleSettings"):
        billing.with_settings(ModuleSettings())


def test_settings_say_which_scopes_an_endpoint_asks_for(billing: OrganizationModule) -> None:
    (endpoint,) = billing.endpoints
    assert billing.scopes_of(endpoint) == ("bills",)
    scopes = {"read_invoice": ("a", "b")}
    assert billing.with_settings(BillingSettings(scopes=scopes)).scopes_of(endpoint) == ("a", "b")
    with pytest.raises(ValidationError, match="unknown endpoints: write_invoice"):
        billing.with_settings(BillingSettings(scopes={"write_invoice": ("a",)}))


def test_two_endpoints_of_one_name_are_refused(billing: OrganizationModule) -> None:
    endpoints = (*billing.endpoints, Endpoint("GET", "/bills/{number}", read_invoice))
    with pytest.raises(ConfigurationError, match="share the name 'read_invoice'"):
        OrganizationModule(
            name="billing",
            metadata=MetaData(),
            migrations=billing.migrations,
            endpoints=endpoints,
        )


def test_sessions_know_the_settings_of_registered_modules(
    billing: OrganizationModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime.now(UTC)
    acme = Organization(
        id="acme",
        name="Acme",
        schema_name="org_acme",
        role_name="r",
        created_at=now,
        updated_at=now,
    )
    module = billing.with_settings(BillingSettings(currency="CHF"))
    tenancy = Tenancy("postgresql+psycopg://app@127.0.0.1/none", modules=[module])
    with tenancy.session(acme) as session:  # nothing connects before the first statement
        assert session.module_settings(BillingSettings).currency == "CHF"

    class OtherSettings(ModuleSettings):
        model_config = SettingsConfigDict(env_prefix="TEST_OTHER_")
        word: str = "default"

    monkeypatch.setenv("TEST_OTHER_WORD", "from the environment")
    with tenancy.session(acme) as session:
        assert session.module_settings(OtherSettings).word == "from the environment"
