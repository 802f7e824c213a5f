"""What the community's repositories take in a large organization, and what that compares to."""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib.metadata
import os
import platform
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias
from uuid import UUID

import psycopg
from psycopg.rows import dict_row, tuple_row
from sqlalchemy import make_url
from sqlalchemy.orm import Session

from orgtenancy import Organization, Settings, Tenancy, embedded
from orgtenancy.community import (
    ConversationRepository,
    MessageRepository,
    ParticipantRepository,
    Post,
    PostCommentRepository,
    PostLikeRepository,
    PostRepository,
    community,
)
from orgtenancy.community.api.conversations import list_conversations
from orgtenancy.community.feeds import visible_posts
from orgtenancy.endpoints import Caller
from orgtenancy.errors import OrganizationNotFound
from orgtenancy.organizations import Actor
from orgtenancy.pagination import PageRequest
from tests.benchmarks import community_data as data
from tests.benchmarks import harness
from tests.benchmarks.ground import SERVER_SETTINGS
from tests.community.cast import Cast, find_cast
from tests.community.statements import recorded

_SEED = 20_250_101
_ID = "crowd"
_LIMIT = 20
_WARM_UP = 30


class Item(NamedTuple):
    """What one transaction is about.

    Attributes:
        viewer: Somebody whose profile is active.
        deep: Somebody whose thousandth page is known, and its cursor.
        post: One that was commented on.
        place: A conversation and somebody who takes part.
    """

    viewer: str
    deep: tuple[str, str]
    post: UUID
    place: tuple[UUID, str]


@dataclass(frozen=True)
class Ground:
    """The organization, and what transactions can be about."""

    tenancy: Tenancy
    organization: Organization
    admin: str
    cast: Cast
    sizes: data.Sizes
    page: int
    deep: Sequence[tuple[str, str]]
    posts: Sequence[UUID]
    places: Sequence[tuple[UUID, str]]

    def items(self, seed: int, number: int) -> list[Item]:
        """Return work, the same for the same seed."""
        draw = random.Random(_SEED + seed)
        people = [data.person(n) for n in range(1, self.sizes.people) if n % 50 != 7]
        return [
            Item(
                draw.choice(people),
                draw.choice(self.deep),
                draw.choice(self.posts),
                draw.choice(self.places),
            )
            for _ in range(number)
        ]

    def backends(self) -> Iterable[int]:
        """Return the backends of the tenancy's pool."""
        with data.connect(self.admin, self.organization) as watch:
            query = "SELECT pid FROM pg_stat_activity WHERE application_name = 'crowd'"
            return [pid for (pid,) in watch.execute(query).fetchall()]


Act: TypeAlias = Callable[[Session, Item], object]


def main(arguments: Sequence[str]) -> None:
    """Measure, and print Markdown."""
    options = _parse(arguments)
    sizes = data.SMALL if options.quick else data.LARGE
    print(
        f"Python {platform.python_version()}, "
        f"sqlalchemy {importlib.metadata.version('sqlalchemy')}, "
        f"psycopg {importlib.metadata.version('psycopg')}.\n"
        f"{', '.join(f'{n:,} {name}' for name, n in asdict(sizes).items())}.\n"
        f"Load of the machine at the beginning: {os.getloadavg()[0]:.1f} on {os.cpu_count()} CPUs."
    )
    with _prepared(sizes, options.keep) as ground:
        _measure(ground, options)
        _compare(ground, options)
    print(f"\nLoad of the machine at the end: {os.getloadavg()[0]:.1f}.")


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks community")
    parser.add_argument("--quick", action="store_true", help="few rows, to see that it works")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the server's data there")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--transactions", type=int, help="of each kind in each round")
    parser.add_argument("--only", nargs="+", help="kinds whose name contains one of these")
    options = parser.parse_args(arguments)
    options.rounds = options.rounds or (3 if options.quick else 30)
    options.transactions = options.transactions or (10 if options.quick else 25)
    return options


@contextlib.contextmanager
def _prepared(sizes: data.Sizes, directory: Path | None) -> Iterator[Ground]:
    if os.environ.get("DATABASE_URL"):
        raise SystemExit("The benchmark starts a server of its own: unset DATABASE_URL.")
    with embedded.server(directory, settings=SERVER_SETTINGS) as server:
        app = make_url(server.url).update_query_dict({"application_name": "crowd"})
        settings = Settings(registry_max_age=86_400)
        with contextlib.closing(
            Tenancy(app, admin_url=server.admin_url, modules=[community], settings=settings)
        ) as tenancy:
            tenancy.install()
            yield _furnished(tenancy, server.admin_url, sizes)


