"""`python -m examples.community`: the community app on a PostgreSQL of its own."""

from __future__ import annotations

import argparse
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from threading import Thread

import uvicorn

from examples.community import check
from examples.community.app import create_app
from examples.community.people import all_texts
from examples.community.seed import seed
from examples.community.serving import Stop, listen, serve
from orgtenancy import OrgTenancyError, Tenancy, embedded
from orgtenancy.community import community


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo and return its exit code: 1 is a failed check, 2 a start that cannot be."""
    options = _parser().parse_args(arguments)
    stop = Stop()
    stop.install()
    try:
        with listen(options.port) as listener:
            return run(listener, options.keep, stop, checking=options.check)
    except KeyboardInterrupt:
        return 0
    except OSError as error:
        print(f"Cannot listen on 127.0.0.1:{options.port}: {error.strerror}.", file=sys.stderr)
        print("Another demo may be running; choose another --port, or 0.", file=sys.stderr)
        return 2
    except OrgTenancyError as error:
        print(error, file=sys.stderr)
        return 2


def run(listener: socket.socket, keep: Path | None, stop: Stop, *, checking: bool) -> int:
    """Start PostgreSQL, make the organizations, and serve the app until it is stopped."""
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    failures: list[str] = []

    def on_ready(server: uvicorn.Server) -> None:
        print(f"orgtenancy demo ready at {url}", flush=True)
        if checking:
            Thread(target=walk, args=(server,), daemon=True).start()

    def walk(server: uvicorn.Server) -> None:
        try:
            check.walk(url)
        except Exception as error:  # noqa: BLE001 - whatever it is, it fails the check
            failures.append(f"{type(error).__name__}: {error}")
        finally:
            server.should_exit = True

    with embedded.server(keep) as postgres:
        tenancy = Tenancy(postgres.url, admin_url=postgres.admin_url, modules=[community])
        tenancy.install()
        for texts in all_texts():
            tenancy.schemas.provision(texts.id, name=texts.name, attributes=texts.attributes)
            seed(tenancy, texts)
        serve(create_app(tenancy), listener, stop, on_ready)
    for failure in failures:
        print(f"The check failed: {failure}", file=sys.stderr)
    return 1 if failures else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="examples.community", description=__doc__)
    parser.add_argument("--port", type=int, default=8000, help="where to listen; 0: any free port")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the data in this folder")
    parser.add_argument("--check", action="store_true", help="walk through the app once, and stop")
    return parser


if __name__ == "__main__":
    sys.exit(main())
