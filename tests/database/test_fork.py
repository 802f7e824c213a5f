"""A forked process never shares a connection with its parent, nor what that works for."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from orgtenancy import Organization, Tenancy
from orgtenancy.context import (
    acting,
    actor_var,
    organization_var,
    origin_var,
    session_var,
)
from tests.support.notes import Note

PID = text("SELECT pg_backend_pid()")


def in_a_child(work: Callable[[], str]) -> str:
    """Return what a forked process makes of it."""
    reading, writing = os.pipe()
    with warnings.catch_warnings(action="ignore"):  # of other tests' threads, on 3.12
        child = os.fork()
    if child == 0:
        try:
            answer = work()
        except BaseException as error:  # noqa: BLE001 - there is nobody else to tell
            answer = repr(error)
        os.write(writing, answer.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer_of_child:
        answer = answer_of_child.read()
    os.waitpid(child, 0)
    return answer


def what_is_bound() -> str:
    return repr([one.get() for one in (organization_var, session_var, actor_var, origin_var)])


def test_a_child_works_for_nobody(tenancy: Tenancy, organization: Organization) -> None:
    nothing = what_is_bound()
    with acting("ann", "http:192.0.2.7"), tenancy.session(organization):
        assert in_a_child(what_is_bound) == nothing
        with warnings.catch_warnings(action="ignore"):
            pool = ProcessPoolExecutor(1, mp_context=get_context("fork"))
            bound = pool.submit(what_is_bound).result()
            pool.shutdown()
        assert bound == nothing
        assert str(organization.id) in what_is_bound()


USES: dict[str, Callable[[Session], object]] = {
    "statement": lambda session: session.scalar(PID),
    "commit": lambda session: session.commit(),
    "rollback": lambda session: session.connection().connection.dbapi_connection.rollback(),  # type: ignore[union-attr]
}


@pytest.mark.parametrize("use", USES)
def test_a_child_cannot_use_or_end_its_parents_transaction(
    tenancy: Tenancy, organization: Organization, use: str
) -> None:
    with tenancy.session(organization) as session:
        backend = session.scalar(PID)
        session.add(Note(id=1, body="of the parent"))
        session.flush()

        def work() -> str:
            try:
                USES[use](session)
            finally:
                session.close()
            return "done"

        assert "the process that this one was forked from" in in_a_child(work)
        assert session.scalar(PID) == backend
        assert session.scalar(select(func.count()).select_from(Note)) == 1
        session.rollback()
        assert session.scalar(select(func.count()).select_from(Note)) == 0


def test_a_child_opens_connections_of_its_own(
    make_tenancy: Callable[..., Tenancy], organization: Organization
) -> None:
    tenancy = make_tenancy(pool_size=1, max_overflow=0, listen=False)
    with tenancy.session(organization) as session:
        parent = session.scalar(PID)

    def work() -> str:
        with tenancy.session(organization) as session:
            return str(session.scalar(PID))

    in_child = int(in_a_child(work))
    assert in_child not in (0, parent)
    with tenancy.session(organization) as session:
        assert session.scalar(PID) == parent
