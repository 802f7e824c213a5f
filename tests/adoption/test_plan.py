"""A plan says what would be done and what is wrong, by name, and changes nothing."""

from __future__ import annotations

from typing import Any

import pytest

from orgtenancy.errors import AdoptionRefused
from orgtenancy.operations.adoption import (
    AdoptionPlan,
    AdoptionState,
    Finding,
    FindingKind,
    Severity,
)
from orgtenancy.operations.adoption.catalog import read_tables
from tests.adoption.worlds import MAPPING, World

K = FindingKind

POSTS = MAPPING["tables"]["posts"]


def told(plan: AdoptionPlan, kind: FindingKind) -> list[str]:
    return [str(finding) for finding in plan.findings if finding.kind is kind]


def only(plan: AdoptionPlan, kind: FindingKind) -> Finding:
    (found,) = [finding for finding in plan.findings if finding.kind is kind]
    return found


def columns(table: str, **changes: Any) -> dict[str, Any]:
    declared = MAPPING["tables"][table]
    return {table: {**declared, "columns": {**declared["columns"], **changes}}}


def contents(world: World) -> list[tuple[Any, ...]]:
    """Return all schemas, roles and triggers, and what the registry has."""
    return world.database.ask(
        "SELECT nspname::text FROM pg_namespace WHERE nspname !~ '^pg_(toast_)?temp' "
        "UNION ALL SELECT rolname FROM pg_roles "
        "UNION ALL SELECT tgname FROM pg_trigger "
        "UNION ALL SELECT id FROM orgtenancy.organizations "
        "UNION ALL SELECT source || key FROM orgtenancy.adopted "
        "UNION ALL SELECT source FROM orgtenancy.adoptions ORDER BY 1"
    )


def test_nothing_is_wrong_and_nothing_is_changed(world: World) -> None:
    before = contents(world)
    plan = world.adoption().plan()
    assert contents(world) == before
    assert (plan.problems, plan.left_over) == ((), ())
    assert [(o.id, o.state, o.rows) for o in plan.organizations] == [
        (world.id("one"), AdoptionState.PENDING, 10),
        (world.id("two"), AdoptionState.PENDING, 4),
    ]
    assert plan.rate
    assert plan.seconds is not None
    assert plan.seconds > 14 / plan.rate
    posts = next(table for table in plan.tables if table.source == "posts")
    assert (posts.target, posts.rows) == ("posts", 4)
    assert posts.columns == {
        "id": "id, as ordered_uuid of posts",
        "author": "author_id, as uuid of people",
        "parent": "parent_id, as ordered_uuid of posts",
        "title": "title",
        "position": "position, cast to integer",
        "written_at": "written, in UTC",
    }
    assert told(plan, K.WITHOUT_SOURCE) == [
        "drafts: no table of the source goes there: it stays empty"
    ]


