"""A process that installs, from eight threads: `python -m tests.registry.installing`."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

from orgtenancy import Settings, Tenancy
from tests.support.notes import notes


def main(url: str, admin_url: str) -> None:
    with Tenancy(url, admin_url=admin_url, modules=[notes], settings=Settings(listen=False)) as one:
        print("ready", flush=True)
        sys.stdin.readline()
        with ThreadPoolExecutor(8) as threads:
            done = [threads.submit(one.install) for _ in range(8)]
        print("installed", sum(future.exception() is None for future in done), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
