"""Claims of one process that wait for a connection are served together, and apart if it fails."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from threading import Thread

import pytest
from sqlalchemy import Connection, event

from orgtenancy import Organization, Tenancy
from orgtenancy.errors import ProvisioningFailed
from orgtenancy.schemas import claiming
from orgtenancy.schemas.messages import fetch_value
from tests.schemas.databases import FreshDatabase, all_organizations, eventually
from tests.schemas.test_spares import counts

THREADS = 8


@contextmanager
def waiting(tenancy: Tenancy, ids: list[str]) -> Iterator[list[Future[Organization]]]:
    """Let threads ask for organizations while all connections for it are taken."""
    database, line = tenancy._database, tenancy.schemas._claims._line
    with ThreadPoolExecutor(len(ids)) as threads:
        with ExitStack() as stack:
            for _ in range(2):
                stack.enter_context(database.brief_work)
            futures = [threads.submit(tenancy.schemas.provision, name) for name in ids]
            eventually(lambda: len(line) == len(ids))
        yield futures


@contextmanager
def noted(tenancy: Tenancy) -> Iterator[list[str]]:
    """Note the statements that the owner sends, with a cursor or without."""
    sent: list[str] = []

    def note(connection: Connection, cursor: object, statement: str, *rest: object) -> None:
        sent.append(statement)

    def fetch(connection: Connection, statement: bytes) -> bytes:
        sent.append(statement.decode())
        return fetch_value(connection, statement)

    engine = tenancy._database.admin_engine
    event.listen(engine, "before_cursor_execute", note)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(claiming, "fetch_value", fetch)
        yield sent
    event.remove(engine, "before_cursor_execute", note)


def test_those_who_wait_are_served_together(installed: Tenancy) -> None:
    installed.schemas.spares.fill(THREADS)
    ids = [f"o{n}" for n in range(THREADS)]
    with noted(installed) as sent, waiting(installed, ids) as futures:
        found = [future.result() for future in futures]
    (statement,) = sent
    assert "claim_spares" in statement
    assert [organization.id for organization in found] == ids
    assert len({organization.role_name for organization in found}) == THREADS
    assert all(organization == installed.schemas.get(organization.id) for organization in found)
    assert counts(installed) == (0, 0, 0)


def test_one_that_cannot_be_made_fails_alone(
    installed: Tenancy, bare_database: FreshDatabase
) -> None:
    installed.schemas.spares.fill(3)
    bare_database.ask("CREATE SCHEMA org_taken")
    with noted(installed) as sent, waiting(installed, ["a", "taken", "z"]) as (a, taken, z):
        assert a.result().is_active
        assert z.result().is_active
        with pytest.raises(ProvisioningFailed, match="taken"):
            taken.result()
    claims = [statement for statement in sent if "claim_spares" in statement]
    assert len(claims) == 4  # all together, then each alone
    (other,) = (statement for statement in sent if statement not in claims)
    assert other.startswith("INSERT INTO orgtenancy.audit")
    assert {organization.id for organization in all_organizations(installed)} == {"a", "z"}
    assert counts(installed) == (1, 0, 0)


def test_one_id_asked_for_twice_at_once_uses_one_spare(installed: Tenancy) -> None:
    installed.schemas.spares.fill(3)
    with waiting(installed, ["acme", "acme", "b"]) as futures:
        first, second, _ = (future.result() for future in futures)
    assert first == second
    assert counts(installed) == (1, 0, 0)


def test_those_without_a_spare_are_made_anew(installed: Tenancy) -> None:
    installed.schemas.spares.fill(1)
    with waiting(installed, ["a", "b", "c"]) as futures:
        found = [future.result() for future in futures]
    assert all(organization.is_active for organization in found)
    assert all(organization == installed.schemas.get(organization.id) for organization in found)
    assert counts(installed) == (0, 0, 0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_leaves_those_who_wait_to_its_parent(installed: Tenancy) -> None:
    claims = installed.schemas._claims
    with waiting(installed, ["parents"]) as (future,):
        pass
    assert future.result().is_active
    with installed._database.brief_work, installed._database.brief_work:
        asking = Thread(target=installed.schemas.provision, args=["waits"])
        asking.start()
        eventually(lambda: len(claims._line) == 1)
        child = os.fork()
        if child == 0:
            os._exit(len(claims._take_all()))
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
    asking.join()
    assert installed.schemas.get("waits").is_active


def test_who_is_interrupted_while_waiting_is_not_served_later(
    installed: Tenancy, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupted:
        def __enter__(self) -> None:
            raise KeyboardInterrupt

        def __exit__(self, *exc_info: object) -> None: ...

    with monkeypatch.context() as patched:
        patched.setattr(installed._database, "brief_work", Interrupted())
        with pytest.raises(KeyboardInterrupt):
            installed.schemas.provision("gone")
    installed.schemas.provision("next")
    assert [organization.id for organization in all_organizations(installed)] == ["next"]
