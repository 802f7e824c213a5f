"""Organizations are adopted on the control server, and may move afterwards."""

from __future__ import annotations

import pytest

from orgtenancy import Tenancy
from orgtenancy.errors import AdoptionFailed
from orgtenancy.operations.adoption import AdoptionMapping
from tests.placements.cells import Cells
from tests.support.notes import NoteRepository

pytestmark = pytest.mark.slow

MAPPING = AdoptionMapping.model_validate(
    {
        "source": "shared",
        "organization_column": "team",
        "organizations": {"prefix": "team-"},
        "tables": {"lines": {"to": "notes"}},
    }
)

SOURCE = """
CREATE SCHEMA shared;
CREATE TABLE shared.lines (id bigint PRIMARY KEY, team text, body text NOT NULL, parent_id bigint);
CREATE INDEX ON shared.lines (team);
INSERT INTO shared.lines SELECT n, n % 2, 'line ' || n, NULL FROM generate_series(1, 10) n
"""


def test_an_adopted_organization_moves_and_the_rest_goes_on(bare_cells: Cells) -> None:
    bare_cells.control.ask(SOURCE)
    with bare_cells.tenancy() as tenancy:
        tenancy.install()
        adoption = tenancy.adoption(MAPPING)
        adoption.run(["team-1"], switch=True)
        assert bare_cells.where("team-1") == ["default"]
        tenancy.organizations.move("team-1", to="eu")
        assert _bodies(tenancy, "team-1") == [f"line {n}" for n in (1, 3, 5, 7, 9)]

        with pytest.raises(AdoptionFailed, match="not here any more") as caught:
            adoption.verify()
        assert list(caught.value.failed) == ["team-1"]
        assert adoption.verify(["team-0"]).pending == ("team-0",)

        again = adoption.run(switch=True)
        assert [(one.id, one.state) for one in again.organizations] == [
            ("team-0", "switched"),
            ("team-1", "switched"),
        ]
        assert (bare_cells.where("team-0"), bare_cells.where("team-1")) == (["default"], ["eu"])
        assert adoption.finish().organizations == 2
        assert _bodies(tenancy, "team-1") == [f"line {n}" for n in (1, 3, 5, 7, 9)]


def _bodies(tenancy: Tenancy, organization_id: str) -> list[str]:
    with tenancy.session(organization_id):
        return [note.body for note in NoteRepository().list().items]
