"""A shared schema of many organizations, written by the server itself from a few numbers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import psycopg
from sqlalchemy import URL

from tests.schemas.databases import dsn

MAPPING: Final = Path(__file__).with_suffix(".toml")

TABLES: Final = (
    "profiles",
    "circles",
    "circle_members",
    "posts",
    "likes",
    "comments",
    "talks",
    "talkers",
    "messages",
    "logs",
)


@dataclass(frozen=True)
class Sizes:
    """How many rows there are. All but people and talks are in all organizations together.

    Attributes:
        people: In each organization.
        replies: Comments on comments, at most as many as comments.
    """

    organizations: int = 100
    people: int = 200
    circles: int = 1_000_000
    posts: int = 1_000_000
    likes: int = 1_000_000
    comments: int = 1_000_000
    replies: int = 1_000_000
    talks: int = 20_000
    messages: int = 1_000_000
    logs: int = 100_000


FULL: Final = Sizes()


def slug(organization: int) -> str:
    """Return the id that an organization gets here."""
    return f"org-{organization:03d}"


def make(admin_url: URL, sizes: Sizes) -> None:
    """Make the schema `shared` with its rows."""
    with psycopg.connect(dsn(admin_url)) as connection:
        connection.execute(MAPPING.with_suffix(".sql").read_text())
        connection.execute(_CHANCE)
        run(connection, _ROWS, sizes)
        run(connection, _INDEXES, sizes)
    with psycopg.connect(dsn(admin_url), autocommit=True) as connection:
        connection.execute("SET search_path TO shared")
        connection.execute(f"VACUUM (ANALYZE) organizations, {', '.join(TABLES)}")


def run(connection: psycopg.Connection[Any], statements: Iterable[str], sizes: Sizes) -> None:
    """Run statements that speak of sizes."""
    for statement in statements:
        connection.execute(statement.encode(), asdict(sizes))


# A number of [0, 1) that looks random; the salt makes series differ.
_CHANCE = """
CREATE FUNCTION pg_temp.chance(n bigint, salt bigint) RETURNS float8 IMMUTABLE LANGUAGE sql
    RETURN (hashint8extended(n, salt) & 16777215) / 16777216.0::float8
"""

# The organization of a post follows a curve: the first have far more of them than the last.
_ROWS = (
    """
    INSERT INTO organizations
    SELECT o, 'org-' || lpad(o::text, 3, '0'), 'Organization ' || o
    FROM generate_series(1, %(organizations)s) o
    """,
    """
    INSERT INTO profiles (organization_id, user_id, handle, name, about)
    SELECT o, 'user-' || p, 'User' || p, 'Person ' || p, CASE WHEN p %% 3 = 0 THEN 'About ' || p END
    FROM generate_series(1, %(organizations)s) o, generate_series(0, %(people)s - 1) p
    """,
    """
    INSERT INTO circles (id, organization_id, title, slug, about, owner_id, members)
    SELECT n + 1, 1 + n %% %(organizations)s, 'Circle ' || n, 'circle-' || n, 'For ' || n,
        'user-' || n %% %(people)s, 1
    FROM generate_series(0, %(circles)s - 1) n
    """,
    """
    INSERT INTO circle_members (circle_id, user_id, role)
    SELECT id, owner_id, 'owner' FROM circles
    """,
    """
    INSERT INTO posts (id, organization_id, circle_id, author_id, body, visibility, tags, media,
        likes, comments, legacy_rank, created, changed)
    SELECT n, o, c, 'user-' || n %% %(people)s, 'Post ' || n || repeat(' word', n::int %% 40),
        CASE WHEN c IS NULL THEN 'public' ELSE 'group' END,
        CASE WHEN n %% 5 = 0 THEN ARRAY['news', 'n' || n %% 7] ELSE '{}' END,
        CASE WHEN n %% 11 = 0 THEN '[{"url": "/media/1.jpg"}]'::jsonb ELSE '[]' END,
        1, 2, n / 3.0, '2025-01-01'::timestamp + n * interval '1 second', '2025-01-01'
    FROM (
        SELECT n, 1 + floor(%(organizations)s * power(pg_temp.chance(n, 1), 1.3))::bigint AS o
        FROM generate_series(1, %(posts)s) n
    ) drawn CROSS JOIN LATERAL (
        SELECT CASE WHEN n %% 10 = 0 THEN o + %(organizations)s
            * floor(pg_temp.chance(n, 2) * (%(circles)s / %(organizations)s))::bigint END AS c
    ) placed
    """,
    """
    INSERT INTO likes (post_id, user_id)
    SELECT 1 + n %% %(posts)s, 'user-' || n / %(posts)s
    FROM generate_series(0, %(likes)s - 1) n
    """,
    """
    INSERT INTO comments (id, post_id, author_id, path, body)
    SELECT n, 1 + n * 31 %% %(posts)s, 'user-' || n %% %(people)s, ARRAY[n], 'Comment ' || n
    FROM generate_series(1, %(comments)s) n
    """,
    """
    INSERT INTO comments (id, post_id, parent_id, author_id, depth, path, body)
    SELECT id, 1 + root * 31 %% %(posts)s, CASE WHEN n %% 2 = 1 THEN root ELSE id - 1 END,
        'user-' || n %% %(people)s, 2 - n %% 2,
        CASE WHEN n %% 2 = 1 THEN ARRAY[root, id] ELSE ARRAY[root, id - 1, id] END, 'Reply ' || n
    FROM (
        SELECT n, n + %(comments)s AS id, n - (n + 1) %% 2 AS root
        FROM generate_series(1, %(replies)s) n
    ) replies
    """,
    """
    INSERT INTO talks (id, organization_id, kind, direct_key, last_number)
    SELECT n + 1, 1 + n %% %(organizations)s, 'direct', 'talk ' || n, %(messages)s / %(talks)s
    FROM generate_series(0, %(talks)s - 1) n
    """,
    """
    INSERT INTO talkers (talk_id, user_id)
    SELECT id, 'user-' || p FROM talks, generate_series(0, 1) p
    """,
    """
    INSERT INTO messages (id, talk_id, sender_id, number, body)
    SELECT n + 1, 1 + n %% %(talks)s, 'user-' || n %% 2, 1 + n / %(talks)s, 'Message ' || n
    FROM generate_series(0, %(messages)s - 1) n
    """,
    """
    INSERT INTO logs (id, organization_id, actor_id, action, details, ip)
    SELECT n + 1, 1 + n %% %(organizations)s, 'user-' || n %% %(people)s, 'post.create',
        jsonb_build_object('n', n, 'weight', n / 10.0), ('10.0.0.' || n %% 250)::inet
    FROM generate_series(0, %(logs)s - 1) n
    """,
)

_INDEXES = (
    "CREATE INDEX ON posts (organization_id)",
    "CREATE INDEX ON posts (circle_id)",
    "CREATE INDEX ON comments (post_id)",
    "CREATE INDEX ON comments (parent_id)",
    "CREATE INDEX ON talks (organization_id)",
    "CREATE INDEX ON messages (talk_id, number)",
    "CREATE INDEX ON logs (organization_id)",
    *(
        f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), max(id)) FROM {table}"
        for table in ("circles", "posts", "comments", "talks", "messages", "logs")
    ),
)
