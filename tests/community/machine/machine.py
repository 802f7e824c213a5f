"""The machine: does what people could do, in two organizations, and asks the model as well."""

from __future__ import annotations

import copy
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import hypothesis.strategies as st
from hypothesis import note
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from orgtenancy import Organization, Tenancy
from orgtenancy.errors import DomainError
from tests.community.machine.base import Id
from tests.community.machine.callers import (
    Answer,
    Block,
    Caller,
    clear,
    fingerprint,
    make_old,
    rows,
)
from tests.community.machine.model import Model

PEOPLE = ("ada", "bob", "cy", "dee", "eve")


class Pick(NamedTuple):
    """Which of the things that there are by then."""

    kind: str
    nth: int


class Long(NamedTuple):
    """A text of so many characters."""

    length: int


class Reply(NamedTuple):
    """One of the comments of the post that it is about, if there is one."""

    nth: int


class Standing(NamedTuple):
    """The first or the last of a group with a status or a role."""

    word: str
    last: bool = False


class Insider(NamedTuple):
    """Somebody of the group, the conversation, the post, ... that it is about."""

    nth: int


class Version(NamedTuple):
    """The version of a post, or one beside it."""

    offset: int


#: Indexes from here on name what the organization does not have.
_FOREIGN, _UNKNOWN = 5, 6


class World:
    """One organization, as the library and as the model have it."""

    def __init__(self, home: int, organization: Organization, names: dict[UUID, Id]) -> None:
        self.organization = organization
        self.model = Model(home)
        self.names = names
        self.block: Block | None = None
        self.before: Model | None = None
        self.fingerprint: list[tuple[str, int, str]] | None = None


class Statistics:
    """What happened in all examples together."""

    def __init__(self) -> None:
        self.examples = 0
        self.steps = 0
        self.outcomes: Counter[tuple[str, str]] = Counter()


