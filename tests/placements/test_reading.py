"""Reads across organizations go from placement to placement."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
from sqlalchemy import text

from orgtenancy import Tenancy
from orgtenancy.errors import OrganizationUnavailable
from orgtenancy.operations.querying import Query, QueryRows, audit_query
from tests.placements.cells import Cells


@pytest.fixture
def active(spread: Tenancy) -> list[str]:
    """Organizations here and elsewhere, and one that is suspended."""
    spread.schemas.provision("r-b", placement="default")
    spread.schemas.provision("r-a", placement="eu")
    with suppress(OrganizationUnavailable):  # it was suspended for the test before
        spread.schemas.provision("r-c", placement="eu")
        spread.organizations.suspend("r-c")
    return ["r-a", "r-b"]


def test_a_function_is_called_on_all_placements(spread: Tenancy, active: list[str]) -> None:
    def database(session: object) -> str:
        return str(session.scalar(text("SELECT current_database()")))  # type: ignore[attr-defined]

    async def asked() -> dict[str, str]:
        try:
            return dict((await spread.fan_out_async(database)).values)
        finally:
            await spread.aclose()

    found = spread.fan_out(database)
    assert [one for one in found.values if one.startswith("r-")] == active
    assert found.values["r-a"] != found.values["r-b"]
    assert asyncio.run(asked()) == found.values
    assert list(spread.fan_out(database, organizations=["r-c", "r-a"]).errors) == ["r-c"]


def test_a_query_is_audited_where_it_is_made(
    spread: Tenancy, cells: Cells, active: list[str]
) -> None:
    query = Query("SELECT 1 AS one", limit=1, timeout=5)
    for chosen in (None, active):
        ids = audit_query(spread.schemas.locations, query, chosen)
        assert [one for one in ids if one.startswith("r-")] == active
        values = spread.fan_out(query, organizations=ids).values
        assert values["r-a"] == QueryRows(("one",), ((1,),), is_cut=False)
    queried = "SELECT organization_id FROM orgtenancy.audit WHERE action = 'queried'"
    assert [row[0] for row in cells["eu"].ask(queried) if row[0] in active] == ["r-a"] * 2
    assert [row[0] for row in cells.control.ask(queried) if row[0] in active] == ["r-b"] * 2
