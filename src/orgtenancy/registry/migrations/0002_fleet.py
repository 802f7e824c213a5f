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

# One round trip, whatever the network: which schemas are renamed is known only here. A rename
# makes PostgreSQL forget every plan, and to plan these statements is half of the work: so many
# claims at once are one call, and the renames come last. Without a spare the id is reserved.
CLAIM_SPARES = """
CREATE FUNCTION orgtenancy.claim_spares(
    p_ids text[], p_names text[], p_schemas text[], p_attributes jsonb[], p_roles text[],
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
            (id, name, schema_name, role_name, placement, status, revisions, attributes)
            VALUES (p_ids[n], p_names[n], p_schemas[n], coalesce(spare_role, p_roles[n]),
                p_placement, CASE WHEN spare_role IS NULL THEN 'provisioning' ELSE 'active' END,
                CASE WHEN spare_role IS NULL THEN '{}' ELSE p_revisions END, p_attributes[n])
            ON CONFLICT DO NOTHING RETURNING * INTO made;
        CONTINUE WHEN NOT FOUND;
        RETURN NEXT made;
        CONTINUE WHEN spare_role IS NULL;
        DELETE FROM orgtenancy.spares WHERE role_name = spare_role;
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

# The last statement of the message that makes a schema: it takes all of it back if another call
# was faster.
ACTIVATE = """
CREATE FUNCTION orgtenancy.activate(p_role text, p_revisions jsonb) RETURNS timestamptz
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    found_id text;
BEGIN
    UPDATE orgtenancy.organizations
        SET status = 'active', revisions = p_revisions, updated_at = now()
        WHERE role_name = p_role AND status = 'provisioning' RETURNING id INTO found_id;
    IF found_id IS NULL THEN
        RAISE EXCEPTION 'nothing with the role % is being provisioned', p_role
            USING ERRCODE = 'OT001';
    END IF;
    PERFORM pg_notify('orgtenancy_organizations', found_id);
    RETURN now();
END
$$
"""

FUNCTIONS = (
    "activate(text, jsonb)",
    "claim_spares(text[], text[], text[], jsonb[], text[], text, text, jsonb)",
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
    )
    # Each row is changed once, by a transaction that ought to be short: on its own page, and
    # without a constraint on its status, which is planned anew each time.
    op.execute("ALTER TABLE job_items SET (fillfactor = 50)")
    op.execute(HEADS_OF)
    op.execute(EXPECT_HEADS)
    op.execute(END_STAGE)
    op.execute(CLAIM_SPARES)
    op.execute(ACTIVATE)
    for function in FUNCTIONS:
        op.execute(f"REVOKE EXECUTE ON FUNCTION {function} FROM PUBLIC")


def downgrade() -> None:
    for function in FUNCTIONS:
        op.execute(f"DROP FUNCTION {function}")
    op.drop_table("job_items")
    op.drop_table("jobs")
    op.drop_table("spares")
