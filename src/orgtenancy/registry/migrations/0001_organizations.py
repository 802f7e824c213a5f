"""The organizations.

Revision ID: registry_0001
Revises:
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "registry_0001"
down_revision = None
branch_labels = ("registry",)
depends_on = None


def upgrade() -> None:
    op.create_table(
        "organizations",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("schema_name", sa.Text, nullable=False),
        sa.Column("role_name", sa.Text, nullable=False),
        sa.Column("placement", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column(
            "revisions", postgresql.JSONB, nullable=False, server_default=sa.text("'{}'::jsonb")
        ),
        sa.Column(
            "attributes", postgresql.JSONB, nullable=False, server_default=sa.text("'{}'::jsonb")
        ),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()
        ),
        sa.Column(
            "updated_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()
        ),
        sa.UniqueConstraint("schema_name", name="organizations_schema_name_key"),
        sa.UniqueConstraint("role_name", name="organizations_role_name_key"),
        sa.CheckConstraint(
            "status IN ('provisioning', 'active', 'suspended', 'fenced', 'archived', 'purged')",
            name="organizations_status_check",
        ),
    )


def downgrade() -> None:
    op.drop_table("organizations")
