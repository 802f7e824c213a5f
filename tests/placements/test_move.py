"""Moving one organization, and what must not come in between."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest

from orgtenancy import Organization, OrganizationStatus, Tenancy
from orgtenancy.errors import (
    MoveFailed,
    OrganizationBusy,
    OrganizationExists,
    OrganizationNotFound,
    OrganizationUnavailable,
    PlacementNotFound,
    PlacementUnavailable,
    TransitionRefused,
)
from orgtenancy.operations.lifecycle import Organizations
from orgtenancy.operations.moving import copying, mover, steps
from tests.lifecycle.worlds import history
from tests.placements.cells import Cells, count, new_id, write
from tests.registry.worker import status_of

S = OrganizationStatus


class Interrupted(Exception):
    """What a test stops a move with, as a bug would."""


def made(tenancy: Tenancy, placement: str = "default", notes: int = 20) -> Organization:
    organization = tenancy.schemas.provision(new_id(), placement=placement)
    for number in range(notes):
        write(tenancy, organization, number)
    return organization


@contextmanager
def before(step: str, work: Callable[[], object]) -> Iterator[None]:
    """Do something before the next call of a step of a move."""
    owner: Any = mover if step in vars(mover) else steps
    original = getattr(owner, step)

    def call(*args: Any, **kwargs: Any) -> Any:
        setattr(owner, step, original)
        work()
        return original(*args, **kwargs)

    setattr(owner, step, call)
    try:
        yield
    finally:
        setattr(owner, step, original)


def assert_nothing_is_left(cells: Cells) -> None:
    """Look for schemas, roles and lines that belong to no organization."""
    assert cells.control.ask("SELECT * FROM orgtenancy.moves") == []
    for one in cells.databases.values():
        assert one.ask("SELECT * FROM orgtenancy.spares") == []
        known = one.ask("SELECT schema_name, role_name FROM orgtenancy.organizations")
        assert one.ask("SELECT id FROM orgtenancy.organizations WHERE moving_to IS NOT NULL") == []
        assert one.schemas() <= {row[0] for row in known}
        assert one.roles() <= {row[1] for row in known}


def test_it_goes_there_and_back_with_all_that_is_known_of_it(cells: Cells, spread: Tenancy) -> None:
    first = made(spread)
    life = spread.organizations
    heard = []
    life.on_moved(lambda told: heard.append((told.previous.placement, told.organization.placement)))  # type: ignore[union-attr]
    life.rename(first.id, "Acme")
    life.set_attributes(first.id, {"plan": "gold", "odd": "100 %"})
    life.link(first.id, source="logto")
    member = "INSERT INTO orgtenancy.members VALUES (%s, 'ann', 'active', now())"
    cells.control.ask(member, first.id)
    known = life.get(first.id)
    for target in ("eu", "default", "eu"):
        now = life.move(first.id, to=target)
        assert life.move(first.id, to=target) == now == life.get(first.id)
        assert cells.where(first.id) == [target]
        assert now.role_name != known.role_name
        changed = {"placement", "role_name", "updated_at", "status_changed_at"}
        assert now.model_dump(exclude=changed) == known.model_dump(exclude=changed)
        assert count(spread, first.id) == 20
        assert spread.schemas.drift([first.id]).is_clean
    assert heard == [("default", "eu"), ("eu", "default"), ("default", "eu")]
    members = "SELECT actor_id FROM orgtenancy.members WHERE organization_id = %s"
    assert cells.control.ask(members, first.id) == [("ann",)]
    told = [one for one in history(spread, first.id) if one.action == "moved"]
    assert sorted((one.details["to"], one.placement) for one in told) == [
        *[("default", "default"), ("default", "eu")],
        *[("eu", "default"), ("eu", "default"), ("eu", "eu"), ("eu", "eu")],
    ]
    assert_nothing_is_left(cells)


@pytest.mark.slow
@pytest.mark.parametrize("status", [S.SUSPENDED, S.ARCHIVED, S.PURGED])
def test_one_that_is_shut_stays_shut(cells: Cells, spread: Tenancy, status: S) -> None:
    organization = made(spread, "eu")
    life = spread.organizations
    if status is S.SUSPENDED:
        life.suspend(organization.id, reason="the invoice")
    else:
        life.archive(organization.id, reason="cancelled")
    if status is S.PURGED:
        life.purge(organization.id, confirm=organization.id, now=True)
    known = life.get(organization.id)
    now = life.move(organization.id, to="default")
    assert (now.status, now.status_reason) == (status, known.status_reason)
    assert now.purge_after == known.purge_after
    assert cells.where(organization.id) == ["default"]
    with pytest.raises(OrganizationUnavailable) as caught:
        write(spread, organization.id)
    assert caught.value.status == status
    with pytest.raises(OrganizationUnavailable):
        write(spread, now.model_copy(update={"status": S.ACTIVE}))
    if status is S.SUSPENDED:
        assert life.resume(organization.id).is_active
        assert count(spread, organization.id) == 20
    if status is S.ARCHIVED:
        assert life.restore(organization.id).is_active
    assert_nothing_is_left(cells)


@pytest.mark.slow
def test_what_cannot_be_moved_says_why_and_stays(cells: Cells, spread: Tenancy) -> None:
    organization = made(spread)
    life = spread.organizations
    with pytest.raises(PlacementNotFound):
        life.move(organization.id, to="mars")
    life.fence(organization.id)
    with pytest.raises(TransitionRefused, match="move is refused") as refused:
        life.move(organization.id, to="eu")
    assert (refused.value.operation, refused.value.status) == ("move", "fenced")
    life.unfence(organization.id)
    for failing in (life.resume_move, life.undo_move):
        with pytest.raises(MoveFailed, match="no move"):
            failing(organization.id)
    cells.control.ask("UPDATE orgtenancy.placements SET state = 'draining' WHERE name = 'eu'")
    with cells.tenancy() as another, pytest.raises(PlacementUnavailable, match="drained"):
        another.organizations.move(organization.id, to="eu")
    cells.control.ask("UPDATE orgtenancy.placements SET state = 'open' WHERE name = 'eu'")
    cells.control.ask(f'ALTER TABLE "{organization.schema_name}".notes ADD COLUMN mine int')
    with pytest.raises(MoveFailed, match="'notes' is not as its revisions make it"):
        life.move(organization.id, to="eu")
    assert life.get(organization.id).model_dump(exclude={"updated_at"}) == organization.model_dump(
        exclude={"updated_at", "status_changed_at"}
    ) | {"status_changed_at": life.get(organization.id).status_changed_at}
    write(spread, organization.id, 99)
    refusals = [(e.action, e.result) for e in history(spread, organization.id, done=False)]
    assert refusals.count(("moved", "refused")) >= 2
    assert_nothing_is_left(cells)


def test_what_is_written_while_it_is_copied_comes_along(cells: Cells, spread: Tenancy) -> None:
    organization = made(spread, notes=0)
    with spread.session(organization) as session:  # enough for several buckets
        many = "INSERT INTO notes (id, body) SELECT n, '' FROM generate_series(0, 4999) n"
        session.connection().exec_driver_sql(many)
    changes = """
        DELETE FROM notes WHERE id < 3;
        UPDATE notes SET body = 'new', id = id + 10000 WHERE id = 10;
        UPDATE notes SET body = 'changed' WHERE id = 11;
        INSERT INTO notes (id, body, parent_id) VALUES (9000, 'child', 11);
        INSERT INTO notes (id, body) VALUES (9001, 'new')
    """

    def write_more() -> None:
        with spread.session(organization) as session:
            for statement in changes.split(";"):
                session.connection().exec_driver_sql(statement)

    rows = f'SELECT * FROM "{organization.schema_name}".notes ORDER BY id'
    with before("fence", write_more):
        spread.organizations.move(organization.id, to="eu")
    found = cells["eu"].ask(rows)
    assert len(found) == 4999
    assert [row for row in found if row[1]] == [
        (11, "changed", None),
        (9000, "child", 11),
        (9001, "new", None),
        (10010, "new", None),
    ]
    (entry,) = [e for e in history(spread, organization.id) if "changed_rows" in e.details]
    assert entry.details["changed_tables"] == 1
    assert entry.details["changed_rows"] < 4999


@pytest.mark.slow
def test_a_copy_that_is_not_the_same_is_never_used(
    cells: Cells, spread: Tenancy, monkeypatch: pytest.MonkeyPatch
) -> None:
    organization = made(spread)

    def spoil() -> None:
        (schema,) = cells["eu"].ask("SELECT schema_name FROM orgtenancy.spares")
        cells["eu"].ask(f"UPDATE {schema[0]}.notes SET body = 'spoilt' WHERE id = 7")

    with monkeypatch.context() as patched, before("fence", spoil):
        patched.setattr(copying, "copy_buckets", lambda *args, **kwargs: 0)
        with pytest.raises(MoveFailed, match="other rows than the source: notes"):
            spread.organizations.move(organization.id, to="eu")
    assert_nothing_is_left(cells)
    assert spread.organizations.get(organization.id).is_active
    with before("fence", spoil):
        spread.organizations.move(organization.id, to="eu")
    assert cells["eu"].ask(
        f"SELECT count(*) FROM \"{organization.schema_name}\".notes WHERE body = 'spoilt'"
    ) == [(0,)]


@pytest.mark.slow
def test_one_that_is_migrated_while_it_is_copied_is_copied_again(
    cells: Cells, spread: Tenancy, monkeypatch: pytest.MonkeyPatch
) -> None:
    organization = made(spread)

    def migrate() -> None:
        cells.control.ask(f'DELETE FROM "{organization.schema_name}".alembic_version')

    def back() -> None:
        cells.control.ask(
            f"INSERT INTO \"{organization.schema_name}\".alembic_version VALUES ('notes_0001')"
        )

    with before("fence", migrate), before("unfence", back):
        moved = spread.organizations.move(organization.id, to="eu")
    assert moved.placement == "eu"
    assert count(spread, organization.id) == 20
    assert_nothing_is_left(cells)


def test_whoever_remembers_the_source_is_told_to_come_back_and_finds_the_target(
    cells: Cells, spread: Tenancy
) -> None:
    organization = made(spread)
    with cells.tenancy(registry_max_age=600) as other:
        assert count(other, organization.id) == 20
        spread.organizations.move(organization.id, to="eu")
        with pytest.raises(OrganizationUnavailable) as caught:
            write(other, organization.id, 100)
        assert (caught.value.retry_after, caught.value.status) == (1, None)
        write(other, organization.id, 100)
        assert count(other, organization.id) == 21


@pytest.mark.slow
def test_in_its_last_part_nobody_else_changes_it(cells: Cells, spread: Tenancy) -> None:
    organization = made(spread)
    life = spread.organizations
    calls: list[Callable[[Organizations, str], object]] = [
        *(Organizations.suspend, Organizations.unfence, Organizations.archive),
        lambda o, i: o.rename(i, "other"),
        lambda o, i: o.set_attributes(i, {"a": 1}),
        lambda o, i: o.link(i, source="logto"),
        lambda o, i: o.change_id(i, f"{i}-new"),
        lambda o, i: spread.schemas.drop(i, confirm=i, force=True),
    ]

    def change() -> None:
        assert life.get(organization.id).moving_to == "eu"
        assert status_of(spread, organization.id) == "fenced"
        for call in calls:
            with pytest.raises(OrganizationBusy, match="being moved to placement 'eu'"):
                call(life, organization.id)
        with pytest.raises(OrganizationUnavailable):
            spread.schemas.provision(organization.id)
        assert spread.schemas.migrate() is None

    with before("bring_up_to_date", change):
        moved = life.move(organization.id, to="eu")
    assert moved.name == organization.name
    assert_nothing_is_left(cells)


@pytest.mark.slow
def test_between_two_places_it_is_not_made_anew(cells: Cells, spread: Tenancy) -> None:
    organization = made(spread)

    def provision() -> None:
        for given in (None, "default", "eu"):
            with pytest.raises((OrganizationBusy, OrganizationExists)):
                spread.schemas.provision(organization.id, placement=given)
        for cell in spread.placements.values():
            with pytest.raises((OrganizationBusy, OrganizationExists)):
                cell.schemas.provision(organization.id)
        with pytest.raises(OrganizationUnavailable) as caught:
            spread.organization(organization.id).__enter__()
        assert caught.value.retry_after == 1

    with before("take_place", provision):
        spread.organizations.move(organization.id, to="eu")
    assert count(spread, organization.id) == 20


@pytest.mark.slow
def test_two_who_move_it_at_once_do_not_meet(cells: Cells, spread: Tenancy) -> None:
    organization = made(spread)

    def call(number: int) -> str:
        try:
            return spread.organizations.move(organization.id, to="eu").placement
        except OrganizationBusy as error:
            return error.code

    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(call, range(4)))
    assert set(found) <= {"eu", "organization_busy"}
    assert "eu" in found
    assert cells.where(organization.id) == ["eu"]
    with before("fence", lambda: outcome.append(call(0))):
        outcome: list[str] = []
        spread.organizations.move(organization.id, to="default")
    assert outcome == ["organization_busy"]
    assert_nothing_is_left(cells)


@pytest.mark.slow
@pytest.mark.parametrize("step", ["make_copy", "fence", "drain", "bring_up_to_date"])
def test_what_fails_on_the_way_leaves_it_at_work(cells: Cells, spread: Tenancy, step: str) -> None:
    organization = made(spread)

    def fail() -> None:
        raise Interrupted

    with before(step, fail), pytest.raises(Interrupted):
        spread.organizations.move(organization.id, to="eu")
    assert_nothing_is_left(cells)
    write(spread, organization.id, 100)
    assert spread.organizations.get(organization.id).role_name == organization.role_name
    assert spread.organizations.move(organization.id, to="eu").placement == "eu"


@pytest.mark.slow
def test_whoever_writes_for_too_long_is_not_cut_off(cells: Cells) -> None:
    with cells.tenancy(fence_timeout=0.2) as tenancy:
        organization = made(tenancy)
        with tenancy.session(organization.id) as session:
            insert = "INSERT INTO notes (id, body) VALUES (100, '')"
            session.connection().exec_driver_sql(insert)
            with ThreadPoolExecutor(1) as thread:
                move = thread.submit(tenancy.organizations.move, organization.id, to="eu")
                with pytest.raises(OrganizationBusy, match="somebody still writes"):
                    move.result()
        assert count(tenancy, organization.id) == 21
        assert tenancy.organizations.move(organization.id, to="eu").placement == "eu"


@pytest.mark.slow
def test_broken_off_it_is_undone_or_gone_on_with(cells: Cells, spread: Tenancy) -> None:
    life = spread.organizations
    for step, can_undo in (("fence", True), ("bring_up_to_date", True), ("take_place", False)):
        for undo in (True, False):
            organization = made(spread)
            with broken_off(), before(step, interrupt), pytest.raises(Interrupted):
                life.move(organization.id, to="eu")
            with pytest.raises(OrganizationBusy, match="'eu' was broken off"):
                life.move(organization.id, to="default")
            if undo and can_undo:
                assert life.undo_move(organization.id).placement == "default"
                write(spread, organization.id, 100)
            else:
                if undo:
                    with pytest.raises(MoveFailed):
                        life.undo_move(organization.id)
                assert life.resume_move(organization.id).placement == "eu"
                write(spread, organization.id, 100)
            assert count(spread, organization.id) == 21
            assert_nothing_is_left(cells)


@pytest.mark.slow
def test_who_was_taken_for_dead_fences_nobody_after_an_undo(
    cells: Cells, spread: Tenancy, monkeypatch: pytest.MonkeyPatch
) -> None:
    organization = made(spread)
    # Its connection with the lock was lost.
    monkeypatch.setattr(mover.Mover, "_alone", lambda self, organization_id: nullcontext())
    with (
        before("fence", lambda: spread.organizations.undo_move(organization.id)),
        pytest.raises(MoveFailed),
    ):
        spread.organizations.move(organization.id, to="eu")
    write(spread, organization.id, 100)
    assert_nothing_is_left(cells)


@pytest.mark.slow
def test_where_its_names_are_taken_it_does_not_go(cells: Cells, spread: Tenancy) -> None:
    organization = made(spread)
    schema = f'"{organization.schema_name}"'
    cells["eu"].ask(f"CREATE SCHEMA {schema}")
    try:
        with pytest.raises(MoveFailed, match="is there already"):
            spread.organizations.move(organization.id, to="eu")
    finally:
        cells["eu"].ask(f"DROP SCHEMA {schema}")
    assert spread.organizations.get(organization.id).placement == "default"
    write(spread, organization.id, 100)
    assert_nothing_is_left(cells)


@pytest.mark.slow
def test_without_its_target_it_is_undone(bare_cells: Cells) -> None:
    with bare_cells.tenancy() as tenancy:
        tenancy.install()
        organization = made(tenancy)
        with (
            broken_off(),
            before("bring_up_to_date", interrupt),
            pytest.raises(Interrupted),
        ):
            tenancy.organizations.move(organization.id, to="eu")
    rest = {n: p for n, p in bare_cells.placements().items() if n != "eu"}
    with bare_cells.tenancy(placements=rest) as tenancy:
        assert tenancy.organizations.undo_move(organization.id).is_active
        write(tenancy, organization.id, 100)
        assert tenancy.organizations.move(organization.id, to="us").placement == "us"
        assert bare_cells.control.ask("SELECT * FROM orgtenancy.moves") == []


@pytest.mark.slow
def test_the_id_of_one_that_was_dropped_on_the_way_is_free(cells: Cells, spread: Tenancy) -> None:
    organization = made(spread, placement="eu")
    with broken_off(), before("make_copy", interrupt), pytest.raises(Interrupted):
        spread.organizations.move(organization.id, to="default")
    spread.schemas.drop(organization.id, confirm=organization.id, force=True)
    with pytest.raises(OrganizationNotFound):
        spread.organizations.undo_move(organization.id)
    assert cells.location(organization.id) is None
    assert_nothing_is_left(cells)


def interrupt() -> None:
    raise Interrupted


@contextmanager
def broken_off() -> Iterator[None]:
    """Let nothing be undone by itself, as if the process had been killed."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(mover.Mover, "_undo_if_not_switched", lambda self, move: None)
        yield
