"""What a host's `env.py` calls, so that Alembic's own commands work on the whole fleet.

```python
from orgtenancy.schemas.revisions.environment import run_environment

run_environment(tenancy, module="billing")
```

`revision` and `check` compare the models with a schema that is made for the purpose and
rolled back; `upgrade` and `downgrade` are a job over all organizations.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from alembic import context
from alembic.config import Config
from alembic.script import Script, ScriptDirectory
from alembic.util import CommandError, to_tuple
from pydantic import ValidationError

from orgtenancy.errors import ConfigurationError, OrgTenancyError, RevisionNotFound
from orgtenancy.modules import OrganizationModule
from orgtenancy.schemas.fleet import ItemStatus, JobOptions, JobProgress
from orgtenancy.schemas.fleet.signals import stopped_by_signals
from orgtenancy.schemas.fleet.targets import group_by_revisions
from orgtenancy.schemas.revisions.comparing import (
    Comparison,
    reference_modules,
    reference_schema,
    required_modules,
)
from orgtenancy.schemas.revisions.directory import BRANCHES, HEADS, Revisions
from orgtenancy.schemas.revisions.paths import SqlPart

if TYPE_CHECKING:
    from orgtenancy.schemas.manager import SchemaManager

#: In the attributes of Alembic's `Config`: a tenancy that goes before the one of `env.py`.
TENANCY_ATTRIBUTE = "orgtenancy.tenancy"

#: In the same place: False, if a revision has all dependencies that it needs.
DEPENDENCIES_ATTRIBUTE = "orgtenancy.dependencies"

_STAMPING = frozenset({"stamp", "ensure_version"})
_is_relative = re.compile(r"[+-]\d+").fullmatch


class HasSchemas(Protocol):
    """What is needed of a `Tenancy`."""

    @property
    def schemas(self) -> SchemaManager:
        """The schemas of all organizations."""


def run_environment(tenancy: HasSchemas, *, module: str, **options: Any) -> None:
    """Do what the running command of Alembic asks for.

    Args:
        tenancy: The host's tenancy, with an `admin_url`.
        module: The module whose revisions the folder has.
        **options: More for `EnvironmentContext.configure`, such as `render_item` or
            `include_object`.

    Raises:
        alembic.util.CommandError: With the reason, if it cannot be done.
    """
    tenancy = context.config.attributes.get(TENANCY_ATTRIBUTE, tenancy)
    try:
        _Environment(tenancy.schemas, module, options).run()
    except OrgTenancyError as error:
        raise CommandError(str(error)) from error


class _Environment:
    """A command of Alembic, and the module that it is about."""

    def __init__(self, schemas: SchemaManager, module: str, options: dict[str, Any]) -> None:
        self._schemas = schemas
        self._module = _find(schemas.revisions, module)
        self._options = options
        self._config: Config = context.config
        self._context: Any = vars(context)["_proxy"]
        self._given: dict[str, Any] = self._context.context_opts
        self._script: ScriptDirectory = self._context.script

    def run(self) -> None:
        """Do what the command asks for."""
        self._check_locations()
        # Alembic hands over a function that it made within the function of the command.
        function: Callable[..., Any] = self._given["fn"]
        command = function.__qualname__.partition(".")[0]
        if command in ("revision", "check"):
            self._compare(function, writes=command == "revision")
        elif command in ("upgrade", "downgrade"):
            self._migrate(down=command == "downgrade")
        elif command == "current":
            self._show_status(function)
        elif command in ("history", "show", "edit"):
            function(self._current_revisions(), None)
        elif command in _STAMPING:
            raise CommandError(
                f"`alembic {command}` has no meaning for a fleet: each schema has stamps of its "
                "own, which only migrations write"
            )
        elif command != "merge":
            raise CommandError(f"`alembic {command}` is not known to orgtenancy")

    def _compare(self, function: Callable[..., Any], *, writes: bool) -> None:
        arguments = self._given["revision_context"].command_args
        if arguments["sql"]:
            raise CommandError("--sql has no meaning for `revision`: a file is written")
        revisions = self._schemas.revisions
        comparison = Comparison(
            revisions,
            self._module,
            self._script,
            self._options,
            writes=writes,
            adds_dependencies=self._config.attributes.get(DEPENDENCIES_ATTRIBUTE, True),
            tell=self._tell,
        )
        if not arguments["autogenerate"]:
            self._context.configure(dialect_name="postgresql", **comparison.configuration(None))
            function((), context.get_context())
            return
        modules = reference_modules(revisions, self._module)
        with reference_schema(self._schemas, modules) as connection:
            self._context.configure(connection, **comparison.configuration(connection))
            # The reference is at the heads by its making.
            function(HEADS, context.get_context())

    def _migrate(self, *, down: bool) -> None:
        target = self._target(str(self._given["destination_rev"]), down=down)
        if self._given.get("tag"):
            raise CommandError("--tag has no meaning for a fleet")
        if self._given["as_sql"]:
            self._write_sql(target, down=down)
            return
        organizations, options = self._arguments()
        if _is_relative(target.rpartition("@")[2]):
            target = self._absolute(target, organizations, down=down)
        with stopped_by_signals("what has begun") as stop:
            job = self._schemas.fleet.migrate(
                target,
                down=down,
                organizations=organizations,
                options=options,
                on_progress=self._tell_progress,
                cancel=stop.event,
            )
        if job is None:
            self._tell("every schema is there already")
        else:
            self._tell(f"job {job.id}: {job.done} of {job.total} schemas, {job.status}")

    def _arguments(self) -> tuple[list[str] | None, JobOptions]:
        """Return what was given by `-x organization=...` and `-x workers=...`."""
        given = [text.partition("=")[::2] for text in self._context.get_x_argument()]
        organizations = [value for name, value in given if name == "organization"]
        workers = [value for name, value in given if name == "workers"]
        try:
            options = JobOptions.model_validate({"workers": workers[-1]} if workers else {})
        except ValidationError as error:
            raise CommandError(f"-x workers={workers[-1]}: no positive number") from error
        return organizations or None, options

    def _target(self, given: str, *, down: bool) -> str:
        """Return a target of the module's folder as one of all modules together."""
        label, _, symbol = given.rpartition("@")
        module = label or self._module.name
        if symbol == "head" and not down:
            heads = self._schemas.revisions.heads
            if module not in heads:
                raise RevisionNotFound(f"no module {module!r} is registered")
            return heads[module]
        if symbol == "base" or _is_relative(symbol):
            return f"{module}@{symbol}"
        return given if label or symbol == HEADS else self._full_id(given)

    def _absolute(self, target: str, organizations: list[str] | None, *, down: bool) -> str:
        """Return where a relative target leads to: a schema that has arrived stays there.

        Raises:
            ConfigurationError: If the schemas are at different revisions.
        """
        module, revisions = target.partition("@")[0], self._schemas.revisions
        database = self._schemas.builder.database
        with database.admin_engine.begin() as connection:
            groups = group_by_revisions(connection, database.name, organization_ids=organizations)
        found = {group.revisions.get(module) for group in groups}
        if len(found) > 1:
            places = ", ".join(sorted(str(one) for one in found))
            raise ConfigurationError(
                f"{target!r} differs between schemas, which are at {places}: name a revision"
            )
        if not groups or (down and found == {None}):
            return f"{module}@base" if down else HEADS
        path = revisions.path(revisions.stamps_of(groups[0].revisions), target, down=down)
        own = {script.revision: script for script in revisions.history(module)}
        last = next(one.revision for one in reversed(path.revisions) if one.revision in own)
        if not down:
            return last
        below = to_tuple(own[last].down_revision, default=())
        if len(below) > 1:
            raise ConfigurationError(f"{target!r} leads to {' and '.join(below)}: name a revision")
        return below[0] if below else f"{module}@base"

    def _full_id(self, given: str) -> str:
        found: Script | None = self._script.get_revision(given)
        return given if found is None else found.revision

    def _write_sql(self, target: str, *, down: bool) -> None:
        """Write the SQL of the path, which is the same for every schema."""
        start = self._given.get("starting_rev")
        before = frozenset() if start in (None, "base") else frozenset({self._full_id(str(start))})
        path = self._schemas.revisions.path(before, target, down=down)
        output = self._config.output_buffer or sys.stdout
        output.write(
            "-- For each schema: SET LOCAL search_path to it after each BEGIN. The registry\n"
            "-- learns of it at the next migration; only `orgtenancy migrate` tells it at once.\n"
        )
        for stage in path.stages:
            output.write("BEGIN;\n\n")
            for part in stage.parts:
                if not isinstance(part, SqlPart):
                    raise CommandError(
                        f"revision {part.step.revision.revision!r} cannot be written as SQL: it "
                        "needs a connection"
                    )
                for statement in part.script:
                    output.write(f"{statement};\n\n")
            output.write("COMMIT;\n\n")

    def _show_status(self, function: Callable[..., Any]) -> None:
        status = self._schemas.fleet.status()
        for group in status.groups:
            place = ", ".join(f"{name}={group.revisions[name]}" for name in sorted(group.revisions))
            at_head = dict(group.revisions) == dict(status.heads)
            self._tell(
                f"{group.organizations} organizations, {group.spares} spares: "
                f"{place or 'no revision'}{' (head)' if at_head else ''}"
            )
        if not status.groups:
            self._tell("no organizations yet")
        if status.behind and _captured(function, "check_heads"):
            raise CommandError(f"{status.behind} organizations are not at the heads")

    def _current_revisions(self) -> tuple[str, ...]:
        """Return what schemas of the fleet are at, within the module; nothing is asked in vain."""
        function = self._given["fn"]
        wanted = _captured(function, "indicate_current") or "current" in (
            _captured(function, "base"),
            _captured(function, "head"),
        )
        if function.__qualname__.startswith("history") and not wanted:
            return ()
        found = {
            revision
            for group in self._schemas.fleet.status().groups
            for revision in group.revisions.get(self._module.name, "").split(BRANCHES)
        }
        known = {script.revision for script in self._script.walk_revisions()}
        return tuple(sorted(found & known))

    def _check_locations(self) -> None:
        """Make sure that Alembic sees the revisions that the module's own depend on."""
        needed = [self._module, *required_modules(self._schemas.revisions, self._module)]
        known = {location.resolve() for location in map(_as_path, self._script._version_locations)}
        missing = [m for m in needed if m.migrations.resolve() not in known]
        if missing:
            lines = "\n".join(f"    {module.migrations}" for module in missing)
            raise ConfigurationError(
                f"module {self._module.name!r} needs more folders with revisions; add to "
                f"version_locations in {self._config.config_file_name or 'the configuration'}:\n"
                f"{lines}"
            )

    def _tell_progress(self, progress: JobProgress) -> None:
        if progress.label is None or progress.status is ItemStatus.PENDING:
            return
        line = f"{progress.done + progress.failed}/{progress.total} {progress.label}"
        self._tell(f"{line}: {progress.status}" + (f": {progress.error}" if progress.error else ""))

    def _tell(self, line: str) -> None:
        self._config.print_stdout("%s", line)


def _find(revisions: Revisions, name: str) -> OrganizationModule:
    for module in revisions.modules:
        if module.name == name:
            return module
    known = ", ".join(module.name for module in revisions.modules)
    raise ConfigurationError(f"the tenancy has no module {name!r}; it has: {known or 'none'}")


def _captured(function: Callable[..., Any], name: str) -> Any:
    """Return what a command of Alembic was given, out of the function that it hands over."""
    names: Iterable[str] = function.__code__.co_freevars
    cells = dict(zip(names, function.__closure__ or (), strict=True))
    if name in cells:
        return cells[name].cell_contents
    inner = cells.get("_display_history")
    return _captured(inner.cell_contents, name) if inner is not None else None


def _as_path(location: Any) -> Path:
    return Path(location)