def _furnished(tenancy: Tenancy, admin: str, sizes: data.Sizes) -> Ground:
    try:
        with tenancy.session(_ID) as session:
            organization, filled = session.organization, PostRepository(session).count() > 0
    except OrganizationNotFound:
        organization, filled = tenancy.schemas.provision(_ID), False
    if not filled:
        started = time.monotonic()
        data.fill(admin, organization, sizes)
        print(f"filled in {time.monotonic() - started:.0f} s", file=sys.stderr)
    page = 1_000 if sizes is data.LARGE else 50
    with data.connect(admin, organization) as owner:
        version = owner.info.server_version
        print(f"PostgreSQL {version // 10_000}.{version % 10_000}.")
        cast = find_cast(owner)
        posts = owner.execute(
            "SELECT id FROM posts WHERE comments_count > 0 AND visibility = 'public' "
            "AND deleted_at IS NULL AND user_id NOT IN "
            "(SELECT user_id FROM user_profiles WHERE status = 'deactivated') "
            "ORDER BY md5(id::text) LIMIT 300"
        ).fetchall()
        places = owner.execute(
            "SELECT conversation_id, user_id FROM conversation_participants "
            "WHERE left_at IS NULL AND user_id <> %s ORDER BY md5(user_id) LIMIT 300",
            [data.HEAVY],
        ).fetchall()
    viewers = (cast.joiner, cast.loner, cast.owner, cast.author)
    with tenancy.session(organization) as session:
        deep = [(viewer, _cursor(session, viewer, page)) for viewer in viewers]
    return Ground(
        tenancy, organization, admin, cast, sizes, page, deep, [p for (p,) in posts], places
    )


def _cursor(session: Session, viewer: str, page: int) -> str:
    """Walk to a page of the feed, and return its cursor."""
    left, cursor = _LIMIT * (page - 1), None
    while left:
        limit = min(left, 100)
        found = PostRepository(session).find_feed(viewer, PageRequest(limit=limit, cursor=cursor))
        left, cursor = left - limit, found.next_cursor
        session.expunge_all()
    assert cursor is not None, "the feed ends before"
    return cursor


def _first_page(session: Session, item: Item) -> None:
    PostRepository(session).find_feed(item.deep[0])


def _deep_page(session: Session, item: Item) -> None:
    viewer, cursor = item.deep
    PostRepository(session).find_feed(viewer, PageRequest(cursor=cursor))


def _kinds(ground: Ground) -> dict[str, Act]:
    page = f"{ground.page:,}th page"
    thread = ground.cast.thread
    return {
        "feed, first page": lambda s, i: PostRepository(s).find_feed(i.viewer),
        f"feed, {page}": _deep_page,
        "posts of the busiest author": lambda s, i: PostRepository(s).find_by_author(
            data.HEAVY, i.viewer
        ),
        "comments of a post": lambda s, i: PostCommentRepository(s).list_tree(i.post, i.viewer),
        "comments of the most discussed post": lambda s, i: PostCommentRepository(s).list_tree(
            ground.cast.post, i.viewer
        ),
        "replies of the longest thread": lambda s, i: PostCommentRepository(s).list_replies(
            thread, i.viewer
        ),
        "unread counts": lambda s, i: ParticipantRepository(s).unread_counts(i.place[1]),
        "unread counts of the busiest": lambda s, i: ParticipantRepository(s).unread_counts(
            data.HEAVY
        ),
        "conversations, first page": lambda s, i: ConversationRepository(s).find_for(i.place[1]),
        "conversations of the busiest": lambda s, i: ConversationRepository(s).find_for(data.HEAVY),
        "GET /conversations of the busiest": lambda s, i: list_conversations(
            s, Caller(Actor(id=data.HEAVY)), query=PageRequest()
        ),
        "messages, newest": lambda s, i: MessageRepository(s).list_before(*i.place),
        "search, in 5 posts": lambda s, i: PostRepository(s).search(data.RARE_WORD, i.viewer),
        "search, in every tenth post": lambda s, i: PostRepository(s).search(
            data.COMMON_WORD, i.viewer
        ),
        "search, in old posts alone": lambda s, i: PostRepository(s).search(
            data.OLD_WORD, i.viewer
        ),
        "tag, of old posts alone": lambda s, i: PostRepository(s).find_by_tag(
            data.OLD_TAG, i.viewer
        ),
        "send a message": lambda s, i: MessageRepository(s).send(*i.place, content="Hello"),
        "like a post": lambda s, i: PostLikeRepository(s).like(i.post, i.viewer),
        "publish a post": lambda s, i: PostRepository(s).create(
            user_id=i.viewer, content="Hello", tags=("news",)
        ),
    }