class CommunityMachine(RuleBasedStateMachine):
    """Steps in two organizations; every answer must be the model's.

    Subclasses say who calls, and where.
    """

    tenancy: Tenancy
    organizations: tuple[Organization, Organization]
    caller: Caller
    statistics: Statistics

    def __init__(self) -> None:
        super().__init__()
        self.names: dict[UUID, Id] = {}
        self.uuids: dict[Id, UUID] = {}
        self.worlds = [
            World(home, organization, self.names)
            for home, organization in enumerate(self.organizations)
        ]
        self.number = 0  # of the world where the next step happens
        for world in self.worlds:
            self._past(world, clear)
        self.statistics.examples += 1

    def teardown(self) -> None:
        for world in self.worlds:
            if world.block is not None:
                self._enter(world)
                self._end(world, commit=True)
        for world in self.worlds:
            stored = self._translated(self._past(world, rows))
            expected = world.model.rows()
            for table, found in stored.items():
                assert found == expected[table], f"{table} of {'AB'[world.model.numbers.home]}"
            if world.fingerprint is not None:
                assert self._past(world, fingerprint) == world.fingerprint

    # --- rules; those for the repositories are added below

    @initialize(
        active=st.lists(st.sets(st.sampled_from(PEOPLE), min_size=2), min_size=2, max_size=2),
        privacy=st.sampled_from(["public", "private", "secret"]),
        roles=st.tuples(*[st.sampled_from(["owner", "admin", "moderator", "member"])] * 2),
    )
    def settle(self, active: list[set[str]], privacy: str, roles: tuple[str, str]) -> None:
        """Examples begin with people, a group, posts and conversations in both."""
        for number, people in enumerate(active):
            self.number = number
            for user in sorted(people):
                self.do("profiles.upsert_from_claims", claims={"sub": user, "username": user})
            one, other, *_ = sorted(people)
            asking, banned, third = (user for user in PEOPLE if user not in (one, other))
            group = {"group_id": Pick("group", 0), "actor_id": one}
            post = {"visibility": None, "media": [], "tags": ["rope"]}
            talk = {"conversation_id": Pick("talk", 0), "sender_id": one}
            place = {"conversation_id": Pick("talk", 0), "user_id": one}
            self.do(
                "groups.create",
                creator_id=one,
                name="Alpha",
                slug=None,
                description=None,
                privacy=privacy,
                category=None,
            )
            for user, role in zip((other, third), roles, strict=True):
                self.do("members.invite", **group, user_id=user)
                self.do("members.accept", group_id=Pick("group", 0), user_id=user)
                self.do("members.set_role", **group, user_id=user, role=role)
            self.do("members.request", group_id=Pick("group", 0), user_id=asking)
            self.do("members.ban", **group, user_id=banned)
            self.do("posts.create", user_id=one, content="rope", group_id=None, **post)
            self.do("posts.create", user_id=other, content="x", group_id=Pick("group", 0), **post)
            self.do("likes.like", post_id=Pick("post", 1), user_id=one)
            said = {"post_id": Pick("post", 1), "content": "sail"}
            self.do("comments.create", user_id=other, **said, parent_comment_id=None)
            self.do("comments.create", user_id=one, **said, parent_comment_id=Reply(0))
            self.do("conversations.open_direct", user_id=one, other_id=other)
            self.do("conversations.create", creator_id=one, participant_ids=[other], name=None)
            self.do("messages.send", **talk, content="knot", media_url=None, client_key=None)
            self.do("participants.mark_read", **place, sequence=1)
            self.do("posts.find_feed", user_id=other, limit=1)
            self.do("members.find_members", group_id=Pick("group", 0), viewer=other, limit=2)
            self.do("conversations.find_for", user_id=one, limit=1)

    @rule()
    def go_over(self) -> None:
        """Go on in the other organization."""
        self.number = 1 - self.number

    @rule()
    def begin(self) -> None:
        """Do the next steps in one transaction."""
        world = self.worlds[self.number]
        if world.block is None:
            world.block = self.caller.begin(world.organization)
            world.before = copy.deepcopy(world.model)
            world.model.transaction += 1

    @rule(commit=st.booleans())
    def end(self, commit: bool) -> None:
        """End the transaction of several steps, or take them back."""
        world = self.worlds[self.number]
        if world.block is not None:
            self._enter(world)
            self._end(world, commit=commit)

    @rule(message=st.integers(0, 4))
    def pass_time(self, message: int) -> None:
        """Let the time to edit a message be over."""
        world = self.worlds[self.number]
        known = world.model.everything("message")
        if known and world.block is None:
            self._enter(world)
            chosen = known[message % len(known)]
            self._past(world, make_old, self.uuids[chosen])
            world.model.old.add(chosen)

    def do(self, name: str, /, **drawn: Any) -> None:
        """Ask the library and the model, and compare."""
        world = self.worlds[self.number]
        self._enter(world)
        args = {key: self._resolved(world, value, drawn) for key, value in drawn.items()}
        model = world.model
        if name == "activity.purge" and args["batch"] == 1 and _tie(model):
            return
        if world.block is None:
            model.transaction += 1
        model.step += 1
        real = {key: self._real(value) for key, value in args.items()}
        answer = self.caller.call(world.organization, world.block, name, real)
        expected = _asked(model, name, args, answer.value)
        for made in model.numbers.made:
            if isinstance(answer.value, dict) and isinstance(answer.value.get("id"), UUID):
                self._bind(made, answer.value["id"])
        model.numbers.made.clear()
        found = Answer(self._translated(answer.value), answer.error, answer.pages)
        outcome = "ok" if found.error is None else found.error.__name__
        self.statistics.steps += 1
        self.statistics.outcomes[name, outcome] += 1
        note(f"# {'AB'[self.number]}: {name} {_short(args)} -> {outcome}")
        assert (found.value, found.error) == (expected.value, expected.error), (
            f"{name} {_short(args)}:\n  library: {found.error or found.value}\n"
            f"  model:   {expected.error or expected.value}"
        )
        if "limit" in args and found.error is None:
            assert isinstance(found.value, list)
            assert found.pages == _pages(len(found.value), args["limit"]), name

    # --- ids

    def _resolved(self, world: World, value: Any, drawn: Mapping[str, Any]) -> Any:
        if isinstance(value, Version):
            post = world.model.posts.get(self._resolved(world, drawn["post_id"], drawn))
            return (1 if post is None else post["version"]) + value.offset
        if isinstance(value, Long):
            return "x" * value.length
        if isinstance(value, Reply):
            post_id = self._resolved(world, drawn["post_id"], drawn)
            comments = world.model.comments
            said = [key for key in comments if comments[key]["post_id"] == post_id]
            return said[-1 - value.nth % len(said)] if said else None
        if isinstance(value, Standing):
            places = world.model.members.get(self._resolved(world, drawn["group_id"], drawn), {})
            words = {user: (place["status"], place["role"]) for user, place in places.items()}
            found = [user for user in words if value.word in words[user]]
            return found[-1 if value.last else 0] if found else PEOPLE[-1]
        if isinstance(value, Insider):
            thing = next((v for v in drawn.values() if isinstance(v, Pick)), None)
            about = None if thing is None else self._resolved(world, thing, drawn)
            people = world.model.insiders(about) or PEOPLE
            return people[value.nth % len(people)]
        if isinstance(value, list):
            return [self._resolved(world, item, drawn) for item in value]
        if isinstance(value, dict):
            return {key: self._resolved(world, item, drawn) for key, item in value.items()}
        if not isinstance(value, Pick):
            return value
        known = world.model.everything(value.kind)
        if known and value.nth < _FOREIGN:
            return known[value.nth % len(known)]
        foreign = self.worlds[1 - world.model.numbers.home].model.everything(value.kind)
        if foreign and value.nth < _UNKNOWN:
            return foreign[0]
        return Id(value.kind, 0, world.model.numbers.home)

    def _real(self, value: Any) -> Any:
        if isinstance(value, Id):
            if value not in self.uuids:
                self._bind(value, uuid4())
            return self.uuids[value]
        if isinstance(value, list):
            return [self._real(item) for item in value]
        return value

    def _bind(self, made: Id, uuid: UUID) -> None:
        self.uuids[made] = uuid
        self.names[uuid] = made

    def _translated(self, value: Any) -> Any:
        if isinstance(value, UUID):
            return self.names.get(value, value)
        if isinstance(value, dict):
            return {self._translated(key): self._translated(v) for key, v in value.items()}
        if isinstance(value, (list, set)):
            return type(value)(map(self._translated, value))
        if isinstance(value, tuple):
            return tuple(map(self._translated, value))
        return value

    # --- the other organization

    def _enter(self, world: World) -> None:
        """Make sure that nothing happened here meanwhile, nor will there from now on."""
        other = self.worlds[1 - world.model.numbers.home]
        if other.fingerprint is None:
            other.fingerprint = self._past(other, fingerprint)
        if world.fingerprint is not None:
            assert self._past(world, fingerprint) == world.fingerprint, "changed from outside"
            world.fingerprint = None

    def _past(self, world: World, function: Callable[..., Any], *args: Any) -> Any:
        with self.tenancy.session(world.organization) as session:
            return function(session, *args)

    def _end(self, world: World, *, commit: bool) -> None:
        block, before = world.block, world.before
        assert block is not None
        assert before is not None
        world.block = world.before = None
        try:
            self.caller.end(block, commit=commit)
        finally:
            if not commit:
                before.transaction = world.model.transaction
                world.model = before


