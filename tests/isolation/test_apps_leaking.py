"""The kit finds a real bug of each kind in an app."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from psycopg import Connection
from sqlalchemy import Engine, create_engine, event

from orgtenancy import Tenancy, embedded
from orgtenancy.testing.isolation import AppUnderProof, Ask, Finding, Verdict, WebSocket, prove
from orgtenancy.testing.isolation.apps import AsMember, wsgi
from orgtenancy.testing.isolation.leaks import requests as leaks
from tests.isolation import leaking_apps as apps
from tests.isolation.members import plant

ASKING = '{"organization": "{other}"}'
SOCKETS: dict[apps.Leaking, list[WebSocket]] = {
    apps.greeting_websocket: [WebSocket("/live")],
    apps.trusting_websocket: [WebSocket("/live", ['{"text": "hello"}', ASKING])],
    apps.websocket_of_anybody: [WebSocket("/live", ['{"text": "hello"}'])],
}

# The bug, what finds it, and what it says.
BUGS: list[tuple[apps.Leaking, Any, str]] = [
    (apps.global_session, leaks.in_turn, "saw"),
    (apps.organization_of_thread, leaks.in_turn, "saw"),
    (apps.shared_cache, leaks.in_turn_on_two, "saw"),
    (apps.global_while_streaming, leaks.read_late, "saw"),
    (apps.global_while_streaming, leaks.alternating, "saw"),
    (apps.global_while_waiting, leaks.at_once, "saw"),
    (apps.global_while_waiting, leaks.at_once_on_one, "saw"),
    (apps.global_while_waiting, leaks.overtaken, "saw"),
    (apps.thread_local_not_reset, leaks.kept_alive, "somebody of no organization saw"),
    (apps.background_from_global, leaks.afterwards, "stored"),
    (apps.trusting_websocket, leaks.beside_websocket, "websocket /live"),
    (apps.greeting_websocket, leaks.beside_websocket, "websocket /live"),
    (apps.websocket_of_anybody, leaks.websocket_of_nobody, "somebody of no organization saw"),
    (apps.schema_of_query, leaks.foreign, "schema of another"),
    (apps.keys_of_anybody, leaks.foreign, "with another's note_id"),
    (apps.key_in_body, leaks.foreign, "with another's id"),
    (apps.tidy_everywhere, leaks.changing, "POST /tidy has changed notes of"),
    (apps.shared_cache, leaks.of_stranger, "somebody of no organization saw"),
    (apps.logs_of_others, leaks.in_turn, "the log"),
    (apps.path_remembered, leaks.timed_out, "saw"),
    (apps.not_reset_when_left, leaks.left, "somebody of no organization saw"),
    (apps.not_reset_when_left, leaks.gone, "somebody of no organization saw"),
    (apps.not_reset_when_left, leaks.cancelled, "somebody of no organization saw"),
    (apps.not_reset_when_left, leaks.lost, "somebody of no organization saw"),
]
REQUESTS: dict[apps.Leaking, list[str | Ask]] = {
    apps.background_from_global: ["POST /notes?body={mark}"],
    apps.keys_of_anybody: ["/notes", "/notes/{note_id}"],
    apps.key_in_body: ["/notes", Ask("POST", "/search", json={"note": {"id": "{id}"}})],
    apps.tidy_everywhere: ["/notes", "POST /tidy"],
}


@pytest.fixture
def owner(server: embedded.EmbeddedServer) -> Iterator[Engine]:
    """An engine of the schemas' owner with one connection, as a host had it before."""
    engine = create_engine(server.admin_url, pool_size=1, max_overflow=4)
    opened: list[Connection[Any]] = []
    event.listen(engine, "connect", lambda connection, _: opened.append(connection))
    yield engine
    for connection in opened:  # also those that a bug keeps
        connection.close()
    engine.dispose()


def attacked(
    tenancy: Tenancy, bug: apps.Leaking, owner: Engine, leak: Any, as_member: AsMember = apps.named
) -> Finding:
    app = AppUnderProof(
        bug(owner),
        as_member=as_member,
        plant=plant,
        requests=REQUESTS.get(bug, ["/notes"]),
        websockets=SOCKETS.get(bug, ()),
    )
    (finding,) = prove(tenancy, (), app=app, app_leaks=[leak]).findings
    return finding


@pytest.mark.parametrize(
    ("bug", "leak", "evidence"),
    # Every fourth one at every turn.
    [pytest.param(*bug, marks=pytest.mark.slow if n % 4 else ()) for n, bug in enumerate(BUGS)],
    ids=lambda one: getattr(one, "name", getattr(one, "__name__", one)),
)
def test_a_planted_bug_of_an_app_is_found(
    notes_tenancy: Tenancy, owner: Engine, bug: apps.Leaking, leak: Any, evidence: str
) -> None:
    finding = attacked(notes_tenancy, bug, owner, leak)
    assert finding.verdict is Verdict.BROKEN, finding
    assert evidence in finding.evidence, finding


def test_every_leak_of_apps_finds_a_planted_bug() -> None:
    assert {leak.name for _, leak, _ in BUGS} == {leak.name for leak in leaks.APP_LEAKS[1:]}


@pytest.mark.slow
@pytest.mark.parametrize("leak", [leaks.in_turn, leaks.at_once, leaks.changing])
def test_an_app_that_soon_answers_nobody_is_not_called_held(
    notes_tenancy: Tenancy, owner: Engine, leak: Any
) -> None:
    finding = attacked(notes_tenancy, apps.limited, owner, leak)
    assert finding.verdict is Verdict.UNCLEAR, finding
    assert "0 of them with their own mark" in finding.evidence


@pytest.mark.parametrize("leak", [leaks.foreign, leaks.of_stranger])
def test_names_of_headers_are_the_same_in_capitals(
    notes_tenancy: Tenancy, owner: Engine, leak: Any
) -> None:
    def as_member(organization: str) -> dict[str, str]:
        return {apps.HEADER.title(): organization}

    finding = attacked(notes_tenancy, apps.careful, owner, leak, as_member)
    assert finding.verdict is Verdict.HELD, finding


def test_an_answer_that_never_ends_is_unclear_and_left(
    notes_tenancy: Tenancy, owner: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wsgi, "DEADLINE", 0.3)
    finding = attacked(notes_tenancy, apps.endless, owner, leaks.in_turn)
    assert finding.verdict is Verdict.UNCLEAR, finding
    assert "TimeoutError" in finding.evidence
