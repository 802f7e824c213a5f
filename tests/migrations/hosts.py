"""What a host does in its project, in this process: it edits files and runs commands."""

from __future__ import annotations

import importlib
import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent

import pytest
from alembic.config import CommandLine, Config
from alembic.util import CommandError
from typer.testing import CliRunner, Result

from orgtenancy import Tenancy
from orgtenancy.cli.app import app
from tests.schemas.databases import FreshDatabase

APP = """\
import os

from orgtenancy import Tenancy
{imports}
from billing import billing

tenancy = Tenancy(
    os.environ["HOST_URL"], admin_url=os.environ["HOST_ADMIN_URL"], modules=[{modules}]
)
"""

MODELS = """

from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column
"""


class Host:
    """A host's project.

    Attributes:
        folder: Where it is: the current directory.
        database: Its database.
    """

    def __init__(
        self, folder: Path, database: FreshDatabase, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.folder = folder
        self.database = database
        monkeypatch.chdir(folder)
        monkeypatch.setattr(sys, "path", sys.path[:])
        monkeypatch.setattr(sys, "dont_write_bytecode", True)
        monkeypatch.setenv("ORGTENANCY_APP", "hostapp:tenancy")
        monkeypatch.setenv("ORGTENANCY_LISTEN", "false")
        for name, url in (("HOST_URL", database.url), ("HOST_ADMIN_URL", database.admin_url)):
            monkeypatch.setenv(name, url.render_as_string(hide_password=False))

    def write_app(self, *, community: bool = False) -> None:
        imports = "from orgtenancy.community import community" if community else ""
        modules = "community, billing" if community else "billing"
        Path("hostapp.py").write_text(APP.format(imports=imports, modules=modules))

    def write_models(self, models: str) -> None:
        """Replace the module's models; its `Base` stays."""
        file = Path("billing/models.py")
        base = file.read_text().partition("# Write models here")[0].partition(MODELS)[0]
        file.write_text(f"{base.rstrip()}{MODELS}\n{dedent(models)}")

    def replace(self, file: str, old: str, new: str) -> None:
        content = Path(file).read_text()
        assert old in content
        Path(file).write_text(content.replace(old, new, 1))

    def versions(self) -> list[Path]:
        return sorted(Path("billing/migrations/versions").glob("*.py"))

    def alembic(self, *arguments: str) -> str:
        """Run a command of Alembic, and return what it printed."""
        printed = io.StringIO()
        command_line = CommandLine()
        options = command_line.parser.parse_args(["--raiseerr", *arguments])
        config = Config(
            options.config[0] if isinstance(options.config, list) else "alembic.ini",
            ini_section=options.name or "alembic",
            stdout=printed,
            output_buffer=printed,
            cmd_opts=options,
        )
        with self._fresh_imports():
            command_line.run_cmd(config, options)
        return printed.getvalue()

    def refused(self, *arguments: str) -> str:
        """Run a command of Alembic that cannot be done, and return why."""
        with pytest.raises(CommandError) as caught:
            self.alembic(*arguments)
        return str(caught.value)

    def revise(self, message: str) -> str:
        """Let Alembic generate the next revision, and return its text; empty without news."""
        before = set(self.versions())
        self.alembic("revision", "--autogenerate", "-m", message)
        new = set(self.versions()) - before
        return new.pop().read_text() if new else ""

    def orgtenancy(self, *arguments: str) -> Result:
        """Run a command of `orgtenancy`."""
        with self._fresh_imports():
            return CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})

    @contextmanager
    def tenancy(self) -> Iterator[Tenancy]:
        """The tenancy of the app as it is written now."""
        with self._fresh_imports():
            if str(self.folder) not in sys.path:
                sys.path.insert(0, str(self.folder))
            yield importlib.import_module("hostapp").tenancy

    def provision(self, *organization_ids: str) -> None:
        with self.tenancy() as tenancy:
            for organization_id in organization_ids:
                tenancy.schemas.provision(organization_id)

    def revisions(self, organization_id: str = "acme") -> dict[str, str]:
        """What the registry says an organization is at."""
        query = "SELECT revisions FROM orgtenancy.organizations WHERE id = %s"
        return dict(self.database.ask(query, organization_id)[0][0])

    def stamps(self, organization_id: str = "acme") -> set[str]:
        """What the schema itself says."""
        query = f'SELECT version_num FROM "org_{organization_id}".alembic_version'
        return {row[0] for row in self.database.ask(query)}

    def tables(self, organization_id: str = "acme") -> set[str]:
        query = "SELECT tablename FROM pg_tables WHERE schemaname = %s"
        return {row[0] for row in self.database.ask(query, f"org_{organization_id}")}

    @contextmanager
    def _fresh_imports(self) -> Iterator[None]:
        """Import the project anew, as every process does, and close what it opened."""
        self._forget()
        importlib.invalidate_caches()
        try:
            yield
        finally:
            if hostapp := sys.modules.get("hostapp"):
                hostapp.tenancy.close()
            self._forget()

    def _forget(self) -> None:
        for name, module in list(sys.modules.items()):
            if (getattr(module, "__file__", None) or "").startswith(str(self.folder)):
                del sys.modules[name]
