"""The catalogue through PgBouncer, whose connections to the server outlive their clients."""

from __future__ import annotations

from pathlib import Path

import pytest

from orgtenancy.testing.isolation import TenancySubject, Verdict, prove
from tests.operations.bouncing import PROGRAM, pgbouncer
from tests.schemas.databases import FreshDatabase

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path(PROGRAM).exists(), reason="PgBouncer is not installed here"),
]

# What is left for the session stays on PgBouncer's connection when the client closes its own.
LEFT_BEHIND = {
    "a setting of the session",
    "a setting made by set_config",
    "a cursor WITH HOLD",
    "a statement made by PREPARE",
    "the text of a prepared statement",
}


def test_in_transaction_mode_only_what_is_left_for_the_session_gets_through(
    database: FreshDatabase,
) -> None:
    with (
        pgbouncer(database.url, pool_mode="transaction") as [url],
        database.tenancy((), prepare_threshold=None) as tenancy,
    ):
        tenancy.install()
        report = prove(TenancySubject(tenancy, url=url))
    broken = {finding.leak.removesuffix(", async") for finding in report.of(Verdict.BROKEN)}
    assert broken == LEFT_BEHIND, report
    assert not report.of(Verdict.UNCLEAR), report


def test_where_session_state_is_refused_every_leak_is_held(database: FreshDatabase) -> None:
    with (
        pgbouncer(database.url, pool_mode="transaction") as [url],
        database.tenancy((), prepare_threshold=None, refuse_session_state=True) as tenancy,
    ):
        tenancy.install()
        report = prove(TenancySubject(tenancy, url=url))
    assert report.is_held, str(report)
