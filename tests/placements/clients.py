"""A process full of clients that write numbered rows: `python -m tests.placements.clients`.

Half of them are threads, half tasks. Each number is written until it is committed; whoever is told
to come back, by an `OrganizationUnavailable` with `retry_after`, tries the same number again.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event, Thread

from orgtenancy import Placement, Settings, Tenancy
from orgtenancy.errors import OrganizationUnavailable

CLIENTS = 25
INSERT = "INSERT INTO notes (id, body) VALUES (%s, '')"
PAUSE = 0.02  # seconds between two attempts


class Clients:
    """What the clients of this process write, and what they are told."""

    def __init__(self, tenancy: Tenancy, organization_id: str, start: int) -> None:
        self.tenancy = tenancy
        self.organization_id = organization_id
        self.numbers: Iterator[int] = itertools.count(start)
        self.stop = Event()
        self.committed: list[int] = []
        self.told: Counter[str] = Counter()
        self.others: list[str] = []

    def is_told_to_retry(self, error: Exception) -> bool:
        if isinstance(error, OrganizationUnavailable) and error.retry_after:
            self.told[str(error.status)] += 1
            return True
        self.others.append(repr(error))
        return False

    def write(self) -> None:
        while not self.stop.is_set():
            number = next(self.numbers)
            while True:
                try:
                    with self.tenancy.session(self.organization_id) as session:
                        session.connection().exec_driver_sql(INSERT, (number,))
                except Exception as error:  # noqa: BLE001 - the test looks at all of them
                    if not self.is_told_to_retry(error):
                        break
                else:
                    self.committed.append(number)
                    break
                finally:
                    time.sleep(PAUSE)

    async def write_async(self) -> None:
        while not self.stop.is_set():
            number = next(self.numbers)
            while True:
                try:
                    async with self.tenancy.session(self.organization_id) as session:
                        connection = await session.connection()
                        await connection.exec_driver_sql(INSERT, (number,))
                except Exception as error:  # noqa: BLE001 - the test looks at all of them
                    if not self.is_told_to_retry(error):
                        break
                else:
                    self.committed.append(number)
                    break
                finally:
                    await asyncio.sleep(PAUSE)

    async def write_all(self) -> None:
        await asyncio.gather(*(self.write_async() for _ in range(CLIENTS // 2)))
        await self.tenancy.aclose()


def main(url: str, others: str, organization_id: str, start: str, listen: str) -> None:
    settings = Settings(
        listen=listen == "listen", registry_max_age=3600, pool_size=6, max_overflow=0
    )
    placements = {name: Placement(url=other) for name, other in json.loads(others).items()}
    with Tenancy(url, settings=settings, placements=placements) as tenancy:
        with tenancy.organization(organization_id):
            pass
        clients = Clients(tenancy, organization_id, int(start))
        tasks = Thread(target=lambda: asyncio.run(clients.write_all()))
        tasks.start()
        with ThreadPoolExecutor(CLIENTS) as threads:
            for _ in range(CLIENTS - CLIENTS // 2):
                threads.submit(clients.write)
            print("writing", flush=True)
            sys.stdin.readline()
            clients.stop.set()
        tasks.join()
        answer = {
            "committed": clients.committed,
            "told": clients.told,
            "others": clients.others[:5],
        }
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
