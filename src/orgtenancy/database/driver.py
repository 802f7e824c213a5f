"""psycopg connections whose every transaction enters a scope.

psycopg sends `BEGIN` as a message of its own before the first statement, for every way a
transaction starts: `execute`, `executemany`, COPY, named cursors, `transaction()`,
two-phase. The classes here extend exactly that message with the scope's `SET LOCAL`s, so
that entering an organization costs no round trip and leaves nothing to reset.

The hooks are private in psycopg: all use of them is in this module, and
`tests/database/test_driver.py` fails on a psycopg that moved one.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Generator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from operator import attrgetter
from typing import Any, Self, cast

import psycopg
from psycopg import IsolationLevel, errors, generators
from psycopg._connection_base import BaseConnection
from psycopg._preparing import PrepareManager
from psycopg._queries import PostgresQuery
from psycopg.abc import PQGen, PQGenConn
from psycopg.pq import ExecStatus, Format, PipelineStatus, TransactionStatus
from psycopg.pq.abc import PGresult

from orgtenancy.context import organization_var
from orgtenancy.database.cursors import (
    AsyncOneFlushCursor,
    AsyncOrganizationCursor,
    AsyncOrganizationServerCursor,
    OneFlushCursor,
    OrganizationCursor,
    OrganizationServerCursor,
)
from orgtenancy.database.scope import Scope, ScopedBegin, scope_of, scoped_begin
from orgtenancy.errors import (
    ConfigurationError,
    OrganizationContextMissing,
    OrganizationMismatch,
    OrganizationUnavailable,
    OrgTenancyError,
    SessionStateRefused,
    TransactionRequired,
)
from orgtenancy.organizations import Organization
from orgtenancy.settings import Settings

# What PostgreSQL answers to SET ROLE when a role is gone or no longer granted.
_ROLE_REFUSED = (errors.InsufficientPrivilege, errors.InvalidParameterValue)

# What the current call of `connect` has begun.
_attempts: ContextVar[list[Generator[Any, Any, Any]] | None] = ContextVar(
    "orgtenancy.attempts", default=None
)

_factories = attrgetter("row_factory", "cursor_factory", "server_cursor_factory")


class ScopedPrepareManager(PrepareManager):
    """Server-side statements that belong to one scope each.

    A statement shared by organizations would be re-analysed at every switch, and break
    where their schemas differ for a moment, as in a migration.
    """

    scope: Scope | None = None

    def key(self, query: PostgresQuery) -> Any:  # type: ignore[override]
        """Return what tells one prepared statement from another."""
        return (query.query, query.types, self.scope)


class ScopedConnection(BaseConnection[Any]):
    """What the sync and the async connection share.

    Attributes:
        settings: Says what an organization's scope looks like.
        organization: The context's organization when the connection was handed out.
        scope: What the next transaction is for, where a session said so.
        unused: True until the connection is handed out for the first time. Before that
            SQLAlchemy's dialect asks the catalog a few things, outside any scope.
        served: The scopes it entered since it was opened.
        has_session_state: Whether a statement may have left something for the session.
        query_was_read: True while a cursor of this library starts a query, whose text it
            has looked at.
        begin_deferred: True while a cursor starts a query whose `BEGIN` it sends itself.
        process: The id of the process that opened it, and alone may use it.
    """

    settings: Settings
    organization: Organization | None = None
    scope: Scope | None = None
    unused: bool = True
    has_session_state: bool = False
    query_was_read: bool = False
    begin_deferred: bool = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._prepared: ScopedPrepareManager = ScopedPrepareManager()
        self.served: set[Scope] = set()
        self.process = os.getpid()
        self._as_made: tuple[Any, ...] = ()

    def configure(self, settings: Settings) -> None:
        """Apply the settings to a new connection."""
        self.settings = settings
        self.prepared_max = settings.prepared_statements
        self._choose_cursors(settings.one_flush)

    def _choose_cursors(self, one_flush: bool) -> None:
        raise NotImplementedError

    def hand_out(self, organization: Organization | None) -> None:
        """Give the connection to work of an organization, or of none."""
        if self.unused:
            self.unused = self.has_session_state = False
            # Copies of the lists, which a handler is added to in place.
            handlers = [list(self._notice_handlers), list(self._notify_handlers)]
            self._as_made = (*_factories(self), *handlers)
        self.organization = organization

    def take_back(self) -> None:
        """Take the connection from whom it was given to; a handle they kept is refused."""
        self.organization = self.scope = None

    def is_idle(self) -> bool:
        """Return whether it is in no transaction, and in no pipeline."""
        pgconn = self.pgconn
        return (
            pgconn.transaction_status == TransactionStatus.IDLE
            and pgconn.pipeline_status == PipelineStatus.OFF
            and self._pipeline is None
            and not self._tpc
            and not self._num_transactions
        )

    def is_as_new(self) -> bool:
        """Return whether the next organization finds nothing of the last one on it.

        Asked of an idle connection, after SQLAlchemy has set back what it set.
        """
        return (
            not self.has_session_state
            and not self._autocommit
            # SQLAlchemy sets back to the default level, and to False.
            and self._isolation_level in (None, IsolationLevel.READ_COMMITTED)
            and not self._read_only
            and not self._deferrable
            and self._as_made == (*_factories(self), self._notice_handlers, self._notify_handlers)
        )

    def note_session_state(self) -> None:
        """Note that the next statement may leave something for the session, or refuse it."""
        if not self.unused and self.settings.refuse_session_state:
            raise SessionStateRefused(
                "refused to run a statement that may leave something for the session, which "
                "the clients after it would meet",
                organization_id=self.organization.id if self.organization else None,
            )
        self.has_session_state = True

    def _start_query(self) -> PQGen[None]:
        # Cursors of other classes do not say what they send.
        if not self.query_was_read:
            self.note_session_state()
        self.query_was_read = False
        if self.begin_deferred:
            return
        if self.pgconn.transaction_status != TransactionStatus.IDLE:
            self.check_scope()
            return
        if self._autocommit:
            if self.unused:
                return
            raise TransactionRequired(
                "refused to run a statement in autocommit: outside a transaction "
                "PostgreSQL ignores the organization's role and search_path",
                organization_id=self.organization.id if self.organization else None,
            )
        command = self._get_tx_start_command()
        if type(command) is ScopedBegin:
            yield from self._enter_scope(command)
        else:
            yield from super()._exec_command(command)
        if self._pipeline:
            yield from self._pipeline._sync_gen()

    def defer_begin(self) -> ScopedBegin | None:
        """Return the command that starts the next transaction, for the caller to send.

        None where a transaction is open, or its start must be a message of its own.
        """
        if (
            self.pgconn.transaction_status != TransactionStatus.IDLE
            or self._autocommit
            or self._pipeline
            or self.unused
        ):
            return None
        return cast("ScopedBegin", self._get_tx_start_command())

    def _get_tx_start_command(self) -> bytes:
        begin = super()._get_tx_start_command()
        scope = self._prepared.scope = self.check_scope()
        if scope is None:
            return begin
        self.served.add(scope)
        return scoped_begin(begin, scope)

    def check_scope(self) -> Scope | None:
        """Return what the transaction is for; None for the dialect's own queries."""
        self.check_process()
        scope = self.scope
        if scope is None:
            if self.organization is not None:
                scope = self.scope = scope_of(self.organization, self.settings)
            elif self.unused:
                return None
            else:
                raise OrganizationContextMissing(
                    "refused to run a statement: no organization is bound"
                )
        current = organization_var.get()
        if (
            current is not None
            and scope.organization_id is not None
            and current.id != scope.organization_id
        ):
            raise OrganizationMismatch(
                f"a connection of organization {scope.organization_id!r} was used inside "
                f"the context of {current.id!r}",
                organization_id=scope.organization_id,
            )
        return scope

    def check_process(self) -> None:
        """Refuse the connection to a forked process, which shares its socket.

        Raises:
            psycopg.InterfaceError: If another process opened it.
        """
        if os.getpid() != self.process:
            raise psycopg.InterfaceError(
                "the connection belongs to the process that this one was forked from"
            )

    def _exec_command(
        self, command: Any, result_format: Format = Format.TEXT
    ) -> PQGen[PGresult | None]:
        self.check_process()
        if type(command) is ScopedBegin:
            return self._enter_scope(command)
        return super()._exec_command(command, result_format)

    def _enter_scope(self, command: ScopedBegin) -> PQGen[PGresult | None]:
        if self._pipeline:
            # One statement per message; they are queued, so there is still no round trip.
            for part in command.parts:
                yield from super()._exec_command(part)
            return None
        self._check_connection_ok()
        self.pgconn.send_query(command)
        results = yield from generators.execute(self.pgconn)
        for result in results:
            if result.status != ExecStatus.COMMAND_OK:
                raise self.scope_error(result, command.scope)
        entered: PGresult = results[0]
        return entered

    def scope_error(self, result: PGresult, scope: Scope) -> Exception:
        """Return the error for a scope that the server did not let the connection enter."""
        error = errors.error_from_result(result, encoding=self.pgconn._encoding)
        if not isinstance(error, _ROLE_REFUSED):
            return error
        refused: OrgTenancyError
        if scope.organization_id is None:
            refused = ConfigurationError(
                f"this database has no registry for this login, run `install()` first: {error}"
            )
        else:
            refused = OrganizationUnavailable(
                f"PostgreSQL refused organization {scope.organization_id!r}: {error}",
                organization_id=scope.organization_id,
                schema=scope.path[0],
            )
        refused.__cause__ = error
        return refused

    def _rollback_gen(self) -> PQGen[None]:
        self.check_process()
        if self.pgconn.transaction_status == TransactionStatus.ACTIVE and not self._pipeline:
            # Something was broken off, such as a COPY by a cancellation, and no command can be
            # sent any more. Without the connection the server rolls back by itself.
            self.pgconn.finish()
            return
        yield from super()._rollback_gen()

    def _tpc_begin_gen(self, xid: Any) -> PQGen[None]:
        self.check_scope()  # before psycopg notes that a two-phase transaction began
        yield from super()._tpc_begin_gen(xid)

    def _tpc_prepare_gen(self) -> PQGen[None]:
        # PostgreSQL lets only the role that was current at PREPARE finish a prepared
        # transaction, and it is finished outside any transaction, as the login. So
        # deferred constraints are checked in the scope, and then the scope is left.
        yield from self._exec_command(b"SET CONSTRAINTS ALL IMMEDIATE")
        yield from self._exec_command(b"SET LOCAL ROLE NONE")
        yield from super()._tpc_prepare_gen()


