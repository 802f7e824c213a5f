"""A server that takes one statement per message, as Citus does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import Connection, Engine, event

from orgtenancy import Tenancy
from orgtenancy.schemas import claiming
from orgtenancy.schemas.messages import fetch_value
from orgtenancy.schemas.revisions import applying
from tests.fleet.hosts import ONE, Host


@contextmanager
def one_by_one(tenancy: Tenancy) -> Iterator[list[str]]:
    """Let a server be taken for Citus, and note what it is sent."""
    vars(tenancy._database)["has_citus"] = True
    sent: list[str] = []

    def note(connection: Connection, cursor: object, statement: str, *rest: object) -> None:
        sent.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    yield sent
    event.remove(Engine, "before_cursor_execute", note)


def test_a_stage_is_sent_statement_by_statement_and_waits_for_the_disk(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.install("acme", "globex")
    host.module().column("items", "a")
    host.module().online("items", "b")
    new = host.release()
    monkeypatch.delattr(applying, "send_transaction")
    with one_by_one(new) as sent:
        assert new.schemas.fleet.migrate(options=ONE) is not None
    assert any("ADD COLUMN" in statement for statement in sent)
    assert not [statement for statement in sent if ";" in statement]
    assert not [statement for statement in sent if "synchronous_commit" in statement]
    host.assert_all_at_heads(new, 1)


def test_an_organization_is_made_statement_by_statement(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.install("acme")
    new = host.release()
    calls: list[str] = []

    def fetch(connection: Connection, statement: bytes) -> bytes:
        calls.append(statement.decode())
        return fetch_value(connection, statement)

    monkeypatch.setattr(claiming, "fetch_value", fetch)
    with one_by_one(new) as sent:
        assert new.schemas.provision("globex").is_active
    assert any("CREATE TABLE items" in statement for statement in sent)
    assert not [statement for statement in [*sent, *calls] if ";" in statement]
    assert host.stamps("org_globex") == host.stamps("org_acme")
