"""The audit: who did what to which organization, from where, when, and what came of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from psycopg import errors, sql

from orgtenancy import Actor, PageRequest, Tenancy, acting
from orgtenancy.errors import (
    InvalidCursor,
    OrganizationNotFound,
    OrganizationUnavailable,
    ProvisioningFailed,
    TransitionRefused,
)
from orgtenancy.naming import control_role_name
from orgtenancy.organizations import AuditEntry
from tests.lifecycle.worlds import S, history, new_id, reach
from tests.schemas.databases import FreshDatabase, dsn


def test_an_entry_says_who_did_what_from_where_and_when(
    database: FreshDatabase, installed: Tenancy
) -> None:
    organization_id, start = reach(installed, S.ACTIVE), datetime.now(UTC)
    with acting(Actor(id="jane"), "http:203.0.113.9"):
        installed.organizations.suspend(organization_id, reason="unpaid")
    entry = history(installed, organization_id)[-1]
    assert (entry.action, entry.organization_id, entry.result) == (
        "suspended",
        organization_id,
        "done",
    )
    assert (entry.actor_id, entry.origin) == ("jane", "http:203.0.113.9")
    assert entry.details == {
        "from": "active",
        "to": "suspended",
        "reason": "unpaid",
        "source": None,
    }
    assert abs(entry.recorded_at - start) < timedelta(minutes=1)
    assert entry.recorded_by == database.admin_url.username
    installed.organizations.resume(organization_id)
    assert history(installed, organization_id)[-1].origin == "python"
    assert history(installed, organization_id)[-1].actor_id is None


def test_an_async_twin_is_audited_with_its_callers_actor(installed: Tenancy) -> None:
    organization_id = reach(installed, S.ACTIVE)

    async def suspend() -> None:
        with acting("jane", "job:dunning"):
            await installed.organizations.suspend_async(organization_id)

    asyncio.run(suspend())
    entry = history(installed, organization_id)[-1]
    assert (entry.actor_id, entry.origin) == ("jane", "job:dunning")


def test_provisioning_is_audited_whichever_way_it_goes(bare_database: FreshDatabase) -> None:
    with bare_database.tenancy() as tenancy:
        tenancy.install()
        with acting("jane", "cli:jane@host"):
            tenancy.schemas.provision("anew")
            tenancy.schemas.spares.fill(1)
            tenancy.schemas.provision("from-a-spare")
            tenancy.schemas.provision("from-a-spare")
        for organization_id in ("anew", "from-a-spare"):
            (entry,) = history(tenancy, organization_id, done=False)
            assert (entry.action, entry.result) == ("provisioned", "done")
            assert (entry.actor_id, entry.origin) == ("jane", "cli:jane@host")
        bare_database.ask("CREATE SCHEMA org_taken")
        with pytest.raises(ProvisioningFailed):
            tenancy.schemas.provision("taken")
        (entry,) = history(tenancy, "taken", done=False)
        assert (entry.result, entry.details["code"]) == ("failed", "provisioning_failed")
        tenancy.organizations.suspend("anew")
        with pytest.raises(OrganizationUnavailable):
            tenancy.schemas.provision("anew")
        assert history(tenancy, "anew", done=False)[-1].result == "refused"


def test_what_is_refused_is_audited_with_the_reason(installed: Tenancy) -> None:
    organization_id, unknown = reach(installed, S.ARCHIVED), new_id()
    refused: list[tuple[type[Exception], Callable[[], object], str, str, str]] = [
        (
            TransitionRefused,
            lambda: installed.organizations.fence(organization_id),
            organization_id,
            "fenced",
            "transition_refused",
        ),
        (
            OrganizationNotFound,
            lambda: installed.organizations.suspend(unknown),
            unknown,
            "suspended",
            "organization_not_found",
        ),
    ]
    for error, call, subject, action, code in refused:
        with acting("mallory", "http:203.0.113.9"), pytest.raises(error):
            call()
        entry = history(installed, subject, done=False)[-1]
        assert (entry.action, entry.result, entry.details["code"]) == (action, "refused", code)
        assert (entry.actor_id, entry.origin) == ("mallory", "http:203.0.113.9")


def test_the_app_may_add_to_the_audit_and_change_nothing_in_it(
    database: FreshDatabase, installed: Tenancy
) -> None:
    organization_id = reach(installed, S.ACTIVE)
    with psycopg.connect(dsn(database.url)) as login:
        role = sql.Identifier(control_role_name(database.name))
        login.execute(sql.SQL("SET ROLE {}").format(role))
        login.execute(
            "INSERT INTO orgtenancy.audit (action, organization_id, origin, result) "
            "VALUES ('exported', %s, 'app', 'done')",
            [organization_id],
        )
        login.commit()
        for statement in (
            "SELECT 1 FROM orgtenancy.audit",
            "UPDATE orgtenancy.audit SET actor_id = 'x'",
            "DELETE FROM orgtenancy.audit",
            "INSERT INTO orgtenancy.audit (action, origin, result, recorded_by) "
            "VALUES ('x', 'x', 'done', 'x')",
        ):
            login.execute(sql.SQL("SET ROLE {}").format(role))
            with pytest.raises(errors.InsufficientPrivilege):
                login.execute(statement.encode())
            login.rollback()
    entry = history(installed, organization_id)[-1]
    assert (entry.action, entry.recorded_by) == ("exported", database.url.username)


def test_pages_are_newest_first_and_filtered(bare_database: FreshDatabase) -> None:
    with bare_database.tenancy() as tenancy:
        tenancy.install()
        organizations = tenancy.organizations
        for organization_id in ("a", "b"):
            tenancy.schemas.provision(organization_id)
            with acting("jane", "test"):
                organizations.suspend(organization_id)
            organizations.resume(organization_id)
        found: list[AuditEntry] = []
        cursor: str | None = None
        while True:
            page = organizations.audit(PageRequest(limit=4, cursor=cursor))
            found += page.items
            if (cursor := page.next_cursor) is None:
                break
        assert [(e.organization_id, e.action) for e in found] == [
            (i, a) for i in "ba" for a in ("resumed", "suspended", "provisioned")
        ]
        assert sorted((e.id for e in found), reverse=True) == [e.id for e in found]
        assert {e.organization_id for e in organizations.audit(actor_id="jane").items} == {"a", "b"}
        assert {e.action for e in organizations.audit(actor_id="jane").items} == {"suspended"}
        assert len(organizations.audit(action="resumed").items) == 2
        assert len(organizations.audit(action="resumed", organization_id="a").items) == 1
        since = found[2].recorded_at
        assert list(organizations.audit(since=since).items) == found[:3]
        with pytest.raises(InvalidCursor):
            organizations.audit(PageRequest(cursor="garbage"))


def test_the_audit_outlives_the_organization(installed: Tenancy) -> None:
    organization_id = reach(installed, S.ACTIVE)
    with acting("jane", "test"):
        installed.schemas.drop(organization_id, confirm=organization_id, force=True)
    *_, entry = history(installed, organization_id)
    assert (entry.action, entry.actor_id) == ("dropped", "jane")
