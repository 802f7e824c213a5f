"""A reconciliation that kills itself: `python -m tests.logto.dying URL ADMIN_URL LOGTO AT`.

It dies before the statement with this number is sent by the owner's connections.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Generator
from typing import Any

from psycopg._connection_base import BaseConnection
from psycopg._cursor_base import BaseCursor
from pydantic import SecretStr

from orgtenancy import Settings, Tenancy
from orgtenancy.identity.logto_sync import LogtoSettings, ManagementApi, Reconciliation
from orgtenancy.schemas import claiming, messages
from tests.support.notes import notes

passed = 0
deadly = 0


def point() -> None:
    global passed
    passed += 1
    if passed == deadly:
        os.kill(os.getpid(), signal.SIGKILL)


def with_points(method: Any) -> Any:
    def replacement(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        point()
        return (yield from method(*args, **kwargs))

    return replacement


def fetch_value(*args: Any) -> Any:
    point()
    return messages.fetch_value(*args)


def main(url: str, admin_url: str, endpoint: str, secret: str, at: str) -> None:
    global deadly
    settings = LogtoSettings(
        endpoint=endpoint,
        client_id="machine",
        client_secret=SecretStr(secret),
        requests_per_second=10_000,
        sync_members=True,
    )
    with (
        Tenancy(
            url, admin_url=admin_url, modules=[notes], settings=Settings(listen=False)
        ) as tenancy,
        ManagementApi(settings) as api,
    ):
        plan = Reconciliation(tenancy, api, settings).plan()
        for owner, name in ((BaseConnection, "_exec_command"), (BaseCursor, "_maybe_prepare_gen")):
            setattr(owner, name, with_points(getattr(owner, name)))
        setattr(claiming, "fetch_value", fetch_value)  # noqa: B010 - its type is another's
        deadly = int(at)
        Reconciliation(tenancy, api, settings).apply(plan)
    print(passed, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
