"""Conversations, who takes part, and what was said."""

from django.db import models
from django.db.models import Q

from tests.benchmarks.django_app.social.models.base import (
    Timestamps,
    both,
    check,
    length,
    moment,
    not_negative,
    one_of,
    parent,
)


class Conversation(Timestamps):
    id = models.UUIDField(primary_key=True)
    type = models.TextField()
    name = models.TextField(null=True)
    direct_key = models.TextField(null=True)
    created_by = models.TextField(null=True)
    last_sequence = models.BigIntegerField(db_default=0)
    last_message_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "conversations"
        constraints = (
            one_of("type", "direct", "group"),
            length("name", 1, 120),
            not_negative("last_sequence"),
            check("direct_key", both(Q(type="direct"), Q(direct_key__isnull=False))),
            models.UniqueConstraint(fields=["direct_key"], name="uq_conversations_direct_key"),
        )


class ConversationParticipant(models.Model):
    pk = models.CompositePrimaryKey("conversation_id", "user_id")
    conversation = parent(Conversation)
    user_id = models.TextField()
    last_read_sequence = models.BigIntegerField(db_default=0)
    last_read_at = models.DateTimeField(null=True)
    muted_until = models.DateTimeField(null=True)
    joined_at = moment()
    left_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "conversation_participants"
        constraints = (
            length("user_id", 1, 255),
            not_negative("last_read_sequence"),
        )
        indexes = (
            models.Index(
                fields=["user_id", "conversation"],
                name="ix_participants_present",
                condition=Q(left_at__isnull=True),
            ),
        )


class Message(Timestamps):
    id = models.UUIDField(primary_key=True)
    conversation = parent(Conversation)
    sender_id = models.TextField()
    sequence = models.BigIntegerField()
    type = models.TextField(db_default="text")
    content = models.TextField(null=True)
    media_url = models.TextField(null=True)
    flags = models.JSONField(db_default=[])
    client_key = models.TextField(null=True)
    edited_at = models.DateTimeField(null=True)
    deleted_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "messages"
        constraints = (
            length("sender_id", 1, 255),
            one_of("type", "text", "media", "system"),
            length("content", 1, 10000),
            length("media_url", 1, 2048),
            length("client_key", 1, 100),
            check("sequence_positive", Q(sequence__gt=0)),
            check(
                "tombstone",
                both(
                    Q(deleted_at__isnull=True),
                    Q(content__isnull=False) | Q(media_url__isnull=False),
                ),
            ),
            check("flags", Q(flags__isnull=False)),
            models.UniqueConstraint(
                fields=["conversation", "sequence"],
                name="uq_messages_sequence",
                include=["sender_id", "deleted_at"],
            ),
            models.UniqueConstraint(
                fields=["conversation", "sender_id", "client_key"],
                name="uq_messages_client_key",
                condition=Q(client_key__isnull=False),
            ),
        )
        indexes = (
            models.Index(fields=["id"], name="ix_messages_flagged", condition=~Q(flags=[])),
            models.Index(fields=["sender_id", "id"], name="ix_messages_sender"),
        )
