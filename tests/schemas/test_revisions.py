"""Revisions of modules: rendered once, run online where they need it, refused where they cannot."""

from __future__ import annotations

import pytest
from sqlalchemy import Column, Integer, MetaData, Table

from orgtenancy.errors import ConfigurationError, ProvisioningFailed
from tests.schemas.conftest import MakeModule
from tests.schemas.databases import FreshDatabase, all_organizations

ITEMS = "op.create_table('items', sa.Column('id', sa.Integer, primary_key=True))"
SEED = "op.execute('INSERT INTO items (id) SELECT generate_series(1, 10)')"

TEXTS = r"""
texts = op.create_table('texts', sa.Column('body', sa.Text), sa.Column('n', sa.Integer))
op.execute("INSERT INTO texts VALUES ('100 %s %(x)s %% \\:colon ''quoted''', 1)")
op.create_check_constraint('like', 'texts', "body LIKE '%'")
op.alter_column('texts', 'body', server_default='50 %')
op.bulk_insert(texts, [{'body': "it's; -- 50 %", 'n': 2}])
"""


def ids(database: FreshDatabase, table: str, schema: str = "org_acme") -> list[int]:
    return [row[0] for row in database.ask(f'SELECT id FROM "{schema}"."{table}" ORDER BY id')]


@pytest.mark.parametrize(
    "reading",
    [
        "rows = op.get_bind().execute(sa.text('SELECT id FROM items')).scalars().all()",
        "rows = op.get_context().connection.scalars(sa.text('SELECT id FROM items')).all()",
        "rows = op.get_context().bind.exec_driver_sql('SELECT id FROM items').scalars().all()",
        "from sqlalchemy.orm import Session\n"
        "rows = Session(op.get_bind()).scalars(sa.text('SELECT id FROM items')).all()",
    ],
    ids=["get_bind", "connection", "bind", "session"],
)
def test_a_revision_that_reads_rows_runs_online_in_every_schema(
    bare_database: FreshDatabase, make_module: MakeModule, reading: str
) -> None:
    module = make_module(
        "data",
        f"{ITEMS}\n{SEED}",
        f"{reading}\nfor row in rows:\n"
        "    op.execute(sa.text('INSERT INTO items VALUES (:id)').bindparams(id=row + 100))",
    )
    with bare_database.tenancy([module]) as tenancy:
        tenancy.install()
        for organization_id in ("acme", "globex"):
            made = tenancy.schemas.provision(organization_id)
            assert made.revisions == {"data": "data_0002"}
            found = ids(bare_database, "items", made.schema_name)
            assert found == [*range(1, 11), *range(101, 111)]
            assert bare_database.ask(
                f'SELECT version_num FROM "{made.schema_name}".alembic_version'
            ) == [("data_0002",)]
    assert bare_database.ask("SELECT to_regclass('public.items')") == [(None,)]


def test_a_revision_with_percent_signs_colons_and_quotes_is_replayed_as_it_is(
    bare_database: FreshDatabase, make_module: MakeModule
) -> None:
    module = make_module("texts", TEXTS)
    with bare_database.tenancy([module]) as tenancy:
        tenancy.install()
        tenancy.schemas.provision("acme")
    assert bare_database.ask('SELECT body FROM "org_acme".texts ORDER BY n') == [
        ("100 %s %(x)s %% :colon 'quoted'",),
        ("it's; -- 50 %",),
    ]
    ((check,),) = bare_database.ask(
        "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'like'"
    )
    assert "%%" not in check
    ((default,),) = bare_database.ask(
        "SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef "
        "WHERE adrelid = 'org_acme.texts'::regclass"
    )
    assert default == "'50 %'::text"


