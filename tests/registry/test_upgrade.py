"""A registry of the release before is brought along by `install`, with what is in it."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from orgtenancy.errors import TransitionRefused
from orgtenancy.schemas import installation
from orgtenancy.schemas.revisions import script_directory
from orgtenancy.schemas.revisions.online import upgrade
from tests.schemas.databases import FreshDatabase

INSERT = (
    "INSERT INTO orgtenancy.organizations (id, name, schema_name, role_name, placement, status, "
    "updated_at) VALUES (%(id)s, 'Acme', %(schema)s, %(role)s, 'default', %(status)s, %(at)s)"
)


def install_before(database: FreshDatabase, folder: Path) -> None:
    """Make the registry as it was before the lifecycle."""
    for file in installation._MIGRATIONS.glob("000[12]_*.py"):
        shutil.copy(file, folder)
    with database.tenancy() as tenancy, tenancy._database.admin_engine.begin() as connection:
        connection.exec_driver_sql("CREATE SCHEMA orgtenancy")
        connection.exec_driver_sql("SET LOCAL search_path TO orgtenancy, pg_temp")
        upgrade(connection, script_directory([folder]))


def test_organizations_that_are_there_get_what_the_lifecycle_needs(
    bare_database: FreshDatabase, tmp_path: Path
) -> None:
    install_before(bare_database, tmp_path)
    assert bare_database.ask("SELECT version_num FROM orgtenancy.alembic_version") == [
        ("registry_0002",)
    ]
    at = datetime(2026, 1, 1, tzinfo=UTC)
    for status in ("active", "suspended", "archived"):
        values = {"id": status, "schema": f"org_{status}", "role": f"r_{status}", "status": status}
        bare_database.ask(INSERT, {**values, "at": at})
    with bare_database.tenancy() as tenancy:
        tenancy.install()
        tenancy.install()
        found = {o.id: o for o in tenancy.organizations.list().items}
        assert {str(o.status) for o in found.values()} == set(found)
        assert {o.status_changed_at for o in found.values()} == {at}
        assert {o.source for o in found.values()} == {None}
        assert [i for i, o in found.items() if o.purge_after] == ["archived"]
        with pytest.raises(TransitionRefused, match="being purged"):
            tenancy.organizations.restore("archived")  # a drop broken off: parts of it are gone
        assert tenancy.organizations.purge_due() == ["archived"]
        assert tenancy.schemas.provision("acme").is_active
