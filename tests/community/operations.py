"""Everything that the repositories of the community do, in a large organization."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final, Generic, NamedTuple, TypeAlias, TypeVar
from uuid import UUID

from sqlalchemy import inspect
from sqlalchemy.orm import Session

from orgtenancy import community
from orgtenancy.community import (
    ActivityLog,
    ActivityLogRepository,
    Conversation,
    ConversationParticipant,
    ConversationRepository,
    Group,
    GroupMember,
    GroupMemberRepository,
    GroupRepository,
    Message,
    MessageRepository,
    ParticipantRepository,
    Post,
    PostComment,
    PostCommentRepository,
    PostLike,
    PostLikeRepository,
    PostRepository,
    UserProfile,
    UserProfileRepository,
)
from orgtenancy.community.keys import uuid7
from orgtenancy.errors import DomainError
from orgtenancy.pagination import Page, PageRequest
from orgtenancy.repository import OrganizationAwareRepository
from tests.benchmarks import community_data as data
from tests.community.cast import Cast

HUNDRED = PageRequest(limit=100)
LATER = datetime(2100, 1, 1, tzinfo=UTC)


Work: TypeAlias = Callable[[Session, Cast], object]


class Operation(NamedTuple):
    """One call of a repository's method."""

    repository: type[OrganizationAwareRepository[Any]]
    method: str
    work: Work
    case: str = ""

    def __str__(self) -> str:
        name = f"{self.repository.__name__}.{self.method}"
        return f"{name}, {self.case}" if self.case else name


R = TypeVar("R", bound=OrganizationAwareRepository[Any])


class Calls(Generic[R]):
    """Makes operations of one repository."""

    def __init__(self, repository: type[R]) -> None:
        self.repository = repository

    def __call__(self, method: str, work: Callable[[R, Cast], object], case: str = "") -> Operation:
        repository = self.repository
        return Operation(repository, method, lambda s, c: work(repository(s), c), case)


REPOSITORIES: Final = [
    value
    for value in vars(community).values()
    if isinstance(value, type) and issubclass(value, OrganizationAwareRepository)
]

#: What no list of operations needs: these send nothing, or are what the others are made of.
WITHOUT_STATEMENTS = {"with_session", "session", "model", "select_page"}


def public_methods(repository: type) -> set[str]:
    """Return the names of the methods that send statements."""
    return {name for name in dir(repository) if not name.startswith("_")} - WITHOUT_STATEMENTS


def second(find: Callable[[PageRequest], Page[Any]], limit: int = 20) -> None:
    """Read the first page and the second."""
    page = find(PageRequest(limit=limit))
    assert page.next_cursor is not None, "there is no second page"
    find(PageRequest(limit=limit, cursor=page.next_cursor))


def operations() -> Iterator[Operation]:
    """Yield them all."""
    for calls in (_posts, _comments, _likes, _people, _groups, _members):
        yield from calls()
    for calls in (_conversations, _participants, _messages, _logs, _inherited):
        yield from calls()


