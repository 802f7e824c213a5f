"""What the doctor says of each PgBouncer, and that what it says to set is enough."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from orgtenancy import Tenancy
from orgtenancy.operations.doctor import Finding, Level, examine
from orgtenancy.operations.doctor.pooling import keeps_session_state
from tests.operations.bouncing import Kind, pgbouncer, version
from tests.pgbouncer.conftest import MODULES, MakeTenancy
from tests.schemas.databases import FreshDatabase

pytestmark = pytest.mark.slow


def findings(tenancy: Tenancy) -> dict[str, Finding]:
    return {finding.check: finding for finding in examine(tenancy).findings}


def configured(
    kind: Kind, database: FreshDatabase, extra: Mapping[str, object], **settings: Any
) -> dict[str, Finding]:
    """Return what is found through one that is configured in another way."""
    assert kind.program is not None
    with (
        pgbouncer(
            database.url,
            pool_mode="transaction",
            console=True,
            program=kind.program,
            settings={**kind.settings, **extra},
        ) as [url],
        database.tenancy(MODULES, url=url, **settings) as tenancy,
    ):
        return findings(tenancy)


def test_with_nothing_set_it_says_what_to_set(
    kind: Kind, database: FreshDatabase, direct: Tenancy
) -> None:
    found = configured(kind, database, {}, listen=True)
    assert kind.program is not None
    told = "PgBouncer {}.{}".format(*version(kind.program))
    assert found["pooler of the app"].message.startswith(told)
    assert found["pooler of the app"].message.endswith("transaction mode")
    tracked = kind.name == "current"
    assert found["prepared statements"].level is (Level.OK if tracked else Level.PROBLEM)
    if not tracked:
        assert found["prepared statements"].remedy.startswith("ORGTENANCY_PREPARE_THRESHOLD=none")
    assert found["listening"].level is Level.WARNING
    assert found["listening"].remedy == "ORGTENANCY_LISTEN=false"
    state = found["session state"]
    assert state.level is Level.WARNING
    assert state.remedy == (
        "ORGTENANCY_REFUSE_SESSION_STATE=true, or server_reset_query_always = 1 in PgBouncer"
    )


def test_with_what_it_says_there_is_nothing_more_to_say(
    kind: Kind, make: MakeTenancy, direct: Tenancy, pair: object
) -> None:
    with make(listen=False, refuse_session_state=True) as tenancy:
        found = findings(tenancy)
    for check in (
        "pooler of the app",
        "prepared statements",
        "session state",
        "listening",
        "isolation",
    ):
        assert found[check].level is Level.OK, found[check]


def test_a_pooler_that_resets_always_is_found(
    kind: Kind, database: FreshDatabase, direct: Tenancy
) -> None:
    found = configured(kind, database, {"server_reset_query_always": 1}, **kind.app)
    assert found["session state"].level is Level.OK
    assert found["session state"].message == "the pooler takes it away after each transaction"


def test_what_the_probe_leaves_is_taken_back(
    kind: Kind, database: FreshDatabase, direct: Tenancy
) -> None:
    assert kind.program is not None
    settings = {**kind.settings, "default_pool_size": 1}
    with pgbouncer(
        database.url, pool_mode="transaction", program=kind.program, settings=settings
    ) as [url]:
        assert keeps_session_state(direct._database, url) is True
        assert keeps_session_state(direct._database, url) is True
        with database.tenancy(MODULES, url=url, **kind.app) as tenancy:
            organization = direct.schemas.provision(f"probed-{kind.name}")
            with tenancy.session(organization) as session:
                query = "SELECT current_setting('orgtenancy.probe', true)"
                assert session.connection().exec_driver_sql(query).scalar() == ""
