"""`orgtenancy init`: prepare a database."""

from __future__ import annotations

from orgtenancy.cli.context import load_tenancy
from orgtenancy.cli.output import Json, show


def init(json: Json = False) -> None:
    """Prepare the database: the registry, and the rights of the app's login.

    May run at every deployment: what is in place is left alone.
    """
    with load_tenancy() as tenancy:
        tenancy.install()
        status = tenancy.schemas.fleet.status()
    document = {"installed": True, "organizations": status.organizations, "behind": status.behind}
    next_step = f"; {status.behind} organizations are behind: `orgtenancy migrate up`"
    show(json, document, "the database is ready" + (next_step if status.behind else ""))
