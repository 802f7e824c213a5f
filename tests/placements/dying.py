"""A process that works on several placements, and kills itself on the way.

`python -m tests.placements.dying` takes jobs as lines: what to do, the organization, where or what
it is to be, and the point at which to die: a statement about to be sent, or one whose result has
arrived. The answer is the number of points that were passed, or `killed`. Each job runs in a child
of its own.
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
from orgtenancy.schemas import claiming, messages
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


def with_points_around(method: Callable[..., Any]) -> Callable[..., Any]:
    def replacement(*args: Any) -> Any:
        point()
        result = method(*args)
        point()
        return result

    return replacement


# What is sent as a message, without a cursor.
vars(claiming)["fetch_value"] = with_points_around(messages.fetch_value)


def work(tenancy: Tenancy, job: str, organization_id: str, target: str) -> None:
    match job:
        case "move":
            tenancy.organizations.move(organization_id, to=target)
        case "provision":
            tenancy.schemas.provision(organization_id, placement=target)
        case "drop":
            tenancy.schemas.drop(organization_id, confirm=organization_id, force=True)
        case "change_id":
            tenancy.organizations.change_id(organization_id, target)


def child(urls: list[str], job: str, organization_id: str, target: str, at: str, tell: int) -> None:
    global deadly, passed
    url, admin_url, others = urls
    placements = {
        name: Placement(url=one, admin_url=admin)
        for name, (one, admin) in json.loads(others).items()
    }
    settings = Settings(listen=False, drop_batch_size=2)
    tenancy = Tenancy(
        url, admin_url=admin_url, modules=[notes], settings=settings, placements=placements
    )
    passed, deadly = 0, int(at)
    work(tenancy, job, organization_id, target)
    os.write(tell, str(passed).encode())


def main(*urls: str) -> None:
    for line in sys.stdin:
        job, organization_id, target, at = line.split()
        hear, tell = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                child(list(urls), job, organization_id, target, at, tell)
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
