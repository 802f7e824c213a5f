"""A runner that tells of each organization, to be killed: `python -m tests.adoption.dying`.

Its arguments are the URLs of the app's login and the owner, and what to do: `copy`, `catch-up`
or `switch`.
"""

from __future__ import annotations

import sys

from orgtenancy import Settings, Tenancy
from orgtenancy.community import community
from orgtenancy.operations.adoption import AdoptionOptions, AdoptionProgress
from tests.adoption import shared


def tell(progress: AdoptionProgress) -> None:
    print(progress.done, progress.total, flush=True)


def main(url: str, admin_url: str, job: str) -> None:
    settings = Settings(listen=False)
    options = AdoptionOptions(workers=2)
    with Tenancy(url, admin_url=admin_url, modules=[community], settings=settings) as tenancy:
        adoption = tenancy.adoption(shared.MAPPING)
        if job == "switch":
            adoption.switch(options=options, on_progress=tell)
        else:
            catch_up = job == "catch-up"
            adoption.run(catch_up=catch_up, options=options, on_progress=tell)
    print("done", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
