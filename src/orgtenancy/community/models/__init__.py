"""The ten tables of the community."""

from orgtenancy.community.models.activity import ActivityLog
from orgtenancy.community.models.base import Base, metadata
from orgtenancy.community.models.conversations import (
    Conversation,
    ConversationParticipant,
    ConversationType,
    Message,
    MessageType,
)
from orgtenancy.community.models.groups import (
    Group,
    GroupMember,
    MembershipStatus,
    Privacy,
    Role,
)
from orgtenancy.community.models.posts import (
    Post,
    PostComment,
    PostLike,
    Visibility,
)
from orgtenancy.community.models.profiles import ProfileStatus, UserProfile

__all__ = [
    "ActivityLog",
    "Base",
    "Conversation",
    "ConversationParticipant",
    "ConversationType",
    "Group",
    "GroupMember",
    "MembershipStatus",
    "Message",
    "MessageType",
    "Post",
    "PostComment",
    "PostLike",
    "Privacy",
    "ProfileStatus",
    "Role",
    "UserProfile",
    "Visibility",
    "metadata",
]
