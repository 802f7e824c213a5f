"""A process that looked up an organization, and forked: `python -m tests.registry.forking`."""

from __future__ import annotations

import os
import sys
import time
import warnings

from orgtenancy import Settings, Tenancy
from tests.registry.worker import status_of


def main(url: str, organization_id: str, how: str) -> None:
    settings = Settings(listen=True, registry_max_age=60)
    tenancy = Tenancy(url, settings=settings)
    print("parent", status_of(tenancy, organization_id), flush=True)
    time.sleep(0.3)  # the parent listens
    ready, tell_ready = os.pipe()
    go, tell_go = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 warns: there are threads
        child = os.fork()
    if child == 0:
        if how == "disposed":
            # SQLAlchemy's own rule for a child: leave the parent's connections alone.
            tenancy.engine.dispose(close=False)
        # What a worker of a forking server does first: a look-up that is not cached.
        tenancy._directory.clear()
        print("child", status_of(tenancy, organization_id), flush=True)
        os.write(tell_ready, b".")
        os.read(go, 1)
        print("child", status_of(tenancy, organization_id), flush=True)
        tenancy.close()
        os._exit(0)
    os.read(ready, 1)
    sys.stdin.readline()
    os.write(tell_go, b".")
    _, status = os.waitpid(child, 0)
    # The child closed its own tenancy: the parent's connections still work.
    print("parent", status_of(tenancy, organization_id), flush=True)
    tenancy.close()
    sys.exit(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main(*sys.argv[1:])
