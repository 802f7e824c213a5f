"""What is set up wrongly says so, and names what to do."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from orgtenancy import Organization, Settings, Tenancy, embedded
from orgtenancy.errors import ConfigurationError, OrganizationNotFound, OrganizationUnavailable


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+asyncpg://app@db/app",
        "mysql://app@db/app",
        "postgresql://app@db",
        "nonsense",
        "",
    ],
)
def test_a_url_that_cannot_work(url: str) -> None:
    with pytest.raises(ConfigurationError):
        Tenancy(url)


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_every_way_to_spell_postgresql(scheme: str) -> None:
    assert Tenancy(f"{scheme}://app@db/app").engine.dialect.driver == "psycopg"


def test_provisioning_without_an_owner() -> None:
    with pytest.raises(ConfigurationError, match="admin_url"):
        Tenancy("postgresql://app@db/app").schemas.provision("acme")


def test_a_database_without_a_registry() -> None:
    with (
        embedded.server() as server,
        Tenancy(server.url, settings=Settings(listen=False)) as tenancy,
        pytest.raises(ConfigurationError, match="install"),
        tenancy.session("acme"),
    ):
        pass


def test_a_process_that_remembers_a_dropped_organization_gets_the_reason(
    tenancy: Tenancy, make_tenancy: Callable[..., Tenancy], organization: Organization
) -> None:
    other = make_tenancy(listen=False)
    with other.session(organization.id) as session:
        session.execute(text("SELECT 1"))
    tenancy.schemas.drop(organization.id, confirm=organization.id, force=True)
    with pytest.raises(OrganizationNotFound), other.session(organization.id) as session:
        session.execute(text("SELECT 1"))


@pytest.mark.parametrize("one_flush", [True, False])
def test_a_role_that_the_login_lost_is_refused_by_postgresql(
    tenancy: Tenancy,
    make_tenancy: Callable[..., Tenancy],
    organization: Organization,
    one_flush: bool,
) -> None:
    other = make_tenancy(listen=False, one_flush=one_flush)
    with other.session(organization.id) as session:
        session.execute(text("SELECT 1"))
    login = tenancy.engine.url.username
    with tenancy._database.admin_engine.begin() as connection:
        connection.exec_driver_sql(f'REVOKE "{organization.role_name}" FROM "{login}"')
    with (
        pytest.raises(OrganizationUnavailable) as caught,
        other.session(organization.id) as session,
    ):
        session.execute(text("SELECT 1"))
    assert caught.value.organization_id == organization.id
    assert caught.value.status is None


@pytest.mark.parametrize("hides", [True, False])
def test_an_error_tells_the_values_of_a_statement_only_if_it_is_asked_to(
    make_tenancy: Callable[..., Tenancy], organization: Organization, hides: bool
) -> None:
    tenancy = make_tenancy(hide_parameters=hides)
    fails = text("SELECT length(:body) / :zero")
    values = {"zero": 0, "body": "hush"}
    with pytest.raises(DBAPIError) as app, tenancy.session(organization) as session:
        session.execute(fails, values)
    engine = tenancy._database.admin_engine
    with pytest.raises(DBAPIError) as owner, engine.connect() as connection:
        connection.execute(fails, values)
    assert ["hush" in str(caught.value) for caught in (app, owner)] == [not hides] * 2
