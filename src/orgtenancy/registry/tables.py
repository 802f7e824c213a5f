"""The control tables, in schema `orgtenancy`."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    MetaData,
    Row,
    Table,
    Text,
    func,
    text,
)
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

#: Schemas that were made ahead of time, without an owner yet.
spares = Table(
    "spares",
    metadata,
    # Never renamed, which makes it the key: a claim renames the schema.
    Column("role_name", Text, primary_key=True),
    Column("schema_name", Text, nullable=False, unique=True),
    Column("placement", Text, nullable=False),
    Column("revisions", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    # What it was made with, other than revisions: one made with other settings is not used.
    Column("settings_digest", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    # Null while it has a role and no schema.
    Column("ready_at", DateTime(timezone=True)),
    Index("spares_ready_idx", "placement", "ready_at"),
)

#: Work on the whole fleet.
jobs = Table(
    "jobs",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("kind", Text, nullable=False),
    Column("placement", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("parameters", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    Column("runner", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    Column("cancel_requested", Boolean, nullable=False, server_default=text("false")),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("finished_at", DateTime(timezone=True)),
    CheckConstraint(
        "status IN ('running', 'paused', 'finished', 'failed', 'cancelled')",
        name="jobs_status_check",
    ),
)

#: The journal: one row for each schema that a job is about.
job_items = Table(
    "job_items",
    metadata,
    Column(
        "job_id",
        BigInteger,
        ForeignKey(jobs.c.id, ondelete="CASCADE", name="job_items_job_id_fkey"),
        primary_key=True,
    ),
    Column("role_name", Text, primary_key=True),
    Column("organization_id", Text),
    Column("schema_name", Text, nullable=False),
    # What it was at when the job began: `+1` is counted from there.
    Column("revisions", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    Column("wave", Integer, nullable=False),
    Column("status", Text, nullable=False, server_default=text("'pending'")),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("error", Text),
    Column("finished_at", DateTime(timezone=True)),
)


def organization_from(row: Row[Any]) -> Organization:
    """Return the organization that a row of `organizations` holds."""
    return Organization.model_validate(row._asdict())
