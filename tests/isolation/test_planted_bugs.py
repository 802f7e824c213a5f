"""The kit finds a planted bug of each class: each leak of the catalogue is shown broken."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from sqlalchemy import make_url

from orgtenancy import Tenancy, embedded
from orgtenancy.context import bind, organization_var
from orgtenancy.database.cursors import ScopedServerCursor
from orgtenancy.database.driver import ScopedConnection
from orgtenancy.database.sessions import OrganizationSession
from orgtenancy.testing.isolation import LEAKS, Leak, Report, TenancySubject, Verdict, prove
from tests.isolation.bugs import OnlyTheRegistryKnows
from tests.isolation.planted import ByPath
from tests.isolation.plants import PLANTED, leaks_of

STATUSES = [leak for leak in LEAKS if leak.group == "status"]
HOSTILE = [leak for leak in LEAKS if "to the other one's role" in leak.name]

both_ways = pytest.mark.parametrize(
    "is_async",
    [pytest.param(False, id="sync"), pytest.param(True, id="async", marks=pytest.mark.slow)],
)


def all_broken(report: Report) -> bool:
    """Return whether every leak was found out, by somebody who saw what is another's."""
    return len(report.of(Verdict.BROKEN)) == len(report.findings) > 0


@both_ways
@pytest.mark.parametrize(
    "bug",
    [pytest.param(bug, marks=pytest.mark.slow if bug is ByPath else ()) for bug in PLANTED],
    ids=lambda bug: bug.__name__,
)
def test_a_planted_bug_is_found_by_every_leak_of_its_class(
    server: embedded.EmbeddedServer, bug: type[ByPath], is_async: bool
) -> None:
    url = make_url(server.admin_url).set(drivername="postgresql+psycopg")
    leaks = [leak for leak in leaks_of(PLANTED[bug]) if leak.is_async is is_async]
    report = prove(bug(url), leaks)
    assert all_broken(report), report
    assert all(" saw " in f.evidence or " lost " in f.evidence for f in report.findings), report


@both_ways
def test_a_closed_organization_that_only_the_registry_knows_of_is_found(
    tenancy: Tenancy, is_async: bool
) -> None:
    leaks = [leak for leak in STATUSES if leak.is_async is is_async]
    report = prove(OnlyTheRegistryKnows(tenancy), leaks)
    assert all_broken(report), report
    told = {finding.evidence.split(", and ", 1)[1] for finding in report.findings}
    assert told == {"its row was seen", "was written to"}


@both_ways
def test_hostile_sql_gets_through_at_level_role(tenancy: Tenancy, is_async: bool) -> None:
    subject = TenancySubject(tenancy)
    subject.stands_hostile_sql = True
    leaks = [leak for leak in HOSTILE if leak.is_async is is_async]
    report = prove(subject, leaks)
    refused = {finding.leak for finding in report.of(Verdict.HELD)}
    assert {name.removesuffix(", async") for name in refused} == {
        "SET SESSION AUTHORIZATION to the other one's role"  # only a superuser may
    }
    assert len(report.of(Verdict.BROKEN)) == len(leaks) - 1, report


def test_each_leak_is_shown_broken_by_some_bug() -> None:
    shown = {leak.name for names in PLANTED.values() for leak in leaks_of(names)}
    shown |= {leak.name for leak in (*STATUSES, *HOSTILE)}
    assert {leak.name for leak in LEAKS} - shown == set()


def test_each_name_of_a_planted_bug_is_a_leaks() -> None:
    for names in PLANTED.values():
        for name in names:
            assert leaks_of(frozenset({name})), name


def found(tenancy: Tenancy, leaks: Sequence[Leak] = LEAKS) -> set[str]:
    report = prove(tenancy, leaks)
    assert not report.of(Verdict.UNCLEAR), report
    return {finding.leak.removesuffix(", async") for finding in report.of(Verdict.BROKEN)}


def of_groups(*groups: str) -> list[Leak]:
    return [leak for leak in LEAKS if leak.group in groups and not leak.is_async]


def test_a_connection_reused_with_what_was_left_on_it_is_found(
    tenancy: Tenancy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ScopedConnection, "is_as_new", lambda self: True)
    assert found(tenancy, of_groups("left on the connection")) == {
        "a setting of the session",
        "a setting made by set_config",
        "a cursor WITH HOLD",
        "a statement made by PREPARE",
        "the text of a prepared statement",
        "a row factory, which sees every row",
        "a notice handler, which hears what the server says",
    }


def test_a_session_that_does_not_look_at_the_context_is_found(
    tenancy: Tenancy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OrganizationSession, "check_context", lambda self: None)
    check_scope = ScopedConnection.check_scope

    def check_no_context(connection: ScopedConnection) -> Any:
        with bind(organization_var, None):
            return check_scope(connection)

    monkeypatch.setattr(ScopedConnection, "check_scope", check_no_context)
    assert found(tenancy, of_groups("context", "later", "concurrency")) == {
        "a session used in the other one's context",
        "a connection with an open transaction, used in the other one's context",
        "a generator that is consumed in the other one's context",
        "a stream of rows that is read in the other one's context",
        "a cursor of the driver that is read in the other one's context",
        "a session used by a thread of the other context",
    }


def test_a_server_side_cursor_that_does_not_look_at_the_context_is_found(
    tenancy: Tenancy, monkeypatch: pytest.MonkeyPatch
) -> None:
    unguarded: Callable[..., Any] = super(ScopedServerCursor, ScopedServerCursor)._fetch_gen
    monkeypatch.setattr(ScopedServerCursor, "_fetch_gen", unguarded)
    assert found(tenancy, of_groups("later")) == {
        "a generator that is consumed in the other one's context",
        "a stream of rows that is read in the other one's context",
        "a cursor of the driver that is read in the other one's context",
    }
