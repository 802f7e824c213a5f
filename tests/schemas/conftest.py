"""Databases without anything in them, and modules made on the spot."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent, indent

import pytest
from sqlalchemy import MetaData

from orgtenancy import OrganizationModule, Tenancy, embedded
from tests.schemas.databases import FreshDatabase, fresh_database

REVISION = """\
import sqlalchemy as sa
from alembic import op

revision = {revision!r}
down_revision = {down_revision!r}
branch_labels = {labels!r}
depends_on = {depends_on!r}


def upgrade():
{body}
"""

MakeModule = Callable[..., OrganizationModule]


@pytest.fixture
def bare_database(server: embedded.EmbeddedServer) -> Iterator[FreshDatabase]:
    """A database in which nothing was installed."""
    with fresh_database(server.url, server.admin_url) as database:
        yield database


@pytest.fixture
def installed(bare_database: FreshDatabase) -> Iterator[Tenancy]:
    """A tenancy with the module `notes`, installed in `bare_database`."""
    with bare_database.tenancy() as tenancy:
        tenancy.install()
        yield tenancy


@pytest.fixture
def make_module(tmp_path: Path) -> MakeModule:
    """Makes a module out of the bodies of its revisions' `upgrade`."""

    def make(
        name: str,
        *bodies: str,
        requires: tuple[str, ...] = (),
        depends_on: str | None = None,
        label: str | None = None,
        metadata: MetaData | None = None,
    ) -> OrganizationModule:
        folder = tmp_path / name
        folder.mkdir()
        before: str | None = None
        for number, body in enumerate(bodies, 1):
            revision = f"{name}_{number:04}"
            (folder / f"{revision}.py").write_text(
                REVISION.format(
                    revision=revision,
                    down_revision=before,
                    labels=None if before else (name if label is None else label,),
                    depends_on=None if before else depends_on,
                    body=indent(dedent(body), "    "),
                )
            )
            before = revision
        return OrganizationModule(
            name=name,
            metadata=metadata or MetaData(),
            migrations=folder,
            requires=requires,
        )

    return make
