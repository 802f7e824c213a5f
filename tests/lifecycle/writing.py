"""A process full of clients that write: `python -m tests.lifecycle.writing`.

Half of them are threads, half tasks; half of them ask the directory, which remembers for as long
as it is told, and half hold on to an object that says the organization is open.
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

from orgtenancy import Organization, Settings, Tenancy
from orgtenancy.errors import OrganizationUnavailable

CLIENTS = 25
INSERT = "INSERT INTO notes (id, body) VALUES (%s, '')"
ROWS = 3


class Clients:
    """What the clients of this process write, and what they are told."""

    def __init__(self, tenancy: Tenancy, organization: Organization, start: int) -> None:
        self.tenancy = tenancy
        self.organization = organization
        self.ids: Iterator[int] = itertools.count(start)
        self.stop = Event()
        self.told: Counter[str] = Counter()
        self.others: list[str] = []

    def given(self, number: int) -> str | Organization:
        return self.organization if number % 2 else self.organization.id

    def tell(self, error: Exception) -> None:
        if isinstance(error, OrganizationUnavailable):
            self.told[str(error.status)] += 1
        else:
            self.others.append(repr(error))

    def write(self, number: int) -> None:
        while not self.stop.is_set():
            try:
                with self.tenancy.session(self.given(number)) as session:
                    for _ in range(ROWS):
                        session.connection().exec_driver_sql(INSERT, (next(self.ids),))
                self.told["committed"] += ROWS
            except Exception as error:  # noqa: BLE001 - the test looks at all of them
                self.tell(error)
                time.sleep(0.01)

    async def write_async(self, number: int) -> None:
        while not self.stop.is_set():
            try:
                async with self.tenancy.session(self.given(number)) as session:
                    connection = await session.connection()
                    for _ in range(ROWS):
                        await connection.exec_driver_sql(INSERT, (next(self.ids),))
                self.told["committed"] += ROWS
            except Exception as error:  # noqa: BLE001 - the test looks at all of them
                self.tell(error)
                await asyncio.sleep(0.01)

    async def write_all(self) -> None:
        await asyncio.gather(*(self.write_async(n) for n in range(CLIENTS // 2)))
        await self.tenancy.aclose()


def main(url: str, organization_id: str, start: str, max_age: str = "3600") -> None:
    settings = Settings(listen=False, registry_max_age=float(max_age), pool_size=6, max_overflow=0)
    with Tenancy(url, settings=settings) as tenancy:
        with tenancy.organization(organization_id) as organization:
            pass
        clients = Clients(tenancy, organization, int(start))
        tasks = Thread(target=lambda: asyncio.run(clients.write_all()))
        tasks.start()
        with ThreadPoolExecutor(CLIENTS) as threads:
            for number in range(CLIENTS - CLIENTS // 2):
                threads.submit(clients.write, number)
            print("writing", flush=True)
            sys.stdin.readline()
            clients.stop.set()
        tasks.join()
        print(json.dumps({"told": clients.told, "others": clients.others[:5]}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
