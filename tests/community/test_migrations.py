"""The revisions make exactly the models."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.pool import NullPool

from orgtenancy import embedded
from orgtenancy.community import community


@pytest.fixture
def connection(server: embedded.EmbeddedServer) -> Iterator[Connection]:
    """The owner's connection, in a transaction that is rolled back."""
    engine: Engine = create_engine(server.admin_url, poolclass=NullPool)
    with engine.connect() as connection:
        yield connection
        connection.rollback()


def enter_scratch_schema(connection: Connection) -> str:
    name = f"scratch_{uuid4().hex}"
    quoted = connection.dialect.identifier_preparer.quote(name)
    connection.exec_driver_sql(f"CREATE SCHEMA {quoted}")
    connection.exec_driver_sql(f"SET LOCAL search_path TO {quoted}")
    return name


def scripts() -> ScriptDirectory:
    folder = community.migrations
    return ScriptDirectory(str(folder.parent), version_locations=[str(folder)])


def migrate(direction: str, **options: Any) -> MigrationContext:
    script = scripts()

    def revisions(revision: Any, context: MigrationContext) -> Any:
        if direction == "upgrade":
            return script._upgrade_revs("community@head", revision)
        return script._downgrade_revs("base", revision)

    context = MigrationContext.configure(
        opts={"fn": revisions, **options.pop("opts", {})}, **options
    )
    with Operations.context(context):
        context.run_migrations()
    return context


CATALOG = {
    "columns": """
        SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
               a.attidentity, pg_get_expr(d.adbin, d.adrelid)
        FROM pg_class c
        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
        WHERE c.relnamespace = to_regnamespace(:schema) AND c.relkind = 'r'
    """,
    "constraints": """
        SELECT conrelid::regclass::text, conname, contype, pg_get_constraintdef(oid)
        FROM pg_constraint WHERE connamespace = to_regnamespace(:schema)
    """,
    "indexes": """
        SELECT tablename, indexname, replace(indexdef, quote_ident(:schema), 'here')
        FROM pg_indexes WHERE schemaname = :schema
    """,
    "others": """
        SELECT relname, relkind::text FROM pg_class
        WHERE relnamespace = to_regnamespace(:schema) AND relkind NOT IN ('r', 'i')
        UNION ALL SELECT typname, 'type' FROM pg_type
        WHERE typnamespace = to_regnamespace(:schema) AND typtype IN ('e', 'd')
        UNION ALL SELECT proname, 'function' FROM pg_proc
        WHERE pronamespace = to_regnamespace(:schema)
        UNION ALL SELECT tgname, 'trigger' FROM pg_trigger t JOIN pg_class c ON c.oid = tgrelid
        WHERE relnamespace = to_regnamespace(:schema) AND NOT tgisinternal
    """,
}


def catalog(connection: Connection, schema: str) -> dict[str, set[tuple[Any, ...]]]:
    return {
        name: {
            tuple(row)
            for row in connection.execute(text(query), {"schema": schema})
            if row[0] != "alembic_version"
        }
        for name, query in CATALOG.items()
    }


def test_the_revisions_are_one_line_on_the_branch_of_the_module() -> None:
    script = scripts()
    assert len(script.get_heads()) == 1
    assert len(script.get_bases()) == 1
    (base,) = script.get_bases()
    assert script.get_revision(base).branch_labels == {"community"}
    assert len(max((r.revision for r in script.walk_revisions()), key=len)) <= 32


def test_alembic_finds_no_difference(connection: Connection) -> None:
    schema = enter_scratch_schema(connection)
    migrate("upgrade", connection=connection)
    context = MigrationContext.configure(
        connection, opts={"compare_type": True, "compare_server_default": True}
    )
    connection.dialect.default_schema_name = schema
    assert compare_metadata(context, community.metadata) == []


def test_the_catalogs_of_both_ways_are_equal(connection: Connection) -> None:
    migrated = enter_scratch_schema(connection)
    migrate("upgrade", connection=connection)
    by_revisions = catalog(connection, migrated)

    created = enter_scratch_schema(connection)
    community.metadata.create_all(connection)
    by_models = catalog(connection, created)

    assert by_revisions == by_models
    assert len({row[0] for row in by_models["columns"]}) == 10
    assert len(by_models["constraints"]) > 60
    # No sequence, view, enum, domain, function or trigger: none of them travels to Citus.
    assert by_models["others"] == set()
    assert {row[4] for row in by_models["columns"]} == {""}


def test_no_name_is_cut_or_looks_like_one_of_a_shard(connection: Connection) -> None:
    schema = enter_scratch_schema(connection)
    community.metadata.create_all(connection)
    found = catalog(connection, schema)
    names = {row[1] for row in found["constraints"] | found["indexes"]}
    assert all(len(name) < 63 for name in names)
    # A worker of Citus appends `_<digits>` to them.
    assert not [name for name in names if name.rpartition("_")[2].isdecimal()]


def test_the_downgrade_leaves_nothing(connection: Connection) -> None:
    schema = enter_scratch_schema(connection)
    migrate("upgrade", connection=connection)
    migrate("downgrade", connection=connection)
    assert all(not rows for rows in catalog(connection, schema).values())


def test_the_rendered_sql_makes_the_same(connection: Connection) -> None:
    buffer = io.StringIO()
    migrate(
        "upgrade",
        dialect_name="postgresql",
        opts={"as_sql": True, "output_buffer": buffer, "literal_binds": True},
    )
    rendered = enter_scratch_schema(connection)
    for statement in buffer.getvalue().split(";\n"):
        if statement.strip() not in ("", "BEGIN", "COMMIT"):
            connection.exec_driver_sql(statement)
    by_sql = catalog(connection, rendered)
    created = enter_scratch_schema(connection)
    community.metadata.create_all(connection)
    assert by_sql == catalog(connection, created)
