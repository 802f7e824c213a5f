"""The table in the docs is the one that the code uses."""

from __future__ import annotations

from pathlib import Path

from orgtenancy import OrganizationStatus
from orgtenancy.operations.lifecycle import transition_table
from orgtenancy.operations.lifecycle.changing import ACTIONS
from orgtenancy.organizations import LIFECYCLE, TRANSITIONS
from tests.lifecycle.worlds import CALLS

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "lifecycle.md"


def test_the_table_in_the_docs_is_the_one_that_the_code_uses() -> None:
    _, _, rest = PAGE.read_text().partition("<!-- table: begin -->\n")
    assert rest.partition("<!-- table: end -->")[0] == transition_table()


def test_the_table_has_every_status_and_every_operation() -> None:
    heads, _, *rows = transition_table().splitlines()
    assert [cell.strip(" `") for cell in heads.split("|")[2:-1]] == list(LIFECYCLE)
    assert [row.split("|")[1].strip() for row in rows] == [str(s) for s in OrganizationStatus]


def test_every_operation_is_called_and_audited_by_a_name_of_its_own() -> None:
    assert set(CALLS) == set(LIFECYCLE)
    assert set(ACTIONS) == {*LIFECYCLE, "link", "set_attributes"}
    assert len(set(ACTIONS.values())) == len(ACTIONS)


def test_the_transitions_are_what_the_operations_do() -> None:
    leads_to = {
        (source, target)
        for transition in LIFECYCLE.values()
        for source in transition.sources
        for target in transition.targets
    }
    born = {(OrganizationStatus.PROVISIONING, OrganizationStatus.ACTIVE)}
    assert {(s, t) for s, targets in TRANSITIONS.items() for t in targets} == leads_to | born
