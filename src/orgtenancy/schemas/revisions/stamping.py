"""The stamps of a schema, as a revision changes them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set
from itertools import zip_longest
from typing import Any, TypeAlias

from alembic.runtime.migration import HeadMaintainer, RevisionStep, StampStep
from psycopg import sql

Heads: TypeAlias = frozenset[str]

VERSION_TABLE = "alembic_version"


class StampMaintainer(HeadMaintainer):
    """Keeps those stamps that no other one implies, as its ancestor or dependency.

    So does Alembic's own, but where modules depend on each other crosswise: it then looks for
    a stamp that is implied already, and fails.
    """

    def update_to_step(self, step: RevisionStep | StampStep) -> None:
        """Change the stamps as a revision does that was run."""
        for before, after in _moves(self.heads, stamps_after(self.heads, step)):
            if before is None:
                self._insert_version(str(after))
            elif after is None:
                self._delete_version(before)
            else:
                self._update_version(before, after)


def stamp_statements(before: Heads, after: Heads) -> list[sql.Composable]:
    """Return the statements that change the stamps of a schema, one for each."""
    table = sql.Identifier(VERSION_TABLE)
    statements: list[sql.Composable] = []
    for gone, new in _moves(before, after):
        if gone is None:
            form = "INSERT INTO {table} (version_num) VALUES ({new})"
        elif new is None:
            form = "DELETE FROM {table} WHERE version_num = {gone}"
        else:
            form = "UPDATE {table} SET version_num = {new} WHERE version_num = {gone}"
        statements.append(sql.SQL(form).format(table=table, gone=gone, new=new))
    return statements


def _moves(before: Set[str], after: Set[str]) -> Iterator[tuple[str | None, str | None]]:
    gone, new = sorted(before - after), sorted(after - before)
    return zip_longest(gone, new)


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
