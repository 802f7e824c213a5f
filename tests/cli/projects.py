"""The project of a host on disk, and its command, in this process and in others."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent, indent
from typing import Any
from uuid import uuid4

from typer.testing import CliRunner, Result

from orgtenancy.cli.app import app
from tests.schemas.databases import FreshDatabase, dsn

PROGRAM = Path(sys.executable).parent / "orgtenancy"

HOST = """\
import os
from pathlib import Path

from sqlalchemy import MetaData, text

from orgtenancy import OrganizationModule, Settings, Tenancy

shop = OrganizationModule(
    name="shop", metadata=MetaData(), migrations=Path(__file__).parent / "revisions"
)
no_tenancy = "a text"


def make():
    return Tenancy(
        os.environ["HOST_URL"],
        admin_url=os.environ["HOST_ADMIN_URL"],
        modules=[shop],
        settings=Settings(listen=False),
    )


def write(session):
    session.execute(text("INSERT INTO items VALUES (1)"))


def read(session):
    session.scalar(text("SELECT 1"))


def fail_at_b(session):
    if session.scalar(text("SELECT current_schema()")) == "org_b":
        raise ValueError("no luck")
"""

REVISION = """\
\"\"\"{message}.\"\"\"

from alembic import op

revision = {revision!r}
down_revision = {before!r}
branch_labels = {label!r}
depends_on = None


def upgrade():
{up}


def downgrade():
{down}
"""


class Project:
    """A host with one module, in a folder of its own.

    Attributes:
        folder: Where it is.
        host: The name of its Python module, which no other project has.
    """

    def __init__(self, folder: Path, database: FreshDatabase) -> None:
        self.folder = folder
        self.host = f"host_{uuid4().hex[:8]}"
        self._database = database
        self._count = 0
        (folder / "revisions").mkdir(parents=True)
        (folder / f"{self.host}.py").write_text(HOST)
        self.configure(app=f"{self.host}:make")
        self.add_revision(
            "op.execute('CREATE TABLE items (id bigint PRIMARY KEY)')",
            "op.execute('DROP TABLE items')",
        )

    @property
    def environment(self) -> dict[str, str]:
        """What a command's environment has of it."""
        return {
            "HOST_URL": self._database.url.render_as_string(hide_password=False),
            "HOST_ADMIN_URL": self._database.admin_url.render_as_string(hide_password=False),
            "ORGTENANCY_LOGTO_ENDPOINT": "https://auth.example.com",
            "COLUMNS": "250",
        }

    @property
    def dsn(self) -> str:
        """The owner, for libpq."""
        return dsn(self._database.admin_url)

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        """Return what the owner sees."""
        return self._database.ask(query)

    def configure(self, **content: object) -> None:
        """Write `[tool.orgtenancy]`."""
        lines = [f"{name} = {json.dumps(value)}" for name, value in content.items()]
        text = "\n".join(["[tool.orgtenancy]", *lines])
        (self.folder / "pyproject.toml").write_text(text + "\n")

    def add_revision(self, up: str, down: str = "pass") -> str:
        """Write the next revision, and return its id."""
        before = f"shop_{self._count:04}" if self._count else None
        self._count += 1
        revision = f"shop_{self._count:04}"
        (self.folder / "revisions" / f"{revision}.py").write_text(
            REVISION.format(
                message=f"Revision {self._count}",
                revision=revision,
                before=before,
                label=None if before else ("shop",),
                up=indent(dedent(up), "    "),
                down=indent(dedent(down), "    "),
            )
        )
        return revision

    def run(self, *arguments: str, given: str | None = None, **environment: str) -> Result:
        """Run a command in this process, with a text as its stdin."""
        return CliRunner().invoke(app, arguments, given, env=self.environment | environment)

    def ok(self, *arguments: str) -> Any:
        """Run a command that must succeed, and return its document."""
        result = self.run(*arguments, "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a command in a process of its own."""
        return subprocess.Popen(
            [PROGRAM, *arguments],
            cwd=self.folder,
            env=os.environ | self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
