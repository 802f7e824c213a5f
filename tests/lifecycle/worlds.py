"""Organizations in any status, and questions about what PostgreSQL thinks of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from uuid import uuid4

from orgtenancy import Organization, OrganizationStatus, PageRequest, Tenancy
from orgtenancy.operations.lifecycle import Organizations
from orgtenancy.organizations import AuditEntry
from tests.schemas.databases import FreshDatabase
from tests.support.reservations import reserve

S = OrganizationStatus

#: How each operation is called, where nothing but the id matters.
CALLS: Mapping[str, Callable[[Organizations, str], object]] = {
    "suspend": Organizations.suspend,
    "resume": Organizations.resume,
    "fence": Organizations.fence,
    "unfence": Organizations.unfence,
    "archive": Organizations.archive,
    "restore": Organizations.restore,
    "purge": lambda o, i: o.purge(i, confirm=i, now=True),
    "rename": lambda o, i: o.rename(i, f"{i} Ltd"),
    "change_id": lambda o, i: o.change_id(i, f"{i}-new"),
}


def new_id() -> str:
    return f"t{uuid4().hex[:12]}"


def reach(tenancy: Tenancy, status: OrganizationStatus) -> str:
    """Make an organization, bring it to a status, and return its id."""
    organization_id = new_id()
    if status is S.PROVISIONING:
        with tenancy._database.admin_engine.begin() as connection:
            reserve(connection, organization_id)
        return organization_id
    tenancy.schemas.provision(organization_id)
    ways = {
        S.SUSPENDED: ["suspend"],
        S.FENCED: ["fence"],
        S.ARCHIVED: ["archive"],
        S.PURGED: ["archive", "purge"],
    }
    for operation in ways.get(status, []):
        CALLS[operation](tenancy.organizations, organization_id)
    return organization_id


def may_enter(database: FreshDatabase, organization: Organization, grantee: str = "") -> bool:
    """Return whether an organization's role may use its schema; False if one is gone."""
    found = database.ask(
        "SELECT has_schema_privilege(r.oid, n.oid, 'USAGE') FROM pg_roles r, pg_namespace n "
        "WHERE r.rolname = %s AND n.nspname = %s",
        grantee or organization.role_name,
        organization.schema_name,
    )
    return bool(found and found[0][0])


def history(tenancy: Tenancy, organization_id: str, *, done: bool = True) -> list[AuditEntry]:
    """Return what the audit has of an organization, oldest first."""
    page = tenancy.organizations.audit(PageRequest(limit=100), organization_id=organization_id)
    entries = [entry for entry in page.items if not done or entry.result == "done"]
    return entries[::-1]


def assert_consistent(database: FreshDatabase, tenancy: Tenancy, organization_id: str) -> None:
    """Compare the status with the rights in the database, and with the audit."""
    organization = tenancy.organizations.get(organization_id)
    assert may_enter(database, organization) == organization.is_active
    last = "provisioning"
    for entry in history(tenancy, organization_id):
        if entry.action == "provisioned":
            last = "active"
        elif "to" in entry.details and "from" in entry.details and entry.action != "renamed":
            assert entry.details["from"] == last, entry
            last = entry.details["to"]
    assert last == organization.status


def write(tenancy: Tenancy, organization: Organization | str, note: int = 1) -> None:
    """Write one row, as a request does."""
    with tenancy.session(organization) as session:
        session.connection().exec_driver_sql(
            "INSERT INTO notes (id, body) VALUES (%s, '')", (note,)
        )


def count_notes(database: FreshDatabase, organization: Organization) -> int:
    ((count,),) = database.ask(f'SELECT count(*) FROM "{organization.schema_name}".notes')
    return int(count)
