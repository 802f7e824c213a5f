"""Another process of the application: it answers which status it sees.

Run as `python -m tests.registry.worker URL SETTINGS`. Each line of its input is an id,
each line of its output the status, or the name of the error.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import URL

from orgtenancy import OrgTenancyError, Settings, Tenancy
from orgtenancy.errors import OrganizationUnavailable

PROJECT = Path(__file__).parent.parent.parent


def status_of(tenancy: Tenancy, organization_id: str) -> str:
    """Return the status that a request would see."""
    try:
        with tenancy.organization(organization_id) as organization:
            return str(organization.status)
    except OrganizationUnavailable as error:
        return str(error.status)
    except OrgTenancyError as error:
        return type(error).__name__


class Worker:
    """Asks the other process."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def status_of(self, organization_id: str) -> str:
        """Return the status that the other process sees."""
        assert self._process.stdin
        assert self._process.stdout
        print(organization_id, file=self._process.stdin, flush=True)
        return self._process.stdout.readline().strip()


@contextmanager
def worker(url: URL, **settings: object) -> Iterator[Worker]:
    """Start another process, and end it with the block."""
    command = [
        sys.executable,
        "-m",
        "tests.registry.worker",
        url.render_as_string(hide_password=False),
        json.dumps(settings),
    ]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=PROJECT
    ) as process:
        yield Worker(process)
        assert process.stdin
        process.stdin.close()
        assert process.wait(10) == 0


def main(url: str, settings: str) -> None:
    with Tenancy(url, settings=Settings.model_validate_json(settings)) as tenancy:
        for line in sys.stdin:
            print(status_of(tenancy, line.strip()), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
