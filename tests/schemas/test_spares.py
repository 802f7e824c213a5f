"""A spare that is claimed is the schema that provisioning would have made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from psycopg._connection_base import BaseConnection
from psycopg._cursor_base import BaseCursor
from sqlalchemy import Connection, MetaData, text

from orgtenancy import ModuleSettings, OrganizationModule, Tenancy
from orgtenancy.errors import OrganizationUnavailable, ProvisioningFailed
from orgtenancy.schemas import claiming
from orgtenancy.schemas.messages import fetch_value
from orgtenancy.schemas.spares import SpareCounts
from tests.schemas.catalogs import describe
from tests.schemas.conftest import MakeModule
from tests.schemas.databases import FreshDatabase, all_organizations
from tests.support.notes import Note, NoteRepository, notes

LEVELS: dict[str, dict[str, Any]] = {
    "role": {},
    "login": {"isolation": "login", "login_secret": "s" * 32},
    "search_path": {"isolation": "search_path"},
}

ODD_IDS = ["0", "a-b", "A_b", "x" * 59, "select", "9-", "Org_1"]


def counts(tenancy: Tenancy) -> tuple[int, int, int]:
    found = tenancy.schemas.spares.count()
    return found.ready, found.stale, found.unfinished


def spare_schemas(database: FreshDatabase) -> set[str]:
    found = database.ask(
        r"SELECT nspname FROM pg_namespace WHERE nspname LIKE 'orgtenancy\_spare\_%'"
    )
    return {name for (name,) in found}


def rights(database: FreshDatabase) -> list[Any]:
    """Return all that says who may do what, with the transactions that wrote it."""
    return [
        database.ask(f"SELECT xmin::text, x::text FROM {catalog} AS x ORDER BY x::text")
        for catalog in ("pg_authid", "pg_auth_members", "pg_default_acl")
    ] + [
        database.ask(
            "SELECT oid, xmin::text, relacl::text[] FROM pg_class WHERE relacl IS NOT NULL "
            "ORDER BY oid"
        ),
        database.ask("SELECT oid, nspowner, nspacl::text[] FROM pg_namespace ORDER BY oid"),
    ]


def test_a_claim_is_one_round_trip(installed: Tenancy, monkeypatch: pytest.MonkeyPatch) -> None:
    installed.schemas.spares.fill(2)
    installed.schemas.provision("first")  # opens the connection
    sent: list[str] = []

    def noting(real: Callable[..., Any]) -> Callable[..., Any]:
        def noted(self: object, command: Any, *rest: Any, **options: Any) -> Any:
            sent.append(str(getattr(command, "query", command)))
            return real(self, command, *rest, **options)

        return noted

    # BEGIN and COMMIT go through the first, every other statement through the second.
    for owner, name in ((BaseConnection, "_exec_command"), (BaseCursor, "_maybe_prepare_gen")):
        monkeypatch.setattr(owner, name, noting(getattr(owner, name)))
    messages: list[bytes] = []

    def fetch(connection: Connection, statement: bytes) -> bytes:
        messages.append(statement)
        return fetch_value(connection, statement)

    monkeypatch.setattr(claiming, "fetch_value", fetch)
    installed.schemas.provision("second")
    assert sent == []
    (message,) = messages
    assert message.count(b"claim_spares") == 1
    assert b";" not in message


@pytest.mark.parametrize("level", LEVELS)
def test_a_claim_gives_what_provisioning_gives(bare_database: FreshDatabase, level: str) -> None:
    with bare_database.tenancy(**LEVELS[level]) as tenancy:
        tenancy.install()
        slow = tenancy.schemas.provision("slow", name="Slow", attributes={"n": [1]})
        assert tenancy.schemas.spares.fill(1) == 1
        quick = tenancy.schemas.provision("quick", name="Quick", attributes={"n": [1]})
        assert counts(tenancy) == (0, 0, 0)
        assert describe(bare_database, "org_quick", quick.role_name) == describe(
            bare_database, "org_slow", slow.role_name
        )
        alike = {"name", "id", "schema_name", "role_name", "created_at", "updated_at"}
        alike |= {"status_changed_at"}
        assert quick.model_dump(exclude=alike) == slow.model_dump(exclude=alike)
        assert (quick.name, quick.attributes) == ("Quick", {"n": [1]})
        assert tenancy.schemas.get("quick") == quick
        with tenancy.session("quick") as session:
            NoteRepository(session).write(1, "mine")
            assert session.scalar(text("SELECT current_schema()")) == "org_quick"
        with tenancy.session("slow") as session:
            assert session.query(Note).count() == 0
        for organization_id in ("quick", "slow"):
            tenancy.schemas.drop(organization_id, confirm=organization_id, force=True)
    assert bare_database.schemas() == spare_schemas(bare_database) == bare_database.roles() == set()


def test_a_claim_touches_no_role_and_no_grant(
    installed: Tenancy, bare_database: FreshDatabase
) -> None:
    installed.schemas.spares.fill(2)
    before = rights(bare_database)
    organization = installed.schemas.provision("acme")
    assert rights(bare_database) == before
    assert bare_database.ask(
        "SELECT rolname FROM pg_roles WHERE rolname = %s", organization.role_name
    )


def test_ids_of_all_shapes_can_claim(installed: Tenancy, bare_database: FreshDatabase) -> None:
    installed.schemas.spares.fill(len(ODD_IDS))
    for organization_id in ODD_IDS:
        organization = installed.schemas.provision(organization_id, name='it\'s "50 %" :x \\')
        assert organization.schema_name == f"org_{organization_id}"
        assert organization.name == 'it\'s "50 %" :x \\'
        with installed.session(organization_id) as session:
            NoteRepository(session).write(1, organization_id)
    assert counts(installed) == (0, 0, 0)
    assert bare_database.schemas() == {f"org_{o}" for o in ODD_IDS}


def test_an_organization_that_exists_uses_no_spare(installed: Tenancy) -> None:
    first = installed.schemas.provision("acme")
    installed.schemas.spares.fill(2)
    assert installed.schemas.provision("acme", name="Other") == first
    assert counts(installed) == (2, 0, 0)
    with installed._database.admin_engine.begin() as connection:
        connection.execute(text("UPDATE orgtenancy.organizations SET status = 'suspended'"))
    with pytest.raises(OrganizationUnavailable):
        installed.schemas.provision("acme")
    assert counts(installed) == (2, 0, 0)


def test_a_schema_that_is_in_the_way_fails_with_and_without_spares(
    installed: Tenancy, bare_database: FreshDatabase
) -> None:
    bare_database.ask("CREATE SCHEMA org_acme")
    for number in (0, 1):
        installed.schemas.spares.fill(number)
        with pytest.raises(ProvisioningFailed, match="already exists") as caught:
            installed.schemas.provision("acme")
        assert (caught.value.organization_id, caught.value.schema) == ("acme", "org_acme")
        assert all_organizations(installed) == []
        assert counts(installed) == (number, 0, 0)
    bare_database.ask("DROP SCHEMA org_acme")
    assert installed.schemas.provision("acme").is_active


def test_the_first_spare_that_was_made_goes_first(
    installed: Tenancy, bare_database: FreshDatabase
) -> None:
    for _ in range(3):
        installed.schemas.spares.fill(installed.schemas.spares.count().ready + 1)
    order = bare_database.ask("SELECT role_name FROM orgtenancy.spares ORDER BY ready_at")
    claimed = [installed.schemas.provision(f"o{n}").role_name for n in range(3)]
    assert claimed == [role for (role,) in order]


def test_spares_that_other_settings_or_revisions_made_are_left_alone(
    bare_database: FreshDatabase, make_module: MakeModule
) -> None:
    class Limits(ModuleSettings):
        limit: int = 1

    def module(limit: int) -> OrganizationModule:
        return OrganizationModule(
            name="limited",
            metadata=MetaData(),
            migrations=folder,
            settings=Limits(limit=limit),
        )

    table = "op.create_table('items', sa.Column('id', sa.Integer))"
    folder = make_module("limited", table).migrations
    with bare_database.tenancy([module(1)]) as tenancy:
        tenancy.install()
        tenancy.schemas.spares.fill(2)
        assert counts(tenancy) == (2, 0, 0)
    others: list[tuple[list[OrganizationModule], dict[str, Any]]] = [
        ([module(2)], {}),
        ([module(1)], LEVELS["search_path"]),
        ([module(1)], {"extensions_schema": "pg_catalog"}),
    ]
    for number, (modules, settings) in enumerate(others):
        with bare_database.tenancy(modules, **settings) as other:
            assert counts(other) == (0, 2, 0)
            if not settings:
                other.schemas.provision(f"other-{number}")
                assert other.schemas.get(f"other-{number}").is_active
                assert counts(other) == (0, 2, 0)
    (folder / "limited_0002.py").write_text(
        (folder / "limited_0001.py")
        .read_text()
        .replace("down_revision = None", "down_revision = 'limited_0001'")
        .replace("revision = 'limited_0001'", "revision = 'limited_0002'", 1)
        .replace("branch_labels = ('limited',)", "branch_labels = None")
        .replace("'items'", "'more'")
    )
    with bare_database.tenancy([module(1)]) as newer:
        assert counts(newer) == (0, 2, 0)
        made = newer.schemas.provision("newer")
        assert made.revisions == {"limited": "limited_0002"}
        assert counts(newer) == (0, 2, 0)
        newer.schemas.fleet.migrate()
        assert counts(newer) == (2, 0, 0)
        assert newer.schemas.provision("claimed").revisions == {"limited": "limited_0002"}
        assert counts(newer) == (1, 0, 0)


def test_what_is_discarded_is_gone_with_its_role(
    installed: Tenancy, bare_database: FreshDatabase
) -> None:
    installed.schemas.provision("acme")
    kept = bare_database.roles()
    installed.schemas.spares.fill(3)
    assert installed.schemas.spares.discard() == 0
    bare_database.ask(
        'UPDATE orgtenancy.spares SET revisions = \'{"notes": "old"}\' '
        "WHERE role_name = (SELECT min(role_name) FROM orgtenancy.spares)"
    )
    assert counts(installed) == (2, 1, 0)
    assert installed.schemas.spares.discard() == 1
    assert counts(installed) == (2, 0, 0)
    assert len(spare_schemas(bare_database)) == 2
    assert installed.schemas.spares.discard(only_stale=False) == 2
    assert (counts(installed), spare_schemas(bare_database)) == ((0, 0, 0), set())
    assert bare_database.roles() == kept


def test_filling_makes_only_what_is_missing(
    installed: Tenancy, bare_database: FreshDatabase
) -> None:
    spares = installed.schemas.spares
    assert spares.count() == SpareCounts(ready=0, stale=0, unfinished=0)
    assert [spares.fill(n) for n in (2, 2, 0, 3)] == [2, 0, 0, 1]
    assert len(spare_schemas(bare_database)) == 3
    with pytest.raises(ValueError, match="negative"):
        spares.fill(-1)
    assert all_organizations(installed) == []  # nobody's
    assert not any(schema in bare_database.schemas() for schema in spare_schemas(bare_database))


def test_a_spare_that_cannot_be_made_is_told_and_is_made_later(
    bare_database: FreshDatabase, make_module: MakeModule
) -> None:
    module = make_module("fragile", "op.execute('SELECT count(*) FROM public.needed')")
    with bare_database.tenancy([module]) as tenancy:
        tenancy.install()
        with pytest.raises(ProvisioningFailed, match="needed"):
            tenancy.schemas.spares.fill(2)
        assert counts(tenancy) == (0, 0, 2)
        assert spare_schemas(bare_database) == set()
        with pytest.raises(ProvisioningFailed, match="needed"):
            tenancy.schemas.provision("acme")
        bare_database.ask("CREATE TABLE public.needed ()")
        assert tenancy.schemas.spares.fill(2) == 2
        assert counts(tenancy) == (2, 0, 0)


def test_a_login_that_is_new_can_take_the_spares_roles_as_well(
    bare_database: FreshDatabase, installed: Tenancy
) -> None:
    installed.schemas.spares.fill(1)
    login = f"{bare_database.name}_login"
    bare_database.ask(f"CREATE ROLE {login} LOGIN NOINHERIT PASSWORD 'secret'")
    url = bare_database.url.set(username=login, password="secret")
    try:
        with bare_database.tenancy(url=url) as other:
            other.install()
            installed.schemas.provision("acme")
            with other.session("acme") as session:
                NoteRepository(session).write(1, "mine")
    finally:
        bare_database.ask(f"DROP OWNED BY {login}; DROP ROLE {login}")


async def _provisioned(tenancy: Tenancy) -> None:
    await tenancy.schemas.spares.fill_async(1)
    await tenancy.schemas.provision_async("acme")


def test_the_async_methods_do_the_same(installed: Tenancy) -> None:
    import asyncio

    asyncio.run(_provisioned(installed))
    assert counts(installed) == (0, 0, 0)
    assert installed.schemas.get("acme").is_active
    assert notes.name in installed.schemas.get("acme").revisions
