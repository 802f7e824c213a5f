"""A large community in one organization, written by the server itself in a minute.

Everything follows from the sizes: the same rows, with the same keys, in every run. What rows
count (likes, comments, members, messages) is what the others are.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg import sql
from sqlalchemy import URL, make_url

from orgtenancy import Organization

#: Words of every tenth post, of five posts in all, and of every tenth of the oldest fifth.
COMMON_WORD, RARE_WORD, OLD_WORD = "weekly", "zymurgy", "sunset"
#: Tags of the same posts.
COMMON_TAG, RARE_TAG, OLD_TAG = "news", "brewing", "archive"
#: What is done a few times in a year.
RARE_ACTION = "profile.anonymize"

#: How many replies the longest thread has.
LONGEST = 2_000
_DEEPEST = 5
#: How many comments the other threads have, and how often, in percent.
_THREADS: Final = {1: 50, 3: 25, 6: 15, 12: 7, 40: 3}

_SCRIPT = Path(__file__).with_suffix(".sql")


@dataclass(frozen=True)
class Sizes:
    """How many rows there are.

    Attributes:
        people: No prime factors but 2 and 5, and one less is a prime: steps of other lengths
            then reach everybody.
    """

    people: int = 2_000
    circles: int = 300
    posts: int = 200_000
    likes: int = 1_000_000
    comments: int = 500_000
    conversations: int = 5_000
    messages: int = 1_000_000
    logs: int = 500_000


LARGE: Final = Sizes()
SMALL: Final = Sizes(200, 30, 4_000, 20_000, 10_000, 200, 20_000, 5_000)


def person(number: int) -> str:
    """Return the id of a person."""
    return f"person-{number:05d}"


#: Takes part in hundreds of conversations, and is behind in all of them.
HEAVY: Final = person(0)


def connect(url: str | URL, organization: Organization) -> psycopg.Connection[Any]:
    """Open a connection of psycopg that works in an organization's schema, in autocommit."""
    plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    connection = psycopg.connect(plain, autocommit=True)
    path = sql.SQL("SET search_path TO {}, pg_temp")
    connection.execute(path.format(sql.Identifier(organization.schema_name)))
    return connection


def fill(admin_url: str | URL, organization: Organization, sizes: Sizes = LARGE) -> None:
    """Fill the empty tables of an organization, as the owner."""
    with connect(admin_url, organization) as connection:
        connection.execute("SET work_mem TO '256MB'")
        connection.execute("SET maintenance_work_mem TO '256MB'")
        with connection.transaction(), _without_indexes(connection):
            _define(connection, sizes)
            connection.execute(_SCRIPT.read_text())
        # As autovacuum does in time: counts for the planner, pages known to be visible.
        names = connection.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()"
        )
        for (table,) in names.fetchall():
            connection.execute(sql.SQL("VACUUM (ANALYZE) {}").format(sql.Identifier(table)))


@contextmanager
def without_index(connection: psycopg.Connection[Any], name: str) -> Iterator[None]:
    """Drop an index, and make it again at the end as it was."""
    (definition,) = connection.execute(
        "SELECT pg_get_indexdef(%s::regclass)", [name]
    ).fetchone() or ("",)
    connection.execute(sql.SQL("DROP INDEX {}").format(sql.Identifier(name)))
    try:
        yield
    finally:
        connection.execute(definition)


@contextmanager
def _without_indexes(connection: psycopg.Connection[Any]) -> Iterator[None]:
    """Drop what slows an insert down, and make it again as it was."""
    foreign_keys = connection.execute(
        """
        SELECT format('ALTER TABLE %s DROP CONSTRAINT %I', conrelid::regclass, conname),
            format('ALTER TABLE %s ADD CONSTRAINT %I %s', conrelid::regclass, conname,
                   pg_get_constraintdef(oid))
        FROM pg_constraint
        WHERE contype = 'f' AND connamespace = current_schema()::regnamespace
        ORDER BY conname
        """
    ).fetchall()
    indexes = connection.execute(
        """
        SELECT format('DROP INDEX %s', indexrelid::regclass), pg_get_indexdef(indexrelid)
        FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
        WHERE relnamespace = current_schema()::regnamespace AND NOT indisprimary
            AND indrelid <> to_regclass('alembic_version')
        ORDER BY relname
        """
    ).fetchall()
    for drop, _ in (*foreign_keys, *indexes):
        connection.execute(drop)
    yield
    for _, create in (*indexes, *foreign_keys):
        connection.execute(create)


def _define(connection: psycopg.Connection[Any], sizes: Sizes) -> None:
    """Tell the server what the script calls by name."""
    words: dict[str, int | str] = {
        "common_word": COMMON_WORD,
        "rare_word": RARE_WORD,
        "old_word": OLD_WORD,
        "common_tag": COMMON_TAG,
        "rare_tag": RARE_TAG,
        "old_tag": OLD_TAG,
        "rare_action": RARE_ACTION,
    }
    for name, value in (asdict(sizes) | words).items():
        constant = "CREATE FUNCTION pg_temp.{}() RETURNS {} IMMUTABLE LANGUAGE sql RETURN {}"
        kind = sql.SQL("bigint" if isinstance(value, int) else "text")
        connection.execute(sql.SQL(constant).format(sql.Identifier(name), kind, value))
    _write(connection, "words (n bigint, word text)", enumerate(_words()))
    _write(
        connection,
        "templates (size int, lowest int, highest int, i int, line int[])",
        _templates(),
    )


def _write(connection: psycopg.Connection[Any], table: str, rows: Iterator[Any]) -> None:
    connection.execute(sql.SQL("CREATE TEMP TABLE {}").format(sql.SQL(table)))
    name = sql.Identifier(table.partition(" ")[0])
    with connection.cursor().copy(sql.SQL("COPY {} FROM STDIN").format(name)) as copy:
        for row in rows:
            copy.write_row(row)


def _words() -> list[str]:
    syllables = ("ba", "ke", "li", "mo", "nu", "ra", "se", "ti", "vo", "zu")
    words = ["".join(parts) + "rd" for parts in itertools.product(syllables, repeat=3)]
    random.Random(1).shuffle(words)
    return words


def _templates() -> Iterator[tuple[int, int, int, int, list[int]]]:
    """Yield how threads of each size look: for each comment the line down to it."""
    lowest = 0
    for size, percent in {**_THREADS, LONGEST + 1: 0}.items():
        for i, line in enumerate(_thread(size)):
            yield size, lowest, lowest + percent, i, list(line)
        lowest += percent


def _thread(size: int) -> Sequence[tuple[int, ...]]:
    draw = random.Random(size)
    lines: list[tuple[int, ...]] = [(0,)]
    while len(lines) < size:
        open_to_replies = [line for line in lines[-20:] if len(line) <= _DEEPEST]
        above = draw.choice(open_to_replies or lines[:1])
        lines.append((*above, len(lines)))
    return lines
