"""Comparing a module's models with what its revisions make.

What is compared with is a schema of its own, made for the purpose with all modules at
their heads, and rolled back: no organization's schema is looked at, so drift in one of them
never gets into a revision, and the result names no schema.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Any

from alembic.operations.ops import (
    CreateForeignKeyOp,
    CreateTableOp,
    MigrateOperation,
    MigrationScript,
    OpContainer,
)
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, ForeignKeyConstraint, text
from sqlalchemy.pool import NullPool

from orgtenancy.errors import ConfigurationError
from orgtenancy.modules import OrganizationModule
from orgtenancy.naming import new_role_name
from orgtenancy.schemas.building import SchemaBuilder
from orgtenancy.schemas.revisions.directory import Revisions
from orgtenancy.schemas.revisions.named_objects import add_named_objects, render_enum

if TYPE_CHECKING:
    from orgtenancy.schemas.manager import SchemaManager


@contextmanager
def reference_schema(
    schemas: SchemaManager, modules: Sequence[OrganizationModule]
) -> Iterator[Connection]:
    """Yield a connection in a fresh schema with some modules at their heads; nothing stays.

    Raises:
        ConfigurationError: If there is no owner to make it, or the revisions are no tree.
    """
    database = schemas.builder.database
    builder = SchemaBuilder(database, Revisions(modules))
    schema, role = f"orgtenancy_reference_{token_hex(8)}", new_role_name(str(database.url.database))
    engine = database.make_admin_engine(poolclass=NullPool)
    with engine.connect() as connection:
        try:
            builder.build(connection, schema, role, builder.create_role(connection, role))
            connection.dialect.default_schema_name = schema
            yield connection
        finally:
            connection.rollback()


def required_modules(revisions: Revisions, module: OrganizationModule) -> list[OrganizationModule]:
    """Return the modules that a module requires, and those that they require."""
    known = {one.name: one for one in revisions.modules}
    found: dict[str, OrganizationModule] = {}
    pending = list(module.requires)
    while pending:
        one = known[pending.pop()]
        if one.name not in found and one.name != module.name:
            found[one.name] = one
            pending.extend(one.requires)
    return list(found.values())


def reference_modules(
    revisions: Revisions, module: OrganizationModule
) -> Sequence[OrganizationModule]:
    """Return what the reference consists of.

    A module without any revision is left out, and so is what may build on it.
    """
    if has_revisions(module):
        return revisions.modules
    return required_modules(revisions, module)


def has_revisions(module: OrganizationModule) -> bool:
    """Return whether a module has any revision yet."""
    return any(not file.name.startswith("__init__") for file in module.migrations.glob("*.py"))


class Comparison:
    """How Alembic compares a module, and what becomes of the revision it writes.

    Args:
        revisions: The registered modules' revisions.
        module: The module.
        script: Alembic's view of its folder.
        options: The host's own options of the environment.
        writes: Whether a revision is written.
        adds_dependencies: Whether it is to depend on the heads of what its tables refer to.
        tell: Takes a line for the user.
    """

    def __init__(
        self,
        revisions: Revisions,
        module: OrganizationModule,
        script: ScriptDirectory,
        options: dict[str, Any],
        *,
        writes: bool,
        adds_dependencies: bool,
        tell: Callable[[str], None],
    ) -> None:
        self._revisions = Revisions(reference_modules(revisions, module))
        self._module = module
        self._script = script
        self._options = options
        self._writes = writes
        self._adds_dependencies = adds_dependencies
        self._tell = tell
        self._others = [one for one in revisions.modules if one.name != module.name]

    def configuration(self, connection: Connection | None) -> dict[str, Any]:
        """Return the options of Alembic's environment.

        Args:
            connection: In the reference schema; None if nothing is compared.
        """
        own = self._own_tables(connection) if connection is not None else ()
        hosts_names = self._options.get("include_name")
        hosts_items = self._options.get("render_item")

        def include_name(name: str | None, kind: str, parents: Any) -> bool:
            if kind == "table" and name not in own:
                return False
            return hosts_names is None or bool(hosts_names(name, kind, parents))

        def render_item(kind: str, item: Any, autogen_context: Any) -> str | bool:
            rendered = hosts_items(kind, item, autogen_context) if hosts_items else False
            return rendered or render_enum(kind, item, autogen_context)

        def process(context: Any, revision: Any, directives: list[MigrationScript]) -> None:
            self._process(connection, context, revision, directives)

        return {
            "compare_type": True,
            "compare_server_default": _compare_server_default,
            **self._options,
            "target_metadata": self._module.metadata,
            "include_name": include_name,
            "render_item": render_item,
            "process_revision_directives": process,
        }

    def _own_tables(self, connection: Connection) -> Collection[str]:
        """Return the tables of the reference that no other module has."""
        query = "SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace"
        others = {table.name for one in self._others for table in one.metadata.tables.values()}
        return set(connection.scalars(text(query))) - others

    def _process(
        self,
        connection: Connection | None,
        context: Any,
        revision: Any,
        directives: list[MigrationScript],
    ) -> None:
        if connection is not None:
            add_named_objects(connection, self._module, directives[0])
            if self._adds_dependencies:
                self._add_dependencies(directives[0])
        if hosts := self._options.get("process_revision_directives"):
            hosts(context, revision, directives)
        if not self._writes or not directives:
            return
        if connection is not None and all(_is_empty(one) for one in directives):
            self._tell(f"module {self._module.name!r} is as its models say: no revision is written")
            directives.clear()
        for one in directives:
            self._place(one)

    def _place(self, script: MigrationScript) -> None:
        """Put a revision on the module's branch, and into its folder."""
        if script.head in (None, "head"):
            if has_revisions(self._module):
                script.head = self._revisions.heads[self._module.name]
            else:
                script.head, script.branch_label = "base", self._module.name
        if script.version_path is None:
            folder = self._module.migrations.resolve()
            locations = map(Path, self._script._version_locations)
            script.version_path = str(next(one for one in locations if one.resolve() == folder))

    def _add_dependencies(self, script: MigrationScript) -> None:
        """Let a revision that refers to another module's table come after that module's head."""
        owners = {table.name: one for one in self._others for table in one.metadata.tables.values()}
        assert script.upgrade_ops is not None  # noqa: S101 - Alembic has made it
        for table in sorted(_referred_tables(script.upgrade_ops)):
            owner = owners.get(table)
            if owner is None:
                continue
            if owner.name not in self._module.requires:
                raise ConfigurationError(
                    f"module {self._module.name!r} refers to the table {table!r} of module "
                    f"{owner.name!r}: make it with requires=({owner.name!r},)"
                )
            head = self._revisions.heads[owner.name]
            if head not in self._known_ancestors():
                script.depends_on = sorted({*(script.depends_on or ()), head})

    def _known_ancestors(self) -> set[str]:
        heads = self._revisions.heads_of(self._module.name)
        return set().union(*(self._revisions.ancestors(head) for head in heads))


def _is_empty(script: MigrationScript) -> bool:
    return script.upgrade_ops is None or script.upgrade_ops.is_empty()


def _referred_tables(operation: MigrateOperation) -> set[str]:
    if isinstance(operation, OpContainer):
        return set().union(*(_referred_tables(one) for one in operation.ops))
    if isinstance(operation, CreateForeignKeyOp):
        return {operation.referent_table}
    if isinstance(operation, CreateTableOp):
        keys = [item for item in operation.columns if isinstance(item, ForeignKeyConstraint)]
        return {element.target_fullname.split(".")[-2] for key in keys for element in key.elements}
    return set()


def _compare_server_default(
    context: Any,
    inspected_column: Any,
    metadata_column: Any,
    inspected: str | None,
    default: Any,
    rendered: str | None,
) -> bool | None:
    """Return False if two defaults read the same, None to leave it to Alembic.

    Older versions of Alembic let the server evaluate both, and `nextval` differs each time.
    """
    if inspected is None or rendered is None:
        return None
    return False if inspected.replace("::regclass", "") == rendered else None
