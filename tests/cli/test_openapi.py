"""The command `orgtenancy openapi`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from orgtenancy.cli.app import app
from orgtenancy.community import community

run = CliRunner().invoke


def test_the_document_is_printed() -> None:
    result = run(app, ["openapi", "--title", "Club", "--prefix", "/api"])
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    assert document["info"]["title"] == "Club"
    operations = {
        operation["operationId"]: path
        for path, methods in document["paths"].items()
        for operation in methods.values()
    }
    assert operations == {e.name: f"/api{e.path}" for e in community.endpoints}


def test_the_document_is_written_to_a_file(tmp_path: Path) -> None:
    file = tmp_path / "openapi.json"
    result = run(app, ["openapi", "orgtenancy.community:community", "-o", str(file)])
    assert (result.exit_code, result.stdout) == (0, "")
    assert json.loads(file.read_text())["openapi"].startswith("3.")


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("nowhere.at.all:module", "No module named"),
        ("orgtenancy.community:nothing", "has no attribute"),
        ("orgtenancy.community:UserProfile", "no OrganizationModule"),
        ("orgtenancy.community", "names no object"),
    ],
)
def test_a_place_without_a_module_is_refused(place: str, reason: str) -> None:
    result = run(app, ["openapi", place], env={"COLUMNS": "200"})
    assert result.exit_code == 2
    assert reason in result.output


@pytest.mark.slow
def test_without_typer_the_command_says_what_to_install() -> None:
    code = "import sys; sys.modules['typer'] = None; from orgtenancy.cli import main; main()"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 1
    assert "orgtenancy[cli]" in result.stderr


@pytest.mark.slow
def test_the_command_is_installed() -> None:
    program = Path(sys.executable).parent / "orgtenancy"
    result = subprocess.run([program, "--help"], capture_output=True, text=True, check=True)
    assert "openapi" in result.stdout
