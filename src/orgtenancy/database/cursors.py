"""psycopg cursors that send `BEGIN`, the scope and the first statement in one flush.

A driver waits for the answer to `BEGIN` before it sends the first statement. Where the
first statement is a single one, the cursors here queue all of it with libpq's pipeline
mode and wait once, which saves the round trip that a transaction without tenancy pays.
The server runs what is queued in order and skips the rest after the first error, so a
statement never runs in a transaction that did not enter its organization.

Like `driver.py`, this module uses what is private in psycopg.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import errors, generators, sql
from psycopg._cursor_base import BaseCursor
from psycopg._preparing import Prepare
from psycopg._queries import PostgresQuery
from psycopg._server_cursor_base import ServerCursorMixin
from psycopg.abc import Params, PQGen, Query
from psycopg.pq import ExecStatus, PipelineStatus
from psycopg.pq.abc import PGresult

from orgtenancy.database.scope import ScopedBegin
from orgtenancy.database.session_state import leaves_session_state

if TYPE_CHECKING:
    from orgtenancy.database.driver import ScopedConnection

_COPY = (ExecStatus.COPY_IN, ExecStatus.COPY_OUT, ExecStatus.COPY_BOTH)


class ScopedCursor(BaseCursor[Any, Any]):
    """Tells its connection when a statement may leave something for the session."""

    __slots__ = ()

    if TYPE_CHECKING:
        _conn: ScopedConnection

    def _start_query(self, query: Query | None = None) -> PQGen[None]:
        if type(query) is str:  # as SQLAlchemy sends it
            if leaves_session_state(query):
                self._conn.note_session_state()
        elif query is not None:
            self._note_session_state(query)
        self._conn.query_was_read = True
        return BaseCursor._start_query(self, query)

    def _start_copy_gen(self, statement: Query, params: Params | None = None) -> PQGen[None]:
        self._note_session_state(statement)
        return super()._start_copy_gen(statement, params)

    def _note_session_state(self, query: Query) -> None:
        if isinstance(query, sql.Composable):
            query = query.as_bytes(self._conn)
        # A template string is not read: what it leaves is taken for granted.
        if not isinstance(query, str | bytes) or leaves_session_state(query):
            self._conn.note_session_state()


class ScopedServerCursor(ScopedCursor, ServerCursorMixin[Any, Any]):
    """A server-side cursor, which is read in the context it was opened in."""

    __slots__ = ()

    def _fetch_gen(self, num: int | None) -> PQGen[list[Any]]:
        self._conn.check_scope()
        return super()._fetch_gen(num)


class FirstStatementCursor(ScopedCursor):
    """Sends the start of a transaction together with its first statement."""

    __slots__ = ()

    def _execute_gen(
        self,
        query: Query,
        params: Params | None = None,
        *,
        prepare: bool | None = None,
        binary: bool | None = None,
    ) -> PQGen[None]:
        begin = self._conn.defer_begin()
        if begin is None:
            return super()._execute_gen(query, params, prepare=prepare, binary=binary)
        return self._execute_first(begin, query, params, prepare, binary)

    def _execute_first(
        self,
        begin: ScopedBegin,
        query: Query,
        params: Params | None,
        prepare: bool | None,
        binary: bool | None,
    ) -> PQGen[None]:
        connection = self._conn
        connection.begin_deferred = True
        try:
            yield from self._start_query(query)
        finally:
            connection.begin_deferred = False
        pgq = self._convert_query(query, params)
        if _may_be_script(pgq):
            yield from connection._exec_command(begin)
            yield from self._maybe_prepare_gen(pgq, prepare=prepare, binary=binary)
        else:
            yield from self._flush_first(begin, pgq, prepare, binary)
        self._last_query = query
        yield from connection._prepared.maintain_gen(connection)

    def _flush_first(
        self, begin: ScopedBegin, pgq: PostgresQuery, prepare: bool | None, binary: bool | None
    ) -> PQGen[None]:
        """Send all of it, wait once, and take the statement's results as psycopg does."""
        pgconn, prepared = self._pgconn, self._conn._prepared
        state, name = self._get_prepared(pgq, prepare)
        pgconn.enter_pipeline_mode()
        try:
            try:
                for part in begin.parts:
                    pgconn.send_query_params(part, None)
                if state is Prepare.NO:
                    self._execute_send(pgq, force_extended=True, binary=binary)
                else:
                    if state is Prepare.SHOULD:
                        self._send_prepare(name, pgq)
                    self._send_query_prepared(name, pgq, binary=binary)
            except errors.Error:  # libpq took the start, but not the statement
                pgconn.pipeline_sync()
                yield from _answers(self)
                raise
            pgconn.pipeline_sync()
            answers = yield from _answers(self)
        finally:
            _leave_pipeline_mode(self)

        for answer in answers[: len(begin.parts)]:
            if answer[0].status != ExecStatus.COMMAND_OK:
                raise self._conn.scope_error(answer[0], begin.scope)
        if state is Prepare.SHOULD:
            self._check_results(answers[-2])
        results = answers[-1]
        key = prepared.maybe_add_to_cache(pgq, state, name)
        if key is not None:
            prepared.validate(key, state, name, results)
        self._check_results(results)
        self._set_results(results)


def _may_be_script(pgq: PostgresQuery) -> bool:
    """Return whether pipeline mode may not take a query: several statements, or COPY."""
    if pgq.params:
        return False
    text = pgq.query.rstrip(b"; \n\t")
    return b";" in text or b"copy" in text.lower()


def _answers(cursor: BaseCursor[Any, Any]) -> PQGen[list[list[PGresult]]]:
    """Return the results of each queued message, up to the sync."""
    pgconn = cursor._pgconn
    yield from generators.send(pgconn)
    answers: list[list[PGresult]] = []
    while True:
        results = yield from generators.fetch_many(pgconn)
        if results and results[0].status == ExecStatus.PIPELINE_SYNC:
            return answers
        if not results:
            raise errors.OperationalError("the server's answers ended before the sync")
        if results[-1].status in _COPY:
            raise errors.NotSupportedError("COPY needs the cursor's method copy()")
        answers.append(results)


def _leave_pipeline_mode(cursor: BaseCursor[Any, Any]) -> None:
    pgconn = cursor._pgconn
    if pgconn.pipeline_status == PipelineStatus.OFF:
        return
    try:
        pgconn.exit_pipeline_mode()
    except errors.OperationalError:
        # Answers are still on their way, because something broke off the wait for them.
        pgconn.finish()


class OrganizationCursor(ScopedCursor, psycopg.Cursor[Any]):
    """A client cursor of an organization's connection."""

    __slots__ = ()


class OneFlushCursor(FirstStatementCursor, psycopg.Cursor[Any]):
    """A client cursor that sends `BEGIN` and the first statement together."""

    __slots__ = ()


class OrganizationServerCursor(ScopedServerCursor, psycopg.ServerCursor[Any]):
    """A server-side cursor of an organization's connection."""

    __slots__ = ()


class AsyncOrganizationCursor(ScopedCursor, psycopg.AsyncCursor[Any]):
    """A client cursor of an organization's async connection."""

    __slots__ = ()


class AsyncOneFlushCursor(FirstStatementCursor, psycopg.AsyncCursor[Any]):
    """An async client cursor that sends `BEGIN` and the first statement together."""

    __slots__ = ()


class AsyncOrganizationServerCursor(ScopedServerCursor, psycopg.AsyncServerCursor[Any]):
    """A server-side cursor of an organization's async connection."""

    __slots__ = ()
