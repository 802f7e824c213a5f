"""People who go on writing to the shared schema while it is adopted."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from threading import Event, Thread
from typing import Any

import psycopg
from psycopg import IsolationLevel
from sqlalchemy import URL

from tests.adoption.shared import Sizes
from tests.schemas.databases import dsn

LATE = "OT005"

# The transaction met another one, or is older than a switch; or the post is deleted.
_AGAIN = frozenset({"40001", "40P01", "23503"})

# Each takes the numbers of an organization, a post and a talk of it.
_WRITES: Mapping[str, str] = {
    "post": "INSERT INTO posts (organization_id, author_id, body, tags) "
    "VALUES (%(organization)s, 'user-1', 'Late ' || %(n)s, ARRAY['late']) RETURNING id",
    "edit": "UPDATE posts SET body = body || '!', changed = timezone('utc', clock_timestamp()) "
    "WHERE id = %(post)s",
    # Nobody keeps the time of this change.
    "count": "UPDATE posts SET likes = likes + 1 WHERE id = %(post)s",
    "like": "INSERT INTO likes (post_id, user_id) VALUES (%(post)s, 'late-' || %(n)s)",
    "unlike": "DELETE FROM likes WHERE post_id = %(post)s",
    "comment": "WITH made AS (SELECT nextval('comments_id_seq') AS id) "
    "INSERT INTO comments (id, post_id, author_id, path, body) "
    "SELECT id, %(post)s, 'user-2', ARRAY[id], 'Late' FROM made",
    "delete": "DELETE FROM posts WHERE id = %(post)s",
    "send": "WITH talk AS (UPDATE talks SET last_number = last_number + 1 WHERE id = %(talk)s "
    "RETURNING id, last_number) "
    "INSERT INTO messages (talk_id, sender_id, number, body) "
    "SELECT id, 'user-0', last_number, 'Late' FROM talk",
    "rename": "UPDATE profiles SET about = 'Late ' || %(n)s, changed = clock_timestamp() "
    "WHERE organization_id = %(organization)s AND user_id = 'user-3'",
}


@contextmanager
def written_to(admin_url: URL, sizes: Sizes, writers: int) -> Iterator[Counter[str]]:
    """Write in threads for the length of a block; gives what came of it, counted.

    What a writer is told that is neither the fence nor to be tried again counts as an error.
    """
    told: Counter[str] = Counter(written=0, refused=0, again=0, errors=0)
    stop, errors = Event(), list[BaseException]()

    def kept(work: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            try:
                work()
            except BaseException as error:  # noqa: BLE001 - told by the block
                told["errors"] += 1
                errors.append(error)

        return run

    def writer(number: int) -> Callable[[], None]:
        return lambda: _write(admin_url, sizes, number, stop, told)

    threads = [Thread(target=kept(writer(number))) for number in range(writers)]
    for thread in threads:
        thread.start()
    try:
        yield told
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    if errors:
        raise errors[0]


def _write(admin_url: URL, sizes: Sizes, number: int, stop: Event, told: Counter[str]) -> None:
    draw = random.Random(number)
    with psycopg.connect(dsn(admin_url)) as connection:
        # One of them as a program that reads first, and writes by what it read.
        if number == 0:
            connection.isolation_level = IsolationLevel.REPEATABLE_READ
        connection.execute("SET search_path TO shared")
        connection.commit()
        while not stop.is_set():
            told["tried"] += 1
            try:
                _transaction(connection, sizes, draw, number)
            except psycopg.Error as error:
                connection.rollback()
                if error.sqlstate == LATE:
                    told["refused"] += 1
                elif error.sqlstate in _AGAIN:
                    told["again"] += 1
                else:
                    raise
            else:
                told["written"] += 1
            stop.wait(draw.uniform(0, 0.01))


def _transaction(
    connection: psycopg.Connection[Any], sizes: Sizes, draw: random.Random, number: int
) -> None:
    values = {
        "organization": draw.randint(1, sizes.organizations),
        "post": draw.randint(1, sizes.posts),
        "talk": draw.randint(1, sizes.talks),
        "n": f"{number}-{draw.getrandbits(40)}",
    }
    for name in draw.sample(list(_WRITES), draw.randint(1, 3)):
        connection.execute(_WRITES[name].encode(), values)
    connection.commit()