def _posts() -> Iterator[Operation]:
    op = Calls(PostRepository)

    def tagged(tag: str) -> Callable[[PostRepository, Cast], None]:
        return lambda r, c: second(lambda p: r.find_by_tag(tag, c.joiner, p))

    def searched(word: str) -> Callable[[PostRepository, Cast], None]:
        return lambda r, c: second(lambda p: r.search(word, c.joiner, p))

    yield op("find_feed", lambda r, c: second(lambda p: r.find_feed(c.joiner, p)), "many groups")
    yield op("find_feed", lambda r, c: second(lambda p: r.find_feed(c.loner, p)), "few groups")
    yield op("find_feed", lambda r, c: r.find_feed(c.joiner, HUNDRED), "a hundred")
    yield op(
        "find_by_author", lambda r, c: second(lambda p: r.find_by_author(data.HEAVY, c.joiner, p))
    )
    yield op("find_by_author", lambda r, c: r.find_by_author("nobody", c.joiner), "of nobody")
    yield op("find_by_group", lambda r, c: second(lambda p: r.find_by_group(c.group, c.member, p)))
    for case, tag in (("common", data.COMMON_TAG), ("old", data.OLD_TAG)):
        yield op("find_by_tag", tagged(tag), case)
    yield op("find_by_tag", lambda r, c: r.find_by_tag(data.RARE_TAG, c.joiner), "rare")
    yield op("find_pinned", lambda r, c: second(lambda p: r.find_pinned(c.joiner, p), 5))
    yield op("find_pinned", lambda r, c: r.find_pinned(c.member, group_id=c.group), "in a group")
    for case, word in (("common", data.COMMON_WORD), ("old", data.OLD_WORD)):
        yield op("search", searched(word), case)
    yield op("search", lambda r, c: r.search(data.RARE_WORD, c.joiner), "rare")
    yield op("search", lambda r, c: r.search(f"{data.COMMON_WORD} -x", c.loner), "without")
    yield op("get_visible", lambda r, c: r.get_visible(c.post, c.loner))
    yield op("create", lambda r, c: r.create(user_id=c.author, content="Hello", tags=["a"]))
    yield op(
        "create",
        lambda r, c: r.create(user_id=c.member, content="Hello", group_id=c.group),
        "in a group",
    )
    yield op("update", lambda r, c: r.update(c.post, c.author, expected_version=1, content="Hello"))
    yield op("soft_delete", lambda r, c: r.soft_delete(c.group_post, c.owner))
    yield op("pin", lambda r, c: r.pin(c.group_post, c.owner))
    yield op("lock", lambda r, c: r.lock(c.group_post, c.owner))
    case = "moderating"
    yield op("soft_delete", lambda r, c: r.soft_delete(c.post, c.loner, moderating=True), case)
    yield op("pin", lambda r, c: r.pin(c.post, c.loner, moderating=True), case)
    yield op("lock", lambda r, c: r.lock(c.post, c.loner, moderating=True), case)


def _comments() -> Iterator[Operation]:
    op = Calls(PostCommentRepository)

    yield op("list_tree", lambda r, c: second(lambda p: r.list_tree(c.post, c.loner, p)))
    yield op("list_tree", lambda r, c: r.list_tree(c.post, c.loner, HUNDRED), "a hundred")
    yield op("list_replies", lambda r, c: second(lambda p: r.list_replies(c.thread, c.loner, p), 5))
    yield op("create", lambda r, c: r.create(post_id=c.post, user_id=c.loner, content="Hello"))
    yield op(
        "create",
        lambda r, c: r.create(
            post_id=c.post, user_id=c.loner, content="Hello", parent_comment_id=c.comment
        ),
        "a reply",
    )
    yield op("update", lambda r, c: r.update(c.comment, c.commenter, "Hello"))
    yield op("soft_delete", lambda r, c: r.soft_delete(c.comment, c.commenter))
    yield op("remove", lambda r, c: r.remove(c.comment, c.joiner, moderating=True), "moderating")
    yield op("remove", lambda r, c: refused(lambda: r.remove(c.comment, c.joiner)), "refused")
    yield op("recount", lambda r, c: r.recount(c.post))


def _likes() -> Iterator[Operation]:
    op = Calls(PostLikeRepository)

    def feed(repository: PostLikeRepository, cast: Cast) -> list[UUID]:
        page = PostRepository(repository.session).find_feed(cast.joiner, HUNDRED)
        return [post.id for post in page.items]

    yield op("like", lambda r, c: (r.like(c.post, "newcomer"), r.like(c.post, "newcomer")))
    yield op("unlike", lambda r, c: (r.like(c.post, "newcomer"), r.unlike(c.post, "newcomer")))
    yield op("liked_ids", lambda r, c: r.liked_ids(c.joiner, feed(r, c)))
    yield op("liked_ids", lambda r, c: r.liked_ids(c.joiner, [c.post]), "one")
    yield op("list_likers", lambda r, c: second(lambda p: r.list_likers(c.post, c.joiner, p)))
    yield op("recount", lambda r, c: r.recount(c.post))


