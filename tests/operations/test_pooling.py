"""What the doctor finds out about a pooler, by how it behaves."""

from __future__ import annotations

from pathlib import Path

import pytest

from orgtenancy import Tenancy
from orgtenancy.operations.doctor import Finding, Level, examine
from orgtenancy.operations.doctor.pooling import find_pooler
from tests.operations.bouncing import PROGRAM, pgbouncer, version
from tests.schemas.databases import FreshDatabase

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path(PROGRAM).exists(), reason="PgBouncer is not installed here"),
]

ABOUT_POOLERS = {
    "pooler of the app",
    "prepared statements",
    "session state",
    "listening",
    "pooler of the owner",
    "isolation",
}


def findings(tenancy: Tenancy) -> dict[str, Finding]:
    return {f.check: f for f in examine(tenancy).findings if f.check in ABOUT_POOLERS}


def test_without_a_pooler_none_is_found(installed: Tenancy, database: FreshDatabase) -> None:
    assert find_pooler(installed._database, database.url) is None
    with database.tenancy(listen=True) as listening:
        found = findings(listening)
    assert found["listening"].message == "changes to organizations are heard of at once"


def test_transaction_mode_is_found_and_isolation_holds_through_it(
    installed: Tenancy, database: FreshDatabase
) -> None:
    with (
        pgbouncer(database.url, pool_mode="transaction") as [url],
        database.tenancy(url=url, prepare_threshold=None) as tenancy,
    ):
        found = findings(tenancy)
    assert found["pooler of the app"].message == "a pooler, version unknown, transaction mode"
    assert found["prepared statements"].message == "none is made"
    assert found["isolation"].level is Level.OK
    assert found["pooler of the owner"].message == "none"


def test_a_pooler_that_drops_options_is_found(installed: Tenancy, database: FreshDatabase) -> None:
    with pgbouncer(database.url, pool_mode="transaction", ignores_options=True) as [url]:
        pooler = find_pooler(installed._database, url)
    assert pooler is not None
    assert pooler.mode == "transaction"


def test_prepared_statements_that_a_pooler_does_not_keep_track_of_are_a_problem(
    installed: Tenancy, database: FreshDatabase
) -> None:
    with (
        pgbouncer(database.url, pool_mode="transaction") as [url],
        database.tenancy(url=url, listen=True) as tenancy,
    ):
        found = findings(tenancy)
    tracked = version(PROGRAM) >= (1, 24)  # switched on by default
    level = Level.OK if tracked else Level.PROBLEM
    assert found["prepared statements"].level is level
    assert found["listening"].level is Level.WARNING
    assert found["listening"].remedy == "ORGTENANCY_LISTEN=false"


def test_the_version_is_told_where_the_console_is_open(
    installed: Tenancy, database: FreshDatabase
) -> None:
    with (
        pgbouncer(database.url, pool_mode="transaction", console=True) as [url],
        database.tenancy(url=url, prepare_threshold=None) as tenancy,
    ):
        found = findings(tenancy)
    told = "PgBouncer {}.{}".format(*version(PROGRAM))
    assert found["pooler of the app"].message.startswith(told)


def test_session_mode_is_found_and_serves_everything(
    installed: Tenancy, database: FreshDatabase
) -> None:
    with (
        pgbouncer(database.url, database.admin_url, pool_mode="session") as [url, admin_url],
        database.tenancy(url=url, admin_url=admin_url, listen=True) as tenancy,
    ):
        found = findings(tenancy)
    assert {finding.level for finding in found.values()} == {Level.OK}
    assert found["pooler of the app"].message.endswith("session mode")
    assert found["listening"].message == "changes to organizations are heard of at once"


def test_an_owner_behind_transaction_mode_is_a_warning(
    installed: Tenancy, database: FreshDatabase
) -> None:
    with (
        pgbouncer(database.admin_url, pool_mode="transaction") as [admin_url],
        database.tenancy(admin_url=admin_url) as tenancy,
    ):
        finding = findings(tenancy)["pooler of the owner"]
    assert finding.level is Level.WARNING
    assert finding.remedy == "give admin_url a direct connection"


def test_statement_mode_is_a_problem(installed: Tenancy, database: FreshDatabase) -> None:
    with (
        pgbouncer(database.url, pool_mode="statement") as [url],
        database.tenancy(url=url, prepare_threshold=None) as tenancy,
    ):
        finding = findings(tenancy)["pooler of the app"]
    assert finding.level is Level.PROBLEM
    assert "statement mode" in finding.message


def test_a_login_that_cannot_connect_is_a_problem(
    installed: Tenancy, database: FreshDatabase
) -> None:
    with database.tenancy(url=database.url.set(password="wrong")) as tenancy:
        finding = findings(tenancy)["pooler of the app"]
    assert finding.level is Level.PROBLEM
    assert "cannot connect" in finding.message
