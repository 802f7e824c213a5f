"""The stamps of a schema, as a revision changes them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from alembic.runtime.migration import HeadMaintainer, RevisionStep, StampStep


class StampMaintainer(HeadMaintainer):
    """Keeps those stamps that no other one implies, as its ancestor or dependency.

    So does Alembic's own, but where modules depend on each other crosswise: it then looks for
    a stamp that is implied already, and fails.
    """

    def update_to_step(self, step: RevisionStep | StampStep) -> None:
        """Change the stamps as a revision does that was run."""
        after = stamps_after(self.heads, step)
        gone, new = sorted(self.heads - after), sorted(after - self.heads)
        common = min(len(gone), len(new))
        for stamp in gone[common:]:
            self._delete_version(stamp)
        for before, stamp in zip(gone, new, strict=False):
            self._update_version(before, stamp)
        for stamp in new[common:]:
            self._insert_version(stamp)


def stamps_after(stamps: Iterable[str], step: Any) -> set[str]:
    """Return the stamps of a schema after a revision was run, up or down.

    Args:
        stamps: Those before it.
        step: The revision. Downwards it is one of the stamps.
    """
    revision, known = step.revision, step.revision_map

    def implied(by: Iterable[str]) -> set[str]:
        found = known.get_revisions(tuple(by))
        ancestors = known._get_ancestor_nodes(found, check=False)
        return {one.revision for one in ancestors} - {one.revision for one in found}

    if step.is_upgrade:
        return {*set(stamps) - implied([revision.revision]), revision.revision}
    remaining = set(stamps) - {revision.revision}
    below = set(revision._all_down_revisions)
    kept = remaining | below
    return kept - set().union(*(implied([one]) for one in kept))
