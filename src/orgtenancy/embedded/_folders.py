"""The folders of embedded servers, and what must hold before we trust one."""

from __future__ import annotations

import os
import re
import shutil
import stat
import sys
import tempfile
from hashlib import sha256
from pathlib import Path

from orgtenancy.embedded._account import Account
from orgtenancy.errors import EmbeddedServerError

# sun_path has 108 bytes on Linux and 104 elsewhere, with the closing zero.
_SOCKET_PATH = 107 if sys.platform == "linux" else 103
_SOCKET_NAME = len("/.s.PGSQL.5432")
# A comma, quote or colon would be read as a list by PostgreSQL, libpq or SQLAlchemy.
_PLAIN = re.compile(r"[\w./+@~-]+", re.ASCII)


def temporary_parent() -> Path:
    """Return the one folder that holds this user's temporary servers.

    Its name can be guessed, so it counts only if it is a real folder of ours in a
    place where nobody else can replace it.

    Raises:
        EmbeddedServerError: Somebody else owns it, or could.
    """
    parent = _temporary_path()
    base = parent.parent
    mode = base.stat().st_mode
    if mode & 0o022 and not mode & stat.S_ISVTX:
        raise EmbeddedServerError(
            f"Others can replace folders in {base}: set the sticky bit, or another TMPDIR."
        )
    own(parent)
    return parent


def _temporary_path() -> Path:
    return Path(tempfile.gettempdir()).resolve() / f"orgtenancy-{os.geteuid()}"


def own(folder: Path) -> None:
    """Make a folder, or check that the one that exists is ours.

    Args:
        folder: The folder. Parents are made too.

    Raises:
        EmbeddedServerError: It is no folder, a symbolic link, or another user's.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
    except OSError as exc:
        raise EmbeddedServerError(f"{folder} cannot be made a folder: {exc}.") from exc
    if not stat.S_ISDIR(found.st_mode):
        raise EmbeddedServerError(f"{folder} is a symbolic link or a file, not a folder.")
    if found.st_uid != os.geteuid():
        raise EmbeddedServerError(
            f"{folder} belongs to the user with id {found.st_uid}, not to this one "
            f"({os.geteuid()})."
        )


def own_persistent(directory: Path) -> Path:
    """Make or check the folder of a persistent server.

    Args:
        directory: The caller's choice.

    Returns:
        Its absolute path.

    Raises:
        EmbeddedServerError: It holds something else, or is not ours.
    """
    folder = directory.expanduser().absolute()
    own(folder)
    # The lock is the first file of ours in a folder.
    if any(folder.iterdir()) and not (folder / "lock").exists():
        raise EmbeddedServerError(f"{folder} holds other files; give the server its own folder.")
    return folder.resolve()


def socket_folder(folder: Path, account: Account) -> Path | None:
    """Make the folder of a server's socket.

    Args:
        folder: The server's folder.
        account: Who the server runs as.

    Returns:
        The folder, or None when every path is too long for a socket.
    """
    for candidate in (folder / "run", socket_elsewhere(folder)):
        length = len(os.fsencode(candidate)) + _SOCKET_NAME
        if length > _SOCKET_PATH or not _PLAIN.fullmatch(str(candidate)):
            continue
        if candidate.parent != folder:
            Account.for_folder(temporary_parent())
        # A killed server leaves its socket, with a lock that names a pid.
        remove(candidate)
        candidate.mkdir(mode=0o700)
        account.give(candidate)
        return candidate
    return None


def socket_elsewhere(folder: Path) -> Path:
    """Return the shorter place for the socket of a server with a long path."""
    digest = sha256(os.fsencode(folder)).hexdigest()[:12]
    return _temporary_path() / f"s-{digest}"


def remove(path: Path) -> None:
    """Delete a file or a folder with all that is in it; a missing one is fine."""
    if path.is_dir() and not path.is_symlink():
        # Another process may be deleting the same leftover.
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def write_private(path: Path, text: str) -> None:
    """Write a file that only we can read, whole or not at all."""
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
