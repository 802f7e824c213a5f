"""Rows of one schema are copied into another one, and digests tell whether they are the same."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.exc import IntegrityError, NotSupportedError

from orgtenancy import embedded
from orgtenancy.operations.data.copying import copy_in, copy_out, copy_over
from orgtenancy.operations.data.digests import digests
from orgtenancy.operations.data.filling import filling
from orgtenancy.operations.data.tables import (
    enter,
    refresh_views,
    sequences_of,
    set_sequences,
    tables_of,
)
from orgtenancy.schemas import grants
from tests.schemas.databases import fresh_database

TABLES = """
CREATE TYPE mood AS ENUM ('sad', 'glad');
CREATE DOMAIN handle AS text CHECK (VALUE <> '');
CREATE TYPE place AS (street text, number int);
CREATE TABLE alembic_version (version_num text PRIMARY KEY);
CREATE TABLE b_people (
    id uuid PRIMARY KEY,
    name handle NOT NULL UNIQUE DEFERRABLE INITIALLY DEFERRED,
    mood mood,
    friends uuid[],
    found tsvector GENERATED ALWAYS AS (to_tsvector('simple', name::text)) STORED
);
CREATE TABLE a_posts (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    author uuid NOT NULL REFERENCES b_people,
    parent bigint REFERENCES a_posts,
    address place,
    moods mood[],
    price numeric,
    "odd % name" jsonb
);
CREATE INDEX a_posts_author ON a_posts (author) WHERE parent IS NULL;
CREATE TABLE c_parts (id int, day date NOT NULL) PARTITION BY RANGE (day);
CREATE TABLE c_parts_old PARTITION OF c_parts FOR VALUES FROM (MINVALUE) TO ('2020-01-01');
CREATE TABLE c_parts_new PARTITION OF c_parts FOR VALUES FROM ('2020-01-01') TO (MAXVALUE);
CREATE MATERIALIZED VIEW d_count AS SELECT count(*) AS posts FROM a_posts;
CREATE FUNCTION no_writing() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE TRIGGER no_writing BEFORE INSERT ON b_people FOR EACH ROW EXECUTE FUNCTION no_writing();
"""
ROWS = """
ALTER TABLE b_people DISABLE TRIGGER no_writing;
INSERT INTO b_people VALUES
    ('00000000-0000-0000-0000-000000000001', 'Ann', 'glad', NULL),
    ('00000000-0000-0000-0000-000000000002', E'B\\tob\\n', NULL,
        '{00000000-0000-0000-0000-000000000001}');
ALTER TABLE b_people ENABLE TRIGGER no_writing;
INSERT INTO a_posts (author, parent, address, moods, price, "odd % name")
    SELECT '00000000-0000-0000-0000-000000000001', NULLIF(n - 1, 0), ('Main'::text, n)::place,
        '{sad,NULL}', 1.00, '{"a": 1.0}'
    FROM generate_series(1, 20) n;
INSERT INTO c_parts VALUES (1, '1999-12-31'), (2, 'infinity');
"""


@pytest.fixture(scope="module")
def engine(server: embedded.EmbeddedServer) -> Iterator[Engine]:
    """The owner of a database of the module's own."""
    with fresh_database(server.url, server.admin_url) as database:
        engine = create_engine(database.admin_url)
        yield engine
        engine.dispose()


@pytest.fixture
def source(engine: Engine) -> Iterator[Connection]:
    """A transaction that has made the schema `source` with rows, and is rolled back."""
    with engine.connect() as connection:
        make(connection, "source", TABLES + ROWS)
        yield connection


def make(connection: Connection, schema: str, script: str) -> None:
    connection.exec_driver_sql(f'CREATE SCHEMA "{schema}"')
    enter(connection, schema)
    grants.send(connection, [script])


@pytest.fixture
def target(engine: Engine) -> Iterator[Connection]:
    """The same with the schema `target`, in another transaction and without rows."""
    with engine.connect() as connection:
        make(connection, "target", TABLES)
        yield connection


def test_tables_come_after_those_that_they_refer_to(source: Connection) -> None:
    tables = tables_of(source, "source")
    assert [table.name for table in tables] == ["b_people", "c_parts", "a_posts"]
    people, parts, posts = tables
    assert [column.name for column in people.copied] == ["id", "name", "mood", "friends"]
    assert (people.is_portable, posts.is_portable, parts.is_partitioned) == (True, False, True)
    assert (posts.key, parts.key) == (("id",), ())
    assert posts.refers_to == {"a_posts", "b_people"}
    assert [column.type for column in posts.columns][3:6] == ["place", "mood[]", "numeric"]


