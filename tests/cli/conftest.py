"""A host's project with an empty database of its own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orgtenancy import embedded
from tests.cli.projects import Project
from tests.schemas.databases import FreshDatabase, fresh_database


@pytest.fixture
def database(server: embedded.EmbeddedServer) -> Iterator[FreshDatabase]:
    """A database in which nothing was installed."""
    with fresh_database(server.url, server.admin_url) as database:
        yield database


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, as it is for a command that is installed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("APP", "URL", "ADMIN_URL", "MODULES", "TRACEBACK"):
        monkeypatch.delenv(f"ORGTENANCY_{name}", raising=False)
    return tmp_path


@pytest.fixture
def project(folder: Path, database: FreshDatabase) -> Project:
    """A project in the current directory, with nothing in its database."""
    return Project(folder, database)


@pytest.fixture
def installed(project: Project) -> Project:
    """The project with its database prepared."""
    project.ok("init")
    return project
