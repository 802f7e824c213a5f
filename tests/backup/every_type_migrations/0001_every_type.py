"""Tables with every type that PostgreSQL brings, and with what else a table can have."""

from alembic import op

revision = "every_type_0001"
down_revision = None
branch_labels = ("every_type",)
depends_on = None

UPGRADE = """
CREATE TYPE mood AS ENUM ('sad', 'so-so', 'glad');
CREATE TYPE address AS (street text, number integer, tags text[]);
CREATE DOMAIN percent AS numeric CHECK (VALUE >= 0);
CREATE TABLE plain (
    id uuid PRIMARY KEY,
    a_bool boolean, a_smallint smallint, an_integer integer, a_bigint bigint,
    a_numeric numeric, a_decimal numeric(12, 3), a_real real, a_double double precision,
    a_money money, a_text text, a_varchar varchar(40), a_char char(7), a_bytea bytea,
    a_date date, a_time time, a_timetz timetz, a_timestamp timestamp, a_timestamptz timestamptz,
    an_interval interval, an_inet inet, a_cidr cidr, a_macaddr macaddr, a_macaddr8 macaddr8,
    a_bit bit(5), a_varbit varbit, a_json json, a_jsonb jsonb, a_tsvector tsvector,
    a_tsquery tsquery, a_point point, a_box box, a_path path, a_polygon polygon, a_circle circle,
    a_lseg lseg, a_line line, an_int4range int4range, a_numrange numrange, a_tstzrange tstzrange,
    a_daterange daterange, a_multirange int8multirange, an_oid oid, a_lsn pg_lsn,
    a_uuid_array uuid[], a_text_array text[], a_mood mood, a_percent percent,
    "an odd %s ""name" text,
    words integer GENERATED ALWAYS AS (array_length(string_to_array(a_text, ' '), 1)) STORED
);
CREATE INDEX plain_jsonb ON plain USING gin (a_jsonb);
CREATE INDEX plain_text ON plain (md5(a_text)) WHERE a_bool;
CREATE TABLE nested (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    plain_id uuid NOT NULL REFERENCES plain,
    parent_id bigint REFERENCES nested DEFERRABLE INITIALLY DEFERRED,
    moods mood[], home address, homes address[], percents percent[],
    "matrix" integer[][], jsons jsonb[], whole plain, times timestamptz[]
);
CREATE TABLE parts (id integer, day date NOT NULL, note text) PARTITION BY RANGE (day);
CREATE TABLE parts_before PARTITION OF parts FOR VALUES FROM (MINVALUE) TO ('2020-01-01');
CREATE TABLE parts_after PARTITION OF parts FOR VALUES FROM ('2020-01-01') TO (MAXVALUE);
CREATE SEQUENCE tickets;
CREATE TABLE empty_text (moods mood[]);
CREATE TABLE named (id integer PRIMARY KEY, language regconfig, type regtype, tables regclass[]);
INSERT INTO named VALUES (1, 'english', 'integer', '{nested,pg_catalog.pg_class}');
CREATE MATERIALIZED VIEW mood_counts AS SELECT a_mood, count(*) AS n FROM plain GROUP BY a_mood;
CREATE FUNCTION change_note() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN NEW.note := 'changed by a trigger'; RETURN NEW; END $$;
CREATE TRIGGER change_note BEFORE UPDATE ON parts FOR EACH ROW EXECUTE FUNCTION change_note();
INSERT INTO parts VALUES (0, '2000-01-01', 'written by the revision');
"""


def upgrade() -> None:
    op.get_bind().exec_driver_sql(UPGRADE.replace("%", "%%"))
