"""Processes that kill themselves in the middle: `python -m tests.schemas.killing`.

Each line of the input is a job: what to do, for which organization or how often, and at
which point to die: a statement about to be sent, or one whose result has arrived. The
answer is the number of points that were passed, or `killed`. Each job runs in a child of
its own.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable, Generator
from typing import Any

from psycopg._connection_base import BaseConnection
from psycopg._cursor_base import BaseCursor

from orgtenancy import JobOptions, Settings, Tenancy
from orgtenancy.schemas import claiming, messages
from orgtenancy.schemas.revisions import applying
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
        point()  # before it is sent
        result = yield from method(*args, **kwargs)
        point()  # its result has arrived
        return result

    return replacement


# BEGIN, COMMIT and ROLLBACK go through the first, COPY through the last, and every other
# statement through the second.
for owner, name in (
    (BaseConnection, "_exec_command"),
    (BaseCursor, "_maybe_prepare_gen"),
    (BaseCursor, "_start_copy_gen"),
):
    setattr(owner, name, with_points(getattr(owner, name)))


def with_points_around(method: Callable[..., Any]) -> Callable[..., Any]:
    def replacement(*args: Any) -> Any:
        point()
        result = method(*args)
        point()
        return result

    return replacement


# What is sent as a message, without a cursor.
for module, name in ((applying, "send_transaction"), (claiming, "fetch_value")):
    setattr(module, name, with_points_around(getattr(messages, name)))


def work(tenancy: Tenancy, job: str, organization_id: str) -> None:
    if job == "provision":
        tenancy.schemas.provision(organization_id)
    elif job == "fill":
        tenancy.schemas.spares.fill(int(organization_id))
    elif job == "drop":
        tenancy.schemas.drop(organization_id, confirm=organization_id, force=True)
    elif job == "purge":
        tenancy.organizations.purge(organization_id, confirm=organization_id, now=True)
    elif job in ("back_up", "restore_backup"):
        subject, path = organization_id.split(":")
        if job == "back_up":
            tenancy.backups.write(subject, path)
        else:
            tenancy.backups.restore(path, organization_id=subject)
    elif job == "back_up_all":
        tenancy.backups.write_all(organization_id, options=JobOptions(workers=1))
    elif job == "change_id":
        tenancy.organizations.change_id(organization_id, f"{organization_id}-new")
    else:
        getattr(tenancy.organizations, job)(organization_id)


def child(url: str, admin_url: str, job: str, organization_id: str, at: str, tell: int) -> None:
    global deadly, passed
    settings = Settings(listen=False, drop_batch_size=2)
    tenancy = Tenancy(url, admin_url=admin_url, modules=[notes], settings=settings)
    passed, deadly = 0, int(at)
    work(tenancy, job, organization_id)
    os.write(tell, str(passed).encode())


def main(url: str, admin_url: str) -> None:
    for line in sys.stdin:
        job, organization_id, at = line.split()
        hear, tell = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                child(url, admin_url, job, organization_id, at, tell)
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
