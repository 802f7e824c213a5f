"""A host's project: a folder with a module, an `alembic.ini` and a tenancy."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.migrations.hosts import Host
from tests.schemas.conftest import bare_database, make_module
from tests.schemas.databases import FreshDatabase

__all__ = ["bare_database", "make_module"]


@pytest.fixture
def host(bare_database: FreshDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    """An installed host with a new module `billing`, in a folder of its own."""
    host = Host(tmp_path, bare_database, monkeypatch)
    host.orgtenancy("module", "init", "billing")
    host.write_app()
    with host.tenancy() as tenancy:
        tenancy.install()
    return host


@pytest.fixture
def community_host(
    bare_database: FreshDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Host:
    """The same, whose module refers to the community's tables."""
    host = Host(tmp_path, bare_database, monkeypatch)
    host.orgtenancy("module", "init", "billing")
    host.replace("billing/__init__.py", '    name="billing",', COMMUNITY_REQUIRED)
    host.replace("alembic.ini", "/versions\npath", COMMUNITY_FOLDER)
    host.write_app(community=True)
    with host.tenancy() as tenancy:
        tenancy.install()
    return host


COMMUNITY_REQUIRED = '    name="billing",\n    requires=("community",),'
COMMUNITY_FOLDER = "/versions\n    orgtenancy.community:migrations/versions\npath"
