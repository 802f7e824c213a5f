"""A host on gevent, in a process of its own: patched first of all, as its documentation says."""

# ruff: noqa: E402
from gevent import monkey

monkey.patch_all()

import json
import os
import sys
import urllib.request
from collections.abc import Callable, Sequence

import gevent
import psycopg
from flask import Flask
from gevent.event import Event
from gevent.pywsgi import WSGIServer
from sqlalchemy import text

from orgtenancy import (
    OrganizationExecutor,
    Settings,
    Tenancy,
    acting,
    copy_context,
    current_organization,
)
from orgtenancy.adapters.flask import OrgTenancy
from orgtenancy.errors import OrganizationContextMissing
from tests.propagation.servers import Believing
from tests.propagation.support import bound, write

LOCK = 7_304_111
TAKE = text(f"SELECT pg_advisory_xact_lock_shared({LOCK})")


class Host:
    """Greenlets, each of which waits in PostgreSQL until all of them do."""

    def __init__(self, url: str, organization_ids: Sequence[str]) -> None:
        self.url = url
        self.tenancy = Tenancy(url, settings=Settings(pool_size=10))
        self.organization_ids = organization_ids
        self.waiting: list[str] = []
        self.all_wait = Event()

    def meet(self, expected: int) -> None:
        """Wait in the database; the driver must let the other greenlets run meanwhile."""
        self.waiting.append(current_organization().id)
        if len(self.waiting) == expected:
            self.all_wait.set()
        before = current_organization()
        with self.tenancy.session() as session:
            session.execute(TAKE)
        assert current_organization() is before, "the context was another greenlet's"

    def together(self, mark: str, start: Callable[[str], list[gevent.Greenlet]]) -> None:
        """Start greenlets for all organizations while the lock is held, and then let them go."""
        self.waiting.clear()
        self.all_wait.clear()
        url = self.url.replace("postgresql+psycopg://", "postgresql://", 1)
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("SELECT pg_advisory_lock(%s)", [LOCK])
            greenlets = start(mark)
            assert self.all_wait.wait(30), f"{mark}: only {self.waiting} got there"
            connection.execute("SELECT pg_advisory_unlock(%s)", [LOCK])
            gevent.joinall(greenlets, timeout=60, raise_error=True)

    def work(self, mark: str) -> None:
        self.meet(6)
        write(self.tenancy, mark)

    def spawn(self, mark: str) -> list[gevent.Greenlet]:
        started = []
        for organization_id in self.organization_ids:
            with self.tenancy.session(organization_id), acting("ann", "job"):
                copied = copy_context(self.work)
            started += [gevent.spawn(copied, mark) for _ in range(3)]
        return started

    def executor(self, mark: str) -> list[gevent.Greenlet]:
        def submit() -> None:
            with OrganizationExecutor(6) as executor:
                for organization_id in self.organization_ids:
                    with self.tenancy.organization(organization_id), acting("ann", "job"):
                        for _ in range(3):
                            executor.submit(self.work, mark)

        return [gevent.spawn(submit)]

    def requests(self, mark: str) -> list[gevent.Greenlet]:
        app = Flask(__name__)
        OrgTenancy(app, tenancy=self.tenancy, resolver=Believing())
        spawned: list[gevent.Greenlet] = []

        @app.get("/work")
        def serve() -> dict[str, str]:
            def work() -> None:
                write(self.tenancy, mark)

            self.meet(6)
            spawned.append(gevent.spawn(copy_context(work)))
            return {}

        server = WSGIServer(("127.0.0.1", 0), app, log=None)
        server.start()

        def ask(organization_id: str) -> None:
            url = f"http://127.0.0.1:{server.server_port}/work"
            headers = {"X-Organization": organization_id, "X-User": "ann"}
            urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=60).read()

        asked = [gevent.spawn(ask, o) for o in self.organization_ids for _ in range(3)]

        def end() -> None:
            gevent.joinall(asked, timeout=60, raise_error=True)
            gevent.joinall(spawned, timeout=60, raise_error=True)
            server.stop()

        return [gevent.spawn(end)]

    def plain(self) -> str:
        """Spawn without a copy, and return what became of it."""

        def work() -> str:
            try:
                return write(self.tenancy, "lost")
            except OrganizationContextMissing as error:
                return type(error).__name__

        with self.tenancy.organization(self.organization_ids[0]):
            return str(gevent.spawn(work).get(timeout=30))

    def native(self) -> object:
        """Return what a thread of gevent's own pool finds bound."""
        with self.tenancy.organization(self.organization_ids[0]), acting("ann", "job"):
            return gevent.get_hub().threadpool.apply(copy_context(bound))


def main() -> None:
    """Do it all, and print what became of it."""
    host = Host(os.environ["TESTS_URL"], sys.argv[1:])
    with host.tenancy:
        host.together("spawn", host.spawn)
        host.together("executor", host.executor)
        host.together("request", host.requests)
        print(json.dumps({"plain": host.plain(), "native": host.native(), "left": bound()}))


if __name__ == "__main__":
    main()