def _people() -> Iterator[Operation]:
    op = Calls(UserProfileRepository)

    def claims(user_id: str) -> dict[str, str]:
        return {"sub": user_id, "name": "Ada", "picture": "https://example.org/a.png"}

    yield op("get_by_username", lambda r, c: r.get_by_username("Somebody"))
    yield op("search", lambda r, c: r.search("vobamord"), "rare")
    yield op("search", lambda r, c: second(lambda p: r.search("vo", p)), "common")
    yield op("upsert_from_claims", lambda r, c: r.upsert_from_claims(claims("newcomer")), "new")
    yield op("upsert_from_claims", lambda r, c: r.upsert_from_claims(claims(c.member)), "known")
    yield op("update", lambda r, c: r.update(c.joiner, username="ada", bio="Hello"))
    yield op("deactivate", lambda r, c: r.deactivate(c.joiner))
    yield op("reactivate", lambda r, c: r.reactivate(c.joiner))
    yield op("anonymize", lambda r, c: r.anonymize(c.joiner))


def _groups() -> Iterator[Operation]:
    op = Calls(GroupRepository)

    yield op("create", lambda r, c: r.create(creator_id=c.loner, name="Chess"))
    yield op("get_visible", lambda r, c: r.get_visible(c.group, c.loner))
    yield op("get_by_slug", lambda r, c: refused(lambda: r.get_by_slug("nowhere", c.loner)))
    yield op("find_visible", lambda r, c: second(lambda p: r.find_visible(c.joiner, p)))
    yield op(
        "find_visible",
        lambda r, c: second(lambda p: r.find_visible(c.joiner, p, category="music")),
        "of a category",
    )
    yield op("find_joined", lambda r, c: second(lambda p: r.find_joined(c.joiner, p), 5))
    yield op("search", lambda r, c: second(lambda p: r.search("voralird", c.joiner, p), 5))
    yield op("update", lambda r, c: r.update(c.group, c.owner, name="Go", slug="go"))
    yield op("archive", lambda r, c: r.archive(c.group, c.owner))
    yield op("unarchive", lambda r, c: r.unarchive(c.group, c.owner))


def _members() -> Iterator[Operation]:
    op = Calls(GroupMemberRepository)

    def ranked(repository: GroupMemberRepository, cast: Cast) -> None:
        repository.set_role(cast.group, cast.owner, cast.member, "owner")
        repository.set_role(cast.group, cast.member, cast.owner, "admin")

    yield op("find_members", lambda r, c: second(lambda p: r.find_members(c.group, c.member, p)))
    yield op("find_requests", lambda r, c: r.find_requests(c.group, c.owner))
    yield op("find_invited", lambda r, c: r.find_invited(c.group, c.owner))
    yield op("find_banned", lambda r, c: r.find_banned(c.group, c.owner))
    yield op("find_invitations", lambda r, c: r.find_invitations(c.invited))
    yield op("memberships", lambda r, c: r.memberships(c.joiner, [c.group, c.open_group]))
    yield op("join", lambda r, c: r.join(c.open_group, c.outsider))
    yield op("request", lambda r, c: r.request(c.group, c.stranger))
    yield op("accept", lambda r, c: r.accept(c.group, c.invited))
    yield op("leave", lambda r, c: r.leave(c.group, c.member))
    yield op("approve", lambda r, c: r.approve(c.group, c.owner, c.asking))
    yield op("reject", lambda r, c: r.reject(c.group, c.owner, c.asking))
    yield op("invite", lambda r, c: r.invite(c.group, c.owner, c.stranger))
    yield op("remove", lambda r, c: r.remove(c.group, c.owner, c.member))
    yield op("ban", lambda r, c: r.ban(c.group, c.owner, c.member))
    yield op("unban", lambda r, c: r.unban(c.group, c.owner, c.banned))
    yield op("set_role", ranked)
    yield op("transfer_ownership", lambda r, c: r.transfer_ownership(c.group, c.owner, c.member))


