"""Many clients, many organizations, few connections, and everything goes wrong at times."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import count
from uuid import uuid4

import pytest
from sqlalchemy import make_url, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from orgtenancy import Organization, Settings, Tenancy, embedded
from orgtenancy.community import community
from tests.support.notes import Note, notes

ORGANIZATIONS = 50
TASKS = 200
THREADS = 32
POOL = 5

ids = count(1)


class Planned(Exception):
    """An error that a unit of work raises on purpose."""


def write_and_look(session: Session, organization: Organization, dice: random.Random) -> None:
    """Write rows that name their organization, and check every row and setting seen."""
    fate = dice.random()
    if fate < 0.10:
        session.execute(text("SET LOCAL statement_timeout = '2ms'"))
        session.execute(text("SELECT pg_sleep(1)"))
    session.add(Note(id=next(ids), body=organization.id))
    session.flush()
    if fate < 0.25:
        savepoint = session.begin_nested()
        session.execute(text("INSERT INTO notes VALUES (:id, 'rolled back')"), {"id": next(ids)})
        session.execute(text("SET LOCAL search_path TO pg_catalog"))
        savepoint.rollback()
    elif fate < 0.40:
        raise Planned
    elif fate < 0.50:
        session.execute(text("SELECT 1 / 0"))
    elif fate < 0.60:
        session.commit()
    elif fate < 0.62:
        session.execute(text("SET app.person = 'left behind'"))
    elif fate < 0.70:
        session.execute(text("SELECT pg_sleep(:s)"), {"s": dice.random() / 50})
    role, left, cursors = session.execute(
        text(
            "SELECT current_user::text, current_setting('app.person', true), "
            "(SELECT count(*) FROM pg_cursors WHERE name <> '')"
        )
    ).one()
    assert role == organization.role_name
    assert left is None or 0.60 <= fate < 0.62
    assert cursors == 0
    found = session.scalars(
        text("SELECT DISTINCT body FROM (SELECT body FROM notes ORDER BY id DESC LIMIT 50) n")
    ).all()
    assert found == [organization.id]


def storm(tenancy: Tenancy, organizations: list[Organization], seconds: float) -> Counter[str]:
    outcomes: Counter[str] = Counter()
    ends_at = time.monotonic() + seconds

    def thread(seed: int) -> None:
        dice = random.Random(seed)
        while time.monotonic() < ends_at:
            organization = dice.choice(organizations)
            try:
                with tenancy.session(organization.id) as session:
                    write_and_look(session, organization, dice)
                outcomes["done"] += 1
            except (Planned, DBAPIError) as error:
                outcomes[type(error).__name__] += 1

    async def work(dice: random.Random) -> None:
        organization = dice.choice(organizations)
        async with tenancy.session(organization.id) as session:
            await session.run_sync(write_and_look, organization, dice)

    async def task(seed: int) -> None:
        dice = random.Random(seed)
        while time.monotonic() < ends_at:
            try:
                if dice.random() < 0.2:
                    await asyncio.wait_for(work(dice), dice.random() / 5)
                elif dice.random() < 0.2:
                    doomed = asyncio.create_task(work(dice))
                    await asyncio.sleep(dice.random() / 5)
                    doomed.cancel()
                    await asyncio.gather(doomed, return_exceptions=True)
                    if not doomed.cancelled() and isinstance(doomed.exception(), AssertionError):
                        await doomed
                else:
                    await work(dice)
                outcomes["done"] += 1
            except (Planned, DBAPIError, TimeoutError) as error:
                outcomes[type(error).__name__] += 1

    async def tasks() -> None:
        async with asyncio.TaskGroup() as group:
            for seed in range(TASKS):
                group.create_task(task(seed))

        async_pool = tenancy.async_engine.pool
        assert async_pool.checkedout() == 0, async_pool.status()  # type: ignore[attr-defined]
        await tenancy.async_engine.dispose()

    with ThreadPoolExecutor(THREADS) as threads:
        running = [threads.submit(thread, 1_000 + n) for n in range(THREADS)]
        asyncio.run(tasks())
        for future in running:
            future.result()
    pool = tenancy.engine.pool
    assert pool.checkedout() == 0, pool.status()  # type: ignore[attr-defined]
    return outcomes


@pytest.mark.parametrize(
    "seconds", [pytest.param(2, id="short"), pytest.param(60, id="long", marks=pytest.mark.slow)]
)
def test_no_row_and_no_setting_of_another_organization_is_ever_seen(
    server: embedded.EmbeddedServer, tenancy: Tenancy, seconds: float
) -> None:
    prefix = f"storm-{uuid4().hex[:8]}"
    organizations = [tenancy.schemas.provision(f"{prefix}-{n}") for n in range(ORGANIZATIONS)]
    settings = Settings(pool_size=POOL, max_overflow=0, pool_timeout=120, listen=False)
    stormy = Tenancy(
        make_url(server.url).update_query_dict({"application_name": prefix}),
        modules=[community, notes],
        settings=settings,
    )
    with closing(stormy):
        outcomes = storm(stormy, organizations, seconds)

        assert outcomes["done"] > 100
        assert outcomes["Planned"] > 0
        assert outcomes["TimeoutError"] > 0
        with tenancy._database.admin_engine.connect() as connection:
            for organization in organizations:
                found = connection.exec_driver_sql(
                    f'SELECT DISTINCT body FROM "{organization.schema_name}".notes'
                ).all()
                assert found in ([], [(organization.id,)])
        assert 0 < settled_backends(tenancy, prefix, POOL) <= POOL
    assert settled_backends(tenancy, prefix, 0) == 0


def settled_backends(tenancy: Tenancy, application: str, expected: int) -> int:
    """Count an application's connections, once those being closed had the time to go."""
    query = text(
        "SELECT count(*), count(*) FILTER (WHERE state <> 'idle') FROM pg_stat_activity "
        "WHERE application_name = :application"
    )
    for _ in range(40):
        with tenancy._database.admin_engine.connect() as connection:
            found, busy = connection.execute(query, {"application": application}).one()
        if busy == 0 and found <= expected:
            break
        time.sleep(0.05)
    assert busy == 0
    return int(found)
