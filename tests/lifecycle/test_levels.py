"""The same life at each isolation level, and with an owner that is no superuser."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from orgtenancy import Tenancy
from orgtenancy.errors import OrganizationNotFound, OrganizationUnavailable
from tests.lifecycle.worlds import CALLS, count_notes, may_enter, write
from tests.schemas.databases import FreshDatabase

pytestmark = pytest.mark.slow

SECRET = "not a secret: made for a test, 32 characters long"
LEVELS: dict[str, dict[str, Any]] = {
    "role": {},
    "login": {"isolation": "login", "login_secret": SECRET},
    "search_path": {"isolation": "search_path"},
}


@pytest.fixture(params=LEVELS)
def level(request: pytest.FixtureRequest) -> dict[str, Any]:
    return LEVELS[request.param]


@pytest.fixture
def tenancy(bare_database: FreshDatabase, level: dict[str, Any]) -> Iterator[Tenancy]:
    with bare_database.tenancy(registry_max_age=600, **level) as tenancy:
        tenancy.install()
        yield tenancy


def grantee(tenancy: Tenancy, role: str) -> str:
    return tenancy.schemas.builder.grantee(role)


def test_what_is_shut_is_shut_for_a_process_that_does_not_know(
    bare_database: FreshDatabase, tenancy: Tenancy, level: dict[str, Any]
) -> None:
    organizations = tenancy.organizations
    acme, globex = (tenancy.schemas.provision(i) for i in ("acme", "globex"))
    with bare_database.tenancy(registry_max_age=600, **level) as stale:
        write(stale, "acme")
        for note, (shut, opened, status) in enumerate(
            [
                ("suspend", "resume", "suspended"),
                ("fence", "unfence", "fenced"),
                ("archive", "restore", "archived"),
            ],
            2,
        ):
            CALLS[shut](organizations, "acme")
            assert not may_enter(bare_database, acme, grantee(tenancy, acme.role_name))
            with pytest.raises(OrganizationUnavailable) as caught:
                write(stale, "acme", note)
            assert caught.value.status == status
            assert count_notes(bare_database, acme) == note - 1
            write(stale, "globex", note)  # nobody else is shut out
            CALLS[opened](organizations, "acme")
            stale._directory.clear()
            write(stale, "acme", note)
    assert may_enter(bare_database, globex, grantee(tenancy, globex.role_name))


def test_an_id_is_changed_and_the_data_is_there(
    bare_database: FreshDatabase, tenancy: Tenancy
) -> None:
    tenancy.schemas.provision("acme")
    write(tenancy, "acme")
    moved = tenancy.organizations.change_id("acme", "globex")
    write(tenancy, "globex", 2)
    assert count_notes(bare_database, moved) == 2


def test_a_purge_leaves_neither_schema_nor_role(
    bare_database: FreshDatabase, tenancy: Tenancy
) -> None:
    tenancy.schemas.provision("acme")
    tenancy.schemas.provision("globex")
    tenancy.organizations.archive("acme")
    tenancy.organizations.purge("acme", confirm="acme", now=True)
    assert bare_database.schemas() == {"org_globex"}
    assert len(bare_database.roles()) <= 1
    write(tenancy, "globex")


def test_an_owner_that_is_no_superuser_leads_a_whole_life(bare_database: FreshDatabase) -> None:
    owner, name = f"owner_{bare_database.name}", bare_database.name
    bare_database.ask(f"CREATE ROLE {owner} LOGIN CREATEROLE PASSWORD 'of-a-test'")
    bare_database.ask(f"ALTER DATABASE {name} OWNER TO {owner}")
    try:
        admin_url = bare_database.admin_url.set(username=owner, password="of-a-test")
        with bare_database.tenancy(admin_url=admin_url) as tenancy:
            tenancy.install()
            organization = tenancy.schemas.provision("acme")
            for operation in ("suspend", "resume", "fence", "unfence", "archive", "restore"):
                CALLS[operation](tenancy.organizations, "acme")
                current = tenancy.organizations.get("acme")
                assert may_enter(bare_database, organization) == current.is_active
            write(tenancy, "acme")
            CALLS["change_id"](tenancy.organizations, "acme")
            CALLS["archive"](tenancy.organizations, "acme-new")
            CALLS["purge"](tenancy.organizations, "acme-new")
            assert (bare_database.schemas(), bare_database.roles()) == (set(), set())
    finally:
        bare_database.ask(f"REASSIGN OWNED BY {owner} TO CURRENT_USER")
        bare_database.ask(f"DROP OWNED BY {owner}")
        bare_database.ask(f"DROP ROLE {owner}")


@pytest.mark.parametrize("end", ["purge", "drop", "change_id"])
def test_a_process_that_remembers_one_that_is_gone_is_told_so(
    bare_database: FreshDatabase, tenancy: Tenancy, level: dict[str, Any], end: str
) -> None:
    tenancy.schemas.provision("acme")
    with bare_database.tenancy(registry_max_age=600, **level) as stale:
        write(stale, "acme")
        if end == "purge":
            tenancy.organizations.archive("acme")
        if end == "drop":
            tenancy.schemas.drop("acme", confirm="acme", force=True)
        else:
            CALLS[end](tenancy.organizations, "acme")
        gone = OrganizationUnavailable if end == "purge" else OrganizationNotFound
        for note in (2, 3):  # by what PostgreSQL refuses, and by what is known then
            with pytest.raises(gone):
                write(stale, "acme", note)
