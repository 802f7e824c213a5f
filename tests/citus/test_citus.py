"""Citus as a placement: each organization is on a worker, and all else is as anywhere."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from sqlalchemy.exc import DBAPIError

from orgtenancy import Organization, Tenancy
from orgtenancy.community import PostRepository, community
from orgtenancy.errors import OrganizationBusy, OrganizationUnavailable
from orgtenancy.operations.doctor import Level, examine
from tests.api.conftest import Send, senders, tokens
from tests.api.player import Player
from tests.api.scenario import STORY
from tests.citus.conftest import CitusDatabase
from tests.fleet.hosts import ModuleFolder
from tests.placements.cells import count, new_id, write

__all__ = ["senders", "tokens"]

pytestmark = [pytest.mark.citus, pytest.mark.slow]


@pytest.fixture
def organization(tenancy: Tenancy) -> Organization:
    return tenancy.schemas.provision(new_id())


def test_organizations_are_on_workers_and_the_registry_is_not(
    citus: CitusDatabase, tenancy: Tenancy
) -> None:
    made = [tenancy.schemas.provision(new_id()) for _ in range(4)]
    for one in made:
        assert citus.is_distributed(one.schema_name)
    assert {citus.node_of(one.schema_name) for one in made} <= set(map(str, citus.workers))
    assert not citus.is_distributed("orgtenancy")
    tenancy.install()  # again, as at every start


def test_the_whole_story_of_the_community_is_told(
    tenancy: Tenancy, senders: dict[str, Send]
) -> None:
    pair = {name: tenancy.schemas.provision(new_id()) for name in ("north", "south")}
    player = Player(senders["fastapi"], pair)
    player.play(STORY)
    assert player.answered == {endpoint.name for endpoint in community.endpoints}


def test_one_organization_cannot_reach_another(
    tenancy: Tenancy, organization: Organization
) -> None:
    other = tenancy.schemas.provision(new_id())
    write(tenancy, other)
    with pytest.raises(DBAPIError) as caught, tenancy.session(organization.id) as session:
        session.connection().exec_driver_sql(f'SELECT * FROM "{other.schema_name}".notes')
    assert getattr(caught.value.orig, "sqlstate", None) == "42501"
    assert count(tenancy, organization.id) == 0

    async def post() -> int:
        async with tenancy.session(organization.id) as session:
            await session.run_sync(
                lambda s: PostRepository(s).create(user_id="ann", content="Hello")
            )
        async with tenancy.session(organization.id) as session:
            page = await session.run_sync(lambda s: PostRepository(s).find_feed("ann"))
        await tenancy.aclose()
        return len(page.items)

    assert asyncio.run(post()) == 1


def test_spares_are_made_claimed_and_discarded(citus: CitusDatabase, tenancy: Tenancy) -> None:
    assert tenancy.schemas.spares.fill(2) == 2
    made = tenancy.schemas.provision(new_id())
    assert tenancy.schemas.spares.count().ready == 1
    assert citus.is_distributed(made.schema_name)
    write(tenancy, made)
    assert tenancy.schemas.spares.discard(only_stale=False) == 1


def test_the_life_of_an_organization(citus: CitusDatabase, tenancy: Tenancy) -> None:
    organization = tenancy.schemas.provision(new_id())
    life = tenancy.organizations
    write(tenancy, organization)
    life.suspend(organization.id, wait=2)
    with pytest.raises(OrganizationUnavailable):
        write(tenancy, organization.id, 2)
    with pytest.raises(OrganizationUnavailable):
        write(tenancy, organization, 2)
    life.resume(organization.id)
    with tenancy.session(organization.id) as session:
        session.connection().exec_driver_sql("INSERT INTO notes (id, body) VALUES (3, '')")
        with pytest.raises(OrganizationBusy, match="somebody still writes"):
            life.fence(organization.id, wait=0.2)
        life.unfence(organization.id)
    life.fence(organization.id)
    life.unfence(organization.id)
    renamed = life.change_id(organization.id, f"{organization.id}-new")
    assert count(tenancy, renamed.id) == 2
    life.archive(renamed.id)
    life.purge(renamed.id, confirm=renamed.id, now=True)
    assert renamed.schema_name not in citus.schemas()
    assert renamed.role_name not in citus.roles()
    dropped = tenancy.schemas.provision(new_id())
    tenancy.schemas.drop(dropped.id, confirm=dropped.id, force=True)
    assert dropped.schema_name not in citus.schemas()


def test_drift_is_found_and_nothing_else(citus: CitusDatabase, tenancy: Tenancy) -> None:
    organization = tenancy.schemas.provision(new_id())
    assert tenancy.schemas.drift([organization.id]).is_clean
    citus.ask(f'DROP INDEX "{organization.schema_name}".notes_body_idx')
    report = tenancy.schemas.drift([organization.id])
    assert [d.object_name for d in report.schemas[0].differences] == ["notes_body_idx"]
    assert tenancy.schemas.repair(tenancy.schemas.repair_plan(report)).is_clean


def test_migrations_up_and_down_with_every_kind_of_revision(
    citus: CitusDatabase, tmp_path: Path
) -> None:
    folder = ModuleFolder(tmp_path / "shop", "shop")
    # Without SERIAL: a sequence of a schema that is on a worker gives no keys.
    base = folder.add(
        "op.create_table('items', sa.Column('id', sa.Integer, primary_key=True, "
        "autoincrement=False))"
    )
    with citus.tenancy([folder.module()]) as tenancy:
        tenancy.install()
        ids = [new_id() for _ in range(3)]
        for organization_id in ids:
            tenancy.schemas.provision(organization_id)
            with tenancy.session(organization_id) as session:
                session.connection().exec_driver_sql("INSERT INTO items VALUES (1), (2)")
    folder.column("items", "name")
    folder.add("op.create_index('items_name', 'items', ['name'])", "op.drop_index('items_name')")
    folder.online("items", "double")
    folder.add(
        "op.create_table('others', sa.Column('id', sa.Uuid, primary_key=True))",
        "op.drop_table('others')",
    )
    with citus.tenancy([folder.module()]) as tenancy:
        job = tenancy.schemas.fleet.migrate(organizations=ids)
        assert job is not None
        assert job.done == 3
        for organization_id in ids:
            with tenancy.session(organization_id) as session:
                found = session.connection().exec_driver_sql(
                    "SELECT id, double FROM items ORDER BY id"
                )
                assert found.all() == [(1, 2), (2, 4)]
        assert tenancy.schemas.drift(ids).is_clean
        down = tenancy.schemas.fleet.migrate(base, down=True, organizations=ids)
        assert down is not None
        for organization_id in ids:
            tenancy.schemas.drop(organization_id, confirm=organization_id, force=True)


def test_the_doctor_finds_no_problem_and_no_way_to_cross(tenancy: Tenancy) -> None:
    tenancy.schemas.provision(new_id())
    report = examine(tenancy)
    assert report.is_healthy, report.of(Level.PROBLEM)
    (isolation,) = [one for one in report.findings if one.check == "isolation"]
    assert "attempts to cross were refused" in isolation.message
