"""The how-tos are followed to the letter: files are written, commands are run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from tests.schemas.databases import FreshDatabase, dsn

pytestmark = pytest.mark.slow

PAGES = Path(__file__).parents[2] / "docs" / "how-to"
BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)

OLD_TABLES = """
CREATE TABLE public.alembic_version (version_num varchar(32) PRIMARY KEY);
INSERT INTO public.alembic_version VALUES ('2b');
CREATE TABLE public.customers (
    id serial PRIMARY KEY, name varchar NOT NULL, slug varchar NOT NULL
);
INSERT INTO public.customers (name, slug) VALUES ('Ada', 'ada'), ('Bob', 'bob')
"""


def follow(page: str, folder: Path, database: FreshDatabase) -> str:
    """Do what a page says, in a folder, and return what the commands printed."""
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "DATABASE_URL": database.url.render_as_string(hide_password=False),
        "ADMIN_DATABASE_URL": database.admin_url.render_as_string(hide_password=False),
    }
    printed = ""
    for kind, title, content in BLOCK.findall((PAGES / page).read_text()):
        if title:
            file = folder / title
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content)
        elif kind == "bash":
            result = subprocess.run(
                ["bash", "-e", "-c", content],
                cwd=folder,
                env=environment,
                text=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
            assert result.returncode == 0, result.stdout
            printed += result.stdout
    return printed


@pytest.mark.slow
def test_migrate_with_alembic(bare_database: FreshDatabase, tmp_path: Path) -> None:
    printed = follow("migrations.md", tmp_path, bare_database)
    assert "No new upgrade operations" in printed
    (file,) = (tmp_path / "billing/migrations/versions").glob("*.py")
    text = file.read_text()
    assert "user_profiles.user_id" in text
    assert "CREATE TYPE invoice_state" in text
    assert "depends_on = 'community_0001'" in text


@pytest.mark.slow
def test_adopt_an_existing_alembic_project(bare_database: FreshDatabase, tmp_path: Path) -> None:
    bare_database.ask(OLD_TABLES)
    before = bare_database.ask("SELECT xmin, * FROM public.alembic_version")
    printed = follow("adopt-alembic.md", tmp_path, bare_database)
    assert "2 organizations, 0 spares: shop=2b (head)" in printed
    assert "No new upgrade operations" in printed

    with psycopg.connect(dsn(bare_database.admin_url), autocommit=True) as connection:
        connection.execute((tmp_path / "copy.sql").read_bytes())
    assert bare_database.ask("SELECT name, slug FROM org_acme.customers ORDER BY id") == [
        ("Ada", "ada"),
        ("Bob", "bob"),
    ]
    assert bare_database.ask(
        "INSERT INTO org_acme.customers (name, slug) VALUES ('Cy', 'cy') RETURNING id"
    ) == [(3,)]
    assert bare_database.ask("SELECT count(*) FROM org_globex.customers") == [(0,)]
    assert bare_database.ask("SELECT version_num FROM org_acme.alembic_version") == [("2b",)]
    assert bare_database.ask("SELECT xmin, * FROM public.alembic_version") == before
    assert bare_database.ask("SELECT count(*) FROM public.customers") == [(2,)]
