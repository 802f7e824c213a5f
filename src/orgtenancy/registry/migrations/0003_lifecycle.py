"""The life of an organization, the audit, events of the identity provider, and members.

Revision ID: registry_0003
Revises: registry_0002
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "registry_0003"
down_revision = "registry_0002"
branch_labels = None
depends_on = None

EXPECT_HEADS = """
CREATE OR REPLACE FUNCTION orgtenancy.expect_heads(p_role text, p_schema text, p_heads text[])
RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    held record;
    known boolean;
    actual text[];
BEGIN
    SELECT status, purge_started_at INTO held FROM orgtenancy.organizations
        WHERE role_name = p_role AND schema_name = p_schema FOR UPDATE;
    known := FOUND;
    IF NOT known THEN
        PERFORM FROM orgtenancy.spares
            WHERE role_name = p_role AND schema_name = p_schema FOR UPDATE;
        known := FOUND;
    ELSIF held.status = 'fenced' OR held.purge_started_at IS NOT NULL THEN
        RAISE EXCEPTION 'schema % is fenced or being purged', p_schema USING ERRCODE = 'OT004';
    END IF;
    IF NOT known THEN
        RAISE EXCEPTION 'the registry has no schema % with the role %', p_schema, p_role
            USING ERRCODE = 'OT001';
    END IF;
    actual := orgtenancy.heads_of(p_schema);
    IF actual IS DISTINCT FROM p_heads THEN
        RAISE EXCEPTION 'schema % is at %, not at %', p_schema, actual, p_heads
            USING ERRCODE = 'OT002';
    END IF;
END
$$
"""

# A stage that began before a fence does not commit after it, whatever it has locked.
END_STAGE = """
CREATE OR REPLACE FUNCTION orgtenancy.end_stage(
    p_role text, p_schema text, p_revisions jsonb, p_expected varchar[], p_actual varchar[],
    p_job bigint, p_attempts integer
) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF current_setting('orgtenancy.stage', true) IS DISTINCT FROM p_role THEN
        RAISE EXCEPTION 'a revision ended the transaction by itself' USING ERRCODE = 'OT003';
    END IF;
    IF NOT (p_actual @> p_expected AND p_actual <@ p_expected) THEN
        RAISE EXCEPTION 'schema % is at %, not at %', p_schema, p_actual, p_expected
            USING ERRCODE = 'OT002';
    END IF;
    UPDATE orgtenancy.organizations SET revisions = p_revisions, updated_at = now()
        WHERE role_name = p_role AND schema_name = p_schema
            AND status <> 'fenced' AND purge_started_at IS NULL;
    IF NOT FOUND THEN
        UPDATE orgtenancy.spares SET revisions = p_revisions
            WHERE role_name = p_role AND schema_name = p_schema;
        IF NOT FOUND THEN
            PERFORM FROM orgtenancy.organizations
                WHERE role_name = p_role AND schema_name = p_schema;
            IF FOUND THEN
                RAISE EXCEPTION 'schema % is fenced or being purged', p_schema
                    USING ERRCODE = 'OT004';
            END IF;
            RAISE EXCEPTION 'the registry has no schema % with the role %', p_schema, p_role
                USING ERRCODE = 'OT001';
        END IF;
    END IF;
    IF p_job IS NOT NULL THEN
        UPDATE orgtenancy.job_items
            SET status = 'done', attempts = p_attempts, error = NULL,
                finished_at = clock_timestamp()
            WHERE job_id = p_job AND role_name = p_role;
    END IF;
END
$$
"""

CLAIM_SPARES = """
CREATE FUNCTION orgtenancy.claim_spares(
    p_ids text[], p_names text[], p_schemas text[], p_attributes jsonb[], p_roles text[],
    p_sources text[], p_actors text[], p_origins text[],
    p_placement text, p_settings_digest text, p_revisions jsonb
) RETURNS SETOF orgtenancy.organizations
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    spare_role text;
    spare_schema text;
    made orgtenancy.organizations;
    renames text := '';
