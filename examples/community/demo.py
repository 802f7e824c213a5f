"""The demo from its PostgreSQL up to the served app."""

from __future__ import annotations

import socket
import sys
from pathlib import Path
from threading import Thread

import uvicorn

from examples.community import check
from examples.community.app import create_app
from examples.community.people import all_texts
from examples.community.seed import seed
from examples.community.serving import listen, serve
from examples.community.stopping import Stop
from orgtenancy import OrgTenancyError, Tenancy, embedded
from orgtenancy.community import community


def run(port: int, keep: Path | None, stop: Stop, *, checking: bool) -> int:
    """Run the demo and return its exit code: 1 is a failed check, 2 a start that cannot be."""
    try:
        listener = listen(port)
    except (OSError, OverflowError) as error:
        print(f"Cannot listen on 127.0.0.1:{port}: {error}.", file=sys.stderr)
        print("Another demo may be running; choose another --port, or 0.", file=sys.stderr)
        return 2
    try:
        with listener:
            failures = _run(listener, keep, stop, checking=checking)
    except OrgTenancyError as error:
        print(error, file=sys.stderr)
        return 2
    for failure in failures:
        print(f"The check failed: {failure}", file=sys.stderr)
    return 1 if failures else 0


def _run(listener: socket.socket, keep: Path | None, stop: Stop, *, checking: bool) -> list[str]:
    """Start PostgreSQL, make the organizations, and serve the app until it is stopped."""
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    failures: list[str] = ["it was stopped before its end"] if checking else []

    def on_ready(server: uvicorn.Server) -> None:
        print(f"orgtenancy demo ready at {url}", flush=True)
        if checking:
            Thread(target=walk, args=(server,), daemon=True).start()

    def walk(server: uvicorn.Server) -> None:
        try:
            check.walk(url)
            failures.clear()
        except Exception as error:  # noqa: BLE001 - whatever it is, it fails the check
            failures[:] = [f"{type(error).__name__}: {error}"]
        finally:
            server.should_exit = True

    with (
        embedded.server(keep) as postgres,
        Tenancy(postgres.url, admin_url=postgres.admin_url, modules=[community]) as tenancy,
    ):
        tenancy.install()
        for texts in all_texts():
            tenancy.schemas.provision(texts.id, name=texts.name, attributes=texts.attributes)
            seed(tenancy, texts)
        serve(create_app(tenancy), listener, stop, on_ready)
    return failures
