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
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from orgtenancy.naming import CONTROL_PLACEMENT, REGISTRY_SCHEMA
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
    # Where it was learned of: a reconciliation never archives what was made by hand.
    Column("source", Text),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("status_changed_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("status_reason", Text),
    # Who changed the status last: a reconciliation restores only what it archived itself.
    Column("status_source", Text),
    Column("archived_from", Text),
    # Not null exactly while it is archived.
    Column("purge_after", DateTime(timezone=True)),
    # From here there is no way back: data is being dropped.
    Column("purge_started_at", DateTime(timezone=True)),
    # Where it is being moved to: until that has come to an end, nobody else changes it.
    Column("moving_to", Text),
    CheckConstraint(
        "archived_from IN ('active', 'suspended')", name="organizations_archived_from_check"
    ),
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
    # The move that fills it: nobody else claims or drops it.
    Column("move_number", BigInteger),
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

#: Who did what to which organization. Nobody but a purge of the host's own removes a line.
audit = Table(
    "audit",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column(
        "recorded_at",
        DateTime(timezone=True),
        nullable=False,
        server_default=func.clock_timestamp(),
    ),
    Column("action", Text, nullable=False),
    # No reference: it outlives what it is about.
    Column("organization_id", Text),
    Column("actor_id", Text),
    Column("origin", Text, nullable=False),
    Column("result", Text, nullable=False),
    Column("details", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    Column("recorded_by", Text, nullable=False, server_default=text("session_user")),
    CheckConstraint("result IN ('done', 'refused', 'failed')", name="audit_result_check"),
    Index("audit_organization_idx", "organization_id", "id"),
    Index("audit_action_idx", "action", "id"),
)

#: Events of an identity provider: written before they are answered, worked on afterwards.
inbox = Table(
    "inbox",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("source", Text, nullable=False),
    # Of the body: the same event sent twice is one row.
    Column("digest", Text, nullable=False),
    Column("event", Text, nullable=False),
    # What it is about: events of one subject are worked on in their order.
    Column("subject", Text, nullable=False),
    Column("occurred_at", DateTime(timezone=True), nullable=False),
    Column("body", JSONB, nullable=False),
    Column(
        "received_at",
        DateTime(timezone=True),
        nullable=False,
        server_default=func.clock_timestamp(),
    ),
    Column("status", Text, nullable=False, server_default=text("'pending'")),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("available_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("error", Text),
    Column("finished_at", DateTime(timezone=True)),
    UniqueConstraint("source", "digest", name="inbox_digest_key"),
    CheckConstraint(
        "status IN ('pending', 'done', 'superseded', 'ignored', 'failed')",
        name="inbox_status_check",
    ),
    Index(
        "inbox_pending_idx",
        "source",
        "subject",
        "occurred_at",
        "id",
        postgresql_where=text("status = 'pending'"),
    ),
    Index(
        "inbox_due_idx",
        "source",
        "occurred_at",
        "id",
        postgresql_where=text("status = 'pending'"),
    ),
    Index("inbox_subject_idx", "source", "subject", "event"),
)

#: Who was let into an organization, or put out of it, and when: a token may be older.
members = Table(
    "members",
    metadata,
    Column("organization_id", Text, primary_key=True),
    Column("actor_id", Text, primary_key=True),
    Column("status", Text, nullable=False),
    Column("changed_at", DateTime(timezone=True), nullable=False),
    # Kept when it comes back: a token from before must not come back with it.
    Column("removed_at", DateTime(timezone=True)),
    CheckConstraint("status IN ('active', 'removed')", name="members_status_check"),
)

#: Who was suspended or deleted at the identity provider, whatever the organization.
actors = Table(
    "actors",
    metadata,
    Column("id", Text, primary_key=True),
    Column("status", Text, nullable=False),
    Column("changed_at", DateTime(timezone=True), nullable=False),
    CheckConstraint("status IN ('active', 'suspended', 'deleted')", name="actors_status_check"),
)

#: The servers that hold organizations, on the control server; elsewhere only the server itself.
placements = Table(
    "placements",
    metadata,
    Column("name", Text, primary_key=True),
    # Under which name this database is known: under one, for all who use it.
    Column("is_self", Boolean, nullable=False),
    Column("state", Text, nullable=False, server_default=text("'open'")),
    Column("added_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    CheckConstraint("state IN ('open', 'draining')", name="placements_state_check"),
    Index("placements_self_idx", "is_self", unique=True, postgresql_where=text("is_self")),
)

#: On the control server: which placement an organization is on, if it is not on that server.
#: Two triggers see to it that an id is never here and in `organizations` as well.
locations = Table(
    "locations",
    metadata,
    Column("organization_id", Text, primary_key=True),
    Column("placement", Text, nullable=False),
    Column("changed_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    CheckConstraint(f"placement <> '{CONTROL_PLACEMENT}'", name="locations_placement_check"),
)

#: On the control server: the moves that have not come to an end.
moves = Table(
    "moves",
    metadata,
    Column("number", BigInteger, Identity(always=True), primary_key=True),
    Column("organization_id", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("phase", Text, nullable=False),
    # The roles of its two schemas: they tell each of them from any other of the same name.
    Column("source_role", Text, nullable=False),
    Column("target_role", Text, nullable=False),
    # Its row as it was before the fence, and as it will be again.
    Column("organization", JSONB),
    Column("runner", JSONB, nullable=False),
    Column("started_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("changed_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    UniqueConstraint("organization_id", name="moves_organization_id_key"),
    CheckConstraint(
        "phase IN ('copying', 'fencing', 'switched', 'undoing')", name="moves_phase_check"
    ),
)

#: Shared schemas whose organizations are being adopted, or were.
adoptions = Table(
    "adoptions",
    metadata,
    # The shared schema.
    Column("source", Text, primary_key=True),
    # Changed by every switch: who began before it and still writes cannot lock the row.
    Column("switches", BigInteger, nullable=False, server_default=text("0")),
    Column("begun_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    # Where its tables are since the end of the adoption.
    Column("archive", Text),
    Column("archived_at", DateTime(timezone=True)),
)

#: The organizations of them: one is copied, then switched.
adopted = Table(
    "adopted",
    metadata,
    # No reference: a copy takes a while, and would fail at its end when another organization
    # was switched meanwhile.
    Column("source", Text, primary_key=True),
    # How the shared schema knows it, as text.
    Column("key", Text, primary_key=True),
    Column("role_name", Text, nullable=False, unique=True),
    # What it was called then; the role tells what it is called now.
    Column("organization_id", Text, nullable=False),
    # A digest: a copy that was made by another mapping is made anew.
    Column("mapping", Text, nullable=False),
    # Of the source's rows as they are there, and as they are here, when both were last found to
    # be the same: while neither changes, they need not be mapped to be compared.
    Column("source_digests", JSONB, nullable=False),
    Column("digests", JSONB, nullable=False),
    # The oldest transaction that was under way then, and the time.
    Column("horizon", BigInteger, nullable=False),
    Column("seen_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("copied_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    # Not null: its rows live here, and nobody writes them in the source.
    Column("switched_at", DateTime(timezone=True)),
    # Of all columns here, at that moment.
    Column("switched_digests", JSONB),
)


def organization_from(row: Row[Any]) -> Organization:
    """Return the organization that a row of `organizations` holds."""
    return Organization.model_validate(row._asdict())
