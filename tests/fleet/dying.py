"""Runners that die: `python -m tests.fleet.dying URL ADMIN_URL FOLDER...`.

Each line of the input is a job (`migrate`, `resume-7`), how it dies, and the options as JSON.
It dies `at` a point, a statement about to be sent or one whose result has arrived, or `after`
so many seconds; `never` is told the number of points. The answer is that number, or `killed`,
or the name of an error. Each job runs in a child of its own.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from pathlib import Path

from sqlalchemy import MetaData

from orgtenancy import OrganizationModule, OrgTenancyError, Settings, Tenancy
from orgtenancy.schemas.fleet import JobOptions
from tests.schemas import killing


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def child(
    url: str, admin_url: str, folders: tuple[str, ...], job: str, how: str, given: str
) -> str:
    modules = [
        OrganizationModule(name=Path(f).name, metadata=MetaData(), migrations=Path(f))
        for f in folders
    ]
    tenancy = Tenancy(url, admin_url=admin_url, modules=modules, settings=Settings(listen=False))
    fleet, options = tenancy.schemas.fleet, JobOptions.model_validate_json(given)
    word, _, number = how.partition("=")
    killing.passed, killing.deadly = 0, int(number) if word == "at" else 0
    if word == "after":
        threading.Timer(float(number), die).start()
    try:
        if job == "migrate":
            fleet.migrate(options=options)
        else:
            fleet.resume(int(job.removeprefix("resume-")), options=options)
    except OrgTenancyError as error:
        return type(error).__name__
    return str(killing.passed)


def main(url: str, admin_url: str, *folders: str) -> None:
    for line in sys.stdin:
        job, how, given = line.split(" ", 2)
        hear, tell = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                os.write(tell, child(url, admin_url, folders, job, how, given).encode())
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
