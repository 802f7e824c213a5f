"""Claiming spares: one short transaction, and one round trip, for all who ask at once.

Where no spare is left, the same transaction reserves the id.

Most of a claim's time is the same for one as for twenty: the round trip, the plans, the
commit with its notification, which PostgreSQL lets only one transaction at a time do. So the
claims of this process stand in a line. Whoever gets a connection serves all who wait then;
the others find their organization made when their turn comes.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event
from typing import Any

from psycopg import sql
from psycopg.types.json import Jsonb
from pydantic import TypeAdapter

from orgtenancy.context import current_actor, current_origin
from orgtenancy.naming import new_role_name
from orgtenancy.organizations import Organization
from orgtenancy.schemas.building import SchemaBuilder
from orgtenancy.schemas.messages import fetch_value

# As JSON, so that it is read without a cursor: that took as long as the server's work.
_CLAIM = sql.SQL(
    "SELECT coalesce(jsonb_agg(to_jsonb(made)), '[]') FROM orgtenancy.claim_spares("
    "{}::text[], {}::text[], {}::text[], {}::jsonb[], {}::text[], {}::text[], {}::text[], "
    "{}::text[], {}, {}, {}) made"
)

_organizations = TypeAdapter(list[Organization])


@dataclass(eq=False, slots=True)
class _Request:
    """One claim in the line.

    Attributes:
        settled: Set when somebody has served it, or failed to.
        failed: Whether it has to be tried again, by itself.
        organization: What was made of a spare, if any was.
    """

    id: str
    name: str
    schema: str
    attributes: Mapping[str, Any]
    source: str | None
    actor_id: str | None
    origin: str
    process: int = field(default_factory=os.getpid)
    settled: Event = field(default_factory=Event)
    failed: bool = False
    organization: Organization | None = None


class Claims:
    """The line of this process's claims. Threads share it.

    Args:
        builder: Makes the spares.
    """

    def __init__(self, builder: SchemaBuilder) -> None:
        self._builder = builder
        self._line: deque[_Request] = deque()

    def claim(
        self,
        organization_id: str,
        *,
        name: str,
        schema: str,
        attributes: Mapping[str, Any],
        source: str | None = None,
    ) -> Organization | None:
        """Make an organization of a spare, or reserve its id and return None.

        Also None if it exists, in whatever status. The reservation is a row of the registry
        that says `provisioning`, for a schema that is not made yet.

        Calls at the same time, of other processes too, skip the spares that others hold.
        """
        actor = current_actor()
        request = _Request(
            organization_id,
            name,
            schema,
            attributes,
            source,
            None if actor is None else actor.id,
            current_origin(),
        )
        database = self._builder.database
        with self._standing_in_line(request):
            with database.brief_work:
                if not request.settled.is_set() and (together := self._take_all()):
                    self._serve_together(together)
            request.settled.wait()
        if request.failed:  # one of those together may have been the reason
            with database.brief_work:
                self._serve([request])
        return request.organization

    @contextmanager
    def _standing_in_line(self, request: _Request) -> Iterator[None]:
        self._line.append(request)
        try:
            yield
        except BaseException:
            # Nobody waits for it any more, so nobody may serve it later.
            if request in self._line:
                self._line.remove(request)
            raise

    def _take_all(self) -> list[_Request]:
        """Take those who wait; a forked child leaves its parent's to the parent."""
        taken = []
        while True:
            try:
                taken.append(self._line.popleft())
            except IndexError:
                break
        process = os.getpid()
        return [request for request in taken if request.process == process]

    def _serve_together(self, requests: Sequence[_Request]) -> None:
        try:
            self._serve(requests)
        except BaseException as error:
            for request in requests:
                request.failed = True
            if len(requests) == 1 or not isinstance(error, Exception):
                raise
        finally:
            for request in requests:
                request.settled.set()

    def _serve(self, requests: Sequence[_Request]) -> None:
        """Claim for some in one transaction; each of them learns what became of it."""
        builder = self._builder
        # In one order everywhere, so that two transactions never wait for each other.
        ordered = sorted(requests, key=lambda request: request.id)
        statement = _CLAIM.format(
            [request.id for request in ordered],
            [request.name for request in ordered],
            [request.schema for request in ordered],
            [Jsonb(dict(request.attributes)) for request in ordered],
            [new_role_name(str(builder.database.url.database)) for _ in ordered],
            [request.source for request in ordered],
            [request.actor_id for request in ordered],
            [request.origin for request in ordered],
            builder.database.name,
            builder.settings_digest,
            Jsonb(dict(builder.revisions.heads)),
        )
        with builder.database.admin_engine.connect() as connection:
            found = fetch_value(connection, statement.as_bytes(None))
        made = {one.id: one for one in _organizations.validate_json(found)}
        for request in requests:
            request.organization = made.get(request.id)