def _conversations() -> Iterator[Operation]:
    op = Calls(ConversationRepository)

    yield op("open_direct", lambda r, c: r.open_direct(data.HEAVY, c.partner), "known")
    yield op("open_direct", lambda r, c: r.open_direct("newcomer", c.partner), "new")
    yield op(
        "create", lambda r, c: r.create(creator_id=c.loner, participant_ids=[c.joiner, c.silent])
    )
    yield op("get_visible", lambda r, c: r.get_visible(c.talk, data.HEAVY))
    yield op("find_for", lambda r, c: second(lambda p: r.find_for(data.HEAVY, p)), "hundreds")
    yield op("find_for", lambda r, c: r.find_for(c.partner), "a few")
    yield op("rename", lambda r, c: r.rename(c.talk, data.HEAVY, "Name"))


def _participants() -> Iterator[Operation]:
    op = Calls(ParticipantRepository)

    def listed(repository: ParticipantRepository, limit: int) -> list[UUID]:
        conversations = ConversationRepository(repository.session)
        page = conversations.find_for(data.HEAVY, PageRequest(limit=limit))
        return [conversation.id for conversation in page.items]

    yield op(
        "find_present", lambda r, c: second(lambda p: r.find_present(c.talk, data.HEAVY, p), 2)
    )
    yield op("present_in", lambda r, c: r.present_in(listed(r, 20)))
    yield op("present_in", lambda r, c: r.present_in(listed(r, 100)), "a hundred")
    yield op("positions", lambda r, c: r.positions(data.HEAVY, listed(r, 20)))
    yield op("positions", lambda r, c: r.positions(data.HEAVY, listed(r, 100)), "a hundred")
    yield op("invite", lambda r, c: r.invite(c.talk, data.HEAVY, [c.silent, c.talker]))
    yield op("leave", lambda r, c: r.leave(c.talk, c.talker))
    yield op("mute", lambda r, c: r.mute(c.talk, c.talker, LATER))
    yield op("unmute", lambda r, c: r.unmute(c.talk, c.talker))
    yield op("mark_read", lambda r, c: r.mark_read(c.talk, data.HEAVY, 1_000_000))
    yield op("unread_counts", lambda r, c: r.unread_counts(data.HEAVY), "hundreds")
    yield op("unread_counts", lambda r, c: r.unread_counts(c.partner), "a few")


def _messages() -> Iterator[Operation]:
    op = Calls(MessageRepository)

    def sent(repository: MessageRepository, cast: Cast) -> Message:
        return repository.send(cast.talk, cast.talker, content="Hello")

    def again(repository: MessageRepository, cast: Cast) -> None:
        for _ in range(2):
            repository.send(cast.talk, cast.talker, content="Hello", client_key="a")

    def last(repository: MessageRepository) -> None:
        page = ConversationRepository(repository.session).find_for(data.HEAVY, HUNDRED)
        repository.last_messages([conversation.id for conversation in page.items])

    yield op("send", sent)
    yield op("send", again, "again")
    yield op("get_visible", lambda r, c: r.get_visible(c.message, data.HEAVY))
    yield op("list_before", lambda r, c: second(lambda p: r.list_before(c.talk, data.HEAVY, p)))
    yield op("list_before", lambda r, c: r.list_before(c.talk, data.HEAVY, before=50), "old ones")
    yield op("list_after", lambda r, c: second(lambda p: r.list_after(c.talk, data.HEAVY, p)))
    yield op("last_messages", lambda r, c: last(r))
    yield op("edit", lambda r, c: r.edit(sent(r, c).id, c.talker, "Goodbye"))
    yield op("soft_delete", lambda r, c: r.soft_delete(sent(r, c).id, c.talker))
    yield op(
        "soft_delete",
        lambda r, c: r.soft_delete(c.message, c.loner, moderating=True),
        "moderating",
    )
    yield op("flag", lambda r, c: r.flag(c.message, data.HEAVY, "rude"))
    yield op("find_flagged", lambda r, c: second(r.find_flagged))
    yield op("resolve_flags", lambda r, c: r.resolve_flags(c.flagged, remove=True))


