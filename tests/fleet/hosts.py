"""A host whose releases bring revisions, and what must be true of its fleet at any time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from textwrap import dedent, indent
from typing import Any

from sqlalchemy import MetaData

from orgtenancy import OrganizationModule, Tenancy
from orgtenancy.schemas.fleet import Job, JobOptions
from orgtenancy.schemas.revisions import Heads, Revisions
from tests.schemas.databases import FreshDatabase

REVISION = '''\
"""{revision}"""
import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = {revision!r}
down_revision = {down_revision!r}
branch_labels = {labels!r}
depends_on = {depends_on!r}
{variables}

def upgrade():
{up}


def downgrade():
{down}
'''

QUICK = JobOptions(workers=2)
ONE = JobOptions(workers=1)


class ModuleFolder:
    """The revisions of a module, one after the other.

    Attributes:
        name: The module's name.
        head: Its newest revision, or None.
    """

    def __init__(self, folder: Path, name: str) -> None:
        folder.mkdir(parents=True)
        self.name = name
        self.head: str | None = None
        self._folder = folder
        self._number = 0

    def add(
        self, up: str = "pass", down: str = "pass", *, variables: str = "", depends_on: str = ""
    ) -> str:
        """Write the next revision, and return its id."""
        self._number += 1
        revision = f"{self.name}_{self._number:04}"
        text = REVISION.format(
            revision=revision,
            down_revision=self.head,
            labels=None if self.head else (self.name,),
            depends_on=depends_on or None,
            variables=variables,
            up=indent(dedent(up), "    "),
            down=indent(dedent(down), "    "),
        )
        (self._folder / f"{revision}.py").write_text(text)
        self.head = revision
        return revision

    def table(self, name: str) -> str:
        """Add a revision with a table, or without it on the way down."""
        return self.add(
            f"op.create_table({name!r}, sa.Column('id', sa.Integer, primary_key=True))",
            f"op.drop_table({name!r})",
        )

    def column(self, table: str, name: str, **more: str) -> str:
        """Add a revision with a column, or without it on the way down."""
        return self.add(
            f"op.add_column({table!r}, sa.Column({name!r}, sa.Text))",
            f"op.drop_column({table!r}, {name!r})",
            **more,
        )

    def online(self, table: str, name: str) -> str:
        """Add a revision that reads the rows, one for each `id` more."""
        return self.add(
            f"op.add_column({table!r}, sa.Column({name!r}, sa.Integer))\n"
            f"for row in op.get_bind().execute(sa.text('SELECT id FROM {table}')).all():\n"
            f"    op.execute(sa.text('UPDATE {table} SET {name} = id * 2 WHERE id = :id')"
            ".bindparams(id=row.id))",
            f"op.get_bind()\nop.drop_column({table!r}, {name!r})",
        )

    def autocommit(self, table: str, column: str = "id") -> str:
        """Add a revision that makes an index beside the writers."""
        index = f"{table}_{column}_{self._number}"
        return self.add(
            "with op.get_context().autocommit_block():\n"
            f"    op.execute('CREATE INDEX CONCURRENTLY IF NOT EXISTS {index}"
            f" ON {table} ({column})')",
            "with op.get_context().autocommit_block():\n"
            f"    op.execute('DROP INDEX CONCURRENTLY IF EXISTS {index}')",
        )

    def module(self) -> OrganizationModule:
        """Return the module as it is now."""
        return OrganizationModule(name=self.name, metadata=MetaData(), migrations=self._folder)


class Host:
    """Releases of an application on one database.

    Attributes:
        database: Where its organizations are.
    """

    def __init__(self, database: FreshDatabase, folder: Path) -> None:
        self.database = database
        self._folder = folder
        self._modules: dict[str, ModuleFolder] = {}
        self._tenancies: list[Tenancy] = []

    def module(self, name: str = "app") -> ModuleFolder:
        """Return a module's folder; it is made when first asked for."""
        if name not in self._modules:
            self._modules[name] = ModuleFolder(self._folder / name, name)
        return self._modules[name]

    @property
    def modules(self) -> list[OrganizationModule]:
        """The modules as they are now."""
        return [folder.module() for folder in self._modules.values()]

    def release(self, **settings: Any) -> Tenancy:
        """Return a tenancy with the revisions that are there now."""
        tenancy = self.database.tenancy(self.modules, **settings)
        self._tenancies.append(tenancy)
        return tenancy

    def install(self, *organization_ids: str, spares: int = 0, **settings: Any) -> Tenancy:
        """Install a release, with organizations and spares."""
        tenancy = self.release(**settings)
        tenancy.install()
        for organization_id in organization_ids:
            tenancy.schemas.provision(organization_id)
        tenancy.schemas.spares.fill(spares)
        return tenancy

    def close(self) -> None:
        """Close all its tenancies."""
        for tenancy in self._tenancies:
            tenancy.close()

    def stamps(self, schema: str) -> Heads:
        """Return what the schema itself says that it is at."""
        ((found,),) = self.database.ask("SELECT orgtenancy.heads_of(%s)", schema)
        return frozenset(found)

    def columns(self, organization_id: str, table: str) -> list[str]:
        """Return the names of a table's columns, in order."""
        found = self.database.ask(
            "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(%s) "
            "AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
            f'"org_{organization_id}"."{table}"',
        )
        return [name for (name,) in found]

    def indexes(self, organization_id: str, table: str) -> dict[str, bool]:
        """Return the names of a table's indexes, and whether they are valid."""
        found = self.database.ask(
            "SELECT indexrelid::regclass::text, indisvalid FROM pg_index "
            "WHERE indrelid = to_regclass(%s)",
            f'"org_{organization_id}"."{table}"',
        )
        return {name.rpartition(".")[2]: valid for name, valid in found}

    def schemas(self) -> dict[str, tuple[Heads, dict[str, str]]]:
        """Return the stamps of each schema, and what the registry mirrors of them."""
        rows = self.database.ask(
            "SELECT schema_name, orgtenancy.heads_of(schema_name), revisions "
            "FROM (SELECT schema_name, revisions FROM orgtenancy.organizations "
            "UNION ALL SELECT schema_name, revisions FROM orgtenancy.spares) AS every"
        )
        return {schema: (frozenset(stamps), mirror) for schema, stamps, mirror in rows}

    def assert_mirrored(self) -> None:
        """The registry says of each schema what the schema says of itself."""
        revisions = Revisions(self.modules)
        for schema, (stamps, mirror) in self.schemas().items():
            assert dict(revisions.revisions_at(stamps)) == mirror, schema

    def assert_journal_is_true(self, tenancy: Tenancy, job: Job | int) -> None:
        """What the journal calls done is at the heads, and nothing else is.

        Only for a job that brings all schemas to the heads.
        """
        self.assert_mirrored()
        job_id = job if isinstance(job, int) else job.id
        heads = dict(tenancy.schemas.revisions.heads)
        at_head = {schema for schema, (_, mirror) in self.schemas().items() if mirror == heads}
        items = tenancy.schemas.fleet.items(job_id)
        done = {item.schema_name for item in items if item.status == "done"}
        assert done == at_head & {item.schema_name for item in items}

    def assert_all_at_heads(self, tenancy: Tenancy, job: Job | int | None = None) -> None:
        """Everything is done."""
        heads = dict(tenancy.schemas.revisions.heads)
        assert {str(mirror) for _, mirror in self.schemas().values()} == {str(heads)}
        self.assert_mirrored()
        if job is not None:
            self.assert_journal_is_true(tenancy, job)


def ids(number: int) -> Sequence[str]:
    """Return the ids of so many organizations."""
    return [f"o{n:03}" for n in range(number)]