def _asked(model: Model, name: str, args: Mapping[str, Any], seen: Any) -> Answer:
    model.seen = seen
    given = {key: value for key, value in args.items() if key != "limit"}
    try:
        return Answer(getattr(model, name.replace(".", "_", 1))(**given))
    except DomainError as error:
        return Answer(error=type(error))


def _pages(number: int, limit: int) -> list[int]:
    full, rest = divmod(number, limit)
    return [limit] * full + ([rest] if rest or not full else [])


def _short(args: Mapping[str, Any]) -> str:
    return re.sub(r"x{30,}", "x...", str(args))


def _tie(model: Model) -> bool:
    oldest = sorted(model.logged_at[key] for key in model.log)[:2]
    return len(oldest) == 2 and oldest[0] == oldest[1]


# --- what is drawn


def _often(*usual: Any, seldom: Sequence[Any] = ()) -> st.SearchStrategy[Any]:
    """Return a strategy that draws one of a few values, and now and then an odd one."""
    times = 1 + 6 * len(seldom) // len(usual)
    return st.sampled_from([*usual * times, *seldom])


_people = st.sampled_from(PEOPLE)
#: Who acts; mostly somebody who has to do with it, seldom somebody who cannot be.
_actor = _often(
    *PEOPLE,
    *(Insider(index) for index in (0, 0, 0, 0, 1, 1, 1, 2, -1, -1)),
    seldom=["", Long(256), "\ud800"],
)
_insider = st.sampled_from([Insider(nth) for nth in (0, 1, 1, 2, 2, 3)])
_limit = st.integers(1, 4)
_words = ["rope", "ropes", "knot", "knots", "sail", "sailing", "the"]
_content = st.one_of(
    st.lists(st.sampled_from(_words), min_size=1, max_size=3).map(" ".join),
    _often("rope", " knot ", seldom=["", Long(10_001), "a\0", "\ud800"]),
)
_query = st.sampled_from(
    [
        *["rope", "knots", "sailing", "the", "rope knot", "rope or sail", "knot -rope", "-sail"],
        *['"rope knot"', '"sail sail"', "!!", "", Long(201)],
    ]
)
_optional = st.sampled_from([None, "rope", " knots sail ", "", " "])
_tag = _often("rope", "#Rope", " knot ", seldom=["", "#", Long(51)])
_url = _often(None, None, "", "https://e.example/1", seldom=["javascript:alert(1)", "https://"])
_far, _past = datetime(2100, 1, 1, tzinfo=UTC), datetime(2000, 1, 1, tzinfo=UTC)
_naive = datetime(2100, 1, 1)  # noqa: DTZ001 - to be refused
_slug = _often(None, None, "alpha", "ALPHA", "rope", seldom=["-", ""])
_name = _often("Alpha", "Beta rope", " Alpha ", "Gamma", seldom=["", Long(121)])
_privacy = _often("public", "private", "secret", seldom=["else"])
_category = _often(None, "crafts", " crafts ", "sports", seldom=[Long(61)])
_position = st.integers(-1, 6)
_client_key = _often(None, None, "k1", "k2", seldom=[" ", Long(101)])
_metadata = st.sampled_from([{}, {"a": [1, None]}])
_claims = st.sampled_from(
    [
        {},
        {"username": "ada"},
        {"name": "zed zip", "picture": "https://e.example/p"},
        {"name": "ada", "picture": "javascript:alert(1)"},
        {"name": " ", "username": 7},
    ]
)