def _logs() -> Iterator[Operation]:
    op = Calls(ActivityLogRepository)

    yield op("record", lambda r, c: r.record("post.create", user_id=c.joiner))
    yield op("find", lambda r, c: second(r.find))
    yield op("find", lambda r, c: second(lambda p: r.find(p, user_id=c.joiner)), "of a person")
    yield op("find", lambda r, c: second(lambda p: r.find(p, action="post.like")), "common")
    yield op("find", lambda r, c: r.find(action=data.RARE_ACTION), "rare")
    yield op("find", lambda r, c: r.find(action=data.RARE_ACTION, user_id=c.joiner), "both")
    yield op("for_target", lambda r, c: r.for_target("post", c.post))
    yield op("purge", lambda r, c: r.purge(datetime(2025, 3, 1, tzinfo=UTC)))


def _inherited() -> Iterator[Operation]:
    """Yield what every repository has, unless it is its own."""
    made: Mapping[type[Any], Callable[[Cast], Any]] = {
        ActivityLog: lambda c: ActivityLog(action="a", user_id=c.joiner),
        Conversation: lambda c: Conversation(type="group"),
        ConversationParticipant: lambda c: ConversationParticipant(
            conversation_id=c.talk, user_id="newcomer"
        ),
        Group: lambda c: Group(name="New", slug="new", owner_id=c.loner),
        GroupMember: lambda c: GroupMember(group_id=c.group, user_id="new", status="requested"),
        Message: lambda c: Message(
            conversation_id=c.talk, sender_id=c.talker, sequence=1_000_000, content="Hello"
        ),
        Post: lambda c: Post(user_id=c.loner, content="Hello"),
        PostComment: _comment,
        PostLike: lambda c: PostLike(post_id=c.post, user_id="newcomer"),
        UserProfile: lambda c: UserProfile(user_id="newcomer", username="newcomer"),
    }
    for repository in REPOSITORIES:
        yield from _shared(repository, made[repository.model])


def _shared(
    repository: type[OrganizationAwareRepository[Any]], make: Callable[[Cast], Any]
) -> Iterator[Operation]:
    op = Calls(repository)

    def keys(r: OrganizationAwareRepository[Any]) -> list[Any]:
        key = inspect(r.model).primary_key_from_instance
        found = [tuple(key(row)) for row in r.list().items]
        r.session.expunge_all()
        return [k if len(k) > 1 else k[0] for k in found]

    yield op("add", lambda r, c: r.add(make(c)))
    yield op("get", lambda r, c: r.get(keys(r)[0]))
    yield op("get_many", lambda r, c: r.get_many(keys(r)))
    yield op("list", lambda r, c: second(r.list))
    yield op("exists", lambda r, c: r.exists(keys(r)[0]))
    yield op("count", lambda r, c: r.count())
    if repository is not ActivityLogRepository:
        yield op("delete", lambda r, c: r.delete(r.get(keys(r)[0])))


def _comment(cast: Cast) -> PostComment:
    key = uuid7()
    return PostComment(id=key, post_id=cast.post, user_id=cast.loner, path=[key], content="Hello")


def refused(work: Callable[[], object]) -> None:
    """Do what is refused for good reasons, after the statements that find them."""
    try:
        work()
    except DomainError:
        return
    raise AssertionError("it was not refused")
