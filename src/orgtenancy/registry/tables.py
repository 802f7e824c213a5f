"""The control tables, in schema `orgtenancy`."""

from __future__ import annotations

from typing import Any

from sqlalchemy import CheckConstraint, Column, DateTime, MetaData, Row, Table, Text, func, text
from sqlalchemy.dialects.postgresql import JSONB

from orgtenancy.naming import REGISTRY_SCHEMA
from orgtenancy.organizations import Organization, OrganizationStatus

metadata = MetaData(
    schema=REGISTRY_SCHEMA,
    naming_convention={"pk": "%(table_name)s_pkey", "uq": "%(table_name)s_%(column_0_name)s_key"},
)

organizations = Table(
    "organizations",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("schema_name", Text, nullable=False, unique=True),
    Column("role_name", Text, nullable=False, unique=True),
    Column("placement", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("revisions", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    Column("attributes", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    CheckConstraint(
        text(
            "status IN ({})".format(", ".join(f"'{status.value}'" for status in OrganizationStatus))
        ),
        name="organizations_status_check",
    ),
)


def organization_from(row: Row[Any]) -> Organization:
    """Return the organization that a row of `organizations` holds."""
    return Organization.model_validate(row._asdict())
