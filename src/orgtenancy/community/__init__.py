"""The community domain: an `OrganizationModule` like any host's own.

It uses nothing of `orgtenancy` that a host could not use, and shows how a module is made:
models without a schema, revisions on a branch of their own, one file per aggregate, and
its HTTP API as a table of endpoints.

```
models/  migrations/  settings     the tables, how they are made, and what can be tuned
profiles                           claims: what a token says of a person; syncing; erasure
posts  likes                       feeds: the lists of posts
comments                           threads: how they are read
groups  members                    slugs; standing: who may do what; transitions: how it is done
conversations  participants        places: who is there, and has read how far
messages                           sending: numbered, changed, buried; flags: reported
activity                           the log
visibility  search  inputs         what all of them decide by
keys  rows                         UUIDs, and what a session holds
api/                               the same over HTTP, chapter by chapter
```
"""

from pathlib import Path
from typing import Final

from orgtenancy.community.activity import ActivityLogRepository, AsyncActivityLogRepository
from orgtenancy.community.api import ENDPOINTS
from orgtenancy.community.comments import AsyncPostCommentRepository, PostCommentRepository
from orgtenancy.community.conversations import (
    AsyncConversationRepository,
    ConversationRepository,
)
from orgtenancy.community.erasure import erase_person
from orgtenancy.community.groups import AsyncGroupRepository, GroupChanges, GroupRepository
from orgtenancy.community.likes import AsyncPostLikeRepository, PostLikeRepository
from orgtenancy.community.members import AsyncGroupMemberRepository, GroupMemberRepository
from orgtenancy.community.messages import AsyncMessageRepository, MessageRepository
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
from orgtenancy.community.participants import AsyncParticipantRepository, ParticipantRepository
from orgtenancy.community.posts import AsyncPostRepository, PostChanges, PostRepository
from orgtenancy.community.profiles import (
    AsyncUserProfileRepository,
    ProfileChanges,
    UserProfileRepository,
)
from orgtenancy.community.settings import CommunitySettings
from orgtenancy.community.syncing import sync_profile
from orgtenancy.community.threads import CommentThread
from orgtenancy.modules import OrganizationModule

#: Profiles, posts, likes, comments, groups, conversations, messages and activity.
community: Final = OrganizationModule(
    name="community",
    metadata=metadata,
    migrations=Path(__file__).parent / "migrations" / "versions",
    endpoints=ENDPOINTS,
    erase=erase_person,
    settings=CommunitySettings(),
)

__all__ = [
    "ActivityLog",
    "ActivityLogRepository",
    "AsyncActivityLogRepository",
    "AsyncConversationRepository",
    "AsyncGroupMemberRepository",
    "AsyncGroupRepository",
    "AsyncMessageRepository",
    "AsyncParticipantRepository",
    "AsyncPostCommentRepository",
    "AsyncPostLikeRepository",
    "AsyncPostRepository",
    "AsyncUserProfileRepository",
    "CommentThread",
    "CommunitySettings",
    "Conversation",
    "ConversationParticipant",
    "ConversationRepository",
    "Group",
    "GroupChanges",
    "GroupMember",
    "GroupMemberRepository",
    "GroupRepository",
    "Message",
    "MessageRepository",
    "ParticipantRepository",
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
    "sync_profile",
]
