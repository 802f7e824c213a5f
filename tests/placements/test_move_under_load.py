"""Moves under fifty clients that write, from one server to another of another version, and back."""

from __future__ import annotations

import json
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from threading import Event, Thread
from typing import Any

import psycopg
import pytest

from orgtenancy import Organization, Tenancy
from orgtenancy.errors import MoveFailed, OrganizationBusy
from orgtenancy.operations.lifecycle import Organizations
from tests.lifecycle.worlds import history
from tests.placements.cells import Cells, count, new_id
from tests.placements.servers import two_cells, two_servers
from tests.placements.test_move import assert_nothing_is_left
from tests.registry.worker import dialogue
from tests.schemas.databases import dsn

__all__ = ["two_cells", "two_servers"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here"),
]

PROCESSES = 2
KILLS = 30


def urls(cells: Cells, *, admin: bool) -> list[str]:
    """Return the arguments of a process: the control server's URLs, and the others' as JSON."""

    def text(url: Any) -> str:
        shown: str = url.render_as_string(hide_password=False)
        return shown

    rest = {name: one for name, one in cells.databases.items() if one is not cells.control}
    if not admin:
        return [text(cells.control.url), json.dumps({n: text(o.url) for n, o in rest.items()})]
    both = {name: [text(one.url), text(one.admin_url)] for name, one in rest.items()}
    return [text(cells.control.url), text(cells.control.admin_url), json.dumps(both)]


class Writing:
    """What the clients had written when they were stopped."""

    def __init__(self) -> None:
        self.committed: list[int] = []
        self.told: Counter[str] = Counter()
        self.others: list[str] = []


@contextmanager
def fifty_clients(cells: Cells, organization_id: str) -> Iterator[Writing]:
    """Let clients of two processes write: one hears of changes, the other remembers for an hour."""
    writing = Writing()
    with ExitStack() as stack:
        processes = []
        for number in range(PROCESSES):
            how = "listen" if number else "not"
            arguments = [organization_id, str(number * 10_000_000), how]
            module = "tests.placements.clients"
            one = stack.enter_context(dialogue(module, *urls(cells, admin=False), *arguments))
            processes.append(one)
        for one in processes:
            assert one.hear() == "writing"
        yield writing
        for one in processes:
            one.say("stop")
        for one in processes:
            answer = json.loads(one.hear())
            writing.committed += answer["committed"]
            writing.told.update(answer["told"])
            writing.others += answer["others"]


OPEN = r"""
    SELECT count(*) FROM pg_namespace n, pg_roles r
    WHERE (n.nspname LIKE 'org\_%' OR n.nspname LIKE 'orgtenancy\_spare%')
        AND r.rolname LIKE 'orgtenancy%' AND r.rolname NOT LIKE '%control'
        AND has_schema_privilege(r.oid, n.oid, 'USAGE')
"""


@contextmanager
def watched(cells: Cells) -> Iterator[list[set[str]]]:
    """Look all the time on which placements there is a schema that some role may use.

    A placement counts if it had one in each of two looks, with a look at the others in between:
    so two that count had one at the same moment, if any did.
    """
    seen: list[set[str]] = []
    stop = Event()

    def look() -> None:
        with ExitStack() as stack:
            connections = {
                name: stack.enter_context(psycopg.connect(dsn(one.admin_url), autocommit=True))
                for name, one in cells.databases.items()
            }

            def opened() -> set[str]:
                found = {n: c.execute(OPEN).fetchone() for n, c in connections.items()}
                return {name for name, row in found.items() if row != (0,)}

            while not stop.is_set():
                seen.append(opened() & opened())

    thread = Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join()


def rows_of(tenancy: Tenancy, cells: Cells, organization_id: str) -> list[int]:
    organization = tenancy.schemas.get(organization_id)
    query = f'SELECT id FROM "{organization.schema_name}".notes ORDER BY id'
    return [row[0] for row in cells[organization.placement].ask(query)]


