"""Writing to the registry, from many places at once."""

from __future__ import annotations

from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from threading import Barrier
from uuid import uuid4

from sqlalchemy import create_engine, delete

from orgtenancy import Tenancy, embedded
from orgtenancy.registry.tables import organizations
from tests.support.reservations import reserve

THREADS = 8
ROUNDS = 60


def test_reservations_at_once_make_one_row_and_no_error(
    server: embedded.EmbeddedServer, tenancy: Tenancy
) -> None:
    ids = [f"t{uuid4().hex[:12]}" for _ in range(ROUNDS)]
    barrier = Barrier(THREADS)
    engine = create_engine(server.admin_url, pool_size=THREADS)

    made: list[bool] = []

    def reserve_all() -> None:
        with engine.connect() as connection:
            for organization_id in ids:
                barrier.wait(timeout=30)
                with connection.begin():
                    made.append(reserve(connection, organization_id))

    try:
        with ThreadPoolExecutor(THREADS) as threads:
            futures = [threads.submit(reserve_all) for _ in range(THREADS)]
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            barrier.abort()  # after a failure the others would wait for it
            for future in done:
                future.result()
        with engine.begin() as connection:
            result = connection.execute(delete(organizations).where(organizations.c.id.in_(ids)))
            assert result.rowcount == ROUNDS == sum(made)
    finally:
        engine.dispose()
