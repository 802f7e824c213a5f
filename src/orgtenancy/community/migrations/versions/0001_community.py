"""The ten tables of the community.

Revision ID: community_0001
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from orgtenancy.community.settings import CommunitySettings
from orgtenancy.modules import revision_settings

revision = "community_0001"
down_revision = None
branch_labels = ("community",)
depends_on = None


def upgrade() -> None:
    # Searched with one configuration of the organization's own, so that statements are the
    # same for all languages. The setting allows only what needs no quotes.
    language = revision_settings(CommunitySettings).search_language
    op.execute(f"CREATE TEXT SEARCH CONFIGURATION community_search (COPY = pg_catalog.{language})")

    op.create_table(
        "user_profiles",
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("username", sa.Text(), nullable=False),
        sa.Column("display_name", sa.Text(), nullable=True),
        sa.Column("bio", sa.Text(), nullable=True),
        sa.Column("avatar_url", sa.Text(), nullable=True),
        sa.Column("metadata", postgresql.JSONB(), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("status", sa.Text(), server_default=sa.text("'active'"), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column(
            "updated_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column(
            "search",
            postgresql.TSVECTOR(),
            sa.Computed(
                "to_tsvector('simple'::regconfig, "
                "translate(username || ' ' || COALESCE(display_name, ''), "
                "'._-@/+~<&', '         '))",
                persisted=True,
            ),
            nullable=True,
        ),
        sa.CheckConstraint(
            "status IN ('active', 'deactivated', 'anonymized')",
            name=op.f("ck_user_profiles_status"),
        ),
        sa.CheckConstraint(
            "char_length(avatar_url) BETWEEN 1 AND 2048",
            name=op.f("ck_user_profiles_avatar_url_length"),
        ),
        sa.CheckConstraint(
            "char_length(bio) BETWEEN 1 AND 2000", name=op.f("ck_user_profiles_bio_length")
        ),
        sa.CheckConstraint(
            "char_length(display_name) BETWEEN 1 AND 120",
            name=op.f("ck_user_profiles_display_name_length"),
        ),
        sa.CheckConstraint(
            "char_length(user_id) BETWEEN 1 AND 255", name=op.f("ck_user_profiles_user_id_length")
        ),
        sa.CheckConstraint(
            "char_length(username) BETWEEN 1 AND 40", name=op.f("ck_user_profiles_username_length")
        ),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_user_profiles")),
    )
    op.create_index(
        "ix_user_profiles_deactivated",
        "user_profiles",
        ["user_id"],
        postgresql_where=sa.text("status = 'deactivated'"),
    )
    op.create_index("ix_user_profiles_name", "user_profiles", ["username"])
    op.create_index("ix_user_profiles_search", "user_profiles", ["search"], postgresql_using="gin")
    op.create_index(
        "uq_user_profiles_username",
        "user_profiles",
        [sa.literal_column("lower(username)")],
        unique=True,
    )

    op.create_table(
        "groups",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("slug", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("privacy", sa.Text(), server_default=sa.text("'public'"), nullable=False),
        sa.Column("category", sa.Text(), nullable=True),
        sa.Column("rules", sa.Text(), nullable=True),
        sa.Column("member_count", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("owner_id", sa.Text(), nullable=False),
        sa.Column("archived_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column(
            "updated_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column(
            "search",
            postgresql.TSVECTOR(),
            sa.Computed(
                "to_tsvector('community_search'::regconfig, "
                "name || ' ' || COALESCE(description, ''))",
                persisted=True,
            ),
            nullable=True,
        ),
        sa.CheckConstraint(
            "privacy IN ('public', 'private', 'secret')", name=op.f("ck_groups_privacy")
        ),
        sa.CheckConstraint(
            "char_length(category) BETWEEN 1 AND 60", name=op.f("ck_groups_category_length")
        ),
        sa.CheckConstraint(
            "char_length(description) BETWEEN 1 AND 5000", name=op.f("ck_groups_description_length")
        ),
        sa.CheckConstraint(
            "char_length(name) BETWEEN 1 AND 120", name=op.f("ck_groups_name_length")
        ),
        sa.CheckConstraint(
            "char_length(owner_id) BETWEEN 1 AND 255", name=op.f("ck_groups_owner_id_length")
        ),
        sa.CheckConstraint(
            "char_length(rules) BETWEEN 1 AND 10000", name=op.f("ck_groups_rules_length")
        ),
        sa.CheckConstraint(
            "char_length(slug) BETWEEN 1 AND 80", name=op.f("ck_groups_slug_length")
        ),
        sa.CheckConstraint("member_count >= 0", name=op.f("ck_groups_member_count_not_negative")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_groups")),
    )
    op.create_index("ix_groups_category", "groups", ["category", "name", "id"])
    op.create_index("ix_groups_name", "groups", ["name", "id"])
    op.create_index("ix_groups_search", "groups", ["search"], postgresql_using="gin")
    op.create_index("uq_groups_slug", "groups", [sa.literal_column("lower(slug)")], unique=True)

    op.create_table(
        "group_members",
        sa.Column("group_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), server_default=sa.text("'member'"), nullable=False),
        sa.Column("status", sa.Text(), server_default=sa.text("'active'"), nullable=False),
        sa.Column("invited_by", sa.Text(), nullable=True),
        sa.Column("joined_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column(
            "updated_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "(status = 'active') = (joined_at IS NOT NULL)", name=op.f("ck_group_members_joined")
        ),
        sa.CheckConstraint(
            "role IN ('owner', 'admin', 'moderator', 'member')", name=op.f("ck_group_members_role")
        ),
        sa.CheckConstraint(
            "status IN ('active', 'requested', 'invited', 'banned')",
            name=op.f("ck_group_members_status"),
        ),
        sa.CheckConstraint(
            "char_length(user_id) BETWEEN 1 AND 255", name=op.f("ck_group_members_user_id_length")
        ),
        sa.ForeignKeyConstraint(
            ["group_id"], ["groups.id"], name=op.f("fk_group_members_group_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("group_id", "user_id", name=op.f("pk_group_members")),
    )
    op.create_index(
        "ix_group_members_active",
        "group_members",
        ["user_id", "group_id"],
        postgresql_where=sa.text("status = 'active'"),
    )
    op.create_index(
        "ix_group_members_invited",
        "group_members",
        ["user_id", "group_id"],
        postgresql_where=sa.text("status = 'invited'"),
    )
    op.create_index("ix_group_members_listed", "group_members", ["group_id", "status", "user_id"])
    op.create_index(
        "ix_group_members_owners",
        "group_members",
        ["group_id", "joined_at"],
        postgresql_where=sa.text("role = 'owner' AND status = 'active'"),
    )

    op.create_table(
        "posts",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("group_id", sa.Uuid(), nullable=True),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("visibility", sa.Text(), server_default=sa.text("'public'"), nullable=False),
        sa.Column("media", postgresql.JSONB(), server_default=sa.text("'[]'"), nullable=False),
        sa.Column("tags", sa.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("likes_count", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("comments_count", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("version", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("pinned_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("locked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("deleted_by", sa.Text(), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column(
            "updated_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column(
            "search",
            postgresql.TSVECTOR(),
            sa.Computed(
                "to_tsvector('community_search'::regconfig, content)",
                persisted=True,
            ),
            nullable=True,
        ),
        sa.CheckConstraint(
            "(visibility = 'group') = (group_id IS NOT NULL)", name=op.f("ck_posts_group")
        ),
        sa.CheckConstraint("jsonb_typeof(media) = 'array'", name=op.f("ck_posts_media_is_array")),
        sa.CheckConstraint(
            "visibility IN ('public', 'group', 'private')", name=op.f("ck_posts_visibility")
        ),
        sa.CheckConstraint("cardinality(tags) <= 20", name=op.f("ck_posts_tags_number")),
        sa.CheckConstraint(
            "char_length(content) BETWEEN 1 AND 10000", name=op.f("ck_posts_content_length")
        ),
        sa.CheckConstraint(
            "char_length(user_id) BETWEEN 1 AND 255", name=op.f("ck_posts_user_id_length")
        ),
        sa.CheckConstraint(
            "comments_count >= 0", name=op.f("ck_posts_comments_count_not_negative")
        ),
        sa.CheckConstraint("likes_count >= 0", name=op.f("ck_posts_likes_count_not_negative")),
        sa.CheckConstraint("version > 0", name=op.f("ck_posts_version_positive")),
        sa.ForeignKeyConstraint(
            ["group_id"], ["groups.id"], name=op.f("fk_posts_group_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_posts")),
    )
    op.create_index(
        "ix_posts_author",
        "posts",
        ["user_id", "id"],
        postgresql_where=sa.text("deleted_at IS NULL"),
    )
    op.create_index(
        "ix_posts_group",
        "posts",
        ["group_id", "id"],
        postgresql_where=sa.text("group_id IS NOT NULL"),
    )
    op.create_index(
        "ix_posts_pinned",
        "posts",
        ["group_id", "id"],
        postgresql_where=sa.text("pinned_at IS NOT NULL AND deleted_at IS NULL"),
    )
    op.create_index("ix_posts_search", "posts", ["search"], postgresql_using="gin")
    op.create_index("ix_posts_tags", "posts", ["tags"], postgresql_using="gin")

    op.create_table(
        "post_likes",
        sa.Column("post_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "char_length(user_id) BETWEEN 1 AND 255", name=op.f("ck_post_likes_user_id_length")
        ),
        sa.ForeignKeyConstraint(
            ["post_id"], ["posts.id"], name=op.f("fk_post_likes_post_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("post_id", "user_id", name=op.f("pk_post_likes")),
    )
    op.create_index("ix_post_likes_newest", "post_likes", ["post_id", "created_at", "user_id"])
    op.create_index("ix_post_likes_user_id", "post_likes", ["user_id", "created_at"])

    op.create_table(
        "post_comments",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("post_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("parent_comment_id", sa.Uuid(), nullable=True),
        sa.Column("depth", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("path", sa.ARRAY(sa.Uuid()), nullable=False),
        sa.Column("content", sa.Text(), nullable=True),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("removed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("removed_by", sa.Text(), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column(
            "updated_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "(content IS NULL) = (deleted_at IS NOT NULL OR removed_at IS NOT NULL)",
            name=op.f("ck_post_comments_tombstone"),
        ),
        sa.CheckConstraint(
            "(depth = 0) = (parent_comment_id IS NULL)", name=op.f("ck_post_comments_parent")
        ),
        sa.CheckConstraint(
            "cardinality(path) = depth + 1 AND path[depth + 1] = id",
            name=op.f("ck_post_comments_path"),
        ),
        sa.CheckConstraint(
            "char_length(content) BETWEEN 1 AND 5000", name=op.f("ck_post_comments_content_length")
        ),
        sa.CheckConstraint(
            "char_length(user_id) BETWEEN 1 AND 255", name=op.f("ck_post_comments_user_id_length")
        ),
        sa.CheckConstraint("depth >= 0", name=op.f("ck_post_comments_depth_not_negative")),
        sa.ForeignKeyConstraint(
            ["parent_comment_id"],
            ["post_comments.id"],
            name=op.f("fk_post_comments_parent_comment_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["post_id"], ["posts.id"], name=op.f("fk_post_comments_post_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_post_comments")),
    )
    op.create_index("ix_post_comments_author", "post_comments", ["user_id", "id"])
    op.create_index("ix_post_comments_path", "post_comments", ["post_id", "path"])
    op.create_index(
        "ix_post_comments_replies",
        "post_comments",
        ["parent_comment_id", "id"],
        postgresql_where=sa.text("parent_comment_id IS NOT NULL"),
    )
    op.create_index(
        "ix_post_comments_roots",
        "post_comments",
        ["post_id", "id"],
        postgresql_where=sa.text("parent_comment_id IS NULL"),
    )

    op.create_table(
        "conversations",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("direct_key", sa.Text(), nullable=True),
        sa.Column("created_by", sa.Text(), nullable=True),
        sa.Column("last_sequence", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("last_message_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column(
            "updated_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "(type = 'direct') = (direct_key IS NOT NULL)", name=op.f("ck_conversations_direct_key")
        ),
        sa.CheckConstraint("type IN ('direct', 'group')", name=op.f("ck_conversations_type")),
        sa.CheckConstraint(
            "char_length(name) BETWEEN 1 AND 120", name=op.f("ck_conversations_name_length")
        ),
        sa.CheckConstraint(
            "last_sequence >= 0", name=op.f("ck_conversations_last_sequence_not_negative")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_conversations")),
    )
    op.create_index("uq_conversations_direct_key", "conversations", ["direct_key"], unique=True)

    op.create_table(
        "conversation_participants",
        sa.Column("conversation_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column(
            "last_read_sequence", sa.BigInteger(), server_default=sa.text("0"), nullable=False
        ),
        sa.Column("last_read_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("muted_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "joined_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.Column("left_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "char_length(user_id) BETWEEN 1 AND 255",
            name=op.f("ck_conversation_participants_user_id_length"),
        ),
        sa.CheckConstraint(
            "last_read_sequence >= 0",
            name=op.f("ck_conversation_participants_last_read_sequence_not_negative"),
        ),
        sa.ForeignKeyConstraint(
            ["conversation_id"],
            ["conversations.id"],
            name=op.f("fk_conversation_participants_conversation_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint(
            "conversation_id", "user_id", name=op.f("pk_conversation_participants")
        ),
    )
    op.create_index(
        "ix_conversation_participants_present",
        "conversation_participants",
        ["user_id", "conversation_id"],
        postgresql_where=sa.text("left_at IS NULL"),
    )

    op.create_table(
        "messages",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("conversation_id", sa.Uuid(), nullable=False),
        sa.Column("sender_id", sa.Text(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("type", sa.Text(), server_default=sa.text("'text'"), nullable=False),
        sa.Column("content", sa.Text(), nullable=True),
        sa.Column("media_url", sa.Text(), nullable=True),
        sa.Column("flags", postgresql.JSONB(), server_default=sa.text("'[]'"), nullable=False),
        sa.Column("client_key", sa.Text(), nullable=True),
        sa.Column("edited_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column(
            "updated_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "jsonb_typeof(flags) = 'array'", name=op.f("ck_messages_flags_is_array")
        ),
        sa.CheckConstraint("type IN ('text', 'media', 'system')", name=op.f("ck_messages_type")),
        sa.CheckConstraint(
            "(deleted_at IS NULL) = (content IS NOT NULL OR media_url IS NOT NULL)",
            name=op.f("ck_messages_tombstone"),
        ),
        sa.CheckConstraint(
            "char_length(client_key) BETWEEN 1 AND 100", name=op.f("ck_messages_client_key_length")
        ),
        sa.CheckConstraint(
            "char_length(content) BETWEEN 1 AND 10000", name=op.f("ck_messages_content_length")
        ),
        sa.CheckConstraint(
            "char_length(media_url) BETWEEN 1 AND 2048", name=op.f("ck_messages_media_url_length")
        ),
        sa.CheckConstraint(
            "char_length(sender_id) BETWEEN 1 AND 255", name=op.f("ck_messages_sender_id_length")
        ),
        sa.CheckConstraint("sequence > 0", name=op.f("ck_messages_sequence_positive")),
        sa.ForeignKeyConstraint(
            ["conversation_id"],
            ["conversations.id"],
            name=op.f("fk_messages_conversation_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_messages")),
    )
    op.create_index(
        "ix_messages_flagged",
        "messages",
        ["id"],
        postgresql_where=sa.text("flags <> '[]'::jsonb"),
    )
    op.create_index("ix_messages_sender", "messages", ["sender_id", "id"])
    op.create_index(
        "uq_messages_client_key",
        "messages",
        ["conversation_id", "sender_id", "client_key"],
        unique=True,
        postgresql_where=sa.text("client_key IS NOT NULL"),
    )
    op.create_index(
        "uq_messages_sequence",
        "messages",
        ["conversation_id", "sequence"],
        unique=True,
        postgresql_include=["sender_id", "deleted_at"],
    )

    op.create_table(
        "activity_logs",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=True),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("entity_type", sa.Text(), nullable=True),
        sa.Column("entity_id", sa.Text(), nullable=True),
        sa.Column("metadata", postgresql.JSONB(), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("ip_address", postgresql.INET(), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "char_length(action) BETWEEN 1 AND 100", name=op.f("ck_activity_logs_action_length")
        ),
        sa.CheckConstraint(
            "char_length(entity_id) BETWEEN 1 AND 255",
            name=op.f("ck_activity_logs_entity_id_length"),
        ),
        sa.CheckConstraint(
            "char_length(entity_type) BETWEEN 1 AND 255",
            name=op.f("ck_activity_logs_entity_type_length"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_activity_logs")),
    )
    op.create_index("ix_activity_logs_action", "activity_logs", ["action", "id"])
    op.create_index("ix_activity_logs_created_at", "activity_logs", ["created_at"])
    op.create_index("ix_activity_logs_entity", "activity_logs", ["entity_type", "entity_id", "id"])
    op.create_index("ix_activity_logs_user", "activity_logs", ["user_id", "id"])


def downgrade() -> None:
    op.drop_table("activity_logs")
    op.drop_table("messages")
    op.drop_table("conversation_participants")
    op.drop_table("conversations")
    op.drop_table("post_comments")
    op.drop_table("post_likes")
    op.drop_table("posts")
    op.drop_table("group_members")
    op.drop_table("groups")
    op.drop_table("user_profiles")
    op.execute("DROP TEXT SEARCH CONFIGURATION community_search")