def _pick(kind: str) -> st.SearchStrategy[Pick]:
    newer = [0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 3, 4]
    return st.sampled_from([Pick(kind, index) for index in (*newer, _FOREIGN, _UNKNOWN)])


def _some(kind: str) -> st.SearchStrategy[list[Pick]]:
    return st.lists(_pick(kind), max_size=3)


_group, _post, _comment = _pick("group"), _pick("post"), _pick("comment")
_talk, _message = _pick("talk"), _pick("message")
_bool = st.booleans()
_member = st.one_of(_actor, _insider)
_rank = st.sampled_from(["admin", "moderator", "member"])
_acting = {
    "group_id": _group,
    "actor_id": st.one_of(_member, st.builds(Standing, _rank)),
    "user_id": st.one_of(_member, st.builds(Standing, _rank, last=st.just(True))),
}


def _of(word: str) -> dict[str, st.SearchStrategy[Any]]:
    """Return arguments where an owner often acts on somebody who stands there so."""
    return {
        "group_id": _group,
        "actor_id": st.one_of(_member, st.just(Standing("owner"))),
        "user_id": st.one_of(_member, st.just(Standing(word))),
    }


_in_group = {"group_id": _group, "user_id": _actor}
_in_talk = {"conversation_id": _talk, "user_id": _actor}
_new_post = {
    "user_id": _actor,
    "content": _content,
    "media": _often([], [], [{"url": "https://e.example/1", "alt": "x"}], seldom=[[{}]]),
    "tags": st.lists(_tag, max_size=2),
    "changes": _often(
        *({"visibility": word, "group_id": None} for word in (None, "public", "private")),
        *({"visibility": None, "group_id": Pick("group", index)} for index in (0, 0, 0, 1, 2)),
        {"visibility": "group", "group_id": Pick("group", _UNKNOWN)},
        {"visibility": "group", "group_id": Pick("group", _FOREIGN)},
        seldom=[
            {"visibility": "public", "group_id": Pick("group", 0)},
            {"visibility": "group", "group_id": None},
            {"visibility": "else", "group_id": None},
        ],
    ),
}