BEGIN
    FOR n IN 1 .. cardinality(p_ids) LOOP
        -- A call for an organization that exists disturbs no spare.
        SELECT role_name, schema_name INTO spare_role, spare_schema FROM orgtenancy.spares
            WHERE placement = p_placement AND ready_at IS NOT NULL
                AND settings_digest = p_settings_digest AND revisions = p_revisions
                AND NOT EXISTS (SELECT FROM orgtenancy.organizations WHERE id = p_ids[n])
            ORDER BY ready_at LIMIT 1 FOR UPDATE SKIP LOCKED;
        -- Any unique key makes it one that exists: with the primary key alone as the arbiter,
        -- a concurrent insert is reported as a violation of the schema's name, now and then.
        INSERT INTO orgtenancy.organizations
            (id, name, schema_name, role_name, placement, status, revisions, attributes, source)
            VALUES (p_ids[n], p_names[n], p_schemas[n], coalesce(spare_role, p_roles[n]),
                p_placement, CASE WHEN spare_role IS NULL THEN 'provisioning' ELSE 'active' END,
                CASE WHEN spare_role IS NULL THEN '{}' ELSE p_revisions END, p_attributes[n],
                p_sources[n])
            ON CONFLICT DO NOTHING RETURNING * INTO made;
        CONTINUE WHEN NOT FOUND;
        RETURN NEXT made;
        CONTINUE WHEN spare_role IS NULL;
        DELETE FROM orgtenancy.spares WHERE role_name = spare_role;
        INSERT INTO orgtenancy.audit (action, organization_id, actor_id, origin, result)
            VALUES ('provisioned', p_ids[n], p_actors[n], p_origins[n], 'done');
        PERFORM pg_notify('orgtenancy_organizations', p_ids[n]);
        renames := renames
            || format('ALTER SCHEMA %I RENAME TO %I;', spare_schema, p_schemas[n]);
    END LOOP;
    IF renames = '' THEN
        -- The transaction that fills what was reserved waits for the disk.
        PERFORM set_config('synchronous_commit', 'off', true);
    END IF;
    EXECUTE renames;
END
$$
"""

ACTIVATE = """
CREATE FUNCTION orgtenancy.activate(p_role text, p_revisions jsonb, p_actor text, p_origin text)
RETURNS timestamptz LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    found_id text;
BEGIN
    UPDATE orgtenancy.organizations
        SET status = 'active', revisions = p_revisions, updated_at = now(),
            status_changed_at = now()
        WHERE role_name = p_role AND status = 'provisioning' RETURNING id INTO found_id;
    IF found_id IS NULL THEN
        RAISE EXCEPTION 'nothing with the role % is being provisioned', p_role
            USING ERRCODE = 'OT001';
    END IF;
    INSERT INTO orgtenancy.audit (action, organization_id, actor_id, origin, result)
        VALUES ('provisioned', found_id, p_actor, p_origin, 'done');
    PERFORM pg_notify('orgtenancy_organizations', found_id);
    RETURN now();
