"""People, groups and who belongs to them, and who did what."""

from django.contrib.postgres.indexes import GinIndex
from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower

from tests.benchmarks.django_app.social.models.base import (
    Timestamps,
    both,
    check,
    length,
    moment,
    not_negative,
    one_of,
    parent,
    search,
)


class UserProfile(Timestamps):
    user_id = models.TextField(primary_key=True)
    username = models.TextField()
    display_name = models.TextField(null=True)
    bio = models.TextField(null=True)
    avatar_url = models.TextField(null=True)
    metadata = models.JSONField(db_default={})
    status = models.TextField(db_default="active")
    search = search("to_tsvector('simple'::regconfig, %(expressions)s)", "username", "display_name")

    class Meta:
        db_table = "user_profiles"
        constraints = (
            length("user_id", 1, 255),
            length("username", 1, 40),
            length("display_name", 1, 120),
            length("bio", 1, 2000),
            length("avatar_url", 1, 2048),
            one_of("status", "active", "deactivated", "anonymized"),
            models.UniqueConstraint(Lower("username"), name="uq_user_profiles_username"),
        )
        indexes = (
            models.Index(
                fields=["user_id"],
                name="ix_user_profiles_deactivated",
                condition=Q(status="deactivated"),
            ),
            models.Index(fields=["username"], name="ix_user_profiles_name"),
            GinIndex(fields=["search"], name="ix_user_profiles_search"),
        )


class Group(Timestamps):
    id = models.UUIDField(primary_key=True)
    name = models.TextField()
    slug = models.TextField()
    description = models.TextField(null=True)
    privacy = models.TextField(db_default="public")
    category = models.TextField(null=True)
    rules = models.TextField(null=True)
    member_count = models.IntegerField(db_default=0)
    owner_id = models.TextField()
    archived_at = models.DateTimeField(null=True)
    search = search(
        "to_tsvector('community_search'::regconfig, %(expressions)s)", "name", "description"
    )

    class Meta:
        db_table = "groups"
        constraints = (
            length("name", 1, 120),
            length("slug", 1, 80),
            length("description", 1, 5000),
            length("rules", 1, 10000),
            length("category", 1, 60),
            length("owner_id", 1, 255),
            one_of("privacy", "public", "private", "secret"),
            not_negative("member_count"),
            models.UniqueConstraint(Lower("slug"), name="uq_groups_slug"),
        )
        indexes = (
            models.Index(fields=["name", "id"], name="ix_groups_name"),
            models.Index(fields=["category", "name", "id"], name="ix_groups_category"),
            GinIndex(fields=["search"], name="ix_groups_search"),
        )


class GroupMember(Timestamps):
    pk = models.CompositePrimaryKey("group_id", "user_id")
    group = parent(Group)
    user_id = models.TextField()
    role = models.TextField(db_default="member")
    status = models.TextField(db_default="active")
    invited_by = models.TextField(null=True)
    joined_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "group_members"
        constraints = (
            length("user_id", 1, 255),
            one_of("role", "owner", "admin", "moderator", "member"),
            one_of("status", "active", "requested", "invited", "banned"),
            check("joined", both(Q(status="active"), Q(joined_at__isnull=False))),
        )
        indexes = (
            models.Index(
                fields=["user_id", "group"],
                name="ix_group_members_active",
                condition=Q(status="active"),
            ),
            models.Index(
                fields=["user_id", "group"],
                name="ix_group_members_invited",
                condition=Q(status="invited"),
            ),
            models.Index(fields=["group", "status", "user_id"], name="ix_group_members_listed"),
            models.Index(
                fields=["group", "joined_at"],
                name="ix_group_members_owners",
                condition=Q(role="owner", status="active"),
            ),
        )


class ActivityLog(models.Model):
    id = models.UUIDField(primary_key=True)
    user_id = models.TextField(null=True)
    action = models.TextField()
    entity_type = models.TextField(null=True)
    entity_id = models.TextField(null=True)
    metadata = models.JSONField(db_default={})
    ip_address = models.GenericIPAddressField(null=True)
    created_at = moment()

    class Meta:
        db_table = "activity_logs"
        constraints = (
            length("action", 1, 100),
            length("entity_type", 1, 255),
            length("entity_id", 1, 255),
        )
        indexes = (
            models.Index(fields=["user_id", "id"], name="ix_activity_logs_user"),
            models.Index(fields=["entity_type", "entity_id", "id"], name="ix_activity_logs_entity"),
            models.Index(fields=["action", "id"], name="ix_activity_logs_action"),
            models.Index(fields=["created_at"], name="ix_activity_logs_created_at"),
        )
