"""What is written down of an error has nothing of the rows that it is about."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from sqlalchemy import NullPool, create_engine, text
from sqlalchemy.exc import IntegrityError

from orgtenancy import Tenancy
from orgtenancy.errors import ProvisioningFailed
from orgtenancy.identity.logto_sync.failures import message_of, told

SECRET = "alice@example.com"
TWICE = "INSERT INTO pg_temp.people VALUES (:one), (:one)"
FIRST_LINE = 'duplicate key value violates unique constraint "people_pkey"'


def raised(work: Callable[[], Any]) -> Exception:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - any
        work()
    return caught.value


@pytest.fixture
def violation(tenancy: Tenancy) -> IntegrityError:
    """An error of the database whose text has a value twice: the key's, and the parameter's."""
    engine = create_engine(tenancy._database.admin_engine.url, poolclass=NullPool)
    with engine.connect() as connection:
        connection.execute(text("CREATE TEMPORARY TABLE people (email text PRIMARY KEY)"))
        error = raised(lambda: connection.execute(text(TWICE), {"one": SECRET}))
    assert isinstance(error, IntegrityError)
    assert str(error).count(SECRET) == 2
    return error


def test_of_the_databases_error_there_is_the_first_line(violation: IntegrityError) -> None:
    assert message_of(violation) == FIRST_LINE
    assert told(violation) == f"UniqueViolation: {FIRST_LINE}"
    assert isinstance(violation.orig, psycopg.Error)
    assert told(violation.orig) == f"UniqueViolation: {FIRST_LINE}"


def test_of_one_whose_text_has_it_there_is_the_rest_too(violation: IntegrityError) -> None:
    def wrap() -> None:
        try:
            raise violation
        except IntegrityError as error:
            raise ProvisioningFailed(f"acme could not be provisioned: {error}") from error

    def wrap_again() -> None:
        try:
            wrap()
        except ProvisioningFailed as error:
            raise RuntimeError(f"it failed: {error}")  # noqa: B904 - as a host may do it

    said = f"acme could not be provisioned: {FIRST_LINE}"
    assert told(raised(wrap)) == f"ProvisioningFailed: {said}"
    assert told(raised(wrap_again)) == f"RuntimeError: it failed: {said}"


def test_any_other_error_says_what_it_says() -> None:
    error = LookupError("no luck")
    error.__cause__ = error  # what `raise error from error` makes of it
    assert told(error) == "LookupError: no luck"
    lost = raised(lambda: psycopg.connect("host=127.0.0.1 port=1 connect_timeout=5"))
    assert "port 1 failed" in told(lost)
