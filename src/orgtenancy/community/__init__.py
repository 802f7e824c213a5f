"""The community domain: an `OrganizationModule` like any host's own.

It uses nothing of `orgtenancy` that a host could not use, and shows how a module is made:
models without a schema, revisions on a branch of their own, one file per aggregate.
"""

from pathlib import Path
from typing import Final

from orgtenancy.community.comments import (
    AsyncPostCommentRepository,
    CommentThread,
    PostCommentRepository,
)
from orgtenancy.community.likes import AsyncPostLikeRepository, PostLikeRepository
from orgtenancy.community.models import (
    ActivityLog,
    Conversation,
    ConversationParticipant,
    Group,
    GroupMember,
    Message,
    Post,
    PostComment,
    PostLike,
    UserProfile,
    metadata,
)
from orgtenancy.community.posts import AsyncPostRepository, PostChanges, PostRepository
from orgtenancy.community.profiles import (
    AsyncUserProfileRepository,
    ProfileChanges,
    UserProfileRepository,
)
from orgtenancy.community.settings import CommunitySettings
from orgtenancy.modules import OrganizationModule

#: Profiles, posts, likes, comments, groups, conversations, messages and activity.
community: Final = OrganizationModule(
    name="community",
    metadata=metadata,
    migrations=Path(__file__).parent / "migrations" / "versions",
    settings=CommunitySettings(),
)

__all__ = [
    "ActivityLog",
    "AsyncPostCommentRepository",
    "AsyncPostLikeRepository",
    "AsyncPostRepository",
    "AsyncUserProfileRepository",
    "CommentThread",
    "CommunitySettings",
    "Conversation",
    "ConversationParticipant",
    "Group",
    "GroupMember",
    "Message",
    "Post",
    "PostChanges",
    "PostComment",
    "PostCommentRepository",
    "PostLike",
    "PostLikeRepository",
    "PostRepository",
    "ProfileChanges",
    "UserProfile",
    "UserProfileRepository",
    "community",
]
