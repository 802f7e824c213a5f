"""A worker in a process of its own: `python -m tests.logto.webhooks.working URL ADMIN_URL SECONDS`.

Each event that provisions takes at least so many seconds. It says `begun` when it works, and
for each of these events its subject; it ends when its input does.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any

from orgtenancy import Settings, Tenancy
from orgtenancy.identity.logto_sync import LogtoWorker
from tests.logto.webhooks.world import settings
from tests.support.notes import notes


def main(url: str, admin_url: str, seconds: str) -> None:
    def labels(data: Mapping[str, Any]) -> Mapping[str, Any]:
        if float(seconds):
            print(data["id"], flush=True)
            time.sleep(float(seconds))
        return {}

    tenancy = Tenancy(url, admin_url=admin_url, modules=[notes], settings=Settings(listen=True))
    with tenancy, LogtoWorker(tenancy, settings(), attributes=labels):
        print("begun", flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