@pytest.mark.parametrize("first", ["base", "addon"], ids=["in order", "the other way round"])
def test_a_module_may_refer_to_the_tables_of_one_that_it_depends_on(
    bare_database: FreshDatabase, make_module: MakeModule, first: str
) -> None:
    base = make_module("base", ITEMS, "op.add_column('items', sa.Column('name', sa.Text))")
    addon = make_module(
        "addon",
        "op.create_table('extras', sa.Column('id', sa.Integer, sa.ForeignKey('items.id'), "
        "primary_key=True))",
        requires=("base",),
        depends_on="base_0002",
    )
    modules = [base, addon] if first == "base" else [addon, base]
    with bare_database.tenancy(modules) as tenancy:
        tenancy.install()
        made = tenancy.schemas.provision("acme")
    assert made.revisions == {"base": "base_0002", "addon": "addon_0001"}
    assert ids(bare_database, "extras") == []
    stamped = {
        row[0] for row in bare_database.ask('SELECT version_num FROM "org_acme".alembic_version')
    }
    assert "addon_0001" in stamped  # Alembic takes base_0002 as implied by it
    assert stamped <= {"base_0002", "addon_0001"}


def test_a_module_whose_requirement_is_not_registered_is_refused(
    bare_database: FreshDatabase, make_module: MakeModule
) -> None:
    addon = make_module("addon", ITEMS, requires=("base",))
    with pytest.raises(ConfigurationError, match="'addon' requires base"):
        bare_database.tenancy([addon])


def test_two_modules_with_one_name_or_one_table_are_refused(
    bare_database: FreshDatabase, make_module: MakeModule
) -> None:
    first, second = MetaData(), MetaData()
    Table("items", first, Column("id", Integer))
    Table("items", second, Column("id", Integer))
    one, two = make_module("one", ITEMS, metadata=first), make_module("two", metadata=second)
    with pytest.raises(ConfigurationError, match="'one' and 'two' both define a table 'items'"):
        bare_database.tenancy([one, two])
    with pytest.raises(ConfigurationError, match="share a name: one"):
        bare_database.tenancy([one, one])


def refused_at_install(database: FreshDatabase, *modules: object) -> str:
    with database.tenancy(list(modules)) as tenancy:  # type: ignore[arg-type]
        with pytest.raises(ConfigurationError) as caught:
            tenancy.install()
        assert database.ask("SELECT to_regnamespace('orgtenancy')") == [(None,)]
        return str(caught.value)


def test_a_module_whose_branch_label_is_not_its_name_is_refused(
    bare_database: FreshDatabase, make_module: MakeModule
) -> None:
    module = make_module("mine", ITEMS, label="yours")
    assert "module 'mine' needs exactly one head" in refused_at_install(bare_database, module)


def test_a_module_without_revisions_is_refused(
    bare_database: FreshDatabase, make_module: MakeModule
) -> None:
    assert "mine" in refused_at_install(bare_database, make_module("mine"))


def test_a_module_with_two_heads_is_refused(
    bare_database: FreshDatabase, make_module: MakeModule
) -> None:
    module = make_module("mine", ITEMS, "pass", "pass")
    third = module.migrations / "mine_0003.py"
    third.write_text(third.read_text().replace("'mine_0002'", "'mine_0001'"))
    assert "mine" in refused_at_install(bare_database, module)


def test_a_revision_after_one_that_is_missing_is_refused(
    bare_database: FreshDatabase, make_module: MakeModule
) -> None:
    module = make_module("mine", ITEMS, "pass")
    (module.migrations / "mine_0001.py").unlink()
    assert "mine" in refused_at_install(bare_database, module)


def test_a_revision_that_is_no_python_is_refused(
    bare_database: FreshDatabase, make_module: MakeModule
) -> None:
    module = make_module("mine", ITEMS)
    (module.migrations / "mine_0002.py").write_text("revision = ")
    assert "mine" in refused_at_install(bare_database, module)


INDEX = """
with op.get_context().autocommit_block():
    op.execute('CREATE INDEX CONCURRENTLY items_idx ON items (id)')
    op.create_index('items_name', 'items', ['id'], unique=True, postgresql_concurrently=True)
"""


