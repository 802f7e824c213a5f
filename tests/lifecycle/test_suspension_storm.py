"""Fifty clients write while their organization is suspended; none of them hears of it."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from orgtenancy import Organization, Tenancy
from tests.lifecycle.worlds import S, count_notes, reach
from tests.registry.worker import Dialogue, dialogue
from tests.schemas.databases import FreshDatabase, eventually

pytestmark = pytest.mark.slow


def stopped(process: Dialogue) -> dict[str, Any]:
    process.say("stop")
    answer: dict[str, Any] = json.loads(process.hear())
    return answer


def stays(database: FreshDatabase, organization: Organization, count: int) -> None:
    """Look at the number of rows, again and again for a second."""
    for _ in range(20):
        assert count_notes(database, organization) == count
        time.sleep(0.05)


@pytest.mark.parametrize("operation", ["suspend", "fence", "archive"])
def test_nothing_more_is_written_by_any_process_and_every_client_is_told_why(
    database: FreshDatabase, installed: Tenancy, operation: str
) -> None:
    organizations = installed.organizations
    organization = organizations.get(reach(installed, S.ACTIVE))
    url = database.url.render_as_string(hide_password=False)
    arguments = ("tests.lifecycle.writing", url, organization.id)
    # One process remembers what it looked up for an hour, the other looks it up each time.
    with (
        dialogue(*arguments, "0", "3600") as one,
        dialogue(*arguments, "1000000", "0.000001") as two,
    ):
        assert (one.hear(), two.hear()) == ("writing", "writing")
        eventually(lambda: count_notes(database, organization) > 600, 30)
        if operation == "suspend":
            status = organizations.suspend(organization.id, wait=10).status
        elif operation == "fence":
            status = organizations.fence(organization.id).status
        else:
            status = organizations.archive(organization.id).status
            # What was under way is over when nobody holds a lock on the table any more.
            under_way = (
                "SELECT 1 FROM pg_locks WHERE relation = %s::regclass AND mode = 'RowExclusiveLock'"
            )
            table = f'"{organization.schema_name}".notes'
            eventually(lambda: not database.ask(under_way, table), 60)
        count = count_notes(database, organization)
        stays(database, organization, count)
        answers = [stopped(one), stopped(two)]
    assert count_notes(database, organization) == count
    for answer in answers:
        assert answer["others"] == []
        assert set(answer["told"]) == {"committed", str(status)}
        assert answer["told"][str(status)] > 50
    assert sum(answer["told"]["committed"] for answer in answers) == count


def test_a_fence_of_a_moment_costs_clients_a_retry_and_no_other_error(
    database: FreshDatabase, installed: Tenancy
) -> None:
    organizations = installed.organizations
    organization = organizations.get(reach(installed, S.ACTIVE))
    url = database.url.render_as_string(hide_password=False)
    with dialogue("tests.lifecycle.writing", url, organization.id, "0") as process:
        assert process.hear() == "writing"
        for _ in range(10):
            before = count_notes(database, organization)
            organizations.fence(organization.id)
            count = count_notes(database, organization)
            organizations.unfence(organization.id)
            assert count >= before
            time.sleep(0.05)
        answer = stopped(process)
    assert answer["others"] == []
    # "None" is the answer to who was refused, and found it open again when it looked.
    assert set(answer["told"]) <= {"committed", "fenced", "None"}
    assert answer["told"]["committed"] == count_notes(database, organization)
