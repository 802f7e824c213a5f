"""Apps of all frameworks are proven, and all leaks are held."""

from __future__ import annotations

from pathlib import Path

import pytest

from orgtenancy import Settings, Tenancy
from orgtenancy.testing.isolation import AppUnderProof, Verdict, WebSocket, prove
from orgtenancy.testing.isolation.leaks.requests import APP_LEAKS, afterwards, own
from tests.isolation.held_apps import HOSTS, REQUESTS
from tests.isolation.members import RESOLVER, as_member, plant
from tests.operations.bouncing import PROGRAM, pgbouncer
from tests.support.notes import notes

# What no WSGI server can do.
LEFT_OUT = {
    "starlette": set(),
    "fastapi": set(),
    "flask": {
        "a request that is cancelled in the middle",
        "a websocket that is open while the other organization is served",
        "a websocket without credentials, after one with them",
    },
}


def under_proof(tenancy: Tenancy, framework: str) -> AppUnderProof:
    return AppUnderProof(
        HOSTS[framework](tenancy, RESOLVER),
        as_member=as_member,
        plant=plant,
        requests=REQUESTS,
        websockets=[WebSocket("/live", ["hello", '{"organization": "{other}"}'])],
    )


@pytest.mark.slow
@pytest.mark.parametrize("framework", HOSTS)
def test_every_leak_of_an_app_is_held_in_each_framework(
    notes_tenancy: Tenancy, framework: str
) -> None:
    report = prove(notes_tenancy, (), app=under_proof(notes_tenancy, framework))
    assert report.is_held, str(report)
    assert {one.leak for one in report.of(Verdict.LEFT_OUT)} == LEFT_OUT[framework]
    assert len(report.findings) == len(APP_LEAKS)


@pytest.mark.slow
@pytest.mark.skipif(not Path(PROGRAM).exists(), reason="PgBouncer is not installed here")
@pytest.mark.parametrize("framework", HOSTS)
def test_every_leak_of_an_app_is_held_through_a_pooler_in_transaction_mode(
    notes_tenancy: Tenancy, framework: str
) -> None:
    database = notes_tenancy._database
    settings = Settings(listen=False, prepare_threshold=None)
    with (
        pgbouncer(database.url, pool_mode="transaction") as [url],
        Tenancy(url, admin_url=database.admin_url, modules=[notes], settings=settings) as tenancy,
    ):
        report = prove(tenancy, (), app=under_proof(tenancy, framework))
    assert report.is_held, str(report)
    assert {one.leak for one in report.of(Verdict.LEFT_OUT)} == LEFT_OUT[framework]


@pytest.mark.parametrize("framework", HOSTS)
def test_an_app_of_each_framework_shows_its_marks_and_mixes_none(
    notes_tenancy: Tenancy, framework: str
) -> None:
    app = under_proof(notes_tenancy, framework)
    report = prove(notes_tenancy, (), app=app, app_leaks=[own, afterwards])
    assert [one.verdict for one in report.findings] == [Verdict.HELD] * 2, str(report)


def test_pools_are_the_hosts_own_again_after_a_proof(notes_tenancy: Tenancy) -> None:
    database = notes_tenancy._database
    before = (database.settings, database.engine, database.async_engine)
    prove(notes_tenancy, (), app=under_proof(notes_tenancy, "flask"), app_leaks=[own])
    assert (database.settings, database.engine, database.async_engine) == before


def test_an_app_whose_answers_show_no_mark_proves_nothing(notes_tenancy: Tenancy) -> None:
    app = AppUnderProof(HOSTS["flask"](notes_tenancy, RESOLVER), as_member, requests=["/fail"])
    (finding,) = prove(notes_tenancy, (), app=app, app_leaks=[own]).findings
    assert finding.verdict is Verdict.UNCLEAR
    assert "no answer shows a mark (statuses: 500;" in finding.evidence