@pytest.mark.parametrize("online", [False, True], ids=["rendered", "online"])
def test_a_revision_that_takes_no_transaction_is_part_of_one_in_a_fresh_schema(
    bare_database: FreshDatabase, make_module: MakeModule, online: bool
) -> None:
    first = "op.get_bind()\n" if online else ""
    later = "op.create_table('later', sa.Column('id', sa.Integer))"
    module = make_module("mine", ITEMS, first + INDEX, later)
    broken = make_module("broken", ITEMS, first + INDEX, "op.execute('SELECT 1/0')")
    with bare_database.tenancy([broken]) as tenancy:
        tenancy.install()
        with pytest.raises(ProvisioningFailed, match="division by zero"):
            tenancy.schemas.provision("acme")
        assert all_organizations(tenancy) == []
    assert bare_database.schemas() == bare_database.roles() == set()
    with bare_database.tenancy([module]) as tenancy:
        assert tenancy.schemas.provision("acme").revisions == {"mine": "mine_0003"}
    assert bare_database.ask(
        "SELECT indexrelid::regclass::text, indisvalid FROM pg_index "
        "WHERE indrelid = 'org_acme.items'::regclass ORDER BY 1"
    ) == [
        ("org_acme.items_idx", True),
        ("org_acme.items_name", True),
        ("org_acme.items_pkey", True),
    ]
    assert bare_database.ask("SELECT to_regclass('public.later')") == [(None,)]


@pytest.mark.parametrize(
    ("body", "rule"),
    [
        ("op.execute('COMMIT')", "ends the transaction by itself"),
        ("op.execute('-- why\\n /* not */ rollback')", "ends the transaction by itself"),
        ("op.execute('CREATE INDEX CONCURRENTLY later ON items (id)')", "takes no transaction"),
        (
            "op.create_index('later', 'items', ['id'], postgresql_concurrently=True)",
            "takes no transaction",
        ),
    ],
    ids=["commit", "rollback", "concurrently", "create_index"],
)
def test_a_revision_that_leaves_the_transaction_by_itself_is_refused_before_anything_is_made(
    bare_database: FreshDatabase, make_module: MakeModule, body: str, rule: str
) -> None:
    module = make_module("mine", ITEMS, body, "pass")
    with bare_database.tenancy([module]) as tenancy:
        tenancy.install()
        with pytest.raises(ConfigurationError, match=f"'mine_0002'.*{rule}"):
            tenancy.schemas.provision("acme")
        with pytest.raises(ConfigurationError, match=f"'mine_0002'.*{rule}"):
            tenancy.schemas.spares.fill(1)
        assert all_organizations(tenancy) == []
        assert bare_database.ask("SELECT count(*) FROM orgtenancy.spares") == [(0,)]
    assert bare_database.schemas() == bare_database.roles() == set()


@pytest.mark.slow
@pytest.mark.parametrize(
    "leaving", ["op.execute('COMMIT')", "op.get_bind().exec_driver_sql('/* */ commit')"]
)
def test_a_revision_that_leaves_the_transaction_while_it_runs_online_is_stopped_before_it(
    bare_database: FreshDatabase, make_module: MakeModule, leaving: str
) -> None:
    # After its COMMIT the search_path is the server's own: the rest would land in `public`.
    later = "op.create_table('later', sa.Column('id', sa.Integer))"
    module = make_module("mine", ITEMS, f"op.get_bind()\n{leaving}\n{later}")
    with bare_database.tenancy([module]) as tenancy:
        tenancy.install()
        with pytest.raises(ProvisioningFailed, match="'mine_0002' ends the transaction"):
            tenancy.schemas.provision("acme")
        assert all_organizations(tenancy) == []
    assert bare_database.schemas() == bare_database.roles() == set()
    assert bare_database.ask("SELECT to_regclass('public.later')") == [(None,)]
