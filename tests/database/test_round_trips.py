"""Entering an organization costs no round trip. Counted on the wire.

`PQtrace` prints every protocol message. The server ends each answer that a client waits
for with one `ReadyForQuery`: their number is the number of round trips.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.orm import Session, sessionmaker

from orgtenancy import Organization, Tenancy

Work = Callable[[Session], object]


def one_read(session: Session) -> None:
    session.execute(text("SELECT body FROM notes WHERE id = :id"), {"id": 1})


def three_statements(session: Session) -> None:
    session.execute(text("SELECT body FROM notes WHERE id = :id FOR UPDATE"), {"id": 1})
    session.execute(text("UPDATE notes SET body = :body WHERE id = :id"), {"id": 1, "body": "x"})
    session.execute(text("DELETE FROM notes WHERE id = :id"), {"id": -1})


def savepoint(session: Session) -> None:
    with session.begin_nested():
        one_read(session)


def executemany(session: Session) -> None:
    session.connection().exec_driver_sql(
        "INSERT INTO notes VALUES (%s, %s)", [(n + 1_000, "x") for n in range(5)]
    )
    session.execute(text("DELETE FROM notes WHERE id >= 1000"))


def server_side_cursor(session: Session) -> None:
    query = text("SELECT generate_series(1, 25)")
    session.execute(query, execution_options={"yield_per": 10}).all()


WORK: list[Work] = [one_read, three_statements, savepoint, executemany, server_side_cursor]
OPTIONS = [{}, {"isolation_level": "SERIALIZABLE", "postgresql_readonly": False}]


@contextmanager
def round_trips(connection: Any) -> Iterator[list[int]]:
    """Yield a list that gets the number of round trips made on a psycopg connection."""
    counted: list[int] = []
    with tempfile.NamedTemporaryFile(suffix=".trace") as file:
        descriptor = os.open(file.name, os.O_WRONLY | os.O_APPEND)
        try:
            connection.pgconn.trace(descriptor)
            yield counted
            connection.pgconn.untrace()
        finally:
            os.close(descriptor)
        messages = Path(file.name).read_text()
    counted.append(messages.count("ReadyForQuery"))


@pytest.fixture
def plain_engine(tenancy: Tenancy, organization: Organization) -> Iterator[Engine]:
    """SQLAlchemy without tenancy: the owner, with the schema in its path from the start."""
    engine = create_engine(
        tenancy._database.admin_url,  # type: ignore[arg-type]
        connect_args={"options": f"-csearch_path={organization.schema_name}"},
    )
    yield engine
    engine.dispose()


def count(
    make_session: Callable[[], Any], work: Work, options: dict[str, Any], times: int = 8
) -> list[int]:
    counts = []
    for _ in range(times):
        with make_session() as session:
            connection = session.connection(execution_options=options)
            driver = connection.connection.driver_connection
            with round_trips(driver) as counted:
                work(session)
                session.commit()
        counts += counted
    return counts


@pytest.mark.parametrize("options", OPTIONS, ids=["default", "serializable"])
@pytest.mark.parametrize("work", WORK, ids=lambda work: work.__name__)
def test_a_transaction_takes_no_more_round_trips_than_without_tenancy(
    make_tenancy: Callable[..., Tenancy],
    organization: Organization,
    plain_engine: Engine,
    work: Work,
    options: dict[str, Any],
) -> None:
    tenancy = make_tenancy(pool_size=1, listen=False)
    # Past the threshold of prepared statements, so that both states are counted.
    ours = count(lambda: tenancy.session(organization), work, options)
    plain = count(sessionmaker(plain_engine), work, options)
    assert sum(ours) <= sum(plain)
    assert all(one <= other for one, other in zip(ours, plain, strict=True)), (ours, plain)
