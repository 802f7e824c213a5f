"""What a statement leaves for the session: PgBouncer gives the session to the next client.

To close the client's connection, as is done without a pooler, does not help here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from sqlalchemy import text

from orgtenancy import Organization, Tenancy
from orgtenancy.errors import SessionStateRefused
from tests.database.test_session_state import LEAVERS, advisory_lock, setting
from tests.operations.bouncing import Kind, pgbouncer
from tests.pgbouncer.conftest import MODULES
from tests.schemas.databases import FreshDatabase

pytestmark = pytest.mark.slow

Pair = tuple[Organization, Organization]
Found = tuple[str | None, int, int]
LEFT = text(
    "SELECT nullif(current_setting('app.person', true), ''), "
    "(SELECT count(*) FROM pg_cursors WHERE name <> ''), "
    "(SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid())"
)
NOTHING: Found = (None, 0, 0)
RESETS: dict[str, Mapping[str, object]] = {
    "discard": {"server_reset_query_always": 1},
    "light": {
        "server_reset_query_always": 1,
        "server_reset_query": "RESET ALL; SELECT pg_advisory_unlock_all(); CLOSE ALL; UNLISTEN *",
    },
}


def left_for_the_next(
    kind: Kind,
    database: FreshDatabase,
    pair: Pair,
    leave: Callable[[Any], None],
    configured: Mapping[str, object],
    **settings: Any,
) -> Found:
    """Leave something in one organization, and return what the other one meets."""
    first, second = pair
    one_session = {**kind.settings, "default_pool_size": 1, **configured}
    assert kind.program is not None
    with (
        pgbouncer(
            database.url, pool_mode="transaction", program=kind.program, settings=one_session
        ) as [url],
        database.tenancy(MODULES, url=url, **{**kind.app, **settings}) as tenancy,
    ):
        with tenancy.session(first) as session:
            driver: Any = session.connection().connection.driver_connection
            leave(driver)
        with tenancy.session(second) as session:
            setting, cursors, locks = session.execute(LEFT).one()
            return setting, cursors, locks


@pytest.mark.parametrize(
    ("leave", "met"),
    [(setting, ("somebody", 0, 0)), (advisory_lock, (None, 0, 1))],
)
def test_without_help_the_next_client_meets_it(
    kind: Kind,
    database: FreshDatabase,
    direct: Tenancy,
    pair: Pair,
    leave: Callable[[Any], None],
    met: Found,
) -> None:
    assert left_for_the_next(kind, database, pair, leave, {}) == met


@pytest.mark.parametrize("leave", LEAVERS)
@pytest.mark.parametrize("reset", RESETS)
def test_pgbouncer_takes_it_away_where_it_resets_always(
    kind: Kind,
    database: FreshDatabase,
    direct: Tenancy,
    pair: Pair,
    reset: str,
    leave: Callable[[Any], None],
) -> None:
    assert left_for_the_next(kind, database, pair, leave, RESETS[reset]) == NOTHING


@pytest.mark.parametrize("leave", LEAVERS)
def test_where_it_is_refused_nothing_is_left(
    kind: Kind,
    database: FreshDatabase,
    direct: Tenancy,
    pair: Pair,
    leave: Callable[[Any], None],
) -> None:
    def refused(driver: Any) -> None:
        with pytest.raises(SessionStateRefused):
            leave(driver)

    found = left_for_the_next(kind, database, pair, refused, {}, refuse_session_state=True)
    assert found == NOTHING


def test_a_reset_after_each_transaction_leaves_prepared_statements_working(
    kind: Kind, database: FreshDatabase, direct: Tenancy, pair: Pair
) -> None:
    assert kind.program is not None
    for reset in RESETS.values():
        configured = {**kind.settings, "default_pool_size": 2, **reset}
        with (
            pgbouncer(
                database.url, pool_mode="transaction", program=kind.program, settings=configured
            ) as [url],
            database.tenancy(MODULES, url=url, **kind.app) as tenancy,
        ):
            for n in range(40):
                with tenancy.session(pair[n % 2]) as session:
                    found = session.execute(
                        text("SELECT current_user::text, CAST(:n AS int)"), {"n": n}
                    ).one()
                    assert tuple(found) == (pair[n % 2].role_name, n)
