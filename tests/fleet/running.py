"""Another process that runs jobs: `python -m tests.fleet.running URL ADMIN_URL FOLDER...`.

Each line of its input is a job: a word and the options as JSON. Each line of its output is
what became of one schema, and at last the job's status or the name of the error.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import MetaData

from orgtenancy import OrganizationModule, OrgTenancyError, Settings, Tenancy
from orgtenancy.schemas.fleet import JobOptions, JobProgress
from tests.fleet.hosts import Host
from tests.registry.worker import Dialogue, dialogue


class Runner:
    """A process that runs jobs.

    Attributes:
        talk: To and fro with it.
    """

    def __init__(self, talk: Dialogue) -> None:
        self.talk = talk

    def begin(self, job: str, **options: object) -> None:
        """Let it begin a job: `migrate`, or `resume-7`."""
        self.talk.say(f"{job} {json.dumps(options)}")

    def hear_schema(self) -> str:
        """Return what became of the next schema."""
        return self.talk.hear()

    def hear_end(self) -> str:
        """Return how the job ended."""
        while (line := self.talk.hear()).startswith("- "):
            pass
        return line

    def kill(self) -> None:
        """Let it die as by a power cut."""
        self.talk.process.kill()
        self.talk.process.wait(20)


@contextmanager
def runner(host: Host, *, dies: bool = False) -> Iterator[Runner]:
    """Start a process with the present release; `dies` if it will not end well."""
    urls = [
        url.render_as_string(hide_password=False)
        for url in (host.database.url, host.database.admin_url)
    ]
    folders = [str(module.migrations) for module in host.modules]
    try:
        with dialogue("tests.fleet.running", *urls, *folders) as talk:
            yield Runner(talk)
    except (AssertionError, BrokenPipeError):
        if not dies:
            raise


def tell(progress: JobProgress) -> None:
    if progress.label is not None:
        print("-", progress.label, progress.status, progress.error or "", flush=True)


def main(url: str, admin_url: str, *folders: str) -> None:
    modules = [
        OrganizationModule(name=Path(f).name, metadata=MetaData(), migrations=Path(f))
        for f in folders
    ]
    settings = Settings(listen=False)
    with Tenancy(url, admin_url=admin_url, modules=modules, settings=settings) as tenancy:
        fleet = tenancy.schemas.fleet
        for line in sys.stdin:
            word, _, given = line.partition(" ")
            options = JobOptions.model_validate_json(given)
            try:
                if word.startswith("resume-"):
                    job = fleet.resume(int(word[7:]), options=options, on_progress=tell)
                    print(job.status, flush=True)
                else:
                    made = fleet.migrate(options=options, on_progress=tell)
                    print(made.status if made else "nothing", flush=True)
            except OrgTenancyError as error:
                print(type(error).__name__, error, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
