"""Organizations of several placements through one tenancy, as if they were on one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from typing import Any

import pytest
from psycopg.errors import Error
from sqlalchemy import Engine, event
from sqlalchemy.exc import DBAPIError, OperationalError

from orgtenancy import OrganizationStatus, PageRequest, Tenancy
from orgtenancy.errors import (
    InvalidOrganizationId,
    OrganizationExists,
    OrganizationNotFound,
    OrganizationUnavailable,
    PlacementNotFound,
)
from tests.placements.cells import Cells, count, down, new_id, write
from tests.registry.test_directory import LISTEN, WITHIN
from tests.registry.worker import status_of
from tests.schemas.databases import all_organizations, eventually

S = OrganizationStatus


@contextmanager
def sent(*engines: Engine) -> Iterator[list[str]]:
    """Collect the statements that are sent in the block."""
    statements: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        statements.append(statement)

    for engine in engines:
        event.listen(engine, "before_cursor_execute", note)
    yield statements
    for engine in engines:
        event.remove(engine, "before_cursor_execute", note)


def test_sessions_lead_to_the_placement_of_their_organization(
    cells: Cells, spread: Tenancy
) -> None:
    ids = {name: new_id() for name in cells.databases}
    for name, organization_id in ids.items():
        made = spread.schemas.provision(organization_id, name="Acme", placement=name)
        assert (made.placement, made.is_active) == (name, True)
        assert cells.where(organization_id) == [name]
        write(spread, organization_id)
        assert cells[name].ask(f'SELECT count(*) FROM "{made.schema_name}".notes') == [(1,)]
        assert spread.schemas.get(organization_id) == made
        assert spread.schemas.provision(organization_id) == made
    # What is on the control server needs no row that says so.
    assert [cells.location(one) for one in ids.values()] == [None, "eu"]

    async def both() -> list[int]:
        found = []
        for organization_id in ids.values():
            async with spread.session(organization_id) as session:
                connection = await session.connection()
                row = await connection.exec_driver_sql("SELECT count(*) FROM notes")
                found.append(int(row.scalar_one()))
        await spread.aclose()
        return found

    assert asyncio.run(both()) == [1, 1]
    with spread.organization(ids["eu"]), spread.session() as session:
        assert session.organization.placement == "eu"


def test_a_look_up_asks_two_servers_and_then_none(cells: Cells, spread: Tenancy) -> None:
    there, here = new_id(), new_id()
    spread.schemas.provision(there, placement="eu")
    spread.schemas.provision(here, placement="default")
    engines = [database.engine for database in spread._databases]
    for organization_id, questions in ((there, 2), (here, 1)):
        with sent(*engines) as statements:
            assert status_of(spread, organization_id) == "active"
            assert len(statements) == questions
            for _ in range(3):
                assert status_of(spread, organization_id) == "active"
            assert len(statements) == questions


def test_with_one_placement_nobody_is_asked_where_an_organization_is(cells: Cells) -> None:
    organization_id = new_id()
    with cells.control.tenancy() as tenancy:
        engines = tenancy.engine, tenancy._database.admin_engine
        with sent(*engines) as statements:
            tenancy.schemas.provision(organization_id)
            assert status_of(tenancy, organization_id) == "active"
            tenancy.schemas.get(organization_id)
            tenancy.organizations.suspend(organization_id)
        assert not [s for s in statements if "locations" in s or "placements" in s]
        assert list(tenancy.placements) == ["default"]
        assert tenancy.placements["default"].schemas is tenancy.schemas


@pytest.mark.slow
def test_a_change_on_any_placement_is_heard_of_at_once(cells: Cells, spread: Tenancy) -> None:
    organization_id = new_id()
    spread.schemas.provision(organization_id, placement="eu")
    with cells.tenancy(listen=True, registry_max_age=600) as listening:
        assert status_of(listening, organization_id) == "active"
        eventually(lambda: cells["eu"].backends(LISTEN))
        eventually(lambda: status_of(listening, organization_id) == "active")
        spread.organizations.suspend(organization_id)
        eventually(lambda: status_of(listening, organization_id) == "suspended", WITHIN)
        spread.organizations.resume(organization_id)
        eventually(lambda: status_of(listening, organization_id) == "active", WITHIN)
        spread.schemas.drop(organization_id, confirm=organization_id, force=True)
        eventually(lambda: status_of(listening, organization_id) == "OrganizationNotFound", WITHIN)


def test_the_whole_life_is_led_on_the_placement(cells: Cells, spread: Tenancy) -> None:
    made = spread.schemas.provision(new_id(), placement="eu")
    life = spread.organizations
    heard = []
    life.on_suspended(lambda told: heard.append(told.organization.id))
    assert life.suspend(made.id, wait=1).status is S.SUSPENDED
    assert heard == [made.id]
    assert status_of(spread, made.id) == "suspended"
    assert life.resume(made.id).is_active
    assert life.fence(made.id).status is S.FENCED
    assert life.unfence(made.id).is_active
    assert life.rename(made.id, "Acme").name == "Acme"
    assert asyncio.run(life.set_attributes_async(made.id, {"a": 1})).attributes == {"a": 1}
    assert life.link(made.id, source="logto").source == "logto"
    assert life.archive(made.id, grace=timedelta()).status is S.ARCHIVED
    assert life.restore(made.id).is_active
    life.archive(made.id, grace=timedelta())
    assert life.purge_due() == [made.id]
    assert cells.where(made.id) == [cells.location(made.id)] == ["eu"]  # the id is not free
    entries = life.audit(PageRequest(limit=100), organization_id=made.id).items
    assert {entry.placement for entry in entries} == {"eu"}
    assert [entry.action for entry in entries][::-1][:3] == ["provisioned", "suspended", "resumed"]
    with pytest.raises(InvalidOrganizationId):
        life.suspend("a b")


def test_an_organization_that_is_dropped_leaves_nothing_and_can_be_made_elsewhere(
    cells: Cells, spread: Tenancy
) -> None:
    made = spread.schemas.provision(new_id(), placement="eu")
    member = "INSERT INTO orgtenancy.members VALUES (%s, 'ann', 'active', now())"
    cells.control.ask(member, made.id)
    spread.schemas.drop(made.id, confirm=made.id, force=True)
    assert (cells.where(made.id), cells.location(made.id)) == ([], None)
    assert not cells.control.ask(
        "SELECT actor_id FROM orgtenancy.members WHERE organization_id = %s", made.id
    )
    with pytest.raises(OrganizationNotFound):
        spread.schemas.drop(made.id, confirm=made.id)
    assert spread.schemas.provision(made.id, placement="default").placement == "default"


def test_an_id_is_changed_on_the_placement_with_its_members(cells: Cells, spread: Tenancy) -> None:
    made, other = new_id(), new_id()
    spread.schemas.provision(made, placement="eu")
    spread.schemas.provision(other, placement="default")
    cells.control.ask("INSERT INTO orgtenancy.members VALUES (%s, 'ann', 'active', now())", made)
    with pytest.raises(OrganizationExists):
        spread.organizations.change_id(made, other)
    with pytest.raises(OrganizationExists):
        spread.organizations.change_id(other, made)
    assert (cells.where(made), cells.where(other)) == (["eu"], ["default"])
    new = f"{made}-new"
    assert spread.organizations.change_id(made, new).id == new
    assert (cells.where(new), cells.location(new), cells.location(made)) == (["eu"], "eu", None)
    write(spread, new)
    (found,) = cells.control.ask(
        "SELECT organization_id FROM orgtenancy.members WHERE organization_id IN (%s, %s)",
        made,
        new,
    )
    assert found == (new,)
    assert spread.schemas.provision(made, placement="default").is_active


@pytest.mark.slow
def test_lists_and_audits_of_all_placements_are_one(bare_cells: Cells) -> None:
    names = list(bare_cells.databases)
    with bare_cells.tenancy() as tenancy:
        tenancy.install()
        for n in range(9):
            tenancy.schemas.provision(f"o{n}", placement=names[n % 3])
        tenancy.organizations.suspend("o4")
        first = tenancy.schemas.list(PageRequest(limit=4))
        assert [one.id for one in first.items] == ["o0", "o1", "o2", "o3"]
        second = tenancy.organizations.list(PageRequest(limit=5, cursor=first.next_cursor))
        assert [one.id for one in second.items] == ["o4", "o5", "o6", "o7", "o8"]
        assert second.next_cursor is None
        assert [o.id for o in tenancy.schemas.list(status=S.SUSPENDED).items] == ["o4"]
        assert len(all_organizations(tenancy)) == 9
        told = []
        cursor = None
        while True:
            page = tenancy.organizations.audit(PageRequest(limit=3, cursor=cursor))
            told += [(one.organization_id, one.action) for one in page.items]
            if (cursor := page.next_cursor) is None:
                break
        made = [(f"o{n}", "provisioned") for n in range(9)]
        assert told == [("o4", "suspended"), *made[::-1]]


def test_one_that_is_down_is_no_matter_of_the_others(cells: Cells) -> None:
    here, there, late = new_id(), new_id(), new_id()
    with cells.tenancy() as tenancy:
        tenancy.schemas.provision(here, placement="default")
        for organization_id in (there, late):
            tenancy.schemas.provision(organization_id, placement="eu")
        write(tenancy, here)
        write(tenancy, there)
        with down(cells["eu"]):
            assert count(tenancy, here) == 1
            # The driver's own error, as with one server; with the placement as a note.
            for organization_id in (there, late):
                succeeds(lambda: count(tenancy, there))  # on a connection of before
                with pytest.raises(DBAPIError) as caught:
                    count(tenancy, organization_id)
                assert caught.value.__notes__ == ["on placement 'eu'"]
        eventually(lambda: succeeds(lambda: count(tenancy, there) == 1))


def test_organizations_that_are_known_do_without_the_control_server(cells: Cells) -> None:
    known, unknown = new_id(), new_id()
    with cells.tenancy(registry_max_age=600) as tenancy:
        for organization_id in (known, unknown):
            tenancy.schemas.provision(organization_id, placement="eu")
        write(tenancy, known)
        with down(cells.control):
            write(tenancy, known, 2)
            succeeds(lambda: count(tenancy, unknown))  # on a connection of before
            with pytest.raises(OperationalError):
                count(tenancy, unknown)
        assert count(tenancy, known) == 2


def succeeds(work: Any) -> bool:
    try:
        return bool(work())
    except (DBAPIError, Error):
        return False


def test_a_process_that_does_not_name_the_placement_says_so(cells: Cells, spread: Tenancy) -> None:
    organization_id = new_id()
    spread.schemas.provision(organization_id, placement="eu")
    both = cells.placements()
    with cells.control.tenancy() as alone:
        # It asks for no locations: this is how a process with one placement finds out.
        assert status_of(alone, organization_id) == "OrganizationNotFound"
        with pytest.raises(OrganizationExists, match="is on placement 'eu'"):
            alone.schemas.provision(organization_id)
    with cells.tenancy(placements={"mars": both["eu"]}) as other, ExitStack() as stack:
        with pytest.raises(PlacementNotFound, match=f"{organization_id}.*'eu'"):
            stack.enter_context(other.organization(organization_id))
        with pytest.raises(PlacementNotFound):
            other.schemas.get(organization_id)


def test_a_reservation_that_nobody_fills_is_told_and_taken_over(
    cells: Cells, spread: Tenancy
) -> None:
    """As a process leaves it that was killed before it made anything."""
    ids = [new_id() for _ in range(4)]
    for organization_id in ids:
        cells.control.ask(
            "INSERT INTO orgtenancy.locations (organization_id, placement) VALUES (%s, 'eu')",
            organization_id,
        )
        with pytest.raises(OrganizationUnavailable) as caught:
            spread.organization(organization_id).__enter__()
        error = caught.value
        assert (error.status, error.retry_after, error.placement) == ("provisioning", 1, "eu")
        with pytest.raises(OrganizationNotFound):
            spread.schemas.get(organization_id)
    assert spread.schemas.provision(ids[0], placement="eu").placement == "eu"
    assert spread.schemas.provision(ids[1], placement="default").placement == "default"
    assert cells.location(ids[1]) is None
    spread.schemas.drop(ids[2], confirm=ids[2])
    assert cells.location(ids[2]) is None
    with pytest.raises(OrganizationNotFound):
        spread.schemas.drop(ids[2], confirm=ids[2])
    assert spread.schemas.provision(ids[3]).is_active
