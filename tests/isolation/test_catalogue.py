"""The catalogue of leaks is held, at each level at which that is promised."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from orgtenancy import Tenancy
from orgtenancy.testing.isolation import GROUPS, LEAKS, Leak, Report, Verdict, prove
from tests.schemas.databases import FreshDatabase

SECRET = "not a secret: made for a test, 32 characters long"
SYNC = tuple(leak for leak in LEAKS if not leak.is_async)
ASYNC = tuple(leak for leak in LEAKS if leak.is_async)

#: What the library itself holds, and PostgreSQL does not.
SOME = tuple(leak for leak in SYNC if leak.group not in {"raw SQL", "COPY", "status"})


def names(report: Report, *verdicts: Verdict) -> set[str]:
    return {finding.leak.removesuffix(", async") for finding in report.of(*verdicts)}


@pytest.mark.parametrize(
    "leaks",
    [
        pytest.param(SOME, id="some"),
        pytest.param(SYNC, id="sync", marks=pytest.mark.slow),
        pytest.param(ASYNC, id="async", marks=pytest.mark.slow),
    ],
)
def test_every_leak_is_held_but_those_that_are_not_promised(
    tenancy: Tenancy, leaks: Sequence[Leak]
) -> None:
    report = prove(tenancy, leaks)
    assert report.is_held, report
    assert len(report.findings) == len(leaks)
    assert names(report, Verdict.LEFT_OUT) <= {
        "SET ROLE to the other one's role",
        "COMMIT, then SET ROLE to the other one's role",
        "RESET ROLE, then SET ROLE to the other one's role",
        "SET SESSION AUTHORIZATION to the other one's role",
        "a two-phase transaction",  # where the server allows none
    }


@pytest.mark.slow
def test_at_level_login_every_leak_is_held(database: FreshDatabase) -> None:
    with database.tenancy((), isolation="login", login_secret=SECRET) as tenancy:
        tenancy.install()
        report = prove(tenancy)
    assert report.is_held, report
    assert names(report, Verdict.LEFT_OUT) <= {"a two-phase transaction"}


@pytest.mark.slow
def test_at_level_search_path_what_names_a_schema_gets_through(
    database: FreshDatabase,
) -> None:
    with database.tenancy((), isolation="search_path") as tenancy:
        tenancy.install()
        report = prove(tenancy)
    groups = {finding.group for finding in report.of(Verdict.BROKEN)}
    assert groups == {"raw SQL", "COPY"}, report
    assert not report.of(Verdict.UNCLEAR), report


def test_each_leak_has_a_name_of_its_own() -> None:
    assert len({leak.name for leak in LEAKS}) == len(LEAKS)
    assert sum(len(group.leaks) for group in GROUPS) == len(LEAKS)


def test_the_reference_lists_every_leak() -> None:
    page = (Path(__file__).parents[2] / "docs/reference/leaks.md").read_text()
    lines = page.split("## The leaks")[1].splitlines()
    listed = [line.removeprefix("- ") for line in lines if line.startswith("- ")]
    assert listed == list(dict.fromkeys(leak.name.removesuffix(", async") for leak in LEAKS))
