"""Whether an organization's rows stay as they are while another one works."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from orgtenancy import Tenancy
from orgtenancy.naming import schema_name
from orgtenancy.testing.contents import Rows, relations, rows
from orgtenancy.testing.isolation.marks import Leaked


@contextmanager
def untouched(tenancy: Tenancy, organization: str, what: str) -> Iterator[None]:
    """Return a block in which no row of an organization may be written or deleted.

    A row without a mark counts as well. What is committed when the block ends is looked at.

    Args:
        tenancy: A tenancy with an `admin_url`.
        organization: Whose rows.
        what: What is done in the block, for people.

    Raises:
        Leaked: If a row was.
    """
    before = _rows(tenancy, organization)
    yield
    after = _rows(tenancy, organization)
    nothing = Rows(0, 0)
    names = sorted(before | after)
    changed = [one for one in names if before.get(one, nothing) != after.get(one, nothing)]
    if changed:
        raise Leaked(f"{what} has changed {', '.join(changed)} of {organization}")


def _rows(tenancy: Tenancy, organization: str) -> dict[str, Rows]:
    with tenancy._database.admin_engine.begin() as connection:
        found = relations(connection, [schema_name(organization)])
        written = [one for one in found if one.size]
        counted = rows(connection, written)
    return {one.name: its for one, its in zip(written, counted, strict=True)}
