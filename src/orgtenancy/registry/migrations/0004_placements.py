"""Several servers: where organizations are, and those that are on their way.

Revision ID: registry_0004
Revises: registry_0003
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "registry_0004"
down_revision = "registry_0003"
branch_labels = None
depends_on = None

# An id is in one of two tables: `organizations` here, or `locations`. Neither sees what the other
# is about to get, so whoever adds to one of them locks the id before looking into the other. The
# number is the text "orgplace" as a big-endian integer.
LOCK_ID = """
CREATE FUNCTION orgtenancy.lock_id(p_id text) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    SELECT pg_advisory_xact_lock(hashtextextended(p_id, 8030594818107335525))
$$
"""

GUARD_ORGANIZATION = """
CREATE FUNCTION orgtenancy.guard_organization() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    elsewhere text;
BEGIN
    PERFORM orgtenancy.lock_id(NEW.id);
    SELECT placement INTO elsewhere FROM orgtenancy.locations WHERE organization_id = NEW.id;
    IF FOUND THEN
        RAISE EXCEPTION 'organization % is on placement %', NEW.id, elsewhere
            USING ERRCODE = 'OT005', DETAIL = elsewhere;
    END IF;
    RETURN NEW;
END
$$
"""

GUARD_LOCATION = """
CREATE FUNCTION orgtenancy.guard_location() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM orgtenancy.lock_id(NEW.organization_id);
    IF EXISTS (SELECT FROM orgtenancy.organizations WHERE id = NEW.organization_id) THEN
        RAISE EXCEPTION 'organization % is on the control server', NEW.organization_id
            USING ERRCODE = 'OT005';
    END IF;
    RETURN NEW;
END
$$
"""

TRIGGERS = (
    "CREATE TRIGGER guard BEFORE INSERT OR UPDATE OF id ON orgtenancy.organizations "
    "FOR EACH ROW EXECUTE FUNCTION orgtenancy.guard_organization()",
    "CREATE TRIGGER guard BEFORE INSERT ON orgtenancy.locations "
    "FOR EACH ROW EXECUTE FUNCTION orgtenancy.guard_location()",
)


def _time(name: str) -> sa.Column[object]:
    return sa.Column(
        name, sa.DateTime(timezone=True), nullable=False, server_default=sa.text("now()")
    )


def upgrade() -> None:
    op.add_column("organizations", sa.Column("moving_to", sa.Text))
    op.add_column("spares", sa.Column("move_number", sa.BigInteger))
    op.create_table(
        "placements",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("is_self", sa.Boolean, nullable=False),
        sa.Column("state", sa.Text, nullable=False, server_default=sa.text("'open'")),
        _time("added_at"),
        sa.CheckConstraint("state IN ('open', 'draining')", name="placements_state_check"),
    )
    op.create_index(
        "placements_self_idx",
        "placements",
        ["is_self"],
        unique=True,
        postgresql_where=sa.text("is_self"),
    )
    op.create_table(
        "locations",
        sa.Column("organization_id", sa.Text, primary_key=True),
        sa.Column("placement", sa.Text, nullable=False),
        _time("changed_at"),
        sa.CheckConstraint("placement <> 'default'", name="locations_placement_check"),
    )
    op.create_table(
        "moves",
        sa.Column("number", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("organization_id", sa.Text, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("phase", sa.Text, nullable=False),
        sa.Column("source_role", sa.Text, nullable=False),
        sa.Column("target_role", sa.Text, nullable=False),
        sa.Column("organization", postgresql.JSONB),
        sa.Column("runner", postgresql.JSONB, nullable=False),
        _time("started_at"),
        _time("changed_at"),
        sa.UniqueConstraint("organization_id", name="moves_organization_id_key"),
        sa.CheckConstraint(
            "phase IN ('copying', 'fencing', 'switched', 'undoing')", name="moves_phase_check"
        ),
    )
    op.execute(LOCK_ID)
    op.execute(GUARD_ORGANIZATION)
    op.execute(GUARD_LOCATION)
    for trigger in TRIGGERS:
        op.execute(trigger)
    for function in ("lock_id(text)", "guard_organization()", "guard_location()"):
        op.execute(f"REVOKE EXECUTE ON FUNCTION {function} FROM PUBLIC")


def downgrade() -> None:
    raise NotImplementedError("organizations of other servers would be lost: drain those first")
