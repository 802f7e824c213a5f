"""Paths of revisions, compiled once and applied to any number of schemas.

A path is cut into stages, each committed by itself: a revision that takes no transaction
is a stage alone, all others between such two are one. A stage is made of parts: SQL that
was rendered, and revisions that are run on a connection.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from alembic.runtime.migration import RevisionStep

from orgtenancy.errors import ConfigurationError
from orgtenancy.schemas.revisions.rendering import RenderedStep, StepKind, render
from orgtenancy.schemas.revisions.stamping import Heads, stamp_statements
from orgtenancy.settings import ModuleSettings


@dataclass(frozen=True)
class SqlPart:
    """Revisions that became SQL.

    Attributes:
        statements: One by one, without the stamps.
        before: The stamps of a schema before them.
        after: The stamps after them.
    """

    statements: tuple[str, ...]
    before: Heads
    after: Heads

    @cached_property
    def script(self) -> tuple[str, ...]:
        """The statements, and those that move the stamps."""
        stamps = stamp_statements(self.before, self.after)
        return (*self.statements, *(stamp.as_string(None) for stamp in stamps))


@dataclass(frozen=True, slots=True)
class OnlinePart:
    """A revision that is run on a connection.

    Attributes:
        step: The revision, up or down.
        before: The stamps of a schema before it.
    """

    step: RevisionStep
    before: Heads


@dataclass(frozen=True, slots=True, eq=False)
class Stage:
    """Parts that are committed together.

    Attributes:
        parts: In order.
        before: The stamps of a schema before it.
        after: The stamps after it.
        revisions: The revision of each module after it, as the registry mirrors it.
        autocommit: Whether a part of it takes no transaction.
        lock_tables: Tables to lock first, in this order.
    """

    parts: tuple[SqlPart | OnlinePart, ...]
    before: Heads
    after: Heads
    revisions: Mapping[str, str]
    autocommit: bool
    lock_tables: tuple[str, ...]

    @property
    def script(self) -> tuple[str, ...] | None:
        """All its statements, or None if a part of it needs a connection."""
        statements: list[str] = []
        for part in self.parts:
            if isinstance(part, OnlinePart):
                return None
            statements.extend(part.script)
        return tuple(statements)


@dataclass(frozen=True, slots=True)
class PlannedRevision:
    """One revision of a path.

    Attributes:
        revision: Its id.
        message: The first paragraph of its docstring.
        kind: How it reaches a schema.
        direction: `up` or `down`.
    """

    revision: str
    message: str
    kind: StepKind
    direction: str


@dataclass(frozen=True, slots=True)
class RevisionPath:
    """All that leads from some stamps to others.

    Attributes:
        before: The stamps where it starts.
        after: The stamps where it ends.
        stages: In order; none if there is nothing to do.
        revisions: The same, revision by revision.
    """

    before: Heads
    after: Heads
    stages: tuple[Stage, ...]
    revisions: tuple[PlannedRevision, ...]

    def __bool__(self) -> bool:
        return bool(self.stages)

    def rest(self, stamps: Heads) -> RevisionPath | None:
        """Return what is left of it for a schema with some stamps; None if it leads elsewhere."""
        for number, stage in enumerate(self.stages):
            if stage.before == stamps:
                return replace(self, before=stamps, stages=self.stages[number:])
        return replace(self, before=stamps, stages=()) if stamps == self.after else None

    @property
    def script(self) -> tuple[str, ...] | None:
        """All its statements, or None if a part of it needs a connection."""
        statements: list[str] = []
        for stage in self.stages:
            if (script := stage.script) is None:
                return None
            statements.extend(script)
        return tuple(statements)


def compile_path(
    steps: Iterable[RevisionStep],
    before: Heads,
    settings: Sequence[ModuleSettings],
    revisions_at: Callable[[Heads], Mapping[str, str]],
    *,
    fresh: bool = False,
) -> RevisionPath:
    """Render steps, and cut them into stages.

    Args:
        steps: The revisions, in order.
        before: The stamps of a schema before the first.
        settings: What the modules' revisions may read.
        revisions_at: Gives the revision of each module for some stamps.
        fresh: Whether nobody uses the schema yet: all of it is one stage then.

    Raises:
        ConfigurationError: If a revision cannot be run.
    """
    heads = before
    planned: list[PlannedRevision] = []
    stages: list[_Draft] = []
    for step in steps:
        rendered = render(step, heads, settings, fresh=fresh)
        planned.append(_planned(step, rendered.kind))
        alone = rendered.kind is StepKind.AUTOCOMMIT
        if not stages or alone or stages[-1].autocommit:
            stages.append(_Draft(heads, autocommit=alone))
        stages[-1].add(step, rendered, heads)
        heads = rendered.heads
    return RevisionPath(
        before, heads, tuple(draft.finish(revisions_at) for draft in stages), tuple(planned)
    )


class _Draft:
    def __init__(self, before: Heads, *, autocommit: bool) -> None:
        self.autocommit = autocommit
        self._before = self._after = before
        self._parts: list[SqlPart | OnlinePart] = []
        self._lock_tables: list[str] = []

    def add(self, step: RevisionStep, rendered: RenderedStep, heads: Heads) -> None:
        last = self._parts[-1] if self._parts else None
        if rendered.kind is not StepKind.SQL:
            self._parts.append(OnlinePart(step, heads))
        elif isinstance(last, SqlPart):
            statements = last.statements + rendered.statements
            self._parts[-1] = SqlPart(statements, last.before, rendered.heads)
        else:
            self._parts.append(SqlPart(rendered.statements, heads, rendered.heads))
        self._after = rendered.heads
        # A table that an earlier revision of the stage makes is nobody else's yet.
        self._lock_tables.extend(t for t in _lock_tables(step) if t not in self._lock_tables)

    def finish(self, revisions_at: Callable[[Heads], Mapping[str, str]]) -> Stage:
        return Stage(
            parts=tuple(self._parts),
            before=self._before,
            after=self._after,
            revisions=revisions_at(self._after),
            autocommit=self.autocommit,
            lock_tables=() if self.autocommit else tuple(self._lock_tables),
        )


def _planned(step: RevisionStep, kind: StepKind) -> PlannedRevision:
    return PlannedRevision(
        revision=step.revision.revision,
        message=step.revision.doc,
        kind=kind,
        direction="up" if step.is_upgrade else "down",
    )


def _lock_tables(step: RevisionStep) -> Collection[str]:
    """Return what a revision names in `lock_tables`, strongest need first.

    Raises:
        ConfigurationError: If it is no sequence of names.
    """
    given = getattr(step.revision.module, "lock_tables", ())
    if isinstance(given, str) or not all(isinstance(name, str) for name in given):
        raise ConfigurationError(
            f"revision {step.revision.revision!r}: lock_tables is a sequence of table names"
        )
    return tuple(given)
