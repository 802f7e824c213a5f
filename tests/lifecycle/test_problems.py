"""What a client is told over HTTP of an organization that is not open."""

from __future__ import annotations

import pytest

from orgtenancy import OrganizationStatus, Tenancy
from orgtenancy.adapters import problem_headers, problem_of
from orgtenancy.errors import OrganizationUnavailable
from tests.lifecycle.worlds import S, reach

EXPECTED = {
    S.PROVISIONING: (503, "1"),
    S.SUSPENDED: (403, None),
    S.FENCED: (503, "1"),
    S.ARCHIVED: (403, None),
    S.PURGED: (404, None),
}


@pytest.mark.parametrize("status", EXPECTED)
def test_a_status_is_told_with_when_to_come_back(
    installed: Tenancy, status: OrganizationStatus
) -> None:
    with pytest.raises(OrganizationUnavailable) as caught:
        installed.session(reach(installed, status)).__enter__()
    problem = problem_of(caught.value)
    assert problem
    headers = problem_headers(caught.value, problem)
    assert (problem.status, headers.get("Retry-After")) == EXPECTED[status]


def test_who_met_a_fence_that_is_over_is_told_to_try_again() -> None:
    over = OrganizationUnavailable("closed and opened again", retry_after=1)
    problem = problem_of(over)
    assert problem
    assert problem.status == 503
    assert problem_headers(over, problem)["Retry-After"] == "1"
    # Without an end in sight it is no matter of waiting.
    refused = problem_of(OrganizationUnavailable("refused"))
    assert refused
    assert refused.status == 403
