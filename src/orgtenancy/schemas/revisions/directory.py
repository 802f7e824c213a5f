"""The Alembic revisions of the registered modules, and how they are run.

A path of revisions is rendered to SQL once and replayed for every schema, because most
of what Alembic does for a schema is the same for all of them. A path that needs a
connection, to read rows or to ask the catalog, is run online instead.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from threading import RLock
from typing import Any, NoReturn

from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.dialects import postgresql

from orgtenancy.errors import ConfigurationError
from orgtenancy.modules import SETTINGS_OPTION, OrganizationModule
from orgtenancy.settings import ModuleSettings

VERSION_TABLE = "alembic_version"

# Revisions call `alembic.op`, a proxy in a module global: one thread at a time.
_alembic_lock = RLock()


class Revisions:
    """All revisions of some modules.

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
        self._settings = [module.settings for module in self.modules]
        self._rendered = False
        self._script: str | None = None

    @cached_property
    def directory(self) -> ScriptDirectory:
        """Alembic's view of the revision folders."""
        return script_directory(module.migrations for module in self.modules)

    @cached_property
    def heads(self) -> Mapping[str, str]:
        """The newest revision of each module, by the module's name."""
        try:
            revisions = list(self.directory.walk_revisions())
        except Exception as error:  # revisions are code of the modules, and may raise anything
            names = ", ".join(module.name for module in self.modules)
            raise ConfigurationError(
                f"the revisions of {names} cannot be loaded: {error}"
            ) from error
        heads = {}
        for module in self.modules:
            # Not `name@head`: Alembic counts the heads that depend on the module's as well,
            # and takes an unknown label for the beginning of a revision's id.
            folder = module.migrations.resolve()
            found = [
                revision.revision
                for revision in revisions
                if revision.is_head
                and module.name in revision.branch_labels
                and Path(revision.path).resolve().parent == folder
            ]
            if len(found) != 1:
                raise ConfigurationError(
                    f"module {module.name!r} needs exactly one head revision on the branch "
                    f"label {module.name!r}, found {len(found)}"
                )
            heads[module.name] = found[0]
        return heads

    def install(self, connection: Connection) -> None:
        """Run every revision, from nothing to the heads, in the connection's `search_path`.

        Args:
            connection: A connection of the schemas' owner, in a transaction.
        """
        if not self.modules:
            return
        script = self._install_script()
        if script is None:
            upgrade(connection, self.directory, self._settings)
        else:
            connection.execution_options(no_parameters=True).exec_driver_sql(script)

    def _install_script(self) -> str | None:
        """Return the path from nothing to the heads as SQL, or None if it needs a connection."""
        with _alembic_lock:
            if not self._rendered:
                self._script = _render(self.directory, self._settings)
                self._rendered = True
            return self._script


def script_directory(folders: Iterable[Path]) -> ScriptDirectory:
    """Return Alembic's view of some folders of revision files."""
    locations = [str(folder) for folder in folders]
    return ScriptDirectory(locations[0] if locations else ".", version_locations=locations)


def upgrade(
    connection: Connection, directory: ScriptDirectory, settings: Sequence[ModuleSettings] = ()
) -> None:
    """Run the revisions that are missing, online, in the connection's `search_path`.

    Args:
        connection: A connection in a transaction, which is left open.
        directory: The revisions.
        settings: What the modules' revisions may read.
    """
    context = MigrationContext.configure(
        connection,
        opts={
            "fn": _to_heads(directory),
            "script": directory,
            "version_table": VERSION_TABLE,
            SETTINGS_OPTION: settings,
        },
    )
    context.autocommit_block = _refuse_autocommit  # type: ignore[method-assign]
    with _alembic(Operations(context)):
        context.run_migrations()


def _refuse_autocommit() -> NoReturn:
    raise ConfigurationError(
        "a revision uses autocommit_block(): it would commit a half-made schema, and leave "
        "the organization's search_path, which ends with the transaction"
    )


class _NeedsConnection(Exception):
    """A revision asked for a connection while it was rendered."""


def _refuse_connection() -> Connection:
    raise _NeedsConnection


def _render(directory: ScriptDirectory, settings: Sequence[ModuleSettings]) -> str | None:
    buffer = io.StringIO()
    context = MigrationContext.configure(
        # Replayed without parameters: the default style would double every percent sign.
        dialect=postgresql.dialect(paramstyle="named"),  # type: ignore[no-untyped-call]
        opts={
            "fn": _to_heads(directory),
            "script": directory,
            "as_sql": True,
            "output_buffer": buffer,
            "literal_binds": True,
            "version_table": VERSION_TABLE,
            SETTINGS_OPTION: settings,
        },
    )
    context.autocommit_block = _refuse_autocommit  # type: ignore[method-assign]
    try:
        operations = Operations(context)
        # Reading rows and looking into the catalog both start with this method. The
        # proxy is found by the exact class, so a subclass would not be used.
        operations.get_bind = _refuse_connection  # type: ignore[method-assign]
        with _alembic(operations):
            context.run_migrations()
    except ConfigurationError:
        raise
    except Exception:  # noqa: BLE001 - see the next lines
        # Whatever a revision misses without a connection: if it is broken rather than in
        # need of one, it says so when it is run online.
        return None
    return buffer.getvalue()


def _to_heads(directory: ScriptDirectory) -> Any:
    return lambda heads, context: directory._upgrade_revs("heads", heads)


@contextmanager
def _alembic(operations: Operations) -> Iterator[None]:
    """Make `alembic.op` stand for these operations.

    As `Operations.context` does, which leaves the proxy behind when a revision fails.
    """
    with _alembic_lock:
        operations._install_proxy()
        try:
            yield
        finally:
            operations._remove_proxy()


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
