"""Differences in tables, and in what belongs to them."""

from __future__ import annotations

from tests.drift.planting import DIFFERENT, MISSING, UNEXPECTED, lossy, plant

TABLES = (
    # columns
    plant(
        "a missing column",
        "ALTER TABLE $s.posts DROP COLUMN locked_at",
        ("column", "posts.locked_at", MISSING),
        expected="type: timestamp with time zone",
    ),
    lossy(
        "an unexpected column",
        "ALTER TABLE $s.notes ADD COLUMN colour text",
        ("column", "notes.colour", UNEXPECTED),
        actual="type: text",
    ),
    plant(
        "a narrower type",
        "ALTER TABLE $s.notes ALTER COLUMN body TYPE varchar(20)",
        ("column", "notes.body", DIFFERENT),
        expected="type: text",
        actual="type: character varying(20)",
    ),
    lossy(
        "a wider type",
        "ALTER TABLE $s.shelves ALTER COLUMN height TYPE numeric(12, 4)",
        ("column", "shelves.height", DIFFERENT),
        expected="numeric(6,2)",
        actual="numeric(12,4)",
    ),
    plant(
        "another type of a key",
        "ALTER TABLE $s.notes ALTER COLUMN id TYPE integer",
        ("column", "notes.id", DIFFERENT),
        ("index of constraint", "notes_pkey", DIFFERENT),
        expected="type: bigint",
    ),
    plant(
        "a dropped NOT NULL",
        "ALTER TABLE $s.notes ALTER COLUMN body DROP NOT NULL",
        ("column", "notes.body", DIFFERENT),
        expected="null: no",
        actual="null: yes",
    ),
    plant(
        "an added NOT NULL",
        "ALTER TABLE $s.notes ALTER COLUMN parent_id SET NOT NULL",
        ("column", "notes.parent_id", DIFFERENT),
        actual="null: no",
    ),
    plant(
        "a dropped default",
        "ALTER TABLE $s.posts ALTER COLUMN created_at DROP DEFAULT",
        ("column", "posts.created_at", DIFFERENT),
        expected="default: now()",
        actual="no default",
    ),
    plant(
        "another default",
        "ALTER TABLE $s.things ALTER COLUMN mood SET DEFAULT 'sad'",
        ("column", "things.mood", DIFFERENT),
        expected="default: 'ok'::$schema.mood",
    ),
    plant(
        "another identity",
        "ALTER TABLE $s.things ALTER COLUMN id SET GENERATED ALWAYS",
        ("column", "things.id", DIFFERENT),
        expected="identity: by default",
    ),
    plant(
        "another storage",
        "ALTER TABLE $s.things ALTER COLUMN note SET STORAGE EXTERNAL",
        ("column", "things.note", DIFFERENT),
        actual="storage: external",
    ),
    plant(
        "another collation",
        'ALTER TABLE $s.shelves ALTER COLUMN code TYPE text COLLATE "C"',
        ("column", "shelves.code", DIFFERENT),
        ("index of constraint", "shelves_pkey", DIFFERENT),
        actual='collation: "C"',
    ),
    # constraints
    plant(
        "a missing check",
        "ALTER TABLE $s.posts DROP CONSTRAINT ck_posts_media_is_array",
        ("constraint", "posts.ck_posts_media_is_array", MISSING),
    ),
    plant(
        "an unexpected check",
        "ALTER TABLE $s.notes ADD CONSTRAINT short CHECK (length(body) < 9)",
        ("constraint", "notes.short", UNEXPECTED),
        actual="length(body) < 9",
    ),
    plant(
        "another check of the same name",
        "ALTER TABLE $s.shelves DROP CONSTRAINT shelves_height_check, "
        "ADD CONSTRAINT shelves_height_check CHECK (height > 5)",
        ("constraint", "shelves.shelves_height_check", DIFFERENT),
        actual="5",
    ),
    plant(
        "a missing foreign key",
        "ALTER TABLE $s.notes DROP CONSTRAINT notes_parent_id_fkey",
        ("constraint", "notes.notes_parent_id_fkey", MISSING),
        expected="references: notes (id)",
    ),
    plant(
        "a foreign key with another action",
        "ALTER TABLE $s.shelves DROP CONSTRAINT shelves_thing_id_fkey, "
        "ADD CONSTRAINT shelves_thing_id_fkey FOREIGN KEY (thing_id) REFERENCES $s.things "
        "ON DELETE CASCADE",
        ("constraint", "shelves.shelves_thing_id_fkey", DIFFERENT),
        expected="no on delete",
        actual="on delete: cascade",
    ),
    plant(
        "a foreign key that can no longer be deferred",
        "ALTER TABLE $s.notes ALTER CONSTRAINT notes_parent_id_fkey NOT DEFERRABLE",
        ("constraint", "notes.notes_parent_id_fkey", DIFFERENT),
        expected="deferrable: yes",
    ),
    plant(
        "a constraint that is not validated",
        "ALTER TABLE $s.notes DROP CONSTRAINT notes_parent_id_fkey, "
        "ADD CONSTRAINT notes_parent_id_fkey FOREIGN KEY (parent_id) REFERENCES $s.notes "
        "DEFERRABLE NOT VALID",
        ("constraint", "notes.notes_parent_id_fkey", DIFFERENT),
        actual="validated: no",
    ),
    plant(
        "a primary key without its column",
        "ALTER TABLE $s.post_likes DROP CONSTRAINT pk_post_likes",
        ("constraint", "post_likes.pk_post_likes", MISSING),
    ),
    # indexes
    plant("a missing index", "DROP INDEX $s.notes_body_idx", ("index", "notes_body_idx", MISSING)),
    plant(
        "an unexpected index",
        "CREATE INDEX mine ON $s.notes (body, id)",
        ("index", "mine", UNEXPECTED),
        actual="columns: body, id",
    ),
    plant(
        "an index with another order",
        "DROP INDEX $s.notes_body_idx; CREATE INDEX notes_body_idx ON $s.notes (body DESC)",
        ("index", "notes_body_idx", DIFFERENT),
        actual="order",
    ),
    plant(
        "an index with another operator class",
        "DROP INDEX $s.notes_body_idx; "
        "CREATE INDEX notes_body_idx ON $s.notes (body text_pattern_ops)",
        ("index", "notes_body_idx", DIFFERENT),
        actual="text_pattern_ops",
    ),
    plant(
        "an index with another predicate",
        "DROP INDEX $s.things_name; CREATE UNIQUE INDEX things_name ON $s.things "
        "(lower(name) DESC) INCLUDE (note) WHERE share > 1",
        ("comment on index", "things_name", MISSING),
        ("index", "things_name", DIFFERENT),
    ),
    plant(
        "an index with another expression",
        "DROP INDEX $s.things_name; CREATE UNIQUE INDEX things_name ON $s.things "
        "(upper(name) DESC) INCLUDE (note) WHERE share > 0; "
        "COMMENT ON INDEX $s.things_name IS 'Names'",
        ("index", "things_name", DIFFERENT),
        actual="upper",
    ),
    plant(
        "an invalid index",
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = '$s.notes_body_idx'::regclass",
        ("index", "notes_body_idx", DIFFERENT),
        actual="valid: no",
    ),
    # tables and sequences
    plant("a missing table", "DROP TABLE $s.shelves", ("table", "shelves", MISSING)),
    plant(
        "a missing table that others refer to",
        "DROP TABLE $s.notes CASCADE",
        ("table", "notes", MISSING),
    ),
    lossy(
        "an unexpected table",
        "CREATE TABLE $s.backup AS SELECT * FROM $s.notes",
        ("table", "backup", UNEXPECTED),
    ),
    plant(
        "an unlogged table",
        "ALTER TABLE $s.shelves SET UNLOGGED",
        ("table", "shelves", DIFFERENT),
        actual="persistence: unlogged",
    ),
    plant(
        "storage parameters",
        "ALTER TABLE $s.notes SET (fillfactor = 50)",
        ("table", "notes", DIFFERENT),
        actual="options: fillfactor=50",
    ),
    plant(
        "another replica identity",
        "ALTER TABLE $s.notes REPLICA IDENTITY FULL",
        ("table", "notes", DIFFERENT),
        actual="replica identity: full",
    ),
    plant(
        "row security switched off",
        "ALTER TABLE $s.things DISABLE ROW LEVEL SECURITY",
        ("table", "things", DIFFERENT),
        expected="row security: enabled",
    ),
    plant(
        "row security switched on",
        "ALTER TABLE $s.notes ENABLE ROW LEVEL SECURITY; "
        "ALTER TABLE $s.notes FORCE ROW LEVEL SECURITY",
        ("table", "notes", DIFFERENT),
        actual="row security of the owner: forced",
    ),
    plant(
        "another owner",
        "ALTER TABLE $s.shelves OWNER TO $r",
        ("grants on table", "shelves", DIFFERENT),
        ("table", "shelves", DIFFERENT),
        actual="owner: $role",
    ),
    plant("a missing sequence", "DROP SEQUENCE $s.tickets", ("sequence", "tickets", MISSING)),
    plant(
        "other parameters of a sequence",
        "ALTER SEQUENCE $s.tickets INCREMENT 7 CYCLE",
        ("sequence", "tickets", DIFFERENT),
        expected="increment: 5",
        actual="increment: 7; cycle: yes",
    ),
    plant(
        "a sequence without its column",
        "ALTER SEQUENCE $s.things_number_seq OWNED BY NONE",
        ("sequence", "things_number_seq", DIFFERENT),
        expected="owned by: things.number",
    ),
)
