"""What was rendered to SQL once is what the revision itself would have done."""

from __future__ import annotations

from pathlib import Path

import pytest

from orgtenancy.schemas.revisions import Revisions
from tests.fleet.hosts import ONE, Host, ModuleFolder
from tests.schemas.catalogs import contents, describe

BODY = r'''
op.execute("CREATE TYPE kind AS ENUM ('plain', 'it''s', '50 %')")
kept = postgresql.ENUM(name='kind', create_type=False)
made = op.create_table(
    'made',
    sa.Column('id', sa.BigInteger, sa.Identity(), primary_key=True),
    sa.Column('tab', sa.Text, server_default="a\tb\n  c"),
    sa.Column('percent', sa.Text, server_default='100 % %(x)s %s %%'),
    sa.Column('colon', sa.Text, server_default=sa.text(r"'\:x \:y'::text")),
    sa.Column('quote', sa.Text, server_default="it's; -- \"so\""),
    sa.Column('words', postgresql.ARRAY(sa.Text), server_default='{}'),
    sa.Column('numbers', postgresql.ARRAY(sa.Integer)),
    sa.Column('kind', kept, server_default='50 %'),
    sa.Column('data', postgresql.JSONB, server_default=sa.text("'{\"a\"\\: \"1 %\"}'")),
    sa.Column('at', sa.DateTime(timezone=True), server_default=sa.text("'2020-01-01'")),
    sa.Column('flag', sa.Boolean, server_default=sa.false(), nullable=False),
    sa.Column('amount', sa.Numeric(10, 2), sa.Computed('id * 2.5', persisted=True)),
    sa.Column('parent_id', sa.BigInteger, sa.ForeignKey('made.id', name='made_parent')),
    sa.UniqueConstraint('quote', 'colon', name='made_unique'),
    comment="50 % of it's; a\ttab",
)
op.bulk_insert(made, [
    {'tab': 'x\ty', 'percent': '%s 5 %', 'quote': "it's", 'colon': ':a :b', 'kind': "it's",},
    {'tab': None, 'percent': '%%', 'quote': '; SELECT 1;', 'colon': '\\:', 'kind': 'plain'},
])
op.execute("INSERT INTO made (tab, quote) VALUES ('it''s\t%', 'one -- ;')")
op.execute(made.insert().values(tab="50 %\t:d", quote="it's too", flag=True))
op.execute(sa.text('UPDATE made SET colon = :c WHERE quote = :q').bindparams(
    c="5 %:e", q='one -- ;'))
op.create_index('made_partial', 'made', ['tab', sa.text('lower(quote)')], unique=True,
                postgresql_where=sa.text("percent LIKE '50 %' AND quote <> 'it''s'"))
op.create_check_constraint('made_check', 'made', "quote NOT LIKE '%bad%'")
op.create_index('made_words', 'made', ['words'], postgresql_using='gin')
op.execute("""
CREATE FUNCTION shout(word text) RETURNS text LANGUAGE plpgsql AS $body$
BEGIN
    -- 50 %: it's a comment; with a semicolon
    RETURN upper(word)	|| '%';
END
$body$
""")
op.execute("CREATE VIEW loud AS SELECT shout(tab) AS tab FROM made WHERE quote LIKE '%''%'")
with op.batch_alter_table('made') as batch:
    batch.add_column(sa.Column('late', sa.Text, server_default='%'))
    batch.alter_column('tab', new_column_name='tabs')
op.create_table_comment('made', 'new % comment')
op.execute(sa.schema.CreateSequence(sa.Sequence('numbers', start=5)))
op.rename_table('items', 'things')
'''


@pytest.fixture
def twins(host: Host) -> Host:
    """Two modules with the same revision, of which one asks for its connection."""
    host.module().add(BODY)
    return host


def test_a_revision_does_the_same_rendered_and_online(twins: Host, tmp_path: Path) -> None:
    tenancy = twins.release()
    tenancy.install()
    assert [r.kind for r in tenancy.schemas.revisions.fresh_path().revisions] == ["sql", "sql"]
    rendered = tenancy.schemas.provision("rendered")

    online = ModuleFolder(tmp_path / "online", "app")
    online.table("items")
    online.add(f"op.get_bind()\n{BODY}")
    module = online.module()
    kinds = [r.kind for r in Revisions([module]).fresh_path().revisions]
    assert kinds == ["sql", "online"]
    with twins.database.tenancy([module]) as other:
        executed = other.schemas.provision("executed")

    first, second = (
        describe(twins.database, made.schema_name, made.role_name) for made in (rendered, executed)
    )
    for what in first:
        assert first[what] == second[what], what
    for table in ("made", "loud", "things"):
        assert contents(twins.database, "org_rendered", table) == contents(
            twins.database, "org_executed", table
        )
    assert len(first["columns"]) > 15
    assert ("x\ty", "%s 5 %", "it's", ":a :b") in twins.database.ask(
        "SELECT tabs, percent, quote, colon FROM org_rendered.made"
    )


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("postgresql.JSONB", {"k": ":z 5 %"}),
        ("postgresql.ARRAY(sa.Text)", []),
        ("postgresql.ARRAY(postgresql.ENUM(name='letter', create_type=False))", ["b %"]),
    ],
    ids=["json", "empty array", "array of an enum"],
)
def test_a_value_that_has_no_spelling_in_sql_makes_the_revision_run_online(
    host: Host, kind: str, value: object
) -> None:
    host.module().add("op.execute(\"CREATE TYPE letter AS ENUM ('a', 'b %')\")")
    host.module().add(
        f"made = op.create_table('made', sa.Column('data', {kind}))\n"
        f"op.bulk_insert(made, [{{'data': {value!r}}}])"
    )
    tenancy = host.install("acme")
    kinds = [r.kind for r in tenancy.schemas.revisions.fresh_path().revisions]
    assert kinds == ["sql", "sql", "online"]
    ((found,),) = host.database.ask("SELECT to_jsonb(data) FROM org_acme.made")
    assert found == value


def test_it_is_also_the_same_in_a_schema_that_is_migrated(twins: Host, tmp_path: Path) -> None:
    first = ModuleFolder(tmp_path / "first", "app")
    first.table("items")
    with twins.database.tenancy([first.module()]) as old:
        old.install()
        old.schemas.provision("migrated")
    new = twins.release()
    new.schemas.fleet.migrate(options=ONE)
    fresh, migrated = new.schemas.provision("fresh"), new.schemas.get("migrated")
    assert describe(twins.database, "org_fresh", fresh.role_name) == describe(
        twins.database, "org_migrated", migrated.role_name
    )
    assert contents(twins.database, "org_fresh", "made") == contents(
        twins.database, "org_migrated", "made"
    )


def test_a_module_that_helps_revisions_may_use_alembic_by_itself(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "migration_help.py").write_text(
        "import sqlalchemy as sa\nfrom alembic import op\nfrom alembic.op import add_column\n"
        "def stamp(table):\n    add_column(table, sa.Column('at', sa.Date))\n"
        "    op.execute(f'COMMENT ON TABLE {table} IS $$stamped$$')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    host.module().add("import migration_help\nmigration_help.stamp('items')")
    host.module().add("op.get_bind()\nop.drop_column('items', 'at')")
    host.install("acme")
    assert host.columns("acme", "items") == ["id"]
    assert host.database.ask("SELECT obj_description('org_acme.items'::regclass)") == [("stamped",)]