class OrganizationConnection(ScopedConnection, psycopg.Connection[Any]):
    """A connection whose transactions enter its scope."""

    def close(self) -> None:
        """Close the connection, unless it is that of the process before a fork."""
        if os.getpid() == self.process:
            super().close()

    def _choose_cursors(self, one_flush: bool) -> None:
        self.cursor_factory = OneFlushCursor if one_flush else OrganizationCursor
        self.server_cursor_factory = OrganizationServerCursor


class AsyncOrganizationConnection(ScopedConnection, psycopg.AsyncConnection[Any]):
    """An async connection whose transactions enter its scope."""

    @classmethod
    async def connect(cls, *args: Any, **kwargs: Any) -> Self:
        """Open a connection; whoever is cancelled meanwhile leaves none behind.

        psycopg leaves what it has begun to the garbage collector, and until that comes
        around the server keeps a backend for it.
        """
        attempts: list[Generator[Any, Any, Any]] = []
        token = _attempts.set(attempts)
        try:
            return await super().connect(*args, **kwargs)
        except BaseException:
            for attempt in attempts:
                attempt.close()
            raise
        finally:
            _attempts.reset(token)

    async def close(self) -> None:
        """Close the connection, unless it is that of the process before a fork."""
        if os.getpid() == self.process:
            await super().close()

    @classmethod
    def _connect_gen(cls, *args: Any, **kwargs: Any) -> PQGenConn[Self]:
        attempt = super()._connect_gen(*args, **kwargs)
        if (attempts := _attempts.get()) is not None:
            attempts.append(attempt)
        return attempt

    @asynccontextmanager
    async def _pipeline_nolock(self) -> AsyncIterator[psycopg.AsyncPipeline]:
        """Enter pipeline mode for `executemany`; whoever is cancelled meanwhile hears that.

        psycopg has an assertion fail instead, which no timeout would take for its own.
        """
        try:
            async with super()._pipeline_nolock() as pipeline:
                yield pipeline
        except AssertionError as error:
            if isinstance(error.__context__, asyncio.CancelledError):
                raise error.__context__ from None
            raise

    def _choose_cursors(self, one_flush: bool) -> None:
        self.cursor_factory = AsyncOneFlushCursor if one_flush else AsyncOrganizationCursor
        self.server_cursor_factory = AsyncOrganizationServerCursor
