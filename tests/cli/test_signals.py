"""Stopping a migration with a signal, and with two."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator

import psycopg
import pytest

from tests.cli.projects import Project
from tests.schemas.databases import eventually

pytestmark = pytest.mark.slow

ORGANIZATIONS = 30
SECONDS = 0.3


@pytest.fixture
def fleet(installed: Project) -> Iterator[Project]:
    """A fleet with a revision that takes its time."""
    for number in range(ORGANIZATIONS):
        installed.ok("org", "create", f"o{number:02}")
    installed.add_revision(f"op.execute('SELECT pg_sleep({SECONDS})')")
    yield installed
    # What was stopped at once may still sleep on the server.
    eventually(lambda: not _busy(installed), 60)


def _busy(project: Project) -> bool:
    with psycopg.connect(project.dsn) as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
            "AND pid <> pg_backend_pid() AND state <> 'idle'"
        ).fetchone()
    return bool(row and row[0])


def states(project: Project) -> dict[str, tuple[str, str]]:
    """Return, of each organization, the mirrored revision and the stamp."""
    with psycopg.connect(project.dsn) as connection:
        rows = connection.execute(
            "SELECT id, revisions->>'shop', (orgtenancy.heads_of(schema_name))[1] "
            "FROM orgtenancy.organizations"
        ).fetchall()
    return {row[0]: (row[1], row[2]) for row in rows}


def done(project: Project) -> set[str]:
    """Return which organizations are at the new revision; registry and stamps must agree."""
    found = states(project)
    assert all(mirrored == stamp for mirrored, stamp in found.values())
    return {name for name, (revision, _) in found.items() if revision == "shop_0002"}


def wait_for_some(project: Project) -> None:
    eventually(lambda: any(r == "shop_0002" for r, _ in states(project).values()), 60)


def finish(process: subprocess.Popen[str]) -> tuple[str, str]:
    return process.communicate(timeout=60)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_one_signal_finishes_what_has_begun_and_writes_the_journal(
    fleet: Project, number: signal.Signals, code: int
) -> None:
    process = fleet.start("migrate", "up", "--workers", "2", "--json")
    wait_for_some(fleet)
    process.send_signal(number)
    stdout, stderr = finish(process)
    assert process.returncode == code, stderr
    job = json.loads(stdout)["job"]
    assert job["status"] == "cancelled"
    assert 0 < job["done"] < ORGANIZATIONS
    assert job["done"] == len(done(fleet))
    assert "what has begun is finished first" in stderr
    assert "Traceback" not in stderr
    resumed = fleet.ok("jobs", "resume", str(job["id"]), "--workers", "8")
    assert resumed["job"]["done"] == ORGANIZATIONS
    assert len(done(fleet)) == ORGANIZATIONS


def test_a_second_signal_ends_at_once_and_the_journal_is_true(installed: Project) -> None:
    for name in ("a", "b", "c"):
        installed.ok("org", "create", name)
    installed.add_revision("op.execute('SELECT pg_sleep(20)')")
    process = installed.start("migrate", "up", "--workers", "1")
    eventually(lambda: _busy_sleeping(installed), 60)
    process.send_signal(signal.SIGINT)
    lines: list[str] = []
    assert process.stderr is not None
    while "once more" not in "".join(lines):
        lines.append(process.stderr.readline())
    assert process.poll() is None  # it waits for the schema that it works on
    process.send_signal(signal.SIGINT)
    finish(process)
    assert process.returncode == 130
    _end_sleep(installed)
    [job] = installed.ok("jobs", "list")["jobs"]
    assert (job["status"], job["done"]) == ("interrupted", 0)
    assert done(installed) == set()


def test_filling_spares_stops_between_two(installed: Project) -> None:
    installed.add_revision("op.execute('SELECT pg_sleep(0.3)')")
    process = installed.start("spares", "fill", "30", "--json")
    eventually(lambda: installed.ok("spares", "count")["ready"] >= 1, 60)
    process.send_signal(signal.SIGTERM)
    stdout, stderr = finish(process)
    assert process.returncode == 143, stderr
    made = json.loads(stdout)["made"]
    assert made == installed.ok("spares", "count")["ready"]
    assert 1 <= made < 30


def _busy_sleeping(project: Project) -> bool:
    return bool(_sleepers(project, "SELECT pid"))


def _end_sleep(project: Project) -> None:
    _sleepers(project, "SELECT pg_terminate_backend(pid)")
    eventually(lambda: not _busy(project), 60)


def _sleepers(project: Project, select: str) -> list[tuple[object, ...]]:
    with psycopg.connect(project.dsn) as connection:
        return connection.execute(
            f"{select} FROM pg_stat_activity WHERE datname = current_database() "
            "AND wait_event = 'PgSleep'".encode()
        ).fetchall()