END
$$
"""

_NEW = (
    "claim_spares(text[], text[], text[], jsonb[], text[], text[], text[], text[], text, text, "
    "jsonb)",
    "activate(text, jsonb, text, text)",
)

_OLD = (
    "claim_spares(text[], text[], text[], jsonb[], text[], text, text, jsonb)",
    "activate(text, jsonb)",
)


def _time(name: str, *, nullable: bool = False, default: str | None = None) -> sa.Column[Any]:
    server_default = None if default is None else sa.text(default)
    return sa.Column(
        name, sa.DateTime(timezone=True), nullable=nullable, server_default=server_default
    )


def _json(name: str) -> sa.Column[Any]:
    return sa.Column(name, postgresql.JSONB, nullable=False, server_default=sa.text("'{}'::jsonb"))


def upgrade() -> None:
    op.add_column("organizations", sa.Column("source", sa.Text))
    op.add_column("organizations", _time("status_changed_at", default="now()"))
    op.add_column("organizations", sa.Column("status_reason", sa.Text))
    op.add_column("organizations", sa.Column("status_source", sa.Text))
    op.add_column("organizations", sa.Column("archived_from", sa.Text))
    op.add_column("organizations", _time("purge_after", nullable=True))
    op.add_column("organizations", _time("purge_started_at", nullable=True))
    op.create_check_constraint(
        "organizations_archived_from_check",
        "organizations",
        "archived_from IN ('active', 'suspended')",
    )
    op.execute("UPDATE organizations SET status_changed_at = updated_at")
    # Only a drop that was broken off archived an organization until now: parts of it are gone.
    op.execute(
        "UPDATE organizations SET archived_from = 'active', purge_after = now(), "
        "purge_started_at = updated_at WHERE status = 'archived'"
    )
    op.create_table(
        "audit",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        _time("recorded_at", default="clock_timestamp()"),
        sa.Column("action", sa.Text, nullable=False),
        # No reference: it outlives what it is about.
        sa.Column("organization_id", sa.Text),
        sa.Column("actor_id", sa.Text),
        sa.Column("origin", sa.Text, nullable=False),
        sa.Column("result", sa.Text, nullable=False),
        _json("details"),
        sa.Column("recorded_by", sa.Text, nullable=False, server_default=sa.text("session_user")),
        sa.CheckConstraint("result IN ('done', 'refused', 'failed')", name="audit_result_check"),
    )
    op.create_index("audit_organization_idx", "audit", ["organization_id", "id"])
    op.create_index("audit_action_idx", "audit", ["action", "id"])
    op.create_table(
        "inbox",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("event", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        _time("occurred_at"),
        sa.Column("body", postgresql.JSONB, nullable=False),
        _time("received_at", default="clock_timestamp()"),
        sa.Column("status", sa.Text, nullable=False, server_default=sa.text("'pending'")),
        sa.Column("attempts", sa.Integer, nullable=False, server_default=sa.text("0")),
        _time("available_at", default="now()"),
        sa.Column("error", sa.Text),
        _time("finished_at", nullable=True),
        sa.UniqueConstraint("source", "digest", name="inbox_digest_key"),
        sa.CheckConstraint(
            "status IN ('pending', 'done', 'superseded', 'ignored', 'failed')",
            name="inbox_status_check",
        ),
    )
    op.create_index(
        "inbox_pending_idx",
        "inbox",
        ["source", "subject", "occurred_at", "id"],
        postgresql_where=sa.text("status = 'pending'"),
    )
    # By which the next one is found, and the one above whether an earlier one waits.
    op.create_index(
        "inbox_due_idx",
        "inbox",
        ["source", "occurred_at", "id"],
        postgresql_where=sa.text("status = 'pending'"),
    )
    op.create_index("inbox_subject_idx", "inbox", ["source", "subject", "event"])
    op.create_table(
        "members",
        sa.Column("organization_id", sa.Text, primary_key=True),
        sa.Column("actor_id", sa.Text, primary_key=True),
        sa.Column("status", sa.Text, nullable=False),
        _time("changed_at"),
        _time("removed_at", nullable=True),
        sa.CheckConstraint("status IN ('active', 'removed')", name="members_status_check"),
    )
    op.create_table(
        "actors",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("status", sa.Text, nullable=False),
        _time("changed_at"),
        sa.CheckConstraint(
            "status IN ('active', 'suspended', 'deleted')", name="actors_status_check"
        ),
    )
    for function in _OLD:
        op.execute(f"DROP FUNCTION {function}")
    op.execute(EXPECT_HEADS)
    op.execute(END_STAGE)
    op.execute(CLAIM_SPARES)
    op.execute(ACTIVATE)
    for function in _NEW:
        op.execute(f"REVOKE EXECUTE ON FUNCTION {function} FROM PUBLIC")


def downgrade() -> None:
    raise NotImplementedError("the audit would be lost: restore a backup instead")
