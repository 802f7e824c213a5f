"""The table of the life of an organization, as people read it."""

from __future__ import annotations

from orgtenancy.organizations import LIFECYCLE, OrganizationStatus, Transition

_REFUSED = "-"
_NOTHING_TO_DO = "·"

# Provisioning and purged are where a life begins and ends: no operation leads out of them.
_NOTES = {("restore", OrganizationStatus.ARCHIVED): "as before"}


def transition_table() -> str:
    """Return what each operation does in each status, as a table in Markdown.

    A cell is the status that follows, `✓` where the status stays and something else changes,
    `·` where nothing is left to do, and `-` where the operation is refused.
    """
    heads = ["status", *(f"`{operation}`" for operation in LIFECYCLE)]
    rows = [
        [status.value, *(_cell(operation, status) for operation in LIFECYCLE)]
        for status in OrganizationStatus
    ]
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cell(operation: str, status: OrganizationStatus) -> str:
    transition = LIFECYCLE[operation]
    if status in transition.targets:
        return _NOTHING_TO_DO
    if status not in transition.sources:
        return _REFUSED
    return _NOTES.get((operation, status)) or _target(transition)


def _target(transition: Transition) -> str:
    return " or ".join(sorted(transition.targets)) or "✓"
