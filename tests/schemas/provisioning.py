"""A process that provisions each id of its input from eight threads at once."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from orgtenancy import Settings, Tenancy
from tests.support.notes import notes

THREADS = 8


def main(url: str, admin_url: str) -> None:
    barrier = Barrier(THREADS)
    settings = Settings(listen=False)
    with (
        Tenancy(url, admin_url=admin_url, modules=[notes], settings=settings) as tenancy,
        ThreadPoolExecutor(THREADS) as threads,
    ):

        def provision(organization_id: str) -> str:
            barrier.wait()
            try:
                return tenancy.schemas.provision(organization_id).role_name
            except Exception as error:  # noqa: BLE001 - the reader tells
                return f"{type(error).__name__}:{str(error).split()}"

        print("ready", flush=True)
        for line in sys.stdin:
            found = set(threads.map(provision, [line.strip()] * THREADS))
            print(*found, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
