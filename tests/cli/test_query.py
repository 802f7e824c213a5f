"""`orgtenancy query`: rows of many organizations, read-only and audited."""

from __future__ import annotations

import pytest

from tests.cli.projects import Project


@pytest.fixture
def three(installed: Project) -> Project:
    """A project whose organizations `a`, `b` and `c` have one item, two and three."""
    for number, name in enumerate("abc", start=1):
        installed.ok("org", "create", name)
        for key in range(number):
            installed.ask(f"INSERT INTO org_{name}.items VALUES ({key})")
    return installed


def test_rows_are_shown_with_whose_they_are_and_audited(three: Project) -> None:
    query = "SELECT count(*), count(id) FROM items"
    assert three.ok("query", query) == {
        "organizations": {
            name: {"columns": ["count", "count_2"], "rows": [[n, n]], "is_cut": False}
            for n, name in enumerate("abc", start=1)
        },
        "errors": {},
    }
    result = three.run("query", query, "--organization", "b")
    assert result.stdout == "ORGANIZATION\tcount\tcount_2\nb\t2\t2\n"
    entries = three.ok("audit", "b", "--action", "queried")["entries"]
    assert [entry["details"] for entry in entries] == [{"query": query}] * 2
    assert len(three.ok("audit", "a", "--action", "queried")["entries"]) == 1


@pytest.mark.slow
def test_no_more_rows_are_fetched_than_asked_for(three: Project) -> None:
    result = three.run("query", "SELECT id FROM items ORDER BY id", "--limit", "2")
    assert result.stdout.splitlines()[1:] == ["a\t0", "b\t0", "b\t1", "c\t0", "c\t1"]
    assert result.stderr == "c has more than 2 rows: --limit\n"


# What is refused, and what the error says of it.
REFUSED = {
    "DELETE FROM items": "syntax error",
    "SELECT 1; DELETE FROM items": "multiple commands",
    "SELECT 1; COMMIT; DELETE FROM items": "multiple commands",
    "WITH gone AS (DELETE FROM items RETURNING 1) SELECT * FROM gone": "data-modifying",
    "SELECT set_config('transaction_read_only', 'off', true)": "before any query",
    "SELECT * FROM org_c.items": "permission denied",
    "SELECT * FROM orgtenancy.organizations": "permission denied",
    "SELECT pg_sleep(60)": "timeout",
}


@pytest.mark.slow
def test_what_is_more_than_a_read_of_ones_own_is_refused(three: Project) -> None:
    for statement, message in REFUSED.items():
        result = three.run("query", statement, "--organization", "a", "--timeout", "0.5")
        assert result.exit_code == 1
        assert result.stderr.startswith("error: a: "), statement
        assert message in result.stderr, statement
    assert three.ask("SELECT count(*) FROM org_a.items") == [(1,)]
    entries = three.ok("audit", "a", "--action", "queried")["entries"]
    assert [entry["details"]["query"] for entry in reversed(entries)] == [*REFUSED]


@pytest.mark.slow
def test_one_that_cannot_be_read_keeps_no_other(three: Project) -> None:
    three.ok("org", "suspend", "b")
    query = ("query", "SELECT max(id) FROM items")
    assert list(three.ok(*query)["organizations"]) == ["a", "c"]
    result = three.run(*query, *("--organization", "a"), *("--organization", "b"))
    assert result.exit_code == 1
    assert result.stdout.splitlines() == ["ORGANIZATION\tmax", "a\t0"]
    assert result.stderr == "error: b: organization 'b' is suspended\n"
