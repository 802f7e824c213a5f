"""Differences in rights, views, code, types and comments."""

from __future__ import annotations

from tests.drift.planting import DIFFERENT, MISSING, UNEXPECTED, plant

OTHERS = (
    # rights
    plant(
        "a right taken away",
        "REVOKE INSERT ON $s.posts FROM $r",
        ("grants on table", "posts", DIFFERENT),
        expected="$role: DELETE, INSERT, SELECT, UPDATE",
        actual="$role: DELETE, SELECT, UPDATE",
    ),
    plant(
        "a right given to everybody",
        "GRANT SELECT ON $s.posts TO PUBLIC",
        ("grants on table", "posts", DIFFERENT),
        actual="PUBLIC: SELECT",
    ),
    plant(
        "a right given to another organization",
        "GRANT SELECT ON $s.posts TO $o",
        ("grants on table", "posts", DIFFERENT),
        actual="orgtenancy_",
    ),
    plant(
        "a right on the stamps",
        "GRANT UPDATE ON $s.alembic_version TO $r",
        ("grants on table", "alembic_version", DIFFERENT),
        actual="$role: SELECT, UPDATE",
    ),
    plant(
        "a right on a column",
        "GRANT SELECT (body) ON $s.notes TO PUBLIC",
        ("grants on column", "notes.body", UNEXPECTED),
    ),
    plant(
        "a right on a sequence",
        "REVOKE USAGE ON SEQUENCE $s.tickets FROM $r",
        ("grants on sequence", "tickets", DIFFERENT),
    ),
    plant(
        "the right to create",
        "GRANT CREATE ON SCHEMA $s TO $r",
        ("grants on schema", "", DIFFERENT),
        actual="$role: CREATE, USAGE",
    ),
    plant(
        "a schema of another owner",
        "ALTER SCHEMA $s OWNER TO $r",
        ("grants on schema", "", DIFFERENT),
        ("schema", "", DIFFERENT),
        actual="owner: $role",
    ),
    plant(
        "other default privileges",
        "ALTER DEFAULT PRIVILEGES IN SCHEMA $s REVOKE DELETE ON TABLES FROM $r",
        ("default privileges", "tables", DIFFERENT),
        actual="$role: INSERT, SELECT, UPDATE",
    ),
    plant(
        "no default privileges",
        "ALTER DEFAULT PRIVILEGES IN SCHEMA $s REVOKE ALL ON SEQUENCES FROM $r",
        ("default privileges", "sequences", MISSING),
    ),
    plant(
        "a right to call a function",
        "REVOKE EXECUTE ON FUNCTION $s.touch() FROM PUBLIC",
        ("grants on function", "touch()", DIFFERENT),
    ),
    # views, code, types
    plant("a missing view", "DROP VIEW $s.happy", ("view", "happy", MISSING)),
    plant(
        "another definition of a view",
        "CREATE OR REPLACE VIEW $s.happy AS SELECT id, name FROM $s.things WHERE mood = 'sad'",
        ("view", "happy", DIFFERENT),
        actual="sad",
    ),
    plant(
        "a view with other options",
        "ALTER VIEW $s.happy SET (security_invoker = true)",
        ("view", "happy", DIFFERENT),
        actual="security_invoker=true",
    ),
    plant("an unexpected view", "CREATE VIEW $s.v AS SELECT 1 AS x", ("view", "v", UNEXPECTED)),
    plant(
        "a missing materialized view",
        "DROP MATERIALIZED VIEW $s.counts",
        ("materialized view", "counts", MISSING),
    ),
    plant(
        "another body of a function",
        "CREATE OR REPLACE FUNCTION $s.touch() RETURNS trigger LANGUAGE plpgsql AS "
        "'BEGIN RETURN NEW; END'",
        ("function", "touch()", DIFFERENT),
    ),
    plant(
        "a function that became security definer",
        "ALTER FUNCTION $s.total(integer) SECURITY DEFINER SET work_mem = '1MB'",
        ("function", "total(above integer)", DIFFERENT),
        actual="security: definer; configuration: work_mem=1MB",
    ),
    plant(
        "a missing function",
        "DROP FUNCTION $s.total(integer)",
        ("function", "total(above integer)", MISSING),
    ),
    plant(
        "an unexpected function",
        "CREATE FUNCTION $s.total(text) RETURNS integer LANGUAGE sql AS 'SELECT 1'",
        ("function", "total(text)", UNEXPECTED),
    ),
    plant(
        "a missing trigger",
        "DROP TRIGGER things_touch ON $s.things",
        ("trigger", "things.things_touch", MISSING),
    ),
    plant(
        "a trigger switched off",
        "ALTER TABLE $s.things DISABLE TRIGGER things_touch",
        ("trigger", "things.things_touch", DIFFERENT),
        expected="enabled: yes",
        actual="enabled: no",
    ),
    plant(
        "a foreign key whose triggers are switched off",
        "ALTER TABLE $s.notes DISABLE TRIGGER ALL",
        ("triggers of constraint", "notes.notes_parent_id_fkey", UNEXPECTED),
        actual="enabled: no",
    ),
    plant(
        "another policy",
        "ALTER POLICY noted ON $s.things TO $r USING (true)",
        ("policy", "things.noted", DIFFERENT),
        expected="roles: PUBLIC; using: (note IS NOT NULL)",
        actual="roles: $role; using: true",
    ),
    plant(
        "an unexpected policy",
        "CREATE POLICY all_of_it ON $s.things FOR DELETE USING (true)",
        ("policy", "things.all_of_it", UNEXPECTED),
    ),
    plant(
        "a missing rule",
        "DROP RULE things_keep ON $s.things",
        ("rule", "things.things_keep", MISSING),
    ),
    plant(
        "missing statistics",
        "DROP STATISTICS $s.things_stats",
        ("statistics", "things_stats", MISSING),
    ),
    plant(
        "a domain without its check",
        "ALTER DOMAIN $s.percent DROP CONSTRAINT percent_check; "
        "ALTER DOMAIN $s.percent SET DEFAULT 5",
        ("domain", "percent", DIFFERENT),
        expected="constraint percent_check: CHECK",
    ),
    plant(
        "a missing composite type",
        "DROP TYPE $s.point3",
        ("composite type", "point3", MISSING),
    ),
    plant(
        "text search that does other things with words",
        "ALTER TEXT SEARCH CONFIGURATION $s.community_search "
        "ALTER MAPPING FOR asciiword WITH simple",
        ("text search configuration", "community_search", DIFFERENT),
        expected="words of kind asciiword: english_stem",
    ),
    # comments
    plant(
        "another comment on a column",
        "COMMENT ON COLUMN $s.things.name IS 'Hm'",
        ("comment on column", "things.name", DIFFERENT),
        expected="text: What it's called",
    ),
    plant(
        "an unexpected comment on a table",
        "COMMENT ON TABLE $s.notes IS 'Mine'",
        ("comment on table", "notes", UNEXPECTED),
    ),
)

#: What no statement mends, as its data cannot tell how.
HARD = (
    plant(
        "another value of an enum",
        "ALTER TYPE $s.mood RENAME VALUE 'sad' TO 'unhappy'",
        ("enum", "mood", DIFFERENT),
        expected="'sad'",
        actual="'unhappy'",
    ),
)
