"""A process that moves an organization, and kills itself on the way.

`python -m tests.placements.moving` takes jobs as lines: the organization, the placement, and the
point at which to die: a statement about to be sent, or one whose result has arrived. The answer is
the number of points that were passed, or `killed`. Each job runs in a child of its own.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Generator
from typing import Any

from psycopg._connection_base import BaseConnection
from psycopg._cursor_base import BaseCursor

from orgtenancy import Placement, Settings, Tenancy
from tests.support.notes import notes

passed = 0
deadly = 0


def point() -> None:
    global passed
    passed += 1
    if passed == deadly:
        os.kill(os.getpid(), signal.SIGKILL)


def with_points(method: Callable[..., Generator[Any, Any, Any]]) -> Callable[..., Any]:
    def replacement(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        point()
        result = yield from method(*args, **kwargs)
        point()
        return result

    return replacement


# Also in the middle of a COPY.
POINTS = (
    (BaseConnection, "_exec_command"),
    (BaseCursor, "_maybe_prepare_gen"),
    (BaseCursor, "_start_copy_gen"),
)
for owner, name in POINTS:
    setattr(owner, name, with_points(getattr(owner, name)))


def child(
    url: str, admin_url: str, others: str, organization_id: str, to: str, at: str, tell: int
) -> None:
    global deadly, passed
    placements = {
        name: Placement(url=one, admin_url=admin)
        for name, (one, admin) in json.loads(others).items()
    }
    settings = Settings(listen=False, drop_batch_size=2)
    tenancy = Tenancy(
        url, admin_url=admin_url, modules=[notes], settings=settings, placements=placements
    )
    passed, deadly = 0, int(at)
    tenancy.organizations.move(organization_id, to=to)
    os.write(tell, str(passed).encode())


def main(url: str, admin_url: str, others: str) -> None:
    for line in sys.stdin:
        organization_id, to, at = line.split()
        hear, tell = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                child(url, admin_url, others, organization_id, to, at, tell)
            except BaseException:  # noqa: BLE001 - the end of a child
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        os.close(tell)
        answer = os.read(hear, 100).decode()
        os.close(hear)
        _, status = os.waitpid(pid, 0)
        killed = os.waitstatus_to_exitcode(status) == -signal.SIGKILL
        print(answer or ("killed" if killed else "failed"), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
