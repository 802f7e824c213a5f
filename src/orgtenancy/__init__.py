"""orgtenancy: one PostgreSQL schema per organization, enforced by the database."""

from orgtenancy.context import acting, current_actor, current_organization, current_session
from orgtenancy.database.placements import Placement
from orgtenancy.endpoints import Caller, Endpoint
from orgtenancy.errors import OrgTenancyError
from orgtenancy.modules import OrganizationModule
from orgtenancy.organizations import Actor, Organization, OrganizationStatus
from orgtenancy.pagination import Page, PageRequest
from orgtenancy.propagation import OrganizationExecutor, OrganizationQueue, copy_context
from orgtenancy.repository import (
    AsyncOrganizationAwareRepository,
    OrganizationAwareRepository,
    awaitable,
)
from orgtenancy.schemas import SchemaManager
from orgtenancy.schemas.fleet import JobOptions, Wave
from orgtenancy.schemas.placing import by_attribute, fewest, weighted
from orgtenancy.settings import ModuleSettings, Settings
from orgtenancy.tenancy import Tenancy

__all__ = [
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