def _changes(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


#: Every operation: how often it is there to be chosen, and its arguments; `changes` are
#: spread, and with `limit` all pages are read.
OPERATIONS: dict[str, tuple[int, dict[str, st.SearchStrategy[Any]]]] = {
    "profiles.get": (1, {"key": _actor}),
    "profiles.get_many": (1, {"keys": st.lists(_actor, max_size=4)}),
    "profiles.exists": (1, {"key": _actor}),
    "profiles.get_by_username": (1, {"username": st.sampled_from(["ada", "ADA", "zed-zip", "?"])}),
    "profiles.list": (1, {"limit": _limit}),
    "profiles.search": (
        1,
        {
            "query": st.sampled_from(["ada", "b", "ZED zi", "user", "?!", "", Long(201)]),
            "limit": _limit,
        },
    ),
    "profiles.upsert_from_claims": (
        2,
        {"claims": st.builds(lambda claims, sub: {**claims, "sub": sub}, _claims, _actor)},
    ),
    "profiles.update": (
        2,
        {
            "user_id": _actor,
            "changes": _changes(
                username=st.sampled_from(["ada", "Ada", "bob", "zed", "-", Long(41)]),
                display_name=_optional,
                bio=_optional,
                avatar_url=_url,
                metadata=_metadata,
            ),
        },
    ),
    "profiles.deactivate": (1, {"user_id": _actor}),
    "profiles.reactivate": (1, {"user_id": _actor}),
    "profiles.anonymize": (1, {"user_id": _actor}),
    "activity.record": (
        1,
        {
            "action": st.sampled_from(["post.create", "post.like", "Post create"]),
            "user_id": st.one_of(st.none(), _actor),
            "entity_type": st.sampled_from([None, "post", Long(256)]),
            "entity_id": st.sampled_from([None, "1", "2", ""]),
            "metadata": _metadata,
            "ip_address": st.sampled_from([None, "192.0.2.1", "nowhere"]),
        },
    ),
    "activity.find": (
        1,
        {
            "user_id": st.one_of(st.none(), _actor),
            "action": st.sampled_from([None, "post.create", "no action"]),
            "limit": _limit,
        },
    ),
    "activity.for_target": (
        1,
        {
            "entity_type": st.just("post"),
            "entity_id": st.sampled_from(["1", "2"]),
            "limit": _limit,
        },
    ),
    "activity.purge": (
        1,
        {
            "before": st.sampled_from([_far, _past, _naive]),
            "batch": st.sampled_from([1, 1000, 0, 10_001]),
        },
    ),
    "groups.create": (
        2,
        {
            "creator_id": _actor,
            "name": _name,
            "slug": _slug,
            "description": _optional,
            "privacy": _privacy,
            "category": _category,
        },
    ),
    "groups.get_visible": (1, {"group_id": _group, "viewer": _actor}),
    "groups.get_by_slug": (
        1,
        {"slug": st.sampled_from(["alpha", "Alpha", "rope", "?"]), "viewer": _actor},
    ),
    "groups.find_visible": (1, {"viewer": _actor, "category": _category, "limit": _limit}),
    "groups.find_joined": (1, {"user_id": _actor, "limit": _limit}),
    "groups.search": (1, {"query": _query, "viewer": _actor, "limit": _limit}),
    "groups.update": (
        2,
        {
            "group_id": _group,
            "actor_id": _actor,
            "changes": _changes(
                name=_name,
                slug=st.sampled_from(["alpha", "ROPE", "rope", "-"]),
                description=_optional,
                privacy=_privacy,
                category=_category,
                rules=_optional,
            ),
        },
    ),
    "groups.archive": (1, {"group_id": _group, "actor_id": _actor}),
    "groups.unarchive": (1, {"group_id": _group, "actor_id": _actor}),
    "members.find_members": (1, {"group_id": _group, "viewer": _actor, "limit": _limit}),
    "members.find_requests": (1, {"group_id": _group, "actor_id": _actor, "limit": _limit}),
    "members.find_invited": (1, {"group_id": _group, "actor_id": _actor, "limit": _limit}),
    "members.find_banned": (1, {"group_id": _group, "actor_id": _actor, "limit": _limit}),
    "members.find_invitations": (1, {"user_id": _actor, "limit": _limit}),
    "members.memberships": (1, {"user_id": _actor, "group_ids": _some("group")}),
    "members.join": (3, _in_group),
    "members.request": (3, _in_group),
    "members.accept": (2, _in_group),
    "members.leave": (1, _in_group),
    "members.approve": (2, _of("requested")),
    "members.reject": (1, _of("requested")),
    "members.invite": (3, _acting),
    "members.remove": (1, _of("invited")),
    "members.ban": (1, _acting),
    "members.unban": (1, _of("banned")),
    "members.set_role": (
        3,
        {**_acting, "role": _often("owner", "admin", "moderator", "member", seldom=["else"])},
    ),
    "members.transfer_ownership": (1, _acting),
    "posts.create": (4, _new_post),
    "posts.update": (
        2,
        {
            "post_id": _post,
            "actor_id": _actor,
            "expected_version": st.sampled_from([0, 0, 0, -1, 1]).map(Version),
            "changes": _changes(content=_content, tags=st.lists(_tag, max_size=2)),
        },
    ),
    "posts.soft_delete": (1, {"post_id": _post, "actor_id": _actor, "moderating": _bool}),
    "posts.pin": (2, {"post_id": _post, "actor_id": _actor, "pinned": _bool, "moderating": _bool}),
    "posts.lock": (
        1,
        {"post_id": _post, "actor_id": _actor, "locked": _bool, "moderating": _bool},
    ),
    "posts.get_visible": (1, {"post_id": _post, "viewer": _actor}),
    "posts.find_feed": (1, {"user_id": _actor, "limit": _limit}),
    "posts.find_by_author": (1, {"author_id": _actor, "viewer": _actor, "limit": _limit}),
    "posts.find_by_group": (1, {"group_id": _group, "viewer": _actor, "limit": _limit}),
    "posts.find_by_tag": (1, {"tag": _tag, "viewer": _actor, "limit": _limit}),
    "posts.find_pinned": (
        1,
        {"viewer": _actor, "group_id": st.one_of(st.none(), _group), "limit": _limit},
    ),
    "posts.search": (1, {"query": _query, "viewer": _actor, "limit": _limit}),
    "likes.like": (2, {"post_id": _post, "user_id": _actor}),
    "likes.unlike": (2, {"post_id": _post, "user_id": _actor}),
    "likes.liked_ids": (1, {"user_id": _actor, "post_ids": _some("post")}),
    "likes.list_likers": (1, {"post_id": _post, "viewer": _actor, "limit": _limit}),
    "likes.recount": (1, {"post_id": _post}),
    "comments.create": (
        4,
        {
            "post_id": _post,
            "user_id": _actor,
            "content": _content,
            "parent_comment_id": st.one_of(
                st.none(), _comment, st.sampled_from([Reply(i) for i in (0, 0, 0, 0, 1, 2)])
            ),
        },
    ),
    "comments.update": (1, {"comment_id": _comment, "actor_id": _actor, "content": _content}),
    "comments.soft_delete": (1, {"comment_id": _comment, "actor_id": _actor}),
    "comments.remove": (1, {"comment_id": _comment, "actor_id": _actor, "moderating": _bool}),
    "comments.list_tree": (1, {"post_id": _post, "viewer": _actor, "limit": _limit}),
    "comments.list_replies": (1, {"comment_id": _comment, "viewer": _actor, "limit": _limit}),
    "comments.recount": (1, {"post_id": _post}),
    "conversations.open_direct": (2, {"user_id": _actor, "other_id": _actor}),
    "conversations.create": (
        2,
        {
            "creator_id": _actor,
            "participant_ids": st.lists(_people, max_size=4),
            "name": _optional,
        },
    ),
    "conversations.get_visible": (1, _in_talk),
    "conversations.find_for": (1, {"user_id": _actor, "limit": _limit}),
    "conversations.rename": (1, {**_in_talk, "name": _optional}),
    "participants.find_present": (1, {**_in_talk, "limit": _limit}),
    "participants.present_in": (1, {"conversation_ids": _some("talk")}),
    "participants.positions": (1, {"user_id": _actor, "conversation_ids": _some("talk")}),
    "participants.invite": (2, {**_in_talk, "invited_ids": st.lists(_actor, max_size=2)}),
    "participants.leave": (1, _in_talk),
    "participants.mute": (1, {**_in_talk, "until": st.sampled_from([None, _far, _past, _naive])}),
    "participants.unmute": (1, _in_talk),
    "participants.mark_read": (2, {**_in_talk, "sequence": _position}),
    "participants.unread_counts": (1, {"user_id": _actor}),
    "messages.send": (
        4,
        {
            "conversation_id": _talk,
            "sender_id": _actor,
            "content": st.one_of(_content, _content, st.none()),
            "media_url": _url,
            "client_key": _client_key,
        },
    ),
    "messages.get_visible": (1, {"message_id": _message, "user_id": _actor}),
    "messages.list_before": (
        1,
        {**_in_talk, "before": st.one_of(st.none(), _position), "limit": _limit},
    ),
    "messages.list_after": (1, {**_in_talk, "after": _position, "limit": _limit}),
    "messages.last_messages": (1, {"conversation_ids": _some("talk")}),
    "messages.edit": (2, {"message_id": _message, "user_id": _actor, "content": _content}),
    "messages.soft_delete": (
        1,
        {"message_id": _message, "user_id": _actor, "moderating": _bool},
    ),
    "messages.flag": (2, {"message_id": _message, "user_id": _actor, "reason": _optional}),
    "messages.find_flagged": (1, {"limit": _limit}),
    "messages.resolve_flags": (1, {"message_id": _message, "remove": _bool}),
}


def _add_rules() -> None:
    declare: Any = rule  # its overloads know no arguments by name
    for name, (weight, strategies) in OPERATIONS.items():
        for number in range(1, weight + 1):
            method = f"{name.replace('.', '_')}{'' if number == 1 else f'_{number}'}"
            setattr(CommunityMachine, method, declare(**strategies)(_step(name, method)))


def _step(name: str, method: str) -> Callable[..., None]:
    def step(self: CommunityMachine, **drawn: Any) -> None:
        changes = drawn.pop("changes", {})
        self.do(name, **drawn, **changes)

    step.__name__ = step.__qualname__ = method
    return step


_add_rules()
