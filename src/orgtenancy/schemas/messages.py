"""Whole transactions as one message."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import psycopg
from psycopg import sql
from psycopg.errors import error_from_result
from psycopg.pq import ConnStatus, DiagnosticField, ExecStatus, TransactionStatus
from psycopg.pq.abc import PGconn, PGresult
from sqlalchemy import Connection


def transaction(statements: Iterable[bytes | str]) -> bytes:
    """Return statements as one message that is a transaction."""
    texts = (one if isinstance(one, bytes) else one.encode() for one in statements)
    return joined([b"BEGIN", *texts, b"COMMIT"])


def encoded(statements: Iterable[sql.Composable]) -> bytes:
    """Return composed statements as a part of a message."""
    return joined(statement.as_bytes(None) for statement in statements)


def joined(statements: Iterable[bytes]) -> bytes:
    """Return parts of a message as one; empty ones are left out."""
    return b";\n".join(filter(None, statements))


def send_transaction(connection: Connection, message: bytes) -> None:
    """Send a whole transaction as one message.

    Without a cursor, which would look at each result; a migration sends thousands of these.

    Args:
        connection: A connection that is in no transaction.
        message: As `transaction` makes it.

    Raises:
        psycopg.Error: What the server said; nothing of it remains then.
    """
    _send(connection, message, ExecStatus.COMMAND_OK)


def fetch_value(connection: Connection, statement: bytes) -> bytes:
    """Send a statement that is a transaction by itself, and return the value of its one row.

    Raises:
        psycopg.Error: What the server said; nothing of it remains then.
    """
    value = _send(connection, statement, ExecStatus.TUPLES_OK).get_value(0, 0)
    return b"" if value is None else value


def _send(connection: Connection, message: bytes, expected: ExecStatus) -> PGresult:
    driver: Any = connection.connection.driver_connection
    pgconn: PGconn = driver.pgconn
    result = pgconn.exec_(message)  # other threads go on meanwhile
    if result.status == expected:
        return result
    if pgconn.transaction_status == TransactionStatus.INERROR:
        pgconn.exec_(b"ROLLBACK")
    if pgconn.status == ConnStatus.BAD and not result.error_field(DiagnosticField.SQLSTATE):
        raise psycopg.OperationalError(pgconn.get_error_message())
    raise error_from_result(result, driver.info.encoding)


def run_transaction(connection: Connection, message: bytes) -> psycopg.Cursor[Any]:
    """Send a whole transaction as one message, and return the cursor with its results.

    Raises:
        psycopg.Error: As `send_transaction`.
    """
    driver: Any = connection.connection.driver_connection
    driver.autocommit = True  # the message brings its own BEGIN
    try:
        cursor: psycopg.Cursor[Any] = driver.execute(message)
    except psycopg.Error:
        if driver.info.transaction_status is TransactionStatus.INERROR:
            driver.execute("ROLLBACK")
        raise
    finally:
        if not driver.closed:
            driver.autocommit = False
    return cursor


def value_of(cursor: psycopg.Cursor[Any], name: str) -> Any:
    """Return the value of the one row with a column of this name, among the results.

    Raises:
        LookupError: If no result has it.
    """
    while not cursor.description or cursor.description[0].name != name:
        if not cursor.nextset():
            raise LookupError(name)
    row = cursor.fetchone()
    return None if row is None else row[0]
