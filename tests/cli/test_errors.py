"""Which tenancy a command works on, and what it says when it cannot."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from orgtenancy.cli.app import app
from orgtenancy.cli.context import load_tenancy
from orgtenancy.errors import ConfigurationError
from tests.cli.projects import Project

pytestmark = pytest.mark.slow


def test_the_project_file_names_the_tenancy(project: Project) -> None:
    project.ok("init")
    assert project.ok("org", "list") == {"organizations": []}


def test_the_option_comes_before_the_environment_and_that_before_the_file(
    project: Project,
) -> None:
    for app_option, environment in (
        (["--app", f"{project.host}:make"], {"ORGTENANCY_APP": "nowhere:at_all"}),
        ([], {"ORGTENANCY_APP": f"{project.host}:make"}),
    ):
        project.configure(app="nowhere:too")
        result = project.run(*app_option, "init", **environment)
        assert result.exit_code == 0, result.output
    wrong = project.run("init")
    assert wrong.exit_code == 1
    assert "nothing at 'nowhere:too': ModuleNotFoundError" in wrong.stderr


def test_without_an_app_urls_and_modules_make_one(project: Project) -> None:
    url, admin_url = project.environment["HOST_URL"], project.environment["HOST_ADMIN_URL"]
    project.configure(modules=[f"{project.host}:shop"])
    environment = {"ORGTENANCY_URL": url, "ORGTENANCY_ADMIN_URL": admin_url}
    assert project.run("init", **environment).exit_code == 0
    for given in (
        ["--url", url, "--admin-url", admin_url, "--module", f"{project.host}:shop"],
        ["--url", url, "--admin-url", admin_url],
    ):
        result = project.run(*given, "migrate", "history", "--json")
        assert json.loads(result.stdout)["revisions"][0]["module"] == "shop", result.output
    both = f"{project.host}:shop, orgtenancy.community:community"
    result = project.run("migrate", "history", "--json", **environment, ORGTENANCY_MODULES=both)
    assert {r["module"] for r in json.loads(result.stdout)["revisions"]} == {"shop", "community"}


def test_urls_on_the_command_line_come_before_an_app_elsewhere(project: Project) -> None:
    url = project.environment["HOST_URL"]
    result = project.run("--url", url, "org", "list")
    assert result.exit_code == 1
    assert "give Tenancy an admin_url" in result.stderr


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("HOST:nothing", "has no attribute 'nothing'"),
        ("HOST:no_tenancy", "is a str, neither a Tenancy nor a function that returns one"),
        ("HOST", "write package.module:name"),
    ],
)
def test_a_place_without_a_tenancy_is_told(project: Project, place: str, reason: str) -> None:
    result = project.run("--app", place.replace("HOST", project.host), "init")
    assert result.exit_code == 1
    assert reason in result.stderr


def test_without_any_source_the_next_step_is_told(folder: Path) -> None:
    result = CliRunner().invoke(app, ["init"])
    assert result.exit_code == 1
    assert "--app" in result.stderr
    with pytest.raises(ConfigurationError, match="no tenancy is given"):
        load_tenancy()


@pytest.mark.parametrize("text", ["[tool.orgtenancy", '[tool]\norgtenancy = "x"'])
def test_a_project_file_that_cannot_be_read_is_told(folder: Path, text: str) -> None:
    (folder / "pyproject.toml").write_text(text)
    result = CliRunner().invoke(app, ["init"])
    assert result.exit_code == 1
    assert "pyproject.toml" in result.stderr


def test_an_empty_database_asks_for_init(project: Project) -> None:
    result = project.run("org", "list")
    assert result.exit_code == 1
    assert "`orgtenancy init` prepares the database" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_traceback_is_shown_on_request(project: Project) -> None:
    for option, environment in ((["--traceback"], {}), ([], {"ORGTENANCY_TRACEBACK": "1"})):
        result = project.run(*option, "org", "list", **environment)
        assert result.exit_code == 1
        assert "Traceback" in result.stderr


def test_settings_that_cannot_be_are_one_line(project: Project) -> None:
    result = project.run("org", "list", "--json", ORGTENANCY_POOL_SIZE="none")
    assert result.exit_code == 1
    assert "pool_size" in result.stderr
    assert json.loads(result.stdout)["error"]["code"] == "invalid_settings"


def test_an_error_of_the_library_names_the_next_step(installed: Project) -> None:
    for arguments, step in (
        (["org", "show", "nobody"], "`orgtenancy org list`"),
        (["jobs", "show", "7"], "`orgtenancy jobs list`"),
        (["migrate", "up", "shop_9999"], "`orgtenancy migrate history`"),
    ):
        installed.run("org", "create", "acme")
        result = installed.run(*arguments)
        assert result.exit_code == 1
        assert step in result.stderr
        assert "Traceback" not in result.stderr


def test_an_unknown_option_is_a_usage_error(project: Project) -> None:
    assert project.run("migrate", "up", "--nothing").exit_code == 2
    assert project.run("spares", "fill", "-1").exit_code == 2
