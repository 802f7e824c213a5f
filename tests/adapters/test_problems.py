"""Each error has one answer over HTTP, which the reference tells."""

from __future__ import annotations

import inspect
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy.exc import OperationalError

from orgtenancy import errors
from orgtenancy.adapters import problem_headers, problem_of
from orgtenancy.adapters.web.problems import log_problem
from orgtenancy.errors import OrganizationUnavailable, OrgTenancyError

PAGE = Path(__file__).parent.parent.parent / "docs" / "reference" / "errors.md"
SECRET = "role orgtenancy_abc of schema org_secret"

CLASSES: dict[str, type[OrgTenancyError]] = {
    name: value
    for name, value in vars(errors).items()
    if inspect.isclass(value) and issubclass(value, OrgTenancyError)
}

# What some of them cannot be made without.
NEEDED: dict[str, dict[str, Any]] = {
    "OrganizationBusy": {"operation": "fence"},
    "TransitionRefused": {"operation": "fence", "status": "archived"},
    "IdentityProviderRefused": {"http_status": 403},
}

# Their messages are made for whoever sent the request.
SPEAKING = {
    *("AccessDenied", "Conflict", "DomainError", "Forbidden", "InsufficientScope", "Invalid"),
    *("InvalidOrganizationId", "MethodNotAllowed", "NotFound", "OrganizationBusy"),
    *("PayloadTooLarge", "PurgeRefused", "TransitionRefused", "Unauthenticated"),
    *("UnsupportedMediaType", "WebhookForged", "WebhookRefused"),
}


def make(name: str) -> OrgTenancyError:
    return CLASSES[name](SECRET, **NEEDED.get(name, {}))


def answer(error: Exception) -> tuple[int, str, str]:
    """Return status, code, and the name of the header that belongs to it."""
    problem = problem_of(error)
    assert problem is not None
    return problem.status, problem.code, "".join(problem_headers(error, problem))


def documented() -> dict[str, set[tuple[int, str, str]]]:
    """Return the answers of the reference, by the name of the error."""
    found: dict[str, set[tuple[int, str, str]]] = {}
    for line in PAGE.read_text().splitlines():
        cells = [cell.strip().replace("`", "") for cell in line.strip("|").split("|")]
        if re.fullmatch(r"\d{3}", cells[0]):
            for name in re.findall(r"[A-Z]\w+", cells[1]):
                found.setdefault(name, set()).add((int(cells[0]), cells[2], cells[3]))
    return found


@pytest.mark.parametrize("name", CLASSES)
def test_an_error_is_answered_as_the_reference_says(name: str) -> None:
    error = make(name)
    internal = {(500, error.code, "")}
    assert answer(error) in documented().get(name, internal)


@pytest.mark.parametrize("name", CLASSES)
def test_only_what_is_made_for_the_client_is_told_to_it(name: str) -> None:
    problem = problem_of(make(name))
    assert problem is not None
    assert (problem.detail == SECRET) == (name in SPEAKING)
    assert ("org_secret" in problem.content.decode()) == (name in SPEAKING)


def test_an_organization_that_is_not_open_is_answered_by_its_status() -> None:
    expected = {
        "provisioning": (503, "organization_unavailable", "Retry-After"),
        "fenced": (503, "organization_unavailable", "Retry-After"),
        "suspended": (403, "organization_unavailable", ""),
        "archived": (403, "organization_unavailable", ""),
        "purged": (404, "organization_not_found", ""),
    }
    for status, given in expected.items():
        assert answer(OrganizationUnavailable(SECRET, status=status)) == given
    assert documented()["OrganizationUnavailable"] == set(expected.values())


def test_when_to_come_back_is_what_the_error_says() -> None:
    for error, seconds in (
        (errors.OrganizationBusy("later", operation="fence", retry_after=9), "9"),
        (errors.IdentityProviderUnavailable("later", retry_after=0), "0"),
        (OrganizationUnavailable("later", status="fenced"), "1"),
    ):
        problem = problem_of(error)
        assert problem is not None
        assert problem_headers(error, problem) == {"Retry-After": seconds}


def test_a_refused_purge_says_when_it_may_be_done() -> None:
    error = errors.PurgeRefused("not before May", purge_after=datetime(2030, 5, 1, tzinfo=UTC))
    problem = problem_of(error)
    assert problem is not None
    assert (problem.status, problem.detail) == (409, "not before May")


def test_a_server_that_cannot_be_reached_is_503_and_other_drivers_are_the_host_s() -> None:
    def of(original: Exception) -> OperationalError:
        return OperationalError("SELECT 1", {}, original)

    lost = psycopg.OperationalError("connection failed: connection to server at 10.0.0.1")
    assert answer(of(lost)) == (503, "overloaded", "Retry-After")
    assert problem_of(of(RuntimeError("no such table"))) is None
    assert problem_of(of(psycopg.errors.DiskFull("no space"))) is None


def test_a_closed_organization_is_no_trouble_of_the_server(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One that is fenced may be asked for a thousand times a second."""
    for error in (
        OrganizationUnavailable("it is worked on", status="fenced"),
        errors.OrganizationBusy("others hold it", operation="suspend"),
        errors.IdentityProviderRefused("the secret is wrong", http_status=401),
    ):
        problem = problem_of(error)
        assert problem is not None
        log_problem(problem, error)
    assert [record.getMessage() for record in caplog.records] == [
        "identity_provider_refused: the secret is wrong"
    ]
