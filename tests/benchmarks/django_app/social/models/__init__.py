"""The ten tables of the community, as near as Django comes."""

from tests.benchmarks.django_app.social.models.conversations import (
    Conversation,
    ConversationParticipant,
    Message,
)
from tests.benchmarks.django_app.social.models.people import (
    ActivityLog,
    Group,
    GroupMember,
    UserProfile,
)
from tests.benchmarks.django_app.social.models.posts import Post, PostComment, PostLike

__all__ = [
    "ActivityLog",
    "Conversation",
    "ConversationParticipant",
    "Group",
    "GroupMember",
    "Message",
    "Post",
    "PostComment",
    "PostLike",
    "UserProfile",
]
