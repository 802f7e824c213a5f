"""An operation sends the same statements for one row as for thirty."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlencode
from uuid import UUID, uuid4

import pytest
from sqlalchemy.orm import Session

from orgtenancy import Organization, Tenancy
from orgtenancy.community import (
    ActivityLogRepository,
    ConversationRepository,
    GroupMemberRepository,
    GroupRepository,
    MessageRepository,
    ParticipantRepository,
    PostCommentRepository,
    PostLikeRepository,
    PostRepository,
    UserProfileRepository,
)
from orgtenancy.community.api import ENDPOINTS
from orgtenancy.endpoints import Caller, Endpoint
from orgtenancy.organizations import Actor
from orgtenancy.pagination import PageRequest
from tests.community.statements import number_of_statements
from tests.community.worlds import World, build

MANY: Final = 30
PAGE = PageRequest(limit=100)


@pytest.fixture(scope="module")
def worlds(tenancy: Tenancy) -> Sequence[tuple[Organization, World]]:
    """An organization with one row of each kind, and one with thirty."""
    made = []
    for number in (1, MANY):
        organization = tenancy.schemas.provision(f"t{uuid4().hex[:12]}")
        with tenancy.session(organization) as session:
            made.append((organization, build(session, number)))
    return made


def counts(
    tenancy: Tenancy,
    worlds: Sequence[tuple[Organization, World]],
    work: Callable[[Session, World], object],
) -> list[int]:
    """Return how many statements a piece of work sends in each world."""
    numbers = []
    for organization, world in worlds:
        with tenancy.session(organization) as session:
            numbers.append(number_of_statements(session, lambda: work(session, world)))  # noqa: B023
            session.rollback()
    return numbers


def talks(session: Session) -> list[UUID]:
    return [c.id for c in ConversationRepository(session).find_for("ada", PAGE).items]


def feed(session: Session) -> list[UUID]:
    return [post.id for post in PostRepository(session).find_feed("ada", PAGE).items]


#: What lists something, with pages long enough for all of it.
LISTS: Final[Mapping[str, Callable[[Session, World], Any]]] = {
    "find_feed": lambda s, w: PostRepository(s).find_feed("ada", PAGE).items,
    "find_by_author": lambda s, w: PostRepository(s).find_by_author("ada", "bob", PAGE).items,
    "find_by_group": lambda s, w: (
        PostRepository(s).find_by_group(w.circles.private, "ada", PAGE).items
    ),
    "find_by_tag": lambda s, w: PostRepository(s).find_by_tag("a", "ada", PAGE).items,
    "find_pinned": lambda s, w: PostRepository(s).find_pinned("ada", PAGE).items,
    "find_pinned, in a group": lambda s, w: (
        PostRepository(s).find_pinned("ada", PAGE, group_id=w.circles.private).items
    ),
    "search posts": lambda s, w: PostRepository(s).search("rope", "ada", PAGE).items,
    "liked_ids": lambda s, w: PostLikeRepository(s).liked_ids("p00", feed(s)),
    "list_likers": lambda s, w: PostLikeRepository(s).list_likers(w.post, "ada", PAGE).items,
    "list_tree": lambda s, w: PostCommentRepository(s).list_tree(w.post, "ada", PAGE).items,
    "list_replies": lambda s, w: (
        PostCommentRepository(s).list_replies(w.comment, "ada", PAGE).items
    ),
    "search people": lambda s, w: UserProfileRepository(s).search("p", PAGE).items,
    "get_many": lambda s, w: UserProfileRepository(s).get_many(w.people),
    "find_visible": lambda s, w: GroupRepository(s).find_visible("ada", PAGE).items,
    "find_joined": lambda s, w: GroupRepository(s).find_joined("ada", PAGE).items,
    "search groups": lambda s, w: GroupRepository(s).search("rope", "ada", PAGE).items,
    "find_members": lambda s, w: (
        GroupMemberRepository(s).find_members(w.circles.private, "ada", PAGE).items
    ),
    "find_requests": lambda s, w: (
        GroupMemberRepository(s).find_requests(w.circles.private, "ada", PAGE).items
    ),
    "find_invited": lambda s, w: (
        GroupMemberRepository(s).find_invited(w.circles.private, "ada", PAGE).items
    ),
    "find_banned": lambda s, w: (
        GroupMemberRepository(s).find_banned(w.circles.private, "ada", PAGE).items
    ),
    "find_invitations": lambda s, w: GroupMemberRepository(s).find_invitations("ada", PAGE).items,
    "find_for": lambda s, w: ConversationRepository(s).find_for("ada", PAGE).items,
    "find_present": lambda s, w: (
        ParticipantRepository(s).find_present(w.talks.talk, "ada", PAGE).items
    ),
    "present_in": lambda s, w: ParticipantRepository(s).present_in(talks(s)),
    "positions": lambda s, w: ParticipantRepository(s).positions("ada", talks(s)),
    "unread_counts": lambda s, w: ParticipantRepository(s).unread_counts("ada"),
    "list_before": lambda s, w: MessageRepository(s).list_before(w.talks.talk, "ada", PAGE).items,
    "list_after": lambda s, w: MessageRepository(s).list_after(w.talks.talk, "ada", PAGE).items,
    "last_messages": lambda s, w: MessageRepository(s).last_messages(talks(s)),
    "find_flagged": lambda s, w: MessageRepository(s).find_flagged(PAGE).items,
    "find activity": lambda s, w: ActivityLogRepository(s).find(PAGE, user_id="ada").items,
    "for_target": lambda s, w: ActivityLogRepository(s).for_target("post", w.post, PAGE).items,
}


class Call:
    """A request: who asks, and what for."""

    def __init__(
        self, who: str = "ada", *, query: str = "", body: Any = None, **path: UUID | str
    ) -> None:
        self.caller = Caller(Actor(id=who, scopes=frozenset({"community:moderate"})), "192.0.2.1")
        self.path = {name: str(value) for name, value in path.items()}
        self.query = f"limit=100&{query}".encode()
        self.body = json.dumps(body).encode()

    def __call__(self, endpoint: Endpoint, session: Session) -> Any:
        inputs = endpoint.read(self.path, self.query, self.body)
        return json.loads(endpoint.run(session, self.caller, inputs) or "null")


TEXT: Final = {"content": "Changed"}
NEW: Final = {"user_id": "new"}

CALLS: Final[Mapping[str, Callable[[World], Call]]] = {
    "read_feed": lambda w: Call(),
    "create_post": lambda w: Call(body=TEXT | {"group_id": str(w.circles.private)}),
    "list_pinned_posts": lambda w: Call(query=urlencode({"group_id": w.circles.private})),
    "read_post": lambda w: Call(post_id=w.post),
    "update_post": lambda w: Call(post_id=w.post, body=TEXT | {"expected_version": 1}),
    "delete_post": lambda w: Call(post_id=w.post),
    "pin_post": lambda w: Call(post_id=w.post),
    "unpin_post": lambda w: Call(post_id=w.pinned),
    "lock_post": lambda w: Call(post_id=w.post),
    "unlock_post": lambda w: Call(post_id=w.post),
    "like_post": lambda w: Call("bob", post_id=w.post),
    "unlike_post": lambda w: Call("p00", post_id=w.post),
    "list_likes": lambda w: Call(post_id=w.post),
    "list_posts_by_tag": lambda w: Call(tag="a"),
    "list_posts_by_author": lambda w: Call(user_id="ada"),
    "list_posts_by_group": lambda w: Call(group_id=w.circles.private),
    "list_comments": lambda w: Call(post_id=w.post),
    "create_comment": lambda w: Call(
        post_id=w.post, body=TEXT | {"parent_comment_id": str(w.comment)}
    ),
    "list_replies": lambda w: Call(comment_id=w.comment),
    "update_comment": lambda w: Call(comment_id=w.comment, body=TEXT),
    "delete_comment": lambda w: Call(comment_id=w.comment),
    "list_profiles": lambda w: Call(),
    "read_own_profile": lambda w: Call(),
    "update_own_profile": lambda w: Call(body={"username": "ada2"}),
    "read_profile_by_username": lambda w: Call(username="bob"),
    "read_profile": lambda w: Call(user_id="bob"),
    "deactivate_profile": lambda w: Call(user_id="bob"),
    "reactivate_profile": lambda w: Call(user_id="bob"),
    "anonymize_profile": lambda w: Call(user_id="ada"),
    "list_groups": lambda w: Call(),
    "create_group": lambda w: Call(body={"name": "New"}),
    "list_own_invitations": lambda w: Call(),
    "read_group": lambda w: Call(group_id=w.circles.private),
    "update_group": lambda w: Call(group_id=w.circles.private, body={"name": "New", "slug": "new"}),
    "archive_group": lambda w: Call(group_id=w.circles.private),
    "unarchive_group": lambda w: Call(group_id=w.circles.private),
    "transfer_group": lambda w: Call(group_id=w.circles.private, body={"user_id": "p00"}),
    "list_members": lambda w: Call(group_id=w.circles.private),
    "join_group": lambda w: Call("new", group_id=w.circles.group),
    "leave_group": lambda w: Call("p00", group_id=w.circles.private),
    "update_member": lambda w: Call(
        group_id=w.circles.private, user_id="p00", body={"role": "admin"}
    ),
    "remove_member": lambda w: Call(group_id=w.circles.private, user_id="p00"),
    "ban_member": lambda w: Call(group_id=w.circles.private, user_id="p00"),
    "unban_member": lambda w: Call(group_id=w.circles.private, user_id="banned"),
    "list_requests": lambda w: Call(group_id=w.circles.private),
    "request_membership": lambda w: Call("new", group_id=w.circles.private),
    "approve_request": lambda w: Call(group_id=w.circles.private, user_id="p00-asks"),
    "reject_request": lambda w: Call(group_id=w.circles.private, user_id="p00-asks"),
    "list_invited": lambda w: Call(group_id=w.circles.private),
    "list_banned": lambda w: Call(group_id=w.circles.private),
    "invite_member": lambda w: Call(group_id=w.circles.private, body=NEW),
    "accept_invitation": lambda w: Call(group_id=w.circles.secret),
    "list_conversations": lambda w: Call(),
    "create_conversation": lambda w: Call(body={"participants": ["bob", *w.people]}),
    "read_unread": lambda w: Call(),
    "open_direct_conversation": lambda w: Call(user_id="new"),
    "read_conversation": lambda w: Call(conversation_id=w.talks.talk),
    "update_conversation": lambda w: Call(conversation_id=w.talks.talk, body={"name": "New"}),
    "list_participants": lambda w: Call(conversation_id=w.talks.talk),
    "add_participants": lambda w: Call(
        conversation_id=w.talks.talk,
        body={"user_ids": ["new", *(f"{p}-asks" for p in w.people)]},
    ),
    "leave_conversation": lambda w: Call(conversation_id=w.talks.talk),
    "mute_conversation": lambda w: Call(conversation_id=w.talks.talk, body={}),
    "unmute_conversation": lambda w: Call(conversation_id=w.talks.talk),
    "mark_read": lambda w: Call(conversation_id=w.talks.talk, body={"sequence": 1}),
    "list_messages": lambda w: Call(conversation_id=w.talks.talk),
    "send_message": lambda w: Call(conversation_id=w.talks.talk, body=TEXT | {"client_key": "a"}),
    "read_message": lambda w: Call(message_id=w.talks.message),
    "update_message": lambda w: Call(message_id=w.talks.own_message, body=TEXT),
    "delete_message": lambda w: Call(message_id=w.talks.message),
    "flag_message": lambda w: Call(message_id=w.talks.message, body={}),
    "search": lambda w: Call(query="q=rope"),
    "search_posts": lambda w: Call(query="q=rope"),
    "search_profiles": lambda w: Call(query="q=p"),
    "search_groups": lambda w: Call(query="q=rope"),
    "list_own_activity": lambda w: Call(),
    "list_activity": lambda w: Call(),
    "list_flagged_messages": lambda w: Call(),
    "resolve_flags": lambda w: Call(message_id=w.talks.flagged, body={"remove": True}),
}


@pytest.mark.parametrize("name", LISTS)
def test_a_list_of_any_length_is_the_same_statements(
    tenancy: Tenancy, worlds: Sequence[tuple[Organization, World]], name: str
) -> None:
    def work(session: Session, world: World) -> None:
        found = LISTS[name](session, world)
        assert len(found) >= (1 if name == "liked_ids" else world.number)

    few, many = counts(tenancy, worlds, work)
    assert few == many


def test_every_endpoint_is_called() -> None:
    assert CALLS.keys() == {endpoint.name for endpoint in ENDPOINTS}


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.name)
def test_an_endpoint_sends_the_same_statements_for_any_number_of_rows(
    tenancy: Tenancy, worlds: Sequence[tuple[Organization, World]], endpoint: Endpoint
) -> None:
    def work(session: Session, world: World) -> None:
        answer = CALLS[endpoint.name](world)(endpoint, session)
        if isinstance(answer, dict) and "items" in answer:
            assert len(answer["items"]) >= world.number

    few, many = counts(tenancy, worlds, work)
    assert few == many
