"""How an error of the library ends a command, and what it says to do next."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from orgtenancy.cli.exits import ExitCode, exit_code_of, tell_error
from orgtenancy.errors import (
    OrganizationBusy,
    OrganizationExists,
    OrganizationUnavailable,
    OrgTenancyError,
    PurgeRefused,
    SyncRefused,
    TransitionRefused,
)
from orgtenancy.organizations import LIFECYCLE, OrganizationStatus

NEXT_STEPS = {
    ("suspend", "fenced"): "`orgtenancy org unfence acme` has to come first",
    ("suspend", "archived"): "`orgtenancy org restore acme` has to come first",
    ("fence", "suspended"): "`orgtenancy org resume acme` has to come first",
    ("archive", "fenced"): "`orgtenancy org unfence acme` has to come first",
    ("purge", "active"): "`orgtenancy org archive acme` has to come first",
    ("purge", "suspended"): "`orgtenancy org archive acme` has to come first",
    ("change_id", "fenced"): "`orgtenancy org unfence acme` has to come first",
    # Two steps or none: nobody is sent on a wrong way.
    ("purge", "fenced"): "`orgtenancy org show acme` tells more",
    ("restore", "purged"): "`orgtenancy org show acme` tells more",
    ("restore", "archived"): "`orgtenancy org show acme` tells more",
}


def told(error: OrgTenancyError, capsys: pytest.CaptureFixture[str]) -> tuple[str, dict[str, str]]:
    tell_error(error, as_json=True)
    out, err = capsys.readouterr()
    return err, json.loads(out)["error"]


@pytest.mark.parametrize(("operation", "status"), NEXT_STEPS)
def test_a_refused_transition_names_what_has_to_come_first(
    operation: str, status: str, capsys: pytest.CaptureFixture[str]
) -> None:
    error = TransitionRefused("no", operation=operation, status=status, organization_id="acme")
    line, document = told(error, capsys)
    step = NEXT_STEPS[operation, status]
    assert (document["next_step"], document["operation"], document["status"]) == (
        step,
        operation,
        status,
    )
    assert line == f"error: no; {step}\n"
    assert exit_code_of(error) is ExitCode.ERROR


def test_every_transition_that_may_be_refused_has_a_next_step(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for operation in (*LIFECYCLE, "something else"):
        for status in OrganizationStatus:
            error = TransitionRefused("no", operation=operation, status=status)
            assert told(error, capsys)[1]["next_step"].startswith("`orgtenancy org ")


def test_a_purge_that_is_refused_says_how_it_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    end = datetime(2026, 12, 1, tzinfo=UTC)
    line, document = told(PurgeRefused("no", purge_after=end, organization_id="acme"), capsys)
    assert "`orgtenancy org purge acme --confirm acme --now` skips the grace period" in line
    assert document["purge_after"] == "2026-12-01T00:00:00Z"
    line, document = told(PurgeRefused("no", organization_id="acme"), capsys)
    assert line == "error: no; `orgtenancy org purge acme --confirm acme`\n"


def test_who_is_busy_ends_with_5_and_what_asks_for_a_decision_with_3() -> None:
    assert exit_code_of(OrganizationBusy("no", operation="fence")) is ExitCode.LOCKED
    assert exit_code_of(SyncRefused("no", would_archive=["a"])) is ExitCode.ATTENTION
    assert exit_code_of(OrganizationExists("no")) is ExitCode.ERROR


def test_an_organization_that_is_not_open_is_named_in_the_next_step(
    capsys: pytest.CaptureFixture[str],
) -> None:
    error = OrganizationUnavailable("no", status="suspended", organization_id="acme")
    line, document = told(error, capsys)
    assert line == "error: no; `orgtenancy org show acme` tells its status\n"
    assert document["status"] == "suspended"
