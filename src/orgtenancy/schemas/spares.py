"""Spares: schemas that are made ahead of time, and claimed by a rename (see `claiming`).

A spare is made in two steps. First its role, together with the roles of all others that
are made then: after a change to roles every backend looks through its memberships anew,
so that is done once for many. Then its schema, in a transaction of its own. A crash in
between leaves a row without a schema, which the next call completes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from threading import Event, Thread
from typing import Self

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    delete,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import SQLAlchemyError

from orgtenancy.errors import OrgTenancyError, ProvisioningFailed
from orgtenancy.naming import new_role_name, spare_schema_name
from orgtenancy.registry.tables import spares
from orgtenancy.schemas import grants, objects
from orgtenancy.schemas.building import SchemaBuilder

logger = logging.getLogger("orgtenancy.spares")

# Held while spares are counted, so that two fillers do not both make what is missing. The
# number is the text "orgspare" as a big-endian integer, cut to 63 bits.
_FILL_LOCK = int.from_bytes(b"orgspare", "big") >> 1

_POLL = 30.0  # seconds between looks, as claims of other processes are not heard of


@dataclass(frozen=True, slots=True)
class SpareCounts:
    """How many spares there are.

    Attributes:
        ready: Can be claimed now.
        stale: Were made at other revisions or with other settings: not claimed.
        unfinished: Have a role and no schema yet.
    """

    ready: int
    stale: int
    unfinished: int


class Spares:
    """The spares of a placement. It works as the owner, by `admin_url`.

    Args:
        builder: Makes their schemas.
    """

    def __init__(self, builder: SchemaBuilder) -> None:
        self._builder = builder
        self._keepers: list[SpareKeeper] = []

    def count(self) -> SpareCounts:
        """Return how many spares there are."""
        with self._builder.database.admin_engine.begin() as connection:
            return _count(connection, self._builder)

    def fill(self, number: int) -> int:
        """Make spares until so many are ready, and return how many were made here.

        May run in several processes at once: together they make what is missing.

        Args:
            number: How many are to be ready.

        Raises:
            ProvisioningFailed: If a schema could not be made; nothing of it remains.
        """
        return self.fill_while(number, lambda: True)

    def fill_while(self, number: int, go_on: Callable[[], bool]) -> int:
        """Make spares, as `fill` does, as long as `go_on` says so before each of them."""
        if number < 0:
            raise ValueError("the number of spares cannot be negative")
        _reserve(self._builder, number)
        made = 0
        while go_on() and _build_next(self._builder):
            made += 1
        return made

    async def fill_async(self, number: int) -> int:
        """Make spares, as `fill` does, in a thread."""
        return await asyncio.to_thread(self.fill, number)

    def discard(self, *, only_stale: bool = True) -> int:
        """Drop spares, and return how many.

        Args:
            only_stale: Whether to keep those that can be claimed.
        """
        dropped = 0
        while _drop_next(self._builder, only_stale=only_stale):
            dropped += 1
        return dropped

    def keep(self, number: int) -> SpareKeeper:
        """Return a block, `with` or `async with`, during which so many are kept ready.

        A thread of this process makes them, after each claim and now and then. It suits an
        app's lifespan.
        """
        return SpareKeeper(self, number)

    def claimed(self) -> None:
        """Tell this process's keepers that one is gone."""
        for keeper in self._keepers:
            keeper.wake()

    def _attach(self, keeper: SpareKeeper) -> None:
        self._keepers.append(keeper)

    def _detach(self, keeper: SpareKeeper) -> None:
        self._keepers.remove(keeper)


class SpareKeeper:
    """Keeps spares ready, in a thread of its own. Made by `Spares.keep`."""

    def __init__(self, spares: Spares, number: int) -> None:
        self._spares = spares
        self._number = number
        self._wake = Event()
        self._stopped = False
        self._thread = Thread(target=self._run, name="orgtenancy-spares", daemon=True)

    def wake(self) -> None:
        """Look at once whether some are missing."""
        self._wake.set()

    def __enter__(self) -> Self:
        self._spares._attach(self)
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._spares._detach(self)
        self._stopped = True
        self._wake.set()
        self._thread.join()

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(self, *exc_info: object) -> None:
        await asyncio.to_thread(self.__exit__, *exc_info)

    def _run(self) -> None:
        while True:
            self._wake.clear()
            if self._stopped:  # asked after the event was cleared, so that no stop is missed
                return
            try:
                self._spares.fill_while(self._number, lambda: not self._stopped)
            except (SQLAlchemyError, OrgTenancyError) as error:
                logger.warning("spares could not be made, trying again: %s", error)
            self._wake.wait(_POLL)


