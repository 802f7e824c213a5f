"""How far a job is: lines where nobody looks on, a bar on a terminal."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import time

import pytest

from orgtenancy.cli.progress import Lines
from orgtenancy.schemas.fleet import JobProgress
from tests.cli.projects import PROGRAM, Project


class Clock:
    """A clock that goes when it is told to."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def progress(done: int, failed: int = 0, waves: int = 1) -> JobProgress:
    return JobProgress(
        job_id=7, kind="migrate", wave=0, waves=waves, total=100, done=done, failed=failed
    )


def test_a_line_is_written_at_once_then_every_few_seconds_and_at_the_end(
    capsys: pytest.CaptureFixture[str],
) -> None:
    clock = Clock()
    lines = Lines(clock)
    for done in range(100):
        lines(progress(done))
        clock.now += 0.125
    lines(progress(98, failed=2, waves=2))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "job 7 (migrate): 0 of 100 done",
        "job 7 (migrate): 40 of 100 done, 8.0 a second, 8 seconds left",
        "job 7 (migrate): 80 of 100 done, 8.0 a second, 2 seconds left",
        "job 7 (migrate), wave 1 of 2: 98 of 100 done, 2 failed, 8.0 a second, 0 seconds left",
    ]


def test_a_resumed_job_is_measured_from_where_it_goes_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    clock = Clock()
    lines = Lines(clock)
    lines(progress(80))
    clock.now += 10
    lines(progress(90))
    assert capsys.readouterr().err.splitlines()[-1].endswith("1.0 a second, 10 seconds left")


@pytest.mark.slow
def test_a_terminal_shows_a_bar_and_a_table(installed: Project) -> None:
    for name in ("a", "b"):
        installed.ok("org", "create", name)
    installed.add_revision("op.execute('SELECT pg_sleep(0.5)')")
    shown = in_terminal(installed, "migrate", "up", "--workers", "1")
    assert "2/2" in shown
    assert "/s" in shown
    table = in_terminal(installed, "migrate", "status")
    assert "ORGANIZATIONS" in table
    assert "\t" not in table


def in_terminal(project: Project, *arguments: str) -> str:
    """Run a command in a terminal, and return all that it showed."""
    ours, theirs = pty.openpty()
    environment = os.environ | project.environment | {"TERM": "xterm", "COLUMNS": "200"}
    process = subprocess.Popen(
        [PROGRAM, *arguments], cwd=project.folder, env=environment, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    shown = b""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if select.select([ours], [], [], 0.2)[0]:
            try:
                shown += os.read(ours, 10_000)
            except OSError:  # it is closed
                break
    os.close(ours)
    assert process.wait(60) == 0, shown
    return shown.decode()