def test_without_rows_only_the_catalogs_are_looked_at(world: World) -> None:
    world.there("UPDATE posts SET title = ''")
    plan = world.adoption().plan(rows=False)
    assert (plan.problems, plan.seconds, plan.organizations[0].rows) == ((), None, None)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"ignore": []}, K.UNMAPPED_TABLE, "sessions: there is no table 'sessions' here"),
        ({"ignore": ["sessions", "x"]}, K.UNKNOWN_NAME, "x: the source has no such table"),
        (
            {"tables": {"marks": {"columns": {"post": "post_id"}}}},
            K.UNMAPPED_COLUMN,
            "marks: 'id' goes nowhere",
        ),
        (
            {"tables": {"marks": {"drop": ["id", "label"], "columns": {"post": "post_id"}}}},
            K.NOTHING_GIVEN,
            "marks: 'label' must not be NULL here, and gets nothing",
        ),
        (
            {"tables": columns("posts", written_at="written")},
            K.TYPE,
            "posts: 'written_at' here is timestamp with time zone and would get timestamp",
        ),
        (
            {"tables": columns("posts", position="position")},
            K.TYPE,
            "posts: 'position' here is integer and would get bigint: say `convert`",
        ),
        (
            {"tables": {"people": {"keys": "uuid", "columns": {"note": "favourite"}}}},
            K.TYPE,
            "people: 'note' here is text and would get bigint",
        ),
        (
            {"tables": columns("posts", other="title")},
            K.UNKNOWN_NAME,
            "posts: posts here has no 'other'",
        ),
        (
            {"tables": columns("posts", title="other")},
            K.UNKNOWN_NAME,
            "posts: 'title' here: it has no column 'other'",
        ),
        (
            {"tables": {"posts": {**POSTS, "changed_by": "title"}}},
            K.UNKNOWN_NAME,
            "posts: `changed_by`: 'title' is no timestamp of it",
        ),
        (
            {"tables": {"posts": {**POSTS, "via": "parent_id"}}},
            K.NO_WAY,
            "posts: nothing leads to an organization",
        ),
        (
            {"organization_column": "team"},
            K.NO_WAY,
            "people: nothing leads to an organization: it has no column 'team'",
        ),
        (
            {"tables": {"people": {"to": "posts"}}},
            K.KEY,
            "posts: several tables go there: people, posts",
        ),
        (
            {"tables": {"countries": {"copy_to_all": True, "to": "nowhere"}}},
            K.UNMAPPED_TABLE,
            "countries: there is no table 'nowhere' here",
        ),
    ],
)
def test_a_mapping_that_cannot_be_is_told_by_name_and_refused(
    world: World, change: dict[str, Any], kind: FindingKind, message: str
) -> None:
    adoption = world.adoption(**change)
    plan = adoption.plan()
    assert any(one.startswith(message) for one in told(plan, kind)), list(map(str, plan.findings))
    assert plan.problems
    with pytest.raises(AdoptionRefused) as caught:
        adoption.run()
    assert any(one.startswith(message) for one in caught.value.findings)


def test_several_ways_are_refused_with_the_candidates_and_one_can_be_named(world: World) -> None:
    world.there(
        "ALTER TABLE marks ADD by_whom bigint REFERENCES people; UPDATE marks SET by_whom = 1"
    )
    marks = {"drop": ["id", "by_whom"], "columns": {"post": "post_id"}}
    plan = world.adoption(tables={"marks": marks}).plan(rows=False)
    assert only(plan, K.AMBIGUOUS_WAY).message.startswith(
        "several ways lead to an organization: by_whom → people → organization_id; "
        "post_id → posts → author_id → people → organization_id."
    )
    chosen = world.adoption(tables={"marks": {**marks, "via": "post_id"}}).plan()
    assert chosen.problems == ()
    assert [t.way for t in chosen.tables if t.source == "marks"] == [
        "post_id → posts → author_id → people → organization_id"
    ]


@pytest.mark.slow
def test_a_way_without_a_foreign_key_can_be_declared(world: World) -> None:
    world.there("ALTER TABLE marks DROP CONSTRAINT marks_post_id_fkey")
    marks = {"drop": ["id"], "columns": {"post": "post_id"}}
    assert only(world.adoption().plan(rows=False), K.NO_WAY).table == "marks"
    via = {"columns": ["post_id"], "table": "posts", "references": ["id"]}
    assert world.adoption(tables={"marks": {**marks, "via": via}}).plan().problems == ()
    not_unique = {**via, "references": ["author_id"]}
    plan = world.adoption(tables={"marks": {**marks, "via": not_unique}}).plan()
    assert "author_id of posts is not unique" in only(plan, K.NO_WAY).message


@pytest.mark.slow
@pytest.mark.parametrize(
    "via", ["label", {"columns": ["label"], "table": "countries", "references": ["code"]}]
)
def test_what_all_organizations_get_is_no_way_to_one(
    world: World, via: str | dict[str, Any]
) -> None:
    world.there(
        "UPDATE marks SET label = 'fr'; "
        "ALTER TABLE marks ADD FOREIGN KEY (label) REFERENCES countries"
    )
    marks = {"drop": ["id"], "columns": {"post": "post_id"}, "via": via}
    plan = world.adoption(tables={"marks": marks}).plan(rows=False)
    assert "countries is `copy_to_all`" in only(plan, K.NO_WAY).message


