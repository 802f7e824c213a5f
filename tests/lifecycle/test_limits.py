"""What a transaction that runs can still do after a suspension or a fence: no more than this.

The next transaction can do none of it. The docs say the same: docs/explanation/identity.md.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import text

from orgtenancy import Organization, Tenancy
from orgtenancy.errors import OrganizationUnavailable
from tests.lifecycle.worlds import S, count_notes, reach, write
from tests.schemas.databases import FreshDatabase

CALL = "SELECT write_note(%s)"


@pytest.fixture
def stale(database: FreshDatabase) -> Iterator[Tenancy]:
    """A process with one connection, which hears of nothing."""
    with database.tenancy(registry_max_age=600, pool_size=1, max_overflow=0) as tenancy:
        yield tenancy


def with_function(database: FreshDatabase, tenancy: Tenancy, rights: str) -> Organization:
    """Make an organization with a function that has the rights of its owner, or its caller."""
    organization = tenancy.organizations.get(reach(tenancy, S.ACTIVE))
    schema = organization.schema_name
    database.ask(
        f'CREATE FUNCTION "{schema}".write_note(n int) RETURNS void LANGUAGE sql '
        f"SECURITY {rights} SET search_path = \"{schema}\" AS 'INSERT INTO notes VALUES (n, '''')'"
    )
    return organization


def call(tenancy: Tenancy, organization: Organization, note: int) -> None:
    with tenancy.session(organization.id) as session:
        session.connection().exec_driver_sql(CALL, (note,))


def test_a_function_with_its_owners_rights_may_write_in_a_transaction_that_runs(
    database: FreshDatabase, installed: Tenancy, stale: Tenancy
) -> None:
    # It locks no table before it is called, and then as the owner, whom nobody shut out. So
    # neither PostgreSQL nor the fence can know of it.
    organization = with_function(database, installed, "DEFINER")
    call(stale, organization, 1)
    with stale.session(organization.id) as session:
        session.execute(text("SELECT 1"))
        installed.organizations.fence(organization.id)
        session.connection().exec_driver_sql(CALL, (2,))
    assert count_notes(database, organization) == 2
    with pytest.raises(OrganizationUnavailable):
        call(stale, organization, 3)
    assert count_notes(database, organization) == 2


def test_a_function_with_its_callers_rights_may_not(
    database: FreshDatabase, installed: Tenancy, stale: Tenancy
) -> None:
    organization = with_function(database, installed, "INVOKER")
    call(stale, organization, 1)

    def be_overtaken() -> None:
        with stale.session(organization.id) as session:
            session.execute(text("SELECT 1"))
            installed.organizations.fence(organization.id)
            session.connection().exec_driver_sql(CALL, (2,))

    with pytest.raises(OrganizationUnavailable):
        be_overtaken()
    assert count_notes(database, organization) == 1


def test_a_cursor_that_is_open_can_be_read_to_its_end(
    database: FreshDatabase, installed: Tenancy, stale: Tenancy
) -> None:
    organization_id = reach(installed, S.ACTIVE)
    for note in range(3):
        write(installed, organization_id, note)
    with stale.session(organization_id) as session:
        session.execute(text("DECLARE all_notes NO SCROLL CURSOR FOR SELECT id FROM notes"))
        installed.organizations.suspend(organization_id)
        assert len(session.execute(text("FETCH ALL FROM all_notes")).all()) == 3
    with pytest.raises(OrganizationUnavailable):
        write(stale, organization_id, 9)
