"""The operating system user PostgreSQL runs as."""

from __future__ import annotations

import os
import pwd
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from orgtenancy.errors import EmbeddedServerError

# Others run as `nobody` too. Root's folders are open to one group only, which no
# account has and only root can take, so those others reach neither files nor
# socket. It also differs from theirs, which the kernel asks for in ptrace and
# /proc/<pid>/cwd. The number lies above the ranges of containers and below 2**31.
_PRIVATE_GROUP = 2_000_065_432


@dataclass(frozen=True)
class Account:
    """Who PostgreSQL runs as.

    Attributes:
        uid: The user to change to, or None to stay the one we are.
        gid: Its group, or None.
    """

    uid: int | None = None
    gid: int | None = None

    @classmethod
    def for_folder(cls, folder: Path) -> Account:
        """Choose the account, and let it pass through a folder of ours.

        PostgreSQL refuses to run as root, so root's servers run as `nobody`.

        Args:
            folder: A folder that we own.

        Returns:
            The account; the folder is then closed to everybody else.

        Raises:
            EmbeddedServerError: There is no such user, or it cannot enter the folder.
        """
        if os.geteuid() != 0:
            folder.chmod(0o700)
            return cls()
        try:
            uid = pwd.getpwnam("nobody").pw_uid
            nogroup = pwd.getpwnam("nobody").pw_gid
        except KeyError as exc:
            raise EmbeddedServerError(
                "PostgreSQL refuses to run as root, and there is no user `nobody` to run it as."
            ) from exc
        gid = _PRIVATE_GROUP
        try:
            os.chown(folder, 0, gid)
        except OSError:
            # A user namespace may not map the private group.
            gid = nogroup
            os.chown(folder, 0, gid)
        folder.chmod(0o710)
        account = cls(uid, gid)
        if account.run(["/bin/sh", "-c", 'cd "$0"', str(folder)]).returncode != 0:
            raise EmbeddedServerError(
                f"As root, PostgreSQL runs as `nobody`, which cannot enter {folder}: "
                "choose a folder whose parents other users may enter."
            )
        return account

    def give(self, path: Path) -> None:
        """Make the account the owner of a file or folder."""
        if self.uid is not None and self.gid is not None:
            os.chown(path, self.uid, self.gid, follow_symlinks=False)

    def run(
        self,
        command: Sequence[str],
        *,
        output: int = subprocess.PIPE,
        keep: Sequence[int] = (),
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as the account, in a session and environment of its own.

        Args:
            command: The program and its arguments.
            output: Where its output goes; captured if not given.
            keep: Descriptors it inherits.

        Returns:
            The finished process; its output has both streams.
        """
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
            cwd="/",
            env=_environment(),
            pass_fds=keep,
            start_new_session=True,
            umask=0o077,
            user=self.uid,
            group=self.gid,
            extra_groups=None if self.uid is None else (),
        )


def _environment() -> dict[str, str]:
    # PGDATA, PGPORT and the like would steer the server, and secrets of ours
    # have no place in its environment.
    kept = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TMPDIR")
    return {name: os.environ[name] for name in kept if name in os.environ} | {
        "LC_ALL": "C",
        "TZ": "UTC",
    }
