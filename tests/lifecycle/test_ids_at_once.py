"""Ids that change hands all the time: no data goes astray, and nobody sees a deadlock."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from sqlalchemy import text

from orgtenancy import Tenancy
from orgtenancy.errors import (
    OrganizationBusy,
    OrganizationExists,
    OrganizationNotFound,
    OrganizationUnavailable,
    TransitionRefused,
)
from orgtenancy.operations.lifecycle import renaming
from orgtenancy.organizations import Organization
from orgtenancy.schemas import grants
from tests.lifecycle.worlds import S, may_enter, new_id, reach
from tests.schemas.databases import FreshDatabase, all_organizations, eventually

BLOCKED = (
    "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() "
    "AND wait_event_type = 'Lock' AND query LIKE '%claim_spares%'"
)
#: What a caller may be told when somebody else was faster.
EXPECTED = (OrganizationExists, OrganizationNotFound, OrganizationUnavailable, TransitionRefused)


def test_an_id_that_is_taken_and_provisioned_at_once_goes_to_one_of_them(
    database: FreshDatabase, installed: Tenancy, monkeypatch: pytest.MonkeyPatch
) -> None:
    organization_id, wanted = reach(installed, S.ACTIVE), new_id()
    installed.schemas.spares.fill(1)
    role = installed.organizations.get(organization_id).role_name
    found: list[Organization] = []
    other = threading.Thread(target=lambda: found.append(installed.schemas.provision(wanted)))
    update, execute = renaming._update, grants.execute

    def let_the_other_in() -> None:
        if other.ident is None:
            other.start()
            eventually(lambda: database.ask(BLOCKED))

    def slow_update(*args: object, **values: object) -> Organization:
        changed = update(*args, **values)  # type: ignore[arg-type]
        let_the_other_in()
        return changed

    def slow_execute(*args: object, **values: object) -> None:
        execute(*args, **values)  # type: ignore[arg-type]
        let_the_other_in()

    # Between the row and the schema, whichever comes first.
    monkeypatch.setattr(renaming, "_update", slow_update)
    monkeypatch.setattr(grants, "execute", slow_execute)
    assert installed.organizations.change_id(organization_id, wanted).role_name == role
    other.join(30)
    assert [(o.id, o.role_name) for o in found] == [(wanted, role)]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_whatever_becomes_of_ids_the_data_stays_with_its_role(
    database: FreshDatabase, installed: Tenancy, seed: int
) -> None:
    # Two processes, as it were, which play with the same few ids; some are claimed of spares.
    installed.schemas.spares.fill(8)
    ids = [f"{new_id()}-{n}" for n in range(3)]
    with database.tenancy(registry_max_age=600) as second:
        both = (installed, second)
        errors: list[BaseException] = []
        busy: list[OrganizationBusy] = []
        barrier = Barrier(8)

        def play(player: int) -> None:
            draw, tenancy = random.Random(seed * 100 + player), both[player % 2]
            moves: list[Callable[[str], object]] = [
                lambda i: provision(tenancy, i),
                lambda i: tenancy.organizations.change_id(i, draw.choice(ids)),
                lambda i: tenancy.organizations.change_id(i, draw.choice(ids)),
                lambda i: tenancy.organizations.suspend(i),
                lambda i: tenancy.organizations.resume(i),
                lambda i: tenancy.schemas.drop(i, confirm=i, force=True),
                lambda i: look(tenancy, i),
            ]
            barrier.wait()
            for _ in range(40):
                try:
                    draw.choice(moves)(draw.choice(ids))
                except EXPECTED:
                    continue
                except OrganizationBusy as error:
                    busy.append(error)
                except Exception as error:  # noqa: BLE001 - the test looks at all of them
                    errors.append(error)

        with ThreadPoolExecutor(8) as threads:
            list(threads.map(play, range(8)))
    assert errors == []
    assert busy == []  # nobody held anything for long
    known = {o.id: o for o in all_organizations(installed) if o.id in ids}
    there = {schema for schema in database.schemas() if schema.removeprefix("org_") in ids}
    assert there == {o.schema_name for o in known.values()}
    for organization in known.values():
        assert organization.schema_name == f"org_{organization.id}"
        assert may_enter(database, organization) == organization.is_active
        rows = database.ask(f'SELECT body FROM "{organization.schema_name}".notes')
        assert {body for (body,) in rows} <= {organization.role_name}


def provision(tenancy: Tenancy, organization_id: str) -> None:
    """Make an organization, and write whose it is: its role, which it keeps for life."""
    organization = tenancy.schemas.provision(organization_id)
    with tenancy.session(organization) as session:
        session.execute(text("INSERT INTO notes VALUES (1, current_user) ON CONFLICT DO NOTHING"))


def look(tenancy: Tenancy, organization_id: str) -> None:
    """Read as a request does, and see one's own rows or none."""
    with tenancy.session(organization_id) as session:
        role = session.organization.role_name
        rows = list(session.scalars(text("SELECT body FROM notes")))
        assert set(rows) <= {role}, (rows, role)
