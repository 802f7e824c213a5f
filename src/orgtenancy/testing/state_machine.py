"""A state machine for Hypothesis: clients whose transactions interleave over organizations.

A host names how its own code writes and reads, and Hypothesis looks for an order of steps after
which an organization sees anything but exactly its own rows:

    class Notes(OrganizationStateMachine):
        def write(self, session, key, value):
            session.merge(Note(id=key, body=value))

        def read(self, session):
            return {note.id: note.body for note in session.scalars(select(Note))}

    def test_notes_stay_in_their_organization(tenancy, two_organizations):
        Notes.check(tenancy, two_organizations)
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from contextvars import copy_context
from functools import partial
from typing import Any, ClassVar

from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.orm import Session

from orgtenancy import Organization, OrgTenancyError, Tenancy
from orgtenancy.errors import OrganizationMismatch
from orgtenancy.testing.cleaning import clean
from orgtenancy.testing.clients import Abandoned, Changes, Client

_CLIENTS = 3

# Few, so that organizations have the same ones: what confuses two rows goes by their keys.
_KEYS = st.integers(1, 4)

_CLIENT = st.integers(0, _CLIENTS - 1)

_ORGANIZATION = st.integers(0, 7)  # of as many as there are, counted in a circle

_numbers = itertools.count(1)


def _has_open(machine: OrganizationStateMachine) -> bool:
    return any(client.organization is not None for client in machine._clients)


def _has_savepoint(machine: OrganizationStateMachine) -> bool:
    return any(client.has_savepoint for client in machine._clients)


class OrganizationStateMachine(RuleBasedStateMachine):
    """Interleaves transactions of several clients, on several connections of the sync engine.

    The organizations are emptied before each run. Transactions are at `READ COMMITTED`, and
    no two that are open write the same key of an organization: one would wait for the other.

    Args:
        tenancy: The host's tenancy, with an `admin_url` and a pool of at least four.
        organizations: At least two, which nobody else uses.
    """

    def __init__(self, tenancy: Tenancy, organizations: Sequence[Organization]) -> None:
        super().__init__()
        self._tenancy = tenancy
        self._organizations = tuple(organizations)
        self._clients = [Client(tenancy) for _ in range(_CLIENTS)]
        self._committed: dict[str, dict[int, str]] = {one.id: {} for one in organizations}
        self._ended: list[tuple[Organization, Session]] = []
        clean(tenancy, *organizations)
        self.reset()

    @classmethod
    def check(
        cls,
        tenancy: Tenancy,
        organizations: Sequence[Organization],
        *,
        settings: hypothesis_settings | None = None,
    ) -> None:
        """Look for an order of steps that breaks the isolation.

        Args:
            tenancy: The host's tenancy.
            organizations: At least two.
            settings: Those of Hypothesis: `max_examples` runs of `stateful_step_count` steps.

        Raises:
            AssertionError: If there is one; Hypothesis tells the shortest that it has found.
        """
        # Hypothesis calls whatever it is given, though its annotation says a class.
        make: Any = partial(cls, tenancy, organizations)
        run_state_machine_as_test(make, settings=settings)

    def write(self, session: Session, key: int, value: str) -> None:
        """Make the row of a key hold a value, whether the row is there or not. A host's own.

        Each key has rows of its own, and its own values where they must be unique: a write
        that waits for that of another key is an error.
        """
        raise NotImplementedError

    def read(self, session: Session) -> Mapping[int, str]:
        """Return the values of all rows by their keys. A host's own."""
        raise NotImplementedError

    #: Whether `remove` is there.
    removes: ClassVar[bool] = False

    def remove(self, session: Session, key: int) -> None:
        """Remove the row of a key, if there is one. A host's own, where `removes` says so."""
        raise NotImplementedError

    def reset(self) -> None:
        """Forget what the host's code keeps in memory. Called before each run."""

    @rule(client=_CLIENT, organization=_ORGANIZATION, key=_KEYS)
    def write_row(self, client: int, organization: int, key: int) -> None:
        """A client writes a row, in its open transaction or in a new one."""
        worker = self._clients[client]
        worker.open(self._organization(organization))
        self._write(worker, key)

    @precondition(lambda self: self.removes)
    @rule(client=_CLIENT, organization=_ORGANIZATION, key=_KEYS)
    def remove_row(self, client: int, organization: int, key: int) -> None:
        """A client removes a row."""
        worker = self._clients[client]
        worker.open(self._organization(organization))
        if self._is_locked(worker, key):
            return
        worker.keys.add(key)
        worker.change(self.remove, key)
        worker.changes[key] = None

    @rule(client=_CLIENT, organization=_ORGANIZATION)
    def read_rows(self, client: int, organization: int) -> None:
        """A client reads all rows: what is committed, and its own changes."""
        worker = self._clients[client]
        whose = worker.open(self._organization(organization))
        self._compare(whose, worker.call(self.read), worker.expect(self._committed[whose.id]))

    @rule(organization=_ORGANIZATION, key=_KEYS)
    def write_alone(self, organization: int, key: int) -> None:
        """A row is written in a transaction of its own, beside those that are open."""
        writer = Client(self._tenancy)
        whose = self._organization(organization)
        writer.open(whose)
        self._write(writer, key)
        self._leave(writer)

    @precondition(_has_open)
    @rule(client=_CLIENT)
    def begin_savepoint(self, client: int) -> None:
        """A client begins a savepoint."""
        self._open(client).begin_savepoint()

    @precondition(_has_savepoint)
    @rule(client=_CLIENT, keep=st.booleans())
    def end_savepoint(self, client: int, keep: bool) -> None:
        """A client releases its savepoint, or rolls back to it."""
        inside = [one for one in self._clients if one.has_savepoint]
        worker = inside[client % len(inside)]
        if keep:
            worker.release_savepoint()
        else:
            worker.roll_back_to_savepoint()

    @precondition(_has_open)
    @rule(client=_CLIENT)
    def fail(self, client: int) -> None:
        """A statement of a client fails: it goes back to its savepoint, or rolls back."""
        worker = self._open(client)
        failure = _failure_of(worker)
        if worker.has_savepoint:
            worker.roll_back_to_savepoint()
        else:
            self._leave(worker, failure)

    @precondition(_has_open)
    @rule(client=_CLIENT)
    def commit(self, client: int) -> None:
        """A client's block ends, and commits."""
        self._leave(self._open(client))

    @precondition(_has_open)
    @rule(client=_CLIENT)
    def commit_and_go_on(self, client: int) -> None:
        """A client commits, and works on: SQLAlchemy begins the next transaction."""
        worker = self._open(client)
        self._commit(worker.whose, worker.commit_and_go_on())

    @precondition(_has_open)
    @rule(client=_CLIENT)
    def roll_back(self, client: int) -> None:
        """An error leaves a client's block, which rolls back."""
        self._leave(self._open(client), Abandoned())

    @precondition(_has_open)
    @rule(client=_CLIENT)
    def lose_connection(self, client: int) -> None:
        """A client's connection is lost, and its next statement fails."""
        worker = self._open(client)
        worker.lose_connection()
        self._leave(worker, _failure_of(worker))

    @precondition(_has_open)
    @rule(client=_CLIENT, organization=_ORGANIZATION)
    def read_inside_another(self, client: int, organization: int) -> None:
        """A client uses its session inside the context of another organization: refused."""
        worker = self._open(client)
        others = [one for one in self._organizations if one != worker.whose]
        other = others[organization % len(others)]
        try:
            found = worker.call_inside(other, self.read)
        except OrganizationMismatch:
            return
        raise AssertionError(
            f"a session of {worker.whose.id!r} read inside the context of {other.id!r}: "
            f"{dict(found)}"
        )

    @precondition(lambda self: self._ended)
    @rule(organization=_ORGANIZATION, inside=st.booleans())
    def read_after_the_end(self, organization: int, inside: bool) -> None:
        """Somebody has kept a session whose block has ended: it shows nothing of others."""
        owner, session = self._ended[-1]
        other = self._organization(organization)

        def read() -> Mapping[int, str]:
            if not inside:
                return self.read(session)
            with self._tenancy.session(other):
                return self.read(session)

        try:
            found = copy_context().run(read)
        except (SQLAlchemyError, OrgTenancyError):
            return
        self._compare(owner, found, self._committed[owner.id])

    @invariant()
    def each_organization_sees_exactly_its_own_rows(self) -> None:
        """What was committed is what a new transaction sees, in every organization."""
        for organization in self._organizations:
            found = copy_context().run(self._read_committed, organization)
            self._compare(organization, found, self._committed[organization.id])

    def teardown(self) -> None:
        """Roll back what is open."""
        for client in self._clients:
            if client.organization is not None:
                client.leave(Abandoned())

    def _organization(self, number: int) -> Organization:
        return self._organizations[number % len(self._organizations)]

    def _open(self, number: int) -> Client:
        clients = [one for one in self._clients if one.organization is not None]
        return clients[number % len(clients)]

    def _write(self, client: Client, key: int) -> None:
        if self._is_locked(client, key):
            return
        value = f"{client.whose.id}/{next(_numbers)}"
        client.keys.add(key)
        client.change(self.write, key, value)
        client.changes[key] = value

    def _is_locked(self, client: Client, key: int) -> bool:
        return any(
            key in other.keys and other.organization == client.organization
            for other in self._clients
            if other is not client
        )

    def _leave(self, client: Client, failure: BaseException | None = None) -> None:
        organization = client.whose
        session, changes = client.leave(failure)
        self._commit(organization, changes)
        self._ended.append((organization, session))

    def _commit(self, organization: Organization, changes: Changes) -> None:
        rows = {**self._committed[organization.id], **changes}
        self._committed[organization.id] = {
            key: value for key, value in rows.items() if value is not None
        }

    def _read_committed(self, organization: Organization) -> Mapping[int, str]:
        with self._tenancy.session(organization) as session:
            return self.read(session)

    def _compare(
        self, organization: Organization, found: Mapping[int, str], expected: Mapping[int, str]
    ) -> None:
        if dict(found) == dict(expected):
            return
        raise AssertionError(
            f"organization {organization.id!r} sees {dict(found)}, its rows are {dict(expected)}"
        )


def _failure_of(client: Client) -> BaseException:
    """Return how a statement of a client fails, which cannot work."""
    try:
        client.call(lambda session: session.execute(text("SELECT 1 / 0")))
    except DBAPIError as error:
        return error
    raise AssertionError("a statement that must fail has not failed")
