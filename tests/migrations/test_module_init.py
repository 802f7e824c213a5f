"""`orgtenancy module init` writes a module that works at once, and overwrites nothing."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

from orgtenancy.errors import ConfigurationError
from orgtenancy.schemas.revisions.scaffolding import write_module
from tests.migrations.hosts import Host

FILES = {
    "__init__.py",
    "models.py",
    "migrations/env.py",
    "migrations/script.py.mako",
    "migrations/versions/billing_0001.py",
}


def written(folder: Path) -> set[str]:
    return {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}


def test_a_new_module_is_provisioned_as_it_is(host: Host) -> None:
    assert written(Path("billing")) == FILES
    host.provision("acme")
    assert host.revisions() == {"billing": "billing_0001"}
    assert host.stamps() == {"billing_0001"}


def test_the_files_are_python_and_every_constraint_gets_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    new = write_module("shop", Path("packages"), app="shop.web:tenancy")
    for file in new.files:
        if file.suffix == ".py":
            ast.parse(file.read_text())
    assert "naming_convention" in Path("packages/shop/models.py").read_text()
    assert "from shop.web import tenancy" in Path("packages/shop/migrations/env.py").read_text()
    assert "%(here)s/packages/shop/migrations" in Path("alembic.ini").read_text()


def test_a_file_that_is_there_is_named_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("billing").mkdir()
    Path("billing/models.py").write_text("mine")
    with pytest.raises(ConfigurationError, match=r"billing/models\.py is there already"):
        write_module("billing")
    assert written(tmp_path) == {"billing/models.py"}
    assert Path("billing/models.py").read_text() == "mine"


@pytest.mark.slow
def test_an_alembic_ini_stays_as_it_is_and_the_section_to_add_works(host: Host) -> None:
    before = Path("alembic.ini").read_text()
    result = host.orgtenancy("module", "init", "shop", "--json")
    assert result.exit_code == 0, result.output
    section = json.loads(result.stdout)["section"]
    assert Path("alembic.ini").read_text() == before
    Path("alembic.ini").write_text(f"{before}\n{section}")
    host.replace("hostapp.py", "from billing", "from shop import shop\nfrom billing")
    host.replace("hostapp.py", "modules=[billing]", "modules=[billing, shop]")
    assert "shop_0001 (shop) (head)" in host.alembic("-n", "shop", "heads")
    assert "billing_0001" not in host.alembic("-n", "shop", "heads")
    assert "No new" in host.alembic("-n", "shop", "check")


@pytest.mark.parametrize("name", ["Billing", "class", "1st", "a-b", "x" * 32, "../up"])
def test_a_name_that_cannot_be_one_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError, match="cannot be a module's name"):
        write_module(name)
    assert written(tmp_path) == set()


def test_a_folder_elsewhere_and_a_place_that_is_none_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    with pytest.raises(ConfigurationError, match="not below the current directory"):
        write_module("billing", Path(".."))
    with pytest.raises(ConfigurationError, match="no place of a tenancy"):
        write_module("billing", app="import os")
    assert written(tmp_path) == set()
