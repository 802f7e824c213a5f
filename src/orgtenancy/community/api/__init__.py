"""The HTTP API of the community: one table of endpoints, mounted by every web adapter.

A moderator's endpoints ask for the scope `community:moderate`; the others for none, beyond
being a member. `CommunitySettings.scopes` says otherwise, endpoint by endpoint.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from orgtenancy.community.api import (
    comments,
    conversations,
    groups,
    members,
    messages,
    moderation,
    people,
    posts,
    search,
)
from orgtenancy.community.settings import MODERATE
from orgtenancy.endpoints import Endpoint

_POSTS = (
    Endpoint("GET", "/feed", posts.read_feed),
    Endpoint("POST", "/posts", posts.create_post, status=201, problems=(403, 404, 409)),
    Endpoint("GET", "/posts/pinned", posts.list_pinned_posts),
    Endpoint("GET", "/posts/{post_id}", posts.read_post, problems=(404,)),
    Endpoint("PATCH", "/posts/{post_id}", posts.update_post, problems=(403, 404, 409)),
    Endpoint("DELETE", "/posts/{post_id}", posts.delete_post, status=204, problems=(403, 404)),
    Endpoint("PUT", "/posts/{post_id}/pin", posts.pin_post, problems=(403, 404)),
    Endpoint("DELETE", "/posts/{post_id}/pin", posts.unpin_post, problems=(403, 404)),
    Endpoint("PUT", "/posts/{post_id}/lock", posts.lock_post, problems=(403, 404)),
    Endpoint("DELETE", "/posts/{post_id}/lock", posts.unlock_post, problems=(403, 404)),
    Endpoint("PUT", "/posts/{post_id}/like", posts.like_post, problems=(404,)),
    Endpoint("DELETE", "/posts/{post_id}/like", posts.unlike_post, problems=(404,)),
    Endpoint("GET", "/posts/{post_id}/likes", posts.list_likes, problems=(404,)),
    Endpoint("GET", "/tags/{tag}/posts", posts.list_posts_by_tag),
    Endpoint("GET", "/profiles/{user_id}/posts", posts.list_posts_by_author),
    Endpoint("GET", "/groups/{group_id}/posts", posts.list_posts_by_group, problems=(403, 404)),
)

_COMMENTS = (
    Endpoint("GET", "/posts/{post_id}/comments", comments.list_comments, problems=(404,)),
    Endpoint(
        "POST",
        "/posts/{post_id}/comments",
        comments.create_comment,
        status=201,
        problems=(403, 404, 409),
    ),
    Endpoint("GET", "/comments/{comment_id}/replies", comments.list_replies, problems=(404,)),
    Endpoint("PATCH", "/comments/{comment_id}", comments.update_comment, problems=(403, 404, 409)),
    Endpoint(
        "DELETE",
        "/comments/{comment_id}",
        comments.delete_comment,
        status=204,
        problems=(403, 404),
    ),
)

_PEOPLE = (
    Endpoint("GET", "/profiles", people.list_profiles),
    Endpoint("GET", "/profiles/me", people.read_own_profile, problems=(409,)),
    Endpoint("PATCH", "/profiles/me", people.update_own_profile, problems=(403, 409)),
    Endpoint(
        "GET", "/profiles/by-username/{username}", people.read_profile_by_username, problems=(404,)
    ),
    Endpoint("GET", "/profiles/{user_id}", people.read_profile, problems=(404,)),
    Endpoint(
        "POST",
        "/profiles/{user_id}/deactivate",
        people.deactivate_profile,
        scopes=(MODERATE,),
        problems=(404, 409),
    ),
    Endpoint(
        "POST",
        "/profiles/{user_id}/reactivate",
        people.reactivate_profile,
        scopes=(MODERATE,),
        problems=(404, 409),
    ),
    Endpoint(
        "POST",
        "/profiles/{user_id}/anonymize",
        people.anonymize_profile,
        scopes=(MODERATE,),
        problems=(404,),
    ),
)

_GROUPS = (
    Endpoint("GET", "/groups", groups.list_groups),
    Endpoint("POST", "/groups", groups.create_group, status=201, problems=(409,)),
    Endpoint("GET", "/groups/invites", members.list_own_invitations),
    Endpoint("GET", "/groups/{group_id}", groups.read_group, problems=(404,)),
    Endpoint("PATCH", "/groups/{group_id}", groups.update_group, problems=(403, 404, 409)),
    Endpoint("PUT", "/groups/{group_id}/archive", groups.archive_group, problems=(403, 404)),
    Endpoint("DELETE", "/groups/{group_id}/archive", groups.unarchive_group, problems=(403, 404)),
    Endpoint(
        "POST", "/groups/{group_id}/transfer", groups.transfer_group, problems=(403, 404, 409)
    ),
    Endpoint("GET", "/groups/{group_id}/members", members.list_members, problems=(403, 404)),
    Endpoint("PUT", "/groups/{group_id}/members/me", members.join_group, problems=(403, 404, 409)),
    Endpoint(
        "DELETE",
        "/groups/{group_id}/members/me",
        members.leave_group,
        status=204,
        problems=(404, 409),
    ),
    Endpoint(
        "PATCH",
        "/groups/{group_id}/members/{user_id}",
        members.update_member,
        problems=(403, 404, 409),
    ),
    Endpoint(
        "DELETE",
        "/groups/{group_id}/members/{user_id}",
        members.remove_member,
        status=204,
        problems=(403, 404, 409),
    ),
    Endpoint("GET", "/groups/{group_id}/bans", members.list_banned, problems=(403, 404)),
    Endpoint(
        "PUT",
        "/groups/{group_id}/bans/{user_id}",
        members.ban_member,
        problems=(403, 404, 409),
    ),
    Endpoint(
        "DELETE",
        "/groups/{group_id}/bans/{user_id}",
        members.unban_member,
        status=204,
        problems=(403, 404),
    ),
    Endpoint("GET", "/groups/{group_id}/requests", members.list_requests, problems=(403, 404)),
    Endpoint(
        "POST",
        "/groups/{group_id}/requests",
        members.request_membership,
        status=201,
        problems=(403, 404, 409),
    ),
    Endpoint(
        "PUT",
        "/groups/{group_id}/requests/{user_id}",
        members.approve_request,
        problems=(403, 404, 409),
    ),
    Endpoint(
        "DELETE",
        "/groups/{group_id}/requests/{user_id}",
        members.reject_request,
        status=204,
        problems=(403, 404),
    ),
    Endpoint("GET", "/groups/{group_id}/invites", members.list_invited, problems=(403, 404)),
    Endpoint(
        "POST",
        "/groups/{group_id}/invites",
        members.invite_member,
        status=201,
        problems=(403, 404, 409),
    ),
    Endpoint(
        "PUT",
        "/groups/{group_id}/invites/me",
        members.accept_invitation,
        problems=(403, 404, 409),
    ),
)

_CONVERSATIONS = (
    Endpoint("GET", "/conversations", conversations.list_conversations),
    Endpoint(
        "POST",
        "/conversations",
        conversations.create_conversation,
        status=201,
        problems=(404,),
    ),
    Endpoint("GET", "/conversations/unread", conversations.read_unread),
    Endpoint(
        "PUT",
        "/conversations/direct/{user_id}",
        conversations.open_direct_conversation,
        problems=(404,),
    ),
    Endpoint(
        "GET", "/conversations/{conversation_id}", conversations.read_conversation, problems=(404,)
    ),
    Endpoint(
        "PATCH",
        "/conversations/{conversation_id}",
        conversations.update_conversation,
        problems=(404, 409),
    ),
    Endpoint(
        "GET",
        "/conversations/{conversation_id}/participants",
        conversations.list_participants,
        problems=(404,),
    ),
    Endpoint(
        "POST",
        "/conversations/{conversation_id}/participants",
        conversations.add_participants,
        problems=(404, 409),
    ),
    Endpoint(
        "DELETE",
        "/conversations/{conversation_id}/participants/me",
        conversations.leave_conversation,
        status=204,
        problems=(404, 409),
    ),
    Endpoint(
        "PUT",
        "/conversations/{conversation_id}/mute",
        conversations.mute_conversation,
        problems=(404,),
    ),
    Endpoint(
        "DELETE",
        "/conversations/{conversation_id}/mute",
        conversations.unmute_conversation,
        problems=(404,),
    ),
    Endpoint(
        "PUT", "/conversations/{conversation_id}/read", conversations.mark_read, problems=(404,)
    ),
    Endpoint(
        "GET",
        "/conversations/{conversation_id}/messages",
        messages.list_messages,
        problems=(404,),
    ),
    Endpoint(
        "POST",
        "/conversations/{conversation_id}/messages",
        messages.send_message,
        status=201,
        problems=(404,),
    ),
    Endpoint("GET", "/messages/{message_id}", messages.read_message, problems=(404,)),
    Endpoint("PATCH", "/messages/{message_id}", messages.update_message, problems=(403, 404, 409)),
    Endpoint(
        "DELETE",
        "/messages/{message_id}",
        messages.delete_message,
        status=204,
        problems=(403, 404),
    ),
    Endpoint(
        "POST", "/messages/{message_id}/flags", messages.flag_message, problems=(403, 404, 409)
    ),
)

_SEARCH = (
    Endpoint("GET", "/search", search.search),
    Endpoint("GET", "/search/posts", search.search_posts),
    Endpoint("GET", "/search/profiles", search.search_profiles),
    Endpoint("GET", "/search/groups", search.search_groups),
)

_MODERATION = (
    Endpoint("GET", "/activity", moderation.list_own_activity),
    Endpoint("GET", "/moderation/activity", moderation.list_activity, scopes=(MODERATE,)),
    Endpoint("GET", "/moderation/flags", moderation.list_flagged_messages, scopes=(MODERATE,)),
    Endpoint(
        "POST",
        "/messages/{message_id}/flags/resolve",
        moderation.resolve_flags,
        scopes=(MODERATE,),
        problems=(404, 409),
    ),
)

_CHAPTERS = {
    "posts": _POSTS,
    "comments": _COMMENTS,
    "people": _PEOPLE,
    "groups": _GROUPS,
    "conversations": _CONVERSATIONS,
    "search": _SEARCH,
    "moderation": _MODERATION,
}

#: What every web adapter mounts.
ENDPOINTS: Final = tuple(
    replace(endpoint, tag=chapter)
    for chapter, endpoints in _CHAPTERS.items()
    for endpoint in endpoints
)
