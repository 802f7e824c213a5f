"""Starting, sharing and stopping."""

from __future__ import annotations

import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa

from orgtenancy import embedded
from orgtenancy.errors import EmbeddedServerError
from tests.embedded.support import (
    User,
    eventually,
    execute,
    postmaster,
    processes,
    run,
    value,
)

pytestmark = pytest.mark.slow  # a server, or several, for each test


def test_a_temporary_server_runs_and_leaves_nothing(place: Path, major: int) -> None:
    with embedded.server(major=major) as pg:
        assert pg.version // 10000 == major
        engine = sa.create_engine(pg.url)
        with engine.connect() as connection:
            user = connection.execute(sa.text("SELECT current_user")).scalar_one()
        engine.dispose()
        assert user == "app"
        assert value(pg.url, "SELECT current_database()") == "app"
        assert value(pg.admin_url, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
        assert value(pg.url, "SHOW timezone") == "UTC"
        assert value(pg.url, "SHOW server_encoding") == "UTF8"
        assert value(pg.url, "SHOW fsync") == "off"
        assert value(pg.url, "SHOW max_prepared_transactions") == "20"
        assert value(pg.url, "SELECT lower('ÄÖ')") == "äö"
        assert pg.url.split(":")[2].split("@")[0] not in repr(pg)
        directory = pg.directory
    assert directory is not None
    assert not directory.exists()
    assert not processes(place)
    assert [path.name for path in (place / f"orgtenancy-{os.geteuid()}").iterdir()] == ["lock"]
    pg.stop()


def test_the_app_login_has_no_rights_and_owns_nothing(place: Path) -> None:
    with embedded.server() as pg:
        assert value(
            pg.admin_url,
            "SELECT NOT (rolsuper OR rolinherit OR rolcreatedb OR rolcreaterole OR rolreplication"
            " OR rolbypassrls) AND rolcanlogin FROM pg_roles WHERE rolname = 'app'",
        )
        assert (
            value(
                pg.admin_url,
                "SELECT count(*) FROM pg_shdepend WHERE refobjid = 'app'::regrole",
            )
            == 0
        )


def test_a_persistent_server_keeps_data_and_durability(place: Path, major: int) -> None:
    with embedded.server(place / "data dir", major=major) as pg:
        assert value(pg.url, "SHOW fsync") == "on"
        execute(pg.admin_url, "CREATE TABLE kept AS SELECT 42 AS answer")
    assert not processes(place)
    assert not list(place.rglob(".s.PGSQL*"))
    with embedded.server(place / "data dir", database="other") as pg:
        assert pg.version // 10000 == major
        assert value(pg.url, "SELECT current_database()") == "other"
        assert value(pg.admin_url.replace("/other", "/app"), "SELECT answer FROM kept") == 42


def test_settings_of_the_caller_apply_but_not_those_that_open_the_server(place: Path) -> None:
    with embedded.server(settings={"work_mem": "7MB", "max_connections": "30"}) as pg:
        assert value(pg.url, "SHOW work_mem") == "7MB"
        assert value(pg.url, "SHOW max_connections") == "30"
    for name in ("listen_addresses", "HBA_FILE", "a b"):
        with pytest.raises(EmbeddedServerError, match="cannot be changed"):
            embedded.server(settings={name: "*"})


def test_two_processes_share_a_directory_until_the_last_leaves(place: Path) -> None:
    first = User(f"{str(place / 'pg')!r}").ready()
    second = User(f"{str(place / 'pg')!r}").ready()
    try:
        assert first.url == second.url
        assert first.leave() == 0
        assert value(second.url, "SELECT 1") == 1
    finally:
        assert second.leave() == 0
    assert not processes(place)


def test_two_handles_of_one_process_share_a_server(place: Path) -> None:
    with embedded.server(place / "pg") as first:
        with embedded.server(place / "pg") as second:
            assert postmaster(first.directory) == postmaster(second.directory)
        assert value(first.url, "SELECT 1") == 1
    assert not processes(place)


@pytest.mark.parametrize("arguments", ["", "{place!r}"], ids=["temporary", "persistent"])
def test_starts_at_once_do_not_collide(place: Path, arguments: str) -> None:
    users = [User(arguments.format(place=str(place / "pg"))) for _ in range(4)]
    for user in users:
        user.ready()
        assert value(user.url, "SELECT 1") == 1
    expected = 1 if arguments else 4
    assert len({user.directory for user in users}) == expected
    with ThreadPoolExecutor() as pool:
        assert list(pool.map(User.leave, users)) == [0] * 4
    assert not processes(place)


def test_threads_start_servers_at_once(place: Path) -> None:
    with ThreadPoolExecutor() as pool:
        handles = list(pool.map(lambda _: embedded.server(place / "pg"), range(3)))
    for pg in handles:
        assert value(pg.url, "SELECT 1") == 1
        pg.stop()
    assert not processes(place)


def test_a_killed_owners_persistent_server_is_adopted(place: Path) -> None:
    user = User(f"{str(place / 'pg')!r}").ready()
    execute(user.admin_url, "CREATE TABLE kept AS SELECT 42 AS answer")
    pid = postmaster(user.directory)
    user.kill(signal.SIGKILL)
    assert processes(place)
    with embedded.server(place / "pg") as pg:
        assert postmaster(pg.directory) == pid
        assert value(pg.admin_url, "SELECT answer FROM kept") == 42
    assert not processes(place)


def test_a_killed_persistent_server_recovers(place: Path) -> None:
    with embedded.server(place / "pg") as pg:
        execute(pg.admin_url, "CREATE TABLE kept AS SELECT 42 AS answer")
        pid = postmaster(pg.directory)
        os.kill(pid, signal.SIGKILL)
        assert eventually(lambda: pid not in processes(place))
        with embedded.server(place / "pg") as again:
            assert postmaster(again.directory) != pid
            assert value(again.admin_url, "SELECT answer FROM kept") == 42
    assert not processes(place)


def test_a_killed_owners_temporary_server_is_cleaned_by_the_next_start(place: Path) -> None:
    user = User().ready()
    pid = postmaster(user.directory)
    living = User().ready()
    user.kill(signal.SIGKILL)
    with embedded.server():
        assert pid not in processes(place)
        assert not user.directory.exists()
        assert value(living.url, "SELECT 1") == 1
    assert living.leave() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_stops_the_server_and_then_the_process(place: Path, number: int) -> None:
    user = User().ready()
    assert os.getsid(postmaster(user.directory)) != os.getsid(user.process.pid)
    assert user.kill(number) == -number
    assert not processes(place)
    assert not user.directory.exists()


def test_a_signal_during_the_start_leaves_nothing(place: Path) -> None:
    for delay in (0.1, 0.3, 0.6):
        done = run(
            "import os, signal, threading\n"
            "from orgtenancy import embedded\n"
            f"threading.Timer({delay}, os.kill, [os.getpid(), signal.SIGTERM]).start()\n"
            "embedded.server()\n"
            "signal.pause()\n"
        )
        assert done.returncode == -signal.SIGTERM, done.stderr
        assert not processes(place)
        parent = place / f"orgtenancy-{os.geteuid()}"
        assert not list(parent.glob("t-*"))


def test_ctrl_c_during_the_start_leaves_nothing(place: Path) -> None:
    done = run(
        "import os, signal, threading\n"
        "from orgtenancy import embedded\n"
        "threading.Timer(0.25, os.kill, [os.getpid(), signal.SIGINT]).start()\n"
        "embedded.server()\n"
        "signal.pause()\n"
    )
    assert done.returncode == -signal.SIGINT
    assert not processes(place)


def test_an_earlier_handler_stays_and_ours_goes_with_the_server(place: Path) -> None:
    done = run(
        "import signal, sys\n"
        "from orgtenancy import embedded\n"
        "mine = lambda *_: sys.exit(7)\n"
        "with embedded.server():\n"
        "    print(signal.getsignal(signal.SIGTERM) != signal.SIG_DFL)\n"
        "print(signal.getsignal(signal.SIGTERM) == signal.SIG_DFL)\n"
        "signal.signal(signal.SIGTERM, mine)\n"
        "embedded.server()\n"
        "print(signal.getsignal(signal.SIGTERM) is mine)\n"
        "signal.raise_signal(signal.SIGTERM)\n"
    )
    assert done.stdout.split() == ["True"] * 3, done.stderr
    assert done.returncode == 7
    assert not processes(place)


def test_a_forked_child_does_not_stop_the_server(place: Path) -> None:
    done = run(
        "import os, signal, sys, time\n"
        "from orgtenancy import embedded\n"
        "from tests.embedded.support import value\n"
        "pg = embedded.server()\n"
        "leaves, stops, ends = os.fork(), None, None\n"
        "if not leaves: sys.exit(0)\n"
        "stops = os.fork()\n"
        "if not stops: pg.stop(); sys.exit(0)\n"
        "ends = os.fork()\n"
        "if not ends: time.sleep(60); os._exit(0)\n"
        "os.kill(ends, signal.SIGTERM)\n"
        "print([os.waitstatus_to_exitcode(os.waitpid(p, 0)[1]) for p in (leaves, stops, ends)])\n"
        "print(value(pg.url, 'SELECT 1'))\n"
    )
    assert done.stdout.splitlines() == ["[0, 0, -15]", "1"], done.stderr
    assert not processes(place)


def test_a_forked_child_does_not_keep_its_dead_parents_lease(place: Path) -> None:
    user = f"""
import os, signal, time
from orgtenancy import embedded
pg = embedded.server({str(place / "pg")!r})
child = os.fork()
if not child:
    os.close(1); os.close(2); time.sleep(60); os._exit(0)
print(child, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    child = int(run(user).stdout)
    try:
        embedded.server(place / "pg").stop()
        assert not processes(place)
    finally:
        os.kill(child, signal.SIGKILL)


def test_what_a_killed_initdb_left_is_cleaned(place: Path) -> None:
    folder = place / "pg"
    (folder / "init-dead").mkdir(parents=True)
    (folder / "init-dead" / "PG_VERSION").write_text("18\n")
    (folder / "init-dead.password").write_text("secret")
    (folder / "lock").touch()
    with embedded.server(folder) as pg:
        assert value(pg.url, "SELECT 1") == 1
        assert not list(folder.glob("init-*"))


def test_a_failed_start_shows_the_log_and_leaves_nothing(place: Path) -> None:
    with pytest.raises(EmbeddedServerError, match="shared_buffers"):
        embedded.server(settings={"shared_buffers": "nonsense"})
    assert not list((place / f"orgtenancy-{os.geteuid()}").glob("t-*"))
    with pytest.raises(EmbeddedServerError, match="no_such_library"):
        embedded.server(place / "pg", settings={"shared_preload_libraries": "no_such_library"})
    with embedded.server(place / "pg") as pg:
        assert value(pg.url, "SELECT 1") == 1


def test_a_major_version_that_cannot_be_is_refused(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(EmbeddedServerError, match="PostgreSQL 7 was not found"):
        embedded.server(major=7)
    monkeypatch.setenv("ORGTENANCY_EMBEDDED_MAJOR", "new")
    with pytest.raises(EmbeddedServerError, match="no major version"):
        embedded.server()


def test_the_environment_chooses_the_version_and_the_data_wins(
    place: Path, monkeypatch: pytest.MonkeyPatch, major: int
) -> None:
    monkeypatch.setenv("ORGTENANCY_EMBEDDED_MAJOR", str(major))
    monkeypatch.setenv("PGPORT", "1")
    monkeypatch.setenv("PGDATA", "/nonexistent")
    with embedded.server(place / "pg") as pg:
        assert pg.version // 10000 == major
    monkeypatch.setenv("ORGTENANCY_EMBEDDED_MAJOR", "7")
    with embedded.server(place / "pg") as pg:
        assert pg.version // 10000 == major
    with pytest.raises(EmbeddedServerError, match=f"data of PostgreSQL {major}, not 7"):
        embedded.server(place / "pg", major=7)


@pytest.mark.skipif(sys.platform != "linux", reason="limits of Linux")
def test_a_long_path_gets_its_socket_elsewhere(place: Path) -> None:
    folder = place / ("x" * 90)
    with embedded.server(folder) as pg:
        assert "x" * 90 not in pg.url
        assert value(pg.url, "SELECT 1") == 1
    assert not list((place / f"orgtenancy-{os.geteuid()}").glob("s-*"))