# The embedded server has no ICU, which such collations come with.
INSENSITIVE = 'CREATE COLLATION insensitive FROM "C"; '
AS_SAID = (
    "; UPDATE pg_collation SET collisdeterministic = false "
    "WHERE collname = 'insensitive' AND collnamespace = current_schema()::regnamespace"
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            "ALTER TABLE events ALTER organization_id TYPE numeric",
            "events: 'organization_id' says whose a row is, and is numeric, of which",
        ),
        (
            "CREATE DOMAIN number AS numeric; ALTER TABLE events ALTER organization_id TYPE number",
            "events: 'organization_id' says whose a row is, and is source_",
        ),
        (
            INSENSITIVE + "ALTER TABLE events "
            "ALTER organization_id TYPE text COLLATE insensitive USING organization_id" + AS_SAID,
            "events: 'organization_id' says whose a row is, and is text, of which",
        ),
        (
            INSENSITIVE + "ALTER TABLE marks DROP CONSTRAINT marks_post_id_fkey; "
            "ALTER TABLE posts ALTER id TYPE text COLLATE insensitive USING id; "
            "ALTER TABLE marks ALTER post_id TYPE text COLLATE insensitive USING post_id; "
            "ALTER TABLE marks ADD FOREIGN KEY (post_id) REFERENCES posts" + AS_SAID,
            "marks: 'post_id' of marks is on the way to the organization, and is text, of which",
        ),
    ],
)
def test_keys_that_are_written_in_several_ways_are_told(
    world: World, change: str, message: str
) -> None:
    world.there(change)
    plan = world.adoption().plan(rows=False)
    assert any(one.startswith(message) for one in told(plan, K.TYPE)), told(plan, K.TYPE)


@pytest.mark.slow
@pytest.mark.parametrize("base", ["text", "varchar(20)", "bigint", "smallint"])
def test_keys_may_be_of_a_domain(world: World, base: str) -> None:
    world.there(
        f"CREATE DOMAIN key AS {base}; "
        "ALTER TABLE events ALTER organization_id TYPE key USING organization_id::text::key"
    )
    assert world.adoption().plan().problems == ()


@pytest.mark.slow
def test_a_table_that_refers_to_the_organizations_needs_no_column_of_the_usual_name(
    world: World,
) -> None:
    world.there(
        "ALTER TABLE people RENAME organization_id TO team; "
        "ALTER TABLE people ADD FOREIGN KEY (team) REFERENCES teams"
    )
    plan = world.adoption().plan()
    assert plan.problems == ()
    assert [t.way for t in plan.tables if t.source == "people"] == ["team"]


@pytest.mark.slow
def test_a_missing_index_is_a_warning(world: World) -> None:
    world.there("DROP INDEX posts_author_id_idx; ANALYZE posts, marks")
    warned = [f for f in world.adoption().plan().findings if f.severity is Severity.WARNING]
    assert {f.table for f in warned} == {"posts", "marks"}
    assert {f.kind for f in warned} == {K.NO_INDEX}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "kind", "table", "keys"),
    [
        ("UPDATE marks SET post_id = NULL WHERE id = 3", K.WITHOUT_ORGANIZATION, "marks", ["3"]),
        (
            "UPDATE people SET organization_id = NULL WHERE id = 2",
            K.WITHOUT_ORGANIZATION,
            "people",
            ["2"],
        ),
        (
            "UPDATE events SET organization_id = 99 WHERE id = 9",
            K.UNKNOWN_ORGANIZATION,
            "events",
            ["9"],
        ),
        (
            "ALTER TABLE marks DISABLE TRIGGER ALL; UPDATE marks SET post_id = 999 WHERE id > 2",
            K.ORPHAN,
            "marks",
            ["3", "4"],
        ),
    ],
)
def test_rows_that_are_nobodys_are_listed_and_stay(
    world: World, fault: str, kind: FindingKind, table: str, keys: list[str]
) -> None:
    world.there(fault)
    adoption = world.adoption()
    plan = adoption.plan()
    found = next(f for f in plan.left_over if (f.kind, f.table) == (kind, table))
    assert (found.rows, sorted(found.keys)) == (len(keys), keys)
    if not plan.problems:
        assert adoption.run().left_over == plan.left_over
        assert adoption.verify().left_over == plan.left_over


