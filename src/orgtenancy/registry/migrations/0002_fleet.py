"""Spares, and the journal of jobs over the whole fleet.

Revision ID: registry_0002
Revises: registry_0001
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "registry_0002"
down_revision = "registry_0001"
branch_labels = None
depends_on = None

# These run inside the message that migrates a schema, so that one message can refuse itself.
EXPECT_HEADS = """
CREATE FUNCTION orgtenancy.expect_heads(p_role text, p_schema text, p_heads text[])
RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    known boolean;
    actual text[];
BEGIN
    PERFORM FROM orgtenancy.organizations
        WHERE role_name = p_role AND schema_name = p_schema FOR UPDATE;
    known := FOUND;
    IF NOT known THEN
        PERFORM FROM orgtenancy.spares
            WHERE role_name = p_role AND schema_name = p_schema FOR UPDATE;
        known := FOUND;
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

HEADS_OF = """
CREATE FUNCTION orgtenancy.heads_of(p_schema text) RETURNS text[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    found text[];
BEGIN
    IF to_regclass(format('%I.alembic_version', p_schema)) IS NULL THEN
        RETURN '{}';
    END IF;
    EXECUTE format(
        'SELECT coalesce(array_agg(version_num::text ORDER BY version_num COLLATE "C"), ''{}'') '
        'FROM %I.alembic_version', p_schema
    ) INTO found;
    RETURN found;
END
$$
"""

# What a stage tells at its end, as a function whose plans are kept: parsed and planned anew for
# every schema, the same would cost as much as a small revision.
END_STAGE = """
CREATE FUNCTION orgtenancy.end_stage(
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
        WHERE role_name = p_role AND schema_name = p_schema;
    IF NOT FOUND THEN
        UPDATE orgtenancy.spares SET revisions = p_revisions
            WHERE role_name = p_role AND schema_name = p_schema;
        IF NOT FOUND THEN
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

# One round trip, whatever the network: which schema is renamed is known only here.
CLAIM_SPARE = """
CREATE FUNCTION orgtenancy.claim_spare(
    p_id text, p_name text, p_schema text, p_attributes jsonb,
    p_placement text, p_settings_digest text, p_revisions jsonb
) RETURNS SETOF orgtenancy.organizations
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    spare orgtenancy.spares;
    made orgtenancy.organizations;
BEGIN
    -- Looked at first, so that a call for an organization that exists disturbs no spare.
    PERFORM FROM orgtenancy.organizations WHERE id = p_id;
    IF FOUND THEN
        RETURN;
    END IF;
    SELECT * INTO spare FROM orgtenancy.spares
        WHERE placement = p_placement AND ready_at IS NOT NULL
            AND settings_digest = p_settings_digest AND revisions = p_revisions
        ORDER BY ready_at LIMIT 1 FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    INSERT INTO orgtenancy.organizations
        (id, name, schema_name, role_name, placement, status, revisions, attributes)
        VALUES (p_id, p_name, p_schema, spare.role_name, spare.placement, 'active',
            spare.revisions, p_attributes)
        ON CONFLICT DO NOTHING RETURNING * INTO made;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    DELETE FROM orgtenancy.spares WHERE role_name = spare.role_name;
    EXECUTE format('ALTER SCHEMA %I RENAME TO %I', spare.schema_name, p_schema);
    PERFORM pg_notify('orgtenancy_organizations', p_id);
    RETURN NEXT made;
END
$$
"""

FUNCTIONS = (
    "claim_spare(text, text, text, jsonb, text, text, jsonb)",
    "end_stage(text, text, jsonb, varchar[], varchar[], bigint, integer)",
    "expect_heads(text, text, text[])",
    "heads_of(text)",
)


def upgrade() -> None:
    op.create_table(
        "spares",
        sa.Column("role_name", sa.Text, primary_key=True),
        sa.Column("schema_name", sa.Text, nullable=False),
        sa.Column("placement", sa.Text, nullable=False),
        sa.Column(
            "revisions", postgresql.JSONB, nullable=False, server_default=sa.text("'{}'::jsonb")
        ),
        sa.Column("settings_digest", sa.Text, nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()
        ),
        sa.Column("ready_at", sa.DateTime(timezone=True)),
        sa.UniqueConstraint("schema_name", name="spares_schema_name_key"),
    )
    op.create_index("spares_ready_idx", "spares", ["placement", "ready_at"])
    op.create_table(
        "jobs",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("placement", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column(
            "parameters", postgresql.JSONB, nullable=False, server_default=sa.text("'{}'::jsonb")
        ),
        sa.Column(
            "runner", postgresql.JSONB, nullable=False, server_default=sa.text("'{}'::jsonb")
        ),
        sa.Column("cancel_requested", sa.Boolean, nullable=False, server_default=sa.text("false")),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()
        ),
        sa.Column("finished_at", sa.DateTime(timezone=True)),
        sa.CheckConstraint(
            "status IN ('running', 'paused', 'finished', 'failed', 'cancelled')",
            name="jobs_status_check",
        ),
    )
    op.create_table(
        "job_items",
        sa.Column(
            "job_id",
            sa.BigInteger,
            sa.ForeignKey("jobs.id", ondelete="CASCADE", name="job_items_job_id_fkey"),
            primary_key=True,
        ),
        sa.Column("role_name", sa.Text, primary_key=True),
        sa.Column("organization_id", sa.Text),
        sa.Column("schema_name", sa.Text, nullable=False),
        sa.Column(
            "revisions", postgresql.JSONB, nullable=False, server_default=sa.text("'{}'::jsonb")
        ),
        sa.Column("wave", sa.Integer, nullable=False),
        sa.Column("status", sa.Text, nullable=False, server_default=sa.text("'pending'")),
        sa.Column("attempts", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("error", sa.Text),
        sa.Column("finished_at", sa.DateTime(timezone=True)),
        # Each row is changed once, by a transaction that ought to be short: on its own page,
        # and without a constraint that is planned anew each time.
        postgresql_with={"fillfactor": 50},
    )
    op.execute(HEADS_OF)
    op.execute(EXPECT_HEADS)
    op.execute(END_STAGE)
    op.execute(CLAIM_SPARE)
    for function in FUNCTIONS:
        op.execute(f"REVOKE EXECUTE ON FUNCTION {function} FROM PUBLIC")


def downgrade() -> None:
    for function in FUNCTIONS:
        op.execute(f"DROP FUNCTION {function}")
    op.drop_table("job_items")
    op.drop_table("jobs")
    op.drop_table("spares")
