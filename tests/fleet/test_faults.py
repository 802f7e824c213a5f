"""After any fault: every schema at exactly one revision, the journal true, a resume completes."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from typing import Any

import psycopg
import pytest
from sqlalchemy import make_url

from orgtenancy import Tenancy, embedded
from orgtenancy.schemas.fleet import JobOptions, JobProgress
from orgtenancy.schemas.revisions import Revisions
from tests.fleet.hosts import ONE, Host, ids
from tests.registry.worker import Dialogue, dialogue
from tests.schemas.databases import dsn, eventually, fresh_database

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")

KILLS = 50
SCHEMAS = 40


def mixed_release(host: Host) -> Tenancy:
    """Release all kinds of revisions, which make six stages of three modules."""
    app, other = host.module(), host.module("other")
    app.column("items", "a")
    app.autocommit("items", "a")
    app.online("items", "b")
    other.table("others")
    other.autocommit("others")
    app.autocommit("items", "b")
    app.column("items", "c")
    return host.release()


def path_of(host: Host) -> set[frozenset[str]]:
    """Return the stamps at which a schema may be, on its way from the first revision."""
    path = Revisions(host.modules).path(frozenset({"app_0001"}))
    return {path.before, *(stage.after for stage in path.stages)}


def assert_true(host: Host, tenancy: Tenancy) -> None:
    """Every schema is on the path, and registry, stamps and journal agree."""
    allowed = path_of(host)
    for schema, (stamps, _) in host.schemas().items():
        assert stamps in allowed, schema
    host.assert_mirrored()
    for job in tenancy.schemas.fleet.jobs():
        if job.status != "finished":
            host.assert_journal_is_true(tenancy, job)


@pytest.fixture
def dying(host: Host) -> Iterator[tuple[Tenancy, Dialogue]]:
    """A release, and a process whose children bring it to the fleet, and die."""
    host.install("acme")
    new = mixed_release(host)
    with dying_process(host) as process:
        yield new, process


def dying_process(host: Host) -> Any:
    urls = [
        url.render_as_string(hide_password=False)
        for url in (host.database.url, host.database.admin_url)
    ]
    return dialogue("tests.fleet.dying", *urls, *(str(m.migrations) for m in host.modules))


def run(process: Dialogue, job: str, how: str, **options: object) -> str:
    process.say(f"{job} {how} {json.dumps(options)}")
    return process.hear()


@needs_fork
@pytest.mark.slow
def test_a_runner_killed_at_any_statement_leaves_a_true_journal_and_is_resumed(
    host: Host, dying: tuple[Tenancy, Dialogue]
) -> None:
    new, process = dying
    assert int(run(process, "migrate", "never", workers=1)) > 80
    host.assert_all_at_heads(new, 1)
    for point in itertools.count(1, 3):
        new.schemas.fleet.migrate("app_0001", down=True, options=ONE)
        assert set(path_of(host)) >= {stamps for stamps, _ in host.schemas().values()}
        answer = run(process, "migrate", f"at={point}", workers=1)
        if answer != "killed":
            assert 80 < int(answer) < point  # it came to its end before
            break
        host.database.wait_until_idle()
        assert_true(host, new)
        job = new.schemas.fleet.jobs()[0]
        if job.kind == "migrate" and job.status == "interrupted":
            assert new.schemas.fleet.resume(job.id).status == "finished"
        else:
            new.schemas.fleet.migrate(options=ONE)
        host.assert_all_at_heads(new)


@needs_fork
@pytest.mark.slow
def test_a_runner_killed_fifty_times_at_random_brings_the_fleet_to_its_heads(host: Host) -> None:
    host.install(*ids(SCHEMAS), spares=2)
    new = mixed_release(host)
    chance = random.Random(4)
    kills = rounds = 0
    with dying_process(host) as process:
        while kills < KILLS:
            rounds += 1
            job = "migrate"
            while True:
                delay = chance.uniform(0.05, 1.2)
                answer = run(process, job, f"after={delay}", workers=3)
                if answer != "killed":
                    assert answer.isdigit(), answer
                    break
                kills += 1
                if chance.random() < 0.7:
                    # Else the next one starts while the server still works for this one.
                    host.database.wait_until_idle()
                    assert_true(host, new)
                else:
                    eventually(lambda: not locked(host))
                jobs = new.schemas.fleet.jobs(limit=1)
                if jobs and jobs[0].status == "interrupted":
                    assert not jobs[0].done == jobs[0].total == 0
                    job = f"resume-{jobs[0].id}"
                if kills >= KILLS and job != "migrate":
                    break
            if job != "migrate":
                finished = new.schemas.fleet.resume(int(job.removeprefix("resume-")))
                assert finished.status == "finished"
                host.assert_all_at_heads(new, finished)
            new.schemas.fleet.migrate()
            host.assert_all_at_heads(new)
            if kills < KILLS:
                new.schemas.fleet.migrate("other@base", down=True)
                new.schemas.fleet.migrate("app_0001", down=True)
    assert kills >= KILLS
    assert all(all(host.indexes(o, "items").values()) for o in ids(SCHEMAS))


def locked(host: Host) -> bool:
    return bool(
        host.database.ask(
            "SELECT FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2 "
            "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
    )


def restart(pg: embedded.EmbeddedServer, folder: Path, pause: float) -> embedded.EmbeddedServer:
    """Let a server crash, and start it again after a while."""
    postmaster = int((folder / "data" / "postmaster.pid").read_text().split()[0])
    os.kill(postmaster, signal.SIGQUIT)

    def is_down() -> bool:
        try:
            psycopg.connect(dsn(make_url(pg.admin_url))).close()
        except psycopg.OperationalError:
            return True
        return False

    eventually(is_down, 60)
    time.sleep(pause)
    return embedded.server(folder)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that the user of the server can enter, which pytest's own does not allow."""
    with TemporaryDirectory(prefix="otf-", dir="/tmp") as name:
        folder = Path(name).resolve()
        folder.chmod(0o755)
        yield folder


