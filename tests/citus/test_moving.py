"""Moves between a plain PostgreSQL and Citus, and from one worker of Citus to another."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from orgtenancy import Tenancy, embedded
from orgtenancy.community import PostRepository, community
from orgtenancy.errors import MoveFailed
from tests.citus.conftest import CitusDatabase
from tests.lifecycle.worlds import history
from tests.placements.cells import Cells, count, new_id, write
from tests.placements.test_move import assert_nothing_is_left, before
from tests.schemas.databases import FreshDatabase, fresh_database
from tests.support.notes import notes

pytestmark = [pytest.mark.citus, pytest.mark.slow]


@pytest.fixture(scope="module")
def plain(server: embedded.EmbeddedServer) -> Iterator[FreshDatabase]:
    with fresh_database(server.url, server.admin_url) as database:
        yield database


@pytest.fixture
def cells(plain: FreshDatabase, fresh_citus: CitusDatabase) -> Cells:
    return Cells({"default": plain, "citus": fresh_citus})


@pytest.fixture
def spread(cells: Cells) -> Iterator[Tenancy]:
    """A plain server as the control server, and Citus beside it."""
    with cells.tenancy(modules=[community, notes]) as tenancy:
        tenancy.install()
        yield tenancy


def test_between_a_plain_server_and_citus(cells: Cells, spread: Tenancy) -> None:
    organization = spread.schemas.provision(new_id(), placement="default")
    for number in range(50):
        write(spread, organization, number)
    with spread.session(organization.id) as session:
        PostRepository(session).create(user_id="ann", content="Hello", tags=["#a"])
    for target in ("citus", "default", "citus"):

        def write_more(target: str = target) -> None:
            write(spread, organization.id, 1000 + count(spread, organization.id))
            with spread.session(organization.id) as session:
                session.connection().exec_driver_sql(
                    "UPDATE notes SET body = %s WHERE id = 7", (target,)
                )

        had = count(spread, organization.id)
        with before("fence", write_more):
            moved = spread.organizations.move(organization.id, to=target)
        assert moved.placement == target
        assert cells.where(organization.id) == [target]
        assert count(spread, organization.id) == had + 1
        with spread.session(organization.id) as session:
            assert [p.content for p in PostRepository(session).find_feed("ann").items] == ["Hello"]
        assert spread.schemas.drift([organization.id]).is_clean
        assert_nothing_is_left(cells)


def test_from_one_worker_to_another_while_it_is_written_to(
    citus: CitusDatabase, tenancy: Tenancy
) -> None:
    organization = tenancy.schemas.provision(new_id())
    life = tenancy.organizations
    write(tenancy, organization, -1)
    here = citus.node_of(organization.schema_name)
    (there,) = [str(one) for one in citus.workers if str(one) != here]
    stop, committed = Event(), [-1]

    def keep_writing() -> None:
        number = 0
        while not stop.is_set():
            write(tenancy, organization.id, number)
            committed.append(number)
            number += 1

    with ThreadPoolExecutor(1) as thread:
        writing = thread.submit(keep_writing)
        assert life.move(organization.id, to=f"@{there}") == life.get(organization.id)
        stop.set()
        writing.result()
    assert citus.node_of(organization.schema_name) == there
    assert count(tenancy, organization.id) == len(committed)
    assert life.move(organization.id, to=f"@{there}").placement == "default"  # it is there
    (entry,) = [one for one in history(tenancy, organization.id) if one.action == "moved"]
    assert entry.details == {"from": f"@{here}", "to": f"@{there}"}
    with pytest.raises(MoveFailed, match="no node nowhere:1"):
        life.move(organization.id, to="@nowhere:1")


def test_a_plain_server_has_no_nodes(spread: Tenancy) -> None:
    organization = spread.schemas.provision(new_id(), placement="default")
    with pytest.raises(MoveFailed, match="no Citus cluster"):
        spread.organizations.move(organization.id, to="@127.0.0.1:5432")
