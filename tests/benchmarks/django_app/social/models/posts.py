"""Posts, their likes and their comments."""

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.db import models
from django.db.models import F, Q

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
from tests.benchmarks.django_app.social.models.people import Group


class Post(Timestamps):
    id = models.UUIDField(primary_key=True)
    user_id = models.TextField()
    group = parent(Group, null=True)
    content = models.TextField()
    visibility = models.TextField(db_default="public")
    media = models.JSONField(db_default=[])
    tags = ArrayField(models.TextField(), db_default=[])
    likes_count = models.IntegerField(db_default=0)
    comments_count = models.IntegerField(db_default=0)
    version = models.IntegerField(db_default=1)
    pinned_at = models.DateTimeField(null=True)
    locked_at = models.DateTimeField(null=True)
    deleted_at = models.DateTimeField(null=True)
    deleted_by = models.TextField(null=True)
    search = search("to_tsvector('community_search'::regconfig, %(expressions)s)", "content")

    class Meta:
        db_table = "posts"
        constraints = (
            length("user_id", 1, 255),
            length("content", 1, 10000),
            one_of("visibility", "public", "group", "private"),
            check("group", both(Q(visibility="group"), Q(group__isnull=False))),
            check("media", Q(media__isnull=False)),
            check("tags_number", Q(tags__len__lte=20)),
            not_negative("likes_count"),
            not_negative("comments_count"),
            check("version_positive", Q(version__gt=0)),
        )
        indexes = (
            models.Index(
                fields=["user_id", "id"],
                name="ix_posts_author",
                condition=Q(deleted_at__isnull=True),
            ),
            models.Index(
                fields=["group", "id"], name="ix_posts_group", condition=Q(group__isnull=False)
            ),
            models.Index(
                fields=["group", "id"],
                name="ix_posts_pinned",
                condition=Q(pinned_at__isnull=False, deleted_at__isnull=True),
            ),
            GinIndex(fields=["tags"], name="ix_posts_tags"),
            GinIndex(fields=["search"], name="ix_posts_search"),
        )


class PostLike(models.Model):
    pk = models.CompositePrimaryKey("post_id", "user_id")
    post = parent(Post)
    user_id = models.TextField()
    created_at = moment()

    class Meta:
        db_table = "post_likes"
        constraints = (length("user_id", 1, 255),)
        indexes = (
            models.Index(fields=["post", "created_at", "user_id"], name="ix_post_likes_newest"),
            models.Index(fields=["user_id", "created_at"], name="ix_post_likes_user_id"),
        )


class PostComment(Timestamps):
    id = models.UUIDField(primary_key=True)
    post = parent(Post)
    user_id = models.TextField()
    parent_comment = parent("self", null=True)
    depth = models.IntegerField(db_default=0)
    path = ArrayField(models.UUIDField())
    content = models.TextField(null=True)
    deleted_at = models.DateTimeField(null=True)
    removed_at = models.DateTimeField(null=True)
    removed_by = models.TextField(null=True)

    class Meta:
        db_table = "post_comments"
        constraints = (
            length("user_id", 1, 255),
            length("content", 1, 5000),
            check(
                "tombstone",
                both(
                    Q(content__isnull=True),
                    Q(deleted_at__isnull=False) | Q(removed_at__isnull=False),
                ),
            ),
            not_negative("depth"),
            check("parent", both(Q(depth=0), Q(parent_comment__isnull=True))),
            check("path", Q(path__len=F("depth") + 1)),
        )
        indexes = (
            models.Index(fields=["post", "path"], name="ix_post_comments_path"),
            models.Index(
                fields=["post", "id"],
                name="ix_post_comments_roots",
                condition=Q(parent_comment__isnull=True),
            ),
            models.Index(
                fields=["parent_comment", "id"],
                name="ix_post_comments_replies",
                condition=Q(parent_comment__isnull=False),
            ),
            models.Index(fields=["user_id", "id"], name="ix_post_comments_author"),
        )