def _is_ours(builder: SchemaBuilder) -> ColumnElement[bool]:
    # What a move fills is somebody's.
    return and_(spares.c.placement == builder.database.name, spares.c.move_number.is_(None))


def _is_usable(builder: SchemaBuilder) -> ColumnElement[bool]:
    return and_(
        _is_ours(builder),
        spares.c.settings_digest == builder.settings_digest,
    )


def _is_ready(builder: SchemaBuilder) -> ColumnElement[bool]:
    return and_(
        _is_usable(builder),
        spares.c.ready_at.is_not(None),
        spares.c.revisions == dict(builder.revisions.heads),
    )


def _count(connection: Connection, builder: SchemaBuilder) -> SpareCounts:
    unfinished = and_(_is_usable(builder), spares.c.ready_at.is_(None))
    ready = _is_ready(builder)
    stale = ~or_(unfinished, ready)
    row = connection.execute(
        select(*(func.count().filter(condition) for condition in (ready, stale, unfinished)))
        .select_from(spares)
        .where(_is_ours(builder))
    ).one()
    return SpareCounts(row[0], row[1], row[2])


def _reserve(builder: SchemaBuilder, number: int) -> None:
    """Make the roles of what is missing, all in one transaction."""
    database = builder.database
    _ = builder.path  # a broken module is found before anything is reserved
    with database.admin_engine.begin() as connection:
        connection.execute(select(func.pg_advisory_xact_lock(_FILL_LOCK)))
        counts = _count(connection, builder)
        missing = number - counts.ready - counts.unfinished
        roles = [new_role_name(str(database.url.database)) for _ in range(missing)]
        if not roles:
            return
        statements = [s for role in roles for s in builder.create_role(connection, role)]
        if statements:
            grants.execute(connection, statements, one_by_one=database.has_citus)
        connection.execute(
            insert(spares),
            [
                {
                    "role_name": role,
                    "schema_name": spare_schema_name(role),
                    "placement": database.name,
                    "settings_digest": builder.settings_digest,
                }
                for role in roles
            ],
        )


def _build_next(builder: SchemaBuilder) -> bool:
    """Make one schema, and return whether there was one to make."""
    with builder.database.admin_engine.begin() as connection:
        row = connection.execute(
            select(spares.c.role_name, spares.c.schema_name)
            .where(_is_usable(builder), spares.c.ready_at.is_(None))
            .order_by(spares.c.created_at, spares.c.role_name)
            .limit(1)
            .with_for_update(skip_locked=True)
        ).one_or_none()
        if row is None:
            return False
        try:
            builder.build(connection, row.schema_name, row.role_name)
        except OrgTenancyError:
            raise
        except Exception as error:  # a module's revision may raise anything
            raise ProvisioningFailed(
                f"a spare could not be made: {error}",
                schema=row.schema_name,
                placement=builder.database.name,
            ) from error
        connection.execute(
            update(spares)
            .where(spares.c.role_name == row.role_name)
            .values(revisions=dict(builder.revisions.heads), ready_at=func.clock_timestamp())
        )
    return True


def _drop_next(builder: SchemaBuilder, *, only_stale: bool) -> bool:
    """Drop one spare, and return whether there was one to drop."""
    database = builder.database
    condition = _is_ours(builder)
    if only_stale:
        unfinished = and_(_is_usable(builder), spares.c.ready_at.is_(None))
        condition = and_(condition, ~or_(unfinished, _is_ready(builder)))
    with database.admin_engine.begin() as connection:
        row = connection.execute(
            select(spares.c.role_name, spares.c.schema_name)
            .where(condition)
            .limit(1)
            .with_for_update(skip_locked=True)
        ).one_or_none()
        if row is None:
            return False
        statements = objects.final_drop_statements(connection, row.schema_name, row.role_name)
        grants.execute(connection, statements, one_by_one=database.has_citus)
        connection.execute(delete(spares).where(spares.c.role_name == row.role_name))
    return True
