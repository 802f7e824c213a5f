"""The worker and the inbox on the command line."""

from __future__ import annotations

import json
import signal
from typing import Any

import pytest

from orgtenancy import Tenancy
from orgtenancy.identity.logto_sync import LogtoWebhooks
from orgtenancy.testing import logto_webhook, signed_webhook
from tests.cli.projects import Project
from tests.logto.webhooks.world import KEY, request_of, settings
from tests.schemas.databases import FreshDatabase, eventually


def post(project: Project, kind: str, **options: Any) -> None:
    """Receive a webhook in another process than the worker's."""
    webhook = signed_webhook(logto_webhook(kind, **options), KEY)
    with Tenancy(project.environment["HOST_URL"]) as tenancy:
        assert LogtoWebhooks(tenancy, settings()).receive(webhook.body, request_of(webhook)).is_new


def test_the_worker_does_what_is_due_and_the_inbox_tells(installed: Project) -> None:
    post(installed, "organization_created", organization="acme", name="Acme")
    post(installed, "organization_created", organization="no/id")
    assert installed.ok("logto", "worker", "--once") == {"worked_on": 2}
    assert installed.ok("org", "show", "acme")["name"] == "Acme"
    assert installed.ok("audit", "acme")["entries"][0]["origin"] == "logto:webhook"
    failed, done = installed.ok("logto", "inbox")["events"]
    assert (done["subject"], done["status"], failed["status"]) == ("acme", "done", "failed")
    assert done["body"]["data"]["name"] == "Acme"
    assert [e["id"] for e in installed.ok("logto", "inbox", "--failed")["events"]] == [failed["id"]]
    assert len(installed.ok("logto", "inbox", "--limit", "1")["events"]) == 1
    lines = installed.run("logto", "inbox").stdout.splitlines()
    assert lines[0].split("\t")[:4] == ["ID", "RECEIVED", "EVENT", "SUBJECT"]
    assert "no/id" in lines[1]
    assert "InvalidOrganizationId" in lines[1]


def test_labels_come_from_a_function_of_the_project(installed: Project) -> None:
    place = f"{installed.host}_labels"
    (installed.folder / f"{place}.py").write_text(
        "def labels(data):\n    return {'plan': data['customData']['plan']}\n"
    )
    post(installed, "organization_created", organization="acme", customData={"plan": "pro"})
    installed.ok("logto", "worker", "--once", "--attributes", f"{place}:labels")
    assert installed.ok("org", "show", "acme")["attributes"] == {"plan": "pro"}


def test_a_failed_event_is_tried_again_when_that_is_asked_for(installed: Project) -> None:
    post(installed, "organization_created", organization="no/id")
    installed.ok("logto", "worker", "--once")
    [event] = installed.ok("logto", "inbox")["events"]
    assert installed.ok("logto", "inbox", "--retry", str(event["id"])) == {"retried": event["id"]}
    [event] = installed.ok("logto", "inbox")["events"]
    assert (event["status"], event["attempts"]) == ("pending", 0)
    result = installed.run("logto", "inbox", "--retry", str(event["id"]), "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["error"]["message"] == f"no event {event['id']} has failed"


def test_without_settings_the_worker_says_what_is_missing(installed: Project) -> None:
    result = installed.run("logto", "worker", "--once", ORGTENANCY_LOGTO_SYNC_EVERY="-1")
    assert result.exit_code == 1
    assert "ORGTENANCY_LOGTO_SYNC_EVERY" in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_worker_well(
    installed: Project, database: FreshDatabase, number: signal.Signals
) -> None:
    process = installed.start("logto", "worker", "--json")
    assert process.stderr is not None
    assert process.stderr.readline() == "0 events were due; waiting for others\n"
    post(installed, "organization_created", organization="acme")
    active = "SELECT true FROM orgtenancy.organizations WHERE status = 'active'"
    eventually(lambda: database.ask(active), 60)
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 0, stderr
    assert json.loads(stdout) == {"worked_on": 1}
    assert "Traceback" not in stderr