def assert_all_is_there(
    tenancy: Tenancy, cells: Cells, organization_id: str, writing: Writing
) -> None:
    """Nothing is lost and nothing is doubled, and each error was the documented one."""
    assert writing.others == []
    assert len(set(writing.committed)) == len(writing.committed)
    assert rows_of(tenancy, cells, organization_id) == sorted(writing.committed)
    assert count(tenancy, organization_id) == len(writing.committed)


def test_moved_there_and_back_under_fifty_clients(
    two_cells: Cells, capsys: pytest.CaptureFixture[str]
) -> None:
    cells, organization_id = two_cells, new_id()
    with cells.tenancy() as tenancy:
        tenancy.install()
        tenancy.schemas.provision(organization_id, placement="default")
        with (
            watched(cells) as seen,
            fifty_clients(cells, organization_id) as writing,
        ):
            for target in ("old", "default", "old"):
                time.sleep(1)
                assert tenancy.organizations.move(organization_id, to=target).placement == target
            time.sleep(1)
        assert_all_is_there(tenancy, cells, organization_id, writing)
        assert max(map(len, seen)) == 1  # never two at once that can be written to
        assert {frozenset(one) for one in seen} >= {frozenset({"default"}), frozenset({"old"})}
        fences = [
            entry.details["fenced_for"]
            for entry in history(tenancy, organization_id)
            if "fenced_for" in entry.details
        ]
        with capsys.disabled():
            print(
                f"\n{len(writing.committed)} rows, told to retry: {dict(writing.told)}, "
                f"fenced for {fences} s"
            )
        assert sum(writing.told.values()) > 0
        assert max(fences) < 5
        assert_nothing_is_left(cells)


def test_killed_at_thirty_points_it_is_gone_on_with_or_undone(
    two_cells: Cells, capsys: pytest.CaptureFixture[str]
) -> None:
    cells, organization_id = two_cells, new_id()
    chance = random.Random(7)
    with cells.tenancy() as tenancy:
        tenancy.install()
        tenancy.schemas.provision(organization_id, placement="default")
        arguments = urls(cells, admin=True)
        with dialogue("tests.placements.dying", *arguments) as mover:
            mover.say(f"move {organization_id} old 0")
            points = int(mover.hear())
            assert points > 100
            ends: Counter[str] = Counter()
            with (
                watched(cells) as seen,
                fifty_clients(cells, organization_id) as writing,
            ):
                for at in chance.sample(range(1, points), KILLS):
                    here = tenancy.schemas.get(organization_id).placement
                    there = "old" if here == "default" else "default"
                    mover.say(f"move {organization_id} {there} {at}")
                    assert mover.hear() == "killed"
                    undo = chance.random() < 0.5
                    ends[finish(tenancy.organizations, organization_id, here, there, undo)] += 1
                    assert_nothing_is_left(cells)
                    time.sleep(0.1)
        assert_all_is_there(tenancy, cells, organization_id, writing)
        assert max(map(len, seen)) == 1  # never two at once that can be written to
        with capsys.disabled():
            print(f"\n{len(writing.committed)} rows, told to retry: {dict(writing.told)}; {ends}")
        assert {"undone", "gone on with"} <= set(ends)


def finish(life: Organizations, organization_id: str, here: str, there: str, undo: bool) -> str:
    """Undo a move that was broken off, or go on with it, and return which."""
    if not undo:
        assert patiently(lambda: life.move(organization_id, to=there)).placement == there
        return "gone on with"
    try:
        assert patiently(lambda: life.undo_move(organization_id)).placement == here
    except MoveFailed as error:
        if "no move" in str(error):
            return "not begun"
        assert patiently(lambda: life.resume_move(organization_id)).placement == there
        return "too late to undo"
    return "undone"


def patiently(work: Callable[[], Organization]) -> Organization:
    """Try until the server has noticed that the one who was killed is gone."""
    end = time.monotonic() + 20
    while True:
        try:
            return work()
        except OrganizationBusy:
            assert time.monotonic() < end
            time.sleep(0.02)
