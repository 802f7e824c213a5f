"""The revisions of the registered modules, and the paths through them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from threading import RLock
from typing import Any, Literal, TypeAlias

from alembic.runtime.migration import RevisionStep
from alembic.script import Script, ScriptDirectory
from alembic.util import CommandError, to_tuple

from orgtenancy.errors import ConfigurationError, RevisionNotFound
from orgtenancy.modules import OrganizationModule
from orgtenancy.schemas.revisions.paths import RevisionPath, compile_path
from orgtenancy.schemas.revisions.stamping import Heads

#: The target of a migration that is asked for nothing else.
HEADS = "heads"

#: Between the revisions of a module that has several branches, until they are merged.
BRANCHES = ","

_Way: TypeAlias = Literal["fresh", "up", "down"]
#: As Alembic writes it, or stamps.
_Target: TypeAlias = str | tuple[str, ...]


class Revisions:
    """All revisions of some modules. One object serves all threads.

    Args:
        modules: The registered modules.

    Raises:
        ConfigurationError: If two modules share a name or define the same table, one
            requires a module that is not registered, or the revisions are no tree
            with one head per module.
    """

    def __init__(self, modules: Sequence[OrganizationModule]) -> None:
        _check(modules)
        self.modules = tuple(modules)
        self.settings = [module.settings for module in self.modules]
        self._paths: dict[tuple[Heads, _Target, _Way], RevisionPath] = {}
        self._lock = RLock()

    @cached_property
    def directory(self) -> ScriptDirectory:
        """Alembic's view of the revision folders."""
        return script_directory(module.migrations for module in self.modules)

    @cached_property
    def heads(self) -> Mapping[str, str]:
        """The newest revision of each module, by the module's name."""
        heads = {}
        for module in self.modules:
            found = self.heads_of(module.name)
            if len(found) != 1:
                named = f" ({', '.join(found)}: merge them)" if found else ""
                raise ConfigurationError(
                    f"module {module.name!r} needs exactly one head revision on the branch "
                    f"label {module.name!r}, found {len(found)}{named}"
                )
            heads[module.name] = found[0]
        return heads

    def heads_of(self, module: str) -> list[str]:
        """Return the newest revisions of a module: one, unless there are branches to merge."""
        # Not `name@head`: Alembic counts the heads that depend on the module's as well,
        # and takes an unknown label for the beginning of a revision's id.
        return sorted(
            script.revision
            for script in self._scripts
            if script.is_head and self._owners[script.revision] == module
        )

    def ancestors(self, revision: str) -> set[str]:
        """Return what a revision implies: what it builds on, and what it depends on.

        Raises:
            RevisionNotFound: If no file has it.
        """
        return self._ancestors(revision)

    def history(self, module: str) -> list[Script]:
        """Return the revisions of a module, newest first.

        Raises:
            ConfigurationError: If no module has this name.
        """
        if module not in {known.name for known in self.modules}:
            raise ConfigurationError(f"no module {module!r} is registered")
        return [script for script in self._scripts if self._owners[script.revision] == module]

    def fresh_path(self, to: Heads | None = None, *, before: Heads = frozenset()) -> RevisionPath:
        """Return the path that fills a schema which nobody uses yet: one transaction.

        Args:
            to: The stamps where it ends, if not at the newest revisions.
            before: The stamps where it begins, if the schema is not empty.

        Raises:
            ConfigurationError: If a revision cannot be run.
            RevisionNotFound: If no file has a stamp.
        """
        if to is None:
            return self._compiled(before, HEADS, "fresh")
        self._find(sorted(to))
        return self._compiled(before, tuple(sorted(to)), "fresh")

    def path(self, before: Heads, target: str = HEADS, *, down: bool = False) -> RevisionPath:
        """Return the path from some stamps to a target; empty if a schema is there or past it.

        Args:
            before: The stamps of a schema.
            target: As Alembic writes it: `heads`, a revision's id, `module@head`, `+1`;
                downwards a revision's id, `module@base`, `module@-1`.
            down: Whether to go down.

        Raises:
            ConfigurationError: If a revision cannot be run, or the target is ambiguous.
            RevisionNotFound: If no file has a stamp or the target.
        """
        return self._compiled(before, target, "down" if down else "up")

    def check_target(self, target: str) -> None:
        """Make sure that a target means something, whatever a schema is at.

        Raises:
            RevisionNotFound: If no file has it.
        """
        name, _, symbol = target.rpartition("@")
        if name and name not in {module.name for module in self.modules}:
            raise RevisionNotFound(f"no module {name!r} is registered, as {target!r} says")
        if not is_relative(target) and symbol not in ("heads", "head", "base"):
            self._find([symbol])

    def stamps_of(self, revisions: Mapping[str, str]) -> Heads:
        """Return the stamps that belong to what the registry mirrors.

        Raises:
            RevisionNotFound: If no file has one of the revisions.
        """
        known = {one for mirrored in revisions.values() for one in mirrored.split(BRANCHES)}
        # Alembic keeps no stamp that another one implies, as its ancestor or dependency.
        return frozenset(known - set().union(*(self._ancestors(one) for one in known)))

    def revisions_at(self, stamps: Heads) -> Mapping[str, str]:
        """Return the revision of each module, as the registry mirrors it, for some stamps.

        Raises:
            RevisionNotFound: If no file has one of the stamps.
        """
        applied = set(stamps).union(*(self._ancestors(stamp) for stamp in stamps))
        mirrored = {}
        for module in self.modules:
            own = {one for one in applied if self._owners[one] == module.name}
            newest = own - set().union(*(self._ancestors(one) for one in own))
            if newest:
                mirrored[module.name] = BRANCHES.join(sorted(newest))
        return mirrored

    @cached_property
    def _scripts(self) -> list[Script]:
        if not self.modules:
            return []  # Alembic would look into the current directory
        try:
            return list(self.directory.walk_revisions())
        except Exception as error:  # revisions are code of the modules, and may raise anything
            names = ", ".join(module.name for module in self.modules)
            raise ConfigurationError(
                f"the revisions of {names} cannot be loaded: {error}"
            ) from error

    @cached_property
    def _owners(self) -> Mapping[str, str | None]:
        """The module of each revision: whose folder it is in, and whose label it has."""
        folders = {module.migrations.resolve(): module.name for module in self.modules}
        owners: dict[str, str | None] = {}
        for script in self._scripts:
            name = folders.get(Path(script.path).resolve().parent)
            owners[script.revision] = name if name in script.branch_labels else None
        return owners

    def _ancestors(self, revision: str) -> set[str]:
        with self._lock:
            known = self._ancestors_of.get(revision)
            if known is None:
                revision_map = self.directory.revision_map
                found = revision_map._get_ancestor_nodes(self._find([revision]), check=False)
                known = {one.revision for one in found} - {revision}
                self._ancestors_of[revision] = known
            return known

    @cached_property
    def _ancestors_of(self) -> dict[str, set[str]]:
        return {}

    def _find(self, revisions: Iterable[str]) -> list[Script]:
        known = {script.revision: script for script in self._scripts}
        if missing := sorted(set(revisions).difference(known)):
            raise RevisionNotFound(
                f"no module has the revision {', '.join(missing)}: it was made by a newer "
                "release, or its file was removed"
            )
        return [known[revision] for revision in revisions]

    def _compiled(self, before: Heads, target: _Target, way: _Way) -> RevisionPath:
        with self._lock:
            key = before, target, way
            if key not in self._paths:
                self._find(sorted(before))
                self._paths[key] = compile_path(
                    self._steps(before, target, down=way == "down"),
                    before,
                    self.settings,
                    self.revisions_at,
                    fresh=way == "fresh",
                )
            return self._paths[key]

    def _steps(self, before: Heads, target: _Target, *, down: bool) -> list[RevisionStep]:
        if not self.modules:
            return []
        _ = self.heads  # a tree that is none is told in our words
        # Alembic's annotations have only one.
        stamps: Any = tuple(sorted(before))
        given: Any = target
        try:
            if not down:
                return self.directory._upgrade_revs(given, stamps)
            if self._is_at_or_below(before, given):
                return []
            return self.directory._downgrade_revs(given, stamps)
        except CommandError as error:
            raise ConfigurationError(f"no way to {target!r}: {error}") from error

    def _is_at_or_below(self, before: Heads, target: str) -> bool:
        """Return whether a schema with some stamps has nothing above a target."""
        if target not in {script.revision for script in self._scripts}:
            return not before  # relative, or the base
        applied = set(before).union(*(self._ancestors(stamp) for stamp in before))
        # What depends on the target stays, as it does with Alembic; what builds on it goes.
        return target not in applied or not any(
            target in to_tuple(script.down_revision, default=()) for script in self._find(applied)
        )


def is_relative(target: str) -> bool:
    """Return whether a target is so many revisions from where a schema is, as `+1` is."""
    return re.search(r"(\A|@)[+-]\d+\Z", target) is not None


def script_directory(folders: Iterable[Path]) -> ScriptDirectory:
    """Return Alembic's view of some folders of revision files."""
    locations = [str(folder) for folder in folders]
    return ScriptDirectory(locations[0] if locations else ".", version_locations=locations)


def _check(modules: Sequence[OrganizationModule]) -> None:
    names = [module.name for module in modules]
    if len(set(names)) < len(names):
        raise ConfigurationError(f"two modules share a name: {', '.join(sorted(names))}")
    owners: dict[str, str] = {}
    for module in modules:
        if missing := set(module.requires).difference(names):
            raise ConfigurationError(
                f"module {module.name!r} requires {', '.join(sorted(missing))}, "
                "which is not registered"
            )
        for table in module.metadata.tables.values():
            owner = owners.setdefault(table.name, module.name)
            if owner != module.name:
                raise ConfigurationError(
                    f"modules {owner!r} and {module.name!r} both define a table {table.name!r}"
                )
