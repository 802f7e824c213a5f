"""Logto and the registry beside each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orgtenancy import Organization, PageRequest, Tenancy
from orgtenancy.identity.logto_sync import LogtoUser, ManagementApi, Reconciliation
from orgtenancy.identity.logto_sync.reconciliation.planning import Labels
from orgtenancy.identity.logto_sync.reconciliation.work import OnMember
from orgtenancy.organizations import AuditEntry
from orgtenancy.testing import FakeLogto
from tests.schemas.databases import FreshDatabase, all_organizations

TABLES = ("organizations", "audit", "members", "actors", "inbox", "spares", "jobs")


class World:
    """A Logto, a tenancy, and what brings them together.

    Attributes:
        fake: Logto.
        data: What is in it.
        tenancy: The tenancy.
        api: Reads Logto, ten entries a page.
    """

    def __init__(self, fake: FakeLogto, tenancy: Tenancy, api: ManagementApi) -> None:
        self.fake = fake
        self.data = fake.data
        self.tenancy = tenancy
        self.api = api

    def beside(self, tenancy: Tenancy) -> World:
        """Return the same Logto with another tenancy."""
        return World(self.fake, tenancy, self.api)

    def sync(
        self,
        *,
        attributes: Labels | None = None,
        on_member: OnMember | None = None,
        **settings: Any,
    ) -> Reconciliation:
        return Reconciliation(
            self.tenancy,
            self.api,
            self.fake.settings(**settings),
            attributes=attributes,
            on_member=on_member,
        )

    def here(self) -> dict[str, Organization]:
        return {one.id: one for one in all_organizations(self.tenancy)}

    def statuses(self) -> dict[str, str]:
        return {key: str(one.status) for key, one in self.here().items()}

    def names_there(self) -> dict[str, str]:
        return {one["id"]: one["name"] for one in self.data.organizations()}

    def names_here(self) -> dict[str, str]:
        return {key: one.name for key, one in self.here().items() if one.is_active}

    def audited(self, action: str) -> list[AuditEntry]:
        return list(self.tenancy.organizations.audit(PageRequest(limit=100), action=action).items)


def snapshot(database: FreshDatabase) -> dict[str, list[Any]]:
    """Return all of the registry, and which schemas and rights there are."""
    found: dict[str, list[Any]] = {
        table: database.ask(f"SELECT t::text FROM orgtenancy.{table} t ORDER BY 1")
        for table in TABLES
    }
    found["schemas"] = database.ask("SELECT nspname, nspacl::text FROM pg_namespace ORDER BY 1")
    return found


def plan_of(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return labels of an organization, as a host does it."""
    return {"plan": data["customData"].get("plan", "free")}


def remember(into: list[tuple[str, str]]) -> OnMember:
    """Return a function that writes down whom it was called for."""

    def on_member(session: object, organization: Organization, user: LogtoUser) -> None:
        into.append((organization.id, user.id))

    return on_member