def _measure(ground: Ground, options: argparse.Namespace) -> None:
    kinds = {
        name: act
        for name, act in _kinds(ground).items()
        if not options.only or any(part in name for part in options.only)
    }
    times: dict[str, list[float]] = {name: [] for name in kinds}
    for act in kinds.values():
        for item in ground.items(0, _WARM_UP):
            _run(ground, act, item)
    gc.collect()
    gc.freeze()
    order = random.Random(_SEED)
    for number in range(options.rounds):
        items = ground.items(number + 1, options.transactions)
        for name in order.sample(list(kinds), len(kinds)):
            for item in items:
                started = time.perf_counter()
                _run(ground, kinds[name], item)
                times[name].append(time.perf_counter() - started)
    gc.unfreeze()
    number = options.rounds * options.transactions
    print(f"\n### sync, {number:,} transactions of each kind\n")
    print("| | p50 ms | p99 ms | statements |\n|---|---:|---:|---:|")
    for name, act in kinds.items():
        p50, p99 = statistics.median(times[name]), statistics.quantiles(times[name], n=100)[98]
        print(f"| {name} | {p50 * 1e3:.1f} | {p99 * 1e3:.1f} | {_statements(ground, act)} |")
    sys.stdout.flush()


def _run(ground: Ground, act: Act, item: Item) -> None:
    with ground.tenancy.session(ground.organization) as session:
        act(session, item)


def _statements(ground: Ground, act: Act) -> int:
    with ground.tenancy.session(ground.organization) as session:
        with recorded(session) as sent:
            act(session, ground.items(0, 1)[0])
        session.rollback()
    return len(sent)


@dataclass
class Repository:
    """Transactions of the tenancy, one after the other."""

    name: str
    ground: Ground
    act: Act

    def run(self, work: Sequence[Item]) -> None:
        """Do the work."""
        for item in work:
            _run(self.ground, self.act, item)

    def backends(self) -> Iterable[int]:
        """Return the process ids of its connections' backends."""
        return self.ground.backends()


@dataclass
class Psycopg:
    """The same statement in a transaction of psycopg, in the organization's schema."""

    name: str
    connection: psycopg.Connection[Any]
    statements: dict[str, tuple[str, Any]]

    def run(self, work: Sequence[Item]) -> None:
        """Do the work."""
        for item in work:
            with self.connection.transaction():
                self.connection.execute(*self.statements[item.deep[0]]).fetchall()

    def backends(self) -> Iterable[int]:
        """Return the process ids of its connections' backends."""
        return [self.connection.info.backend_pid]


def _compare(ground: Ground, options: argparse.Namespace) -> None:
    nth = f"{ground.page:,}th page"

    def by_offset(session: Session, item: Item) -> None:
        statement = visible_posts(item.deep[0]).order_by(Post.id.desc())
        session.scalars(statement.offset(_LIMIT * (ground.page - 1)).limit(_LIMIT)).all()

    first = Repository("first page", ground, _first_page)
    pages = [
        first,
        Repository("first page, again", ground, _first_page),
        Repository(nth, ground, _deep_page),
        Repository(f"{nth} by OFFSET", ground, by_offset),
    ]
    _table(ground, "feed, pages", pages, options)
    with contextlib.ExitStack() as stack:
        plain = [
            stack.enter_context(_plain(ground, f"psycopg, {name}", row_factory))
            for name, row_factory in (("tuples", tuple_row), ("dicts", dict_row))
        ]
        first.name = "repository"
        _table(ground, "feed, first page", [*plain, first], options)


@contextlib.contextmanager
def _plain(ground: Ground, name: str, row_factory: Any) -> Iterator[Psycopg]:
    settings = ground.tenancy.settings
    statements = {}
    for viewer, _ in ground.deep:
        with ground.tenancy.session(ground.organization) as session, recorded(session) as sent:
            PostRepository(session).find_feed(viewer)
        (statements[viewer],) = sent
    with data.connect(ground.admin, ground.organization) as connection:
        connection.row_factory = row_factory
        connection.prepare_threshold = settings.prepare_threshold
        connection.prepared_max = settings.prepared_statements
        yield Psycopg(name, connection, statements)


def _table(
    ground: Ground, title: str, contenders: Sequence[Any], options: argparse.Namespace
) -> None:
    for contender in contenders:
        contender.run(ground.items(0, _WARM_UP))
    costs = harness.compare(
        contenders,
        lambda number: ground.items(number, options.transactions),
        options.rounds,
    )
    print(f"\n### {title}\n")
    print(harness.table(costs, contenders[0].name), flush=True)
