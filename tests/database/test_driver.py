"""What this library uses of psycopg that is private, checked name by name.

A psycopg that renames or reshapes one of these must fail here, loudly, before a
transaction can start without its organization.
"""

from __future__ import annotations

import inspect
from typing import Any

import psycopg
from psycopg import (
    _connection_base,
    _cursor_base,
    _preparing,
    _server_cursor_base,
    transaction,
)
from sqlalchemy.pool import AsyncAdaptedQueuePool, QueuePool
from sqlalchemy.util import queue

from orgtenancy.database import driver


def source(function: Any) -> str:
    return inspect.getsource(function)


def test_the_version_is_one_that_was_tested() -> None:
    assert psycopg.__version__.startswith("3.3.")


def test_every_cursor_starts_its_transaction_on_the_connection() -> None:
    start = source(_cursor_base.BaseCursor._start_query)
    assert "yield from self._conn._start_query()" in start
    for name in ("_execute_gen", "_stream_send_gen", "_start_copy_gen"):
        assert "yield from self._start_query(" in source(getattr(_cursor_base.BaseCursor, name))


def test_the_connection_sends_begin_through_the_two_hooks() -> None:
    base = _connection_base.BaseConnection
    call = "yield from self._exec_command(self._get_tx_start_command())"
    assert call in source(base._start_query)
    assert call in source(base._tpc_begin_gen)
    assert "self._conn._get_tx_start_command()" in source(
        transaction.BaseTransaction._get_enter_commands
    )
    assert "self._conn._exec_command(command)" in source(transaction.BaseTransaction._enter_gen)


def test_no_other_code_of_psycopg_sends_begin() -> None:
    begins = [
        module.__name__
        for module in (_connection_base, _cursor_base, transaction)
        if 'b"BEGIN' in source(module)
    ]
    assert begins == ["psycopg._connection_base"]


def test_prepared_statements_are_looked_up_by_the_key() -> None:
    manager = _preparing.PrepareManager
    assert "self.key(query)" in source(manager.get)
    assert "self.key(query)" in source(manager.maybe_add_to_cache)
    assert "self._prepared" in source(_connection_base.BaseConnection.__init__)


def test_the_first_statement_is_run_by_the_steps_that_one_flush_repeats() -> None:
    execute = source(_cursor_base.BaseCursor._execute_gen)
    steps = (
        "yield from self._start_query(query)",
        "pgq = self._convert_query(query, params)",
        "yield from self._maybe_prepare_gen(pgq, prepare=prepare, binary=binary)",
        "self._last_query = query",
        "yield from self._conn._prepared.maintain_gen(self._conn)",
    )
    positions = [execute.index(step) for step in steps]
    assert positions == sorted(positions)
    run = source(_cursor_base.BaseCursor._maybe_prepare_gen)
    for step in (
        "self._get_prepared(pgq, prepare)",
        "self._execute_send(pgq, binary=binary)",
        "self._send_prepare(name, pgq)",
        "self._send_query_prepared(name, pgq, binary=binary)",
        "self._conn._prepared.maybe_add_to_cache(pgq, prep, name)",
        "self._conn._prepared.validate(key, prep, name, results)",
        "self._check_results(results)",
        "self._set_results(results)",
    ):
        assert step in run
    assert "force_extended" in inspect.signature(_cursor_base.BaseCursor._execute_send).parameters


def test_what_a_connection_may_be_left_with_has_the_names_that_are_looked_at() -> None:
    init = source(_connection_base.BaseConnection.__init__)
    for name in ("_autocommit", "_pipeline", "_tpc", "_num_transactions", "_notice_handlers"):
        assert f"self.{name}" in init or hasattr(_connection_base.BaseConnection, name), name
    assert "_notify_handlers" in init


def test_a_server_side_cursor_fetches_through_the_hook() -> None:
    for method in ("fetchone", "fetchmany", "fetchall"):
        assert "self._fetch_gen(" in source(getattr(psycopg.ServerCursor, method))
    assert "_fetch_gen" in vars(_server_cursor_base.ServerCursorMixin)


def test_the_hooks_override_something() -> None:
    for name in (
        "_start_query",
        "_get_tx_start_command",
        "_exec_command",
        "_rollback_gen",
        "_tpc_begin_gen",
        "_tpc_prepare_gen",
    ):
        assert name in vars(driver.ScopedConnection)
        assert name in vars(_connection_base.BaseConnection)
    assert "_start_query" in vars(_cursor_base.BaseCursor)
    assert "_pipeline_nolock" in vars(driver.AsyncOrganizationConnection)
    assert "_conn._pipeline_nolock(" in source(psycopg.AsyncCursor.executemany)


def test_a_connection_attempt_is_a_generator_that_can_be_closed() -> None:
    assert "gen = cls._connect_gen(" in source(psycopg.AsyncConnection.connect)
    assert "yield from generators.connect(" in source(_connection_base.BaseConnection._connect_gen)


def test_the_pools_take_connections_from_the_queue_that_was_replaced() -> None:
    assert QueuePool._queue_class is queue.Queue
    assert AsyncAdaptedQueuePool._queue_class is queue.AsyncAdaptedQueue
    assert "self._queue_class(" in source(QueuePool.__init__)
    assert "self._get()" in source(queue.Queue.get)
    assert "self._queue" in source(queue.AsyncAdaptedQueue.get)