@pytest.mark.parametrize(
    ("fault", "kind", "table", "keys", "of"),
    [
        (
            "UPDATE people SET name = 'aNN' WHERE id = 2",
            K.DUPLICATE_KEY,
            "people",
            ["1", "2"],
            ["1"],
        ),
        (
            "UPDATE posts SET position = 1 WHERE id = 13",
            K.DUPLICATE_KEY,
            "posts",
            ["11", "13"],
            ["1"],
        ),
        ("INSERT INTO marks VALUES (8, 21, 'x')", K.DUPLICATE_KEY, "marks", ["4", "8"], ["2"]),
        ("UPDATE posts SET title = NULL WHERE id = 21", K.MISSING_VALUE, "posts", ["21"], ["2"]),
        ("UPDATE posts SET title = '' WHERE id = 21", K.BROKEN_RULE, "posts", ["21"], ["2"]),
        (
            "UPDATE posts SET parent_id = 99 WHERE id = 13",
            K.BROKEN_REFERENCE,
            "posts",
            ["13"],
            ["1"],
        ),
        # It is there, and another organization's.
        (
            "UPDATE posts SET parent_id = 21 WHERE id = 13",
            K.BROKEN_REFERENCE,
            "posts",
            ["13"],
            ["1"],
        ),
        (
            "UPDATE people SET country = 'xx' WHERE id = 3",
            K.BROKEN_REFERENCE,
            "people",
            ["3"],
            ["2"],
        ),
        ("UPDATE posts SET id = -id WHERE id = 13", K.KEY, "posts", ["-13"], []),
    ],
)
def test_rows_that_cannot_be_here_are_named_with_table_key_and_organization(
    world: World, fault: str, kind: FindingKind, table: str, keys: list[str], of: list[str]
) -> None:
    world.there("ALTER TABLE marks DISABLE TRIGGER ALL; ALTER TABLE posts DISABLE TRIGGER ALL")
    world.there(fault)
    found = only(world.adoption().plan(), kind)
    assert (found.table, found.rows, sorted(found.keys)) == (table, len(keys), keys)
    assert list(found.organizations) == of


@pytest.mark.slow
def test_what_only_postgresql_finds_is_found_by_the_trial(world: World) -> None:
    world.there("UPDATE marks SET label = 'longer than ten' WHERE id IN (1, 4)")
    assert "value too long" in only(world.adoption().plan(), K.TRIAL).message


@pytest.mark.slow
def test_values_of_no_such_type_are_told(world: World) -> None:
    world.there("UPDATE posts SET position = 3000000000 WHERE id = 21")
    assert "integer out of range" in only(world.adoption().plan(), K.TYPE).message


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("UPDATE teams SET slug = 'no/way' WHERE id = 1", "only A-Z"),
        (
            "ALTER TABLE teams DROP CONSTRAINT teams_slug_key; UPDATE teams SET slug = 'one'",
            "several",
        ),
    ],
)
def test_ids_that_cannot_be_are_told(world: World, fault: str, reason: str) -> None:
    world.there(fault)
    plan = world.adoption().plan()
    assert any(reason in one for one in told(plan, K.ORGANIZATION_ID))


@pytest.mark.slow
def test_organizations_can_be_left_behind(world: World) -> None:
    known = {**MAPPING["organizations"], "prefix": f"{world.source}-", "ignore": ["2"]}
    plan = world.adoption(organizations=known).plan()
    assert [o.id for o in plan.organizations] == [world.id("one")]
    assert plan.left_over == ()


@pytest.mark.slow
def test_policies_that_hold_for_the_owner_are_told(world: World) -> None:
    owner = f"owner_of_{world.source}"
    world.there(
        f"CREATE ROLE {owner}; GRANT {owner} TO CURRENT_USER; "
        "ALTER TABLE posts ENABLE ROW LEVEL SECURITY; ALTER TABLE posts FORCE ROW LEVEL SECURITY; "
        f"GRANT USAGE ON SCHEMA {world.source} TO {owner}; ALTER TABLE posts OWNER TO {owner}"
    )
    engine = world.tenancy._database.admin_engine
    with engine.connect() as connection:
        assert not read_tables(connection, world.source)["posts"].is_hidden  # of a superuser
        connection.exec_driver_sql(f"SET ROLE {owner}")
        found = read_tables(connection, world.source)
        assert [name for name, table in found.items() if table.is_hidden] == ["posts"]
        assert [name for name, table in found.items() if table.is_owned] == ["posts"]
        connection.rollback()
    world.there(f"DROP TABLE posts CASCADE; DROP OWNED BY {owner}; DROP ROLE {owner}")