@pytest.mark.slow
@pytest.mark.skipif("DATABASE_URL" in os.environ, reason="that server is not ours to restart")
@pytest.mark.parametrize("pause", [0.0, 3.0], ids=["at once", "after a while"])
def test_a_runner_goes_on_by_itself_when_the_server_is_restarted(
    tmp_path: Path, open_folder: Path, pause: float
) -> None:
    folder = open_folder / "server"
    with ExitStack() as stack:
        pg = stack.enter_context(embedded.server(folder, settings={"fsync": "off"}))
        host = Host(stack.enter_context(fresh_database(pg.url, pg.admin_url)), tmp_path / "modules")
        stack.callback(host.close)
        host.module().table("items")
        host.install(*ids(30), spares=2)
        new = mixed_release(host)
        seen: list[str] = []
        options = JobOptions(workers=3)
        thread = stack.enter_context(ThreadPoolExecutor(1))
        cancel = Event()
        stack.callback(cancel.set)
        running = thread.submit(
            new.schemas.fleet.migrate,
            options=options,
            cancel=cancel,
            on_progress=lambda progress: seen.append(str(progress.status)),
        )
        eventually(lambda: seen.count("done") > 4, 30)
        stack.enter_context(restart(pg, folder, pause))
        host.assert_mirrored()
        job = running.result(120)
        assert job is not None
        assert (job.status, job.done, job.failed) == ("finished", 32, 0)
        assert "pending" in seen  # some were tried again
        host.assert_all_at_heads(new, job)
        assert len(new.schemas.fleet.jobs()) == 1


@pytest.mark.slow
@pytest.mark.skipif("DATABASE_URL" in os.environ, reason="that server is not ours to restart")
def test_schemas_whose_commits_a_crash_takes_back_are_done_again(
    tmp_path: Path, open_folder: Path
) -> None:
    folder = open_folder / "server"
    # What was committed asynchronously reaches the disk late.
    settings = {"fsync": "off", "wal_writer_delay": "10s", "wal_writer_flush_after": "1GB"}
    with ExitStack() as stack:
        pg = stack.enter_context(embedded.server(folder, settings=settings))
        host = Host(stack.enter_context(fresh_database(pg.url, pg.admin_url)), tmp_path / "modules")
        stack.callback(host.close)
        host.module().table("items")
        host.install(*ids(8))
        host.module().column("items", "a")
        seen: list[str] = []

        def crash_at_the_end(progress: JobProgress) -> None:
            seen.append(str(progress.status))
            if seen.count("done") == 8 and progress.status == "done":
                stack.enter_context(restart(pg, folder, 0))

        job = host.release().schemas.fleet.migrate(options=ONE, on_progress=crash_at_the_end)
        assert job is not None
        assert (job.status, job.done, job.failed) == ("finished", 8, 0)
        assert seen.count("done") > 8
        host.assert_all_at_heads(host.release(), job)
