"""Which organizations of which shared schema were adopted, and what keeps late writes out.

Revision ID: registry_0005
Revises: registry_0004
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "registry_0005"
down_revision = "registry_0004"
branch_labels = None
depends_on = None

# Writers of one organization share a lock, and its switch takes it alone. One lock for each
# organization would be too many for a statement that changes the rows of all of them. What is
# nobody's has one too: it may become somebody's.
LOCK = """
CREATE FUNCTION orgtenancy.adoption_lock(p_source text, p_key text, p_alone boolean)
RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    space integer := hashtext('orgtenancy adoption ' || p_source);
    bucket integer := hashtext(coalesce(p_key, '')) & 1023;
BEGIN
    IF p_alone THEN
        PERFORM pg_advisory_xact_lock(space, bucket);
    ELSE
        PERFORM pg_advisory_xact_lock_shared(space, bucket);
    END IF;
END
$$
"""

# A transaction whose snapshot is older than a switch would not see it, nor that a row which leads
# to an organization leads to another one now. Both change the row of the source, which such a
# transaction then cannot lock: it has to begin again (40001).
# The lock ends with the block's subtransaction, so that no switch waits for other organizations.
SEE_SWITCHES = """
CREATE FUNCTION orgtenancy.see_switches(p_source text)
RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        BEGIN
            PERFORM FROM orgtenancy.adoptions WHERE source = p_source FOR SHARE;
            IF NOT FOUND THEN
                RAISE EXCEPTION 'the adoption of % began after this transaction', p_source
                    USING ERRCODE = 'serialization_failure';
            END IF;
            RAISE EXCEPTION USING ERRCODE = 'OT006';
        EXCEPTION WHEN SQLSTATE 'OT006' THEN
            NULL;
        END;
    END IF;
END
$$
"""

# Once in a transaction: each change of the row would make the next one slower.
TELL_MOVE = """
CREATE FUNCTION orgtenancy.tell_move(p_source text)
RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE orgtenancy.adoptions SET switches = switches + 1
        WHERE source = p_source AND xmin <> pg_current_xact_id()::xid;
END
$$
"""

# Called by the triggers of a source's tables. The look at what was switched is a statement of
# its own, after the lock: it sees what the switch that held the lock has committed.
REFUSE_ADOPTED = """
CREATE FUNCTION orgtenancy.refuse_adopted(p_source text, p_table text, p_key text)
RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    adopted_id text;
BEGIN
    PERFORM orgtenancy.adoption_lock(p_source, p_key, false);
    PERFORM orgtenancy.see_switches(p_source);
    SELECT organization_id INTO adopted_id FROM orgtenancy.adopted
        WHERE source = p_source AND key = p_key AND switched_at IS NOT NULL;
    IF FOUND THEN
        RAISE EXCEPTION 'organization % was adopted: its rows are no longer written in %.%',
            adopted_id, p_source, p_table
            USING ERRCODE = 'OT005',
                HINT = 'Write them in the schema of the organization.';
    END IF;
END
$$
"""

# For what is all organizations': a change would miss those that were switched.
REFUSE_SHARED = """
CREATE FUNCTION orgtenancy.refuse_shared(p_source text, p_table text)
RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM orgtenancy.see_switches(p_source);
    IF EXISTS (
        SELECT FROM orgtenancy.adopted WHERE source = p_source AND switched_at IS NOT NULL
    ) THEN
        RAISE EXCEPTION 'organizations were adopted: %.% is no longer written for all of them',
            p_source, p_table
            USING ERRCODE = 'OT005';
    END IF;
END
$$
"""

FUNCTIONS = (
    "refuse_shared(text, text)",
    "refuse_adopted(text, text, text)",
    "tell_move(text)",
    "see_switches(text)",
    "adoption_lock(text, text, boolean)",
)


def _time(name: str, *, nullable: bool = True) -> sa.Column[Any]:
    default = None if nullable else sa.func.now()
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable, server_default=default)


def upgrade() -> None:
    op.create_table(
        "adoptions",
        sa.Column("source", sa.Text, primary_key=True),
        sa.Column("switches", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        _time("begun_at", nullable=False),
        sa.Column("archive", sa.Text),
        _time("archived_at"),
    )
    op.create_table(
        "adopted",
        sa.Column("source", sa.Text, primary_key=True),
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("role_name", sa.Text, nullable=False),
        sa.Column("organization_id", sa.Text, nullable=False),
        sa.Column("mapping", sa.Text, nullable=False),
        sa.Column("source_digests", postgresql.JSONB, nullable=False),
        sa.Column("digests", postgresql.JSONB, nullable=False),
        sa.Column("horizon", sa.BigInteger, nullable=False),
        _time("seen_at", nullable=False),
        _time("copied_at", nullable=False),
        _time("switched_at"),
        sa.Column("switched_digests", postgresql.JSONB),
        sa.UniqueConstraint("role_name", name="adopted_role_name_key"),
    )
    for function in (LOCK, SEE_SWITCHES, TELL_MOVE, REFUSE_ADOPTED, REFUSE_SHARED):
        op.execute(function)
    for name in FUNCTIONS:
        op.execute(f"REVOKE EXECUTE ON FUNCTION orgtenancy.{name} FROM PUBLIC")


def downgrade() -> None:
    for name in FUNCTIONS:
        op.execute(f"DROP FUNCTION orgtenancy.{name}")
    op.drop_table("adopted")
    op.drop_table("adoptions")