@pytest.mark.parametrize("large", [False, True])
def test_rows_that_are_copied_have_the_same_digests(
    source: Connection, target: Connection, large: bool
) -> None:
    theirs, ours = tables_of(source, "source"), tables_of(target, "target")
    definitions = indexes(target)
    with filling(target, "target", [(table, large * 2**30) for table in ours]):
        assert ("a_posts_author" in str(indexes(target))) is not large
        assert "FOREIGN KEY" not in str(indexes(target))
        for table, into in zip(theirs, ours, strict=True):
            copied = copy_over(source, target, table, into)
            assert copied == digests(source, [table])[table.name].rows > 0
    set_sequences(target, "target", sequences_of(source, "source"))
    refresh_views(target, "target")
    assert digests(target, ours) == digests(source, theirs)
    assert indexes(target) == definitions
    assert sequences_of(target, "target") == {"a_posts_id_seq": (20, True)}
    assert target.scalar(text("SELECT posts FROM d_count")) == 20
    assert target.scalar(text("SELECT found FROM b_people WHERE mood = 'glad'")) == "'ann':1"
    insert = "INSERT INTO b_people VALUES (gen_random_uuid(), 'No') RETURNING id"
    assert target.execute(text(insert)).first() is None  # the trigger is back


def indexes(connection: Connection) -> list[str]:
    query = """
        SELECT pg_get_indexdef(i.indexrelid) FROM pg_index i
        JOIN pg_class c ON c.oid = i.indexrelid
        WHERE c.relnamespace = 'target'::regnamespace
      UNION ALL
        SELECT pg_get_constraintdef(oid) FROM pg_constraint
        WHERE connamespace = 'target'::regnamespace ORDER BY 1
    """
    return list(connection.scalars(text(query)))


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE a_posts SET price = 1.0 WHERE id = 3",
        "UPDATE a_posts SET moods = '{glad,NULL}' WHERE id = 3",
        "UPDATE a_posts SET address.number = 7 WHERE id = 3",
        "UPDATE b_people SET mood = 'sad' WHERE mood IS NULL",
        """UPDATE a_posts SET "odd % name" = '{"a": 1.00}' WHERE id = 3""",
        "DELETE FROM c_parts WHERE id = 2",
        "UPDATE a_posts a SET parent = CASE a.id WHEN 3 THEN 4 ELSE 3 END WHERE a.id IN (4, 5)",
    ],
)
def test_a_digest_tells_every_change(source: Connection, change: str) -> None:
    tables = tables_of(source, "source")
    before = digests(source, tables)
    grants.send(source, [change])
    after = digests(source, tables)
    assert len([name for name in before if before[name] != after[name]]) == 1


def test_a_digest_tells_in_which_rows_the_values_are(source: Connection) -> None:
    source.exec_driver_sql("CREATE TABLE items (id int PRIMARY KEY, place int, name text)")
    source.exec_driver_sql(
        "INSERT INTO items SELECT n, n, 'item ' || n FROM generate_series(1, 40) n"
    )
    (table,) = (t for t in tables_of(source, "source") if t.name == "items")
    seen = {digests(source, [table])["items"].checksum}
    for n in range(1, 41, 2):  # two rows exchange their places, for good
        source.exec_driver_sql(
            f"UPDATE items SET place = {2 * n + 1} - place WHERE id IN ({n}, {n + 1})"
        )
        seen.add(digests(source, [table])["items"].checksum)
    assert len(seen) == 21


@pytest.mark.parametrize(
    ("type_", "before", "after"),
    [
        ("bigint", "1", "4294967296"),
        ("bigint", "-1", "4294967295"),
        ("timestamptz", "2000-01-01 00:00:00.000001Z", "2000-01-01 01:11:34.967296Z"),
        ("timestamp", "2000-01-01 00:00:00.000001", "2000-01-01 01:11:34.967296"),
        ("time", "00:00:00.000001", "01:11:34.967296"),
    ],
)
def test_a_digest_tells_halves_that_change_places(
    source: Connection, type_: str, before: str, after: str
) -> None:
    source.exec_driver_sql(f"CREATE TABLE numbers (id int PRIMARY KEY, value {type_})")
    source.exec_driver_sql(f"INSERT INTO numbers VALUES (1, '{before}')")
    (table,) = (t for t in tables_of(source, "source") if t.name == "numbers")
    first = digests(source, [table])
    source.exec_driver_sql(f"UPDATE numbers SET value = '{after}'")
    assert digests(source, [table]) != first


def test_a_digest_tells_what_is_equal_to_a_collation_only(source: Connection) -> None:
    try:
        source.exec_driver_sql(
            "CREATE COLLATION any_case "
            "(provider = icu, locale = 'und-u-ks-level2', deterministic = false)"
        )
    except NotSupportedError:
        pytest.skip("not run: this PostgreSQL was built without ICU")
    source.exec_driver_sql("CREATE TABLE names (id int PRIMARY KEY, name text COLLATE any_case)")
    source.exec_driver_sql("INSERT INTO names VALUES (1, 'Bob')")
    (table,) = (t for t in tables_of(source, "source") if t.name == "names")
    before = digests(source, [table])
    source.exec_driver_sql("UPDATE names SET name = 'bob'")
    assert digests(source, [table]) != before


def test_rows_that_do_not_fit_together_are_refused_at_the_end(
    source: Connection, target: Connection
) -> None:
    *_, posts = tables_of(source, "source")
    *_, into = tables_of(target, "target")
    pieces = list(copy_out(source, posts, binary=False))
    refused = pytest.raises(IntegrityError, match="foreign key")
    with refused, filling(target, "target", [(into, 0)]):
        assert copy_in(target, into, pieces, binary=False) == 20
