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


class Dialogue:
    """Another process, and the lines that go to and fro."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def say(self, line: str) -> None:
        """Send it a line."""
        assert self.process.stdin
        print(line, file=self.process.stdin, flush=True)

    def hear(self) -> str:
        """Return its next line; an empty text when it has ended."""
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def status_of(self, organization_id: str) -> str:
        """Return the status that the worker sees."""
        self.say(organization_id)
        return self.hear()


@contextmanager
def dialogue(module: str, *arguments: str) -> Iterator[Dialogue]:
    """Run a module of the tests in another process, and let it end well with the block."""
    with subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=PROJECT,
    ) as process:
        try:
            yield Dialogue(process)
            assert process.stdin
            process.stdin.close()
            assert process.wait(20) == 0
        finally:
            process.kill()


@contextmanager
def worker(url: URL, **settings: object) -> Iterator[Dialogue]:
    """Start another process that answers which status it sees."""
    with dialogue(
        "tests.registry.worker", url.render_as_string(hide_password=False), json.dumps(settings)
    ) as process:
        yield process


def main(url: str, settings: str) -> None:
    with Tenancy(url, settings=Settings.model_validate_json(settings)) as tenancy:
        for line in sys.stdin:
            print(status_of(tenancy, line.strip()), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
