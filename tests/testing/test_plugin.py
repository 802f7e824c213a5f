"""The plugin in a host's project: what the documentation says of it runs, word for word."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.testing.conftest import PROJECT, Run

pytest_plugins = ["pytester"]

PAGE = (PROJECT / "docs" / "how-to" / "testing.md").read_text()

CONFTEST = """
import pytest
from tests.support.notes import notes

@pytest.fixture(scope="session")
def orgtenancy_modules():
    return [notes]
"""

WHERE = """
from pathlib import Path
import pytest
from sqlalchemy import text
from orgtenancy import Tenancy

@pytest.mark.parametrize("number", range(8))
def test_where(number, tenancy, organization_session, orgtenancy_server):
    database = organization_session.scalar(text("SELECT current_database()"))
    started = organization_session.scalar(text("SELECT pg_postmaster_start_time()"))
    with open(Path(__file__).parent / "where.txt", "a") as file:
        file.write(f"{database} {started} {orgtenancy_server.directory}\\n")
"""


def files_of_the_page() -> Mapping[str, str]:
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    named = [re.fullmatch(r"# (\w+\.py)\n(.*)", block, re.DOTALL) for block in blocks]
    assert all(named), "a block without a file's name"
    return {match[1]: match[2] for match in named if match}


def test_the_first_isolated_test_is_no_more_than_five_lines() -> None:
    first = files_of_the_page()["test_first.py"]
    assert len([line for line in first.splitlines() if line]) <= 5


@pytest.mark.slow
def test_the_tests_of_the_documentation_pass_in_a_project_of_their_own(
    run_on_server: Run,
) -> None:
    result = run_on_server(files_of_the_page(), "-W", "error")
    result.assert_outcomes(passed=8)


@pytest.mark.slow
def test_the_first_test_passes_with_workers(run_on_server: Run) -> None:
    files = files_of_the_page()
    chosen = {name: files[name] for name in ("conftest.py", "test_first.py", "test_session.py")}
    result = run_on_server(chosen, "-n", "2", "-W", "error")
    result.assert_outcomes(passed=2)


@pytest.mark.slow
def test_the_first_test_finds_what_strays(run_on_server: Run) -> None:
    files = dict(files_of_the_page())
    strays = files["test_first.py"].replace("assert_isolated(organization)", "assert_isolated()")
    chosen = {"conftest.py": files["conftest.py"], "test_first.py": strays}
    result = run_on_server(chosen)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*table 'posts' had 0 rows, has 1*"])


@pytest.mark.slow
def test_workers_share_one_server_which_is_gone_after_the_run(
    run_pytest: Run, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    result = run_pytest({"conftest.py": CONFTEST, "test_where.py": WHERE}, "-n", "2", "--dist=each")
    result.assert_outcomes(passed=16)
    lines = (pytester.path / "where.txt").read_text().splitlines()
    seen = {tuple(line.rsplit(" ", 1)) for line in lines}
    databases = {where.split(" ")[0] for where, _ in seen}
    started = {where.split(" ", 1)[1] for where, _ in seen}
    folders = {Path(folder) for _, folder in seen}
    assert databases == {"test_gw0", "test_gw1"}
    assert len(started) == 1
    assert len(folders) == 1
    assert not folders.pop().exists()


def test_a_project_without_its_fixtures_imports_nothing_of_it(run_pytest: Run) -> None:
    text = """
import sys

def test_nothing(pytestconfig):
    assert pytestconfig.pluginmanager.has_plugin("orgtenancy")
    heavy = {"orgtenancy", "sqlalchemy", "psycopg", "pydantic", "alembic", "jwt"}
    assert not heavy & set(sys.modules)
"""
    # Without other plugins, which import what they like.
    others = ["-p", "no:schemathesis", "-p", "no:hypothesispytest"]
    result = run_pytest({"test_nothing.py": text}, *others)
    result.assert_outcomes(passed=1)


@pytest.mark.slow
def test_a_host_may_bring_its_own_tenancy_and_name_its_own_fixtures(run_on_server: Run) -> None:
    conftest = """
import pytest
from orgtenancy import Settings, Tenancy
from tests.support.notes import notes

@pytest.fixture(scope="session")
def tenancy(orgtenancy_server):
    with Tenancy(
        orgtenancy_server.url, admin_url=orgtenancy_server.admin_url, modules=[notes],
        settings=Settings(pool_size=1),
    ) as tenancy:
        tenancy.install()
        yield tenancy

@pytest.fixture
def issuer():
    return "the host's own"
"""
    test = """
from tests.support.notes import NoteRepository

def test_own(tenancy, organization, organization_session, issuer):
    assert tenancy.settings.pool_size == 1
    assert issuer == "the host's own"
    NoteRepository().write(1, "hello")
    organization_session.commit()
    assert NoteRepository().count() == 1
"""
    result = run_on_server({"conftest.py": conftest, "test_own.py": test}, "-W", "error")
    result.assert_outcomes(passed=1)


@pytest.mark.slow
def test_what_a_kept_database_was_given_is_dropped_at_the_end(
    run_on_server: Run, pytester: pytest.Pytester
) -> None:
    conftest = """
import pytest
from orgtenancy import Settings, Tenancy, embedded
from tests.support.notes import notes

@pytest.fixture(scope="session")
def tenancy(orgtenancy_stock_of_the_host):
    yield orgtenancy_stock_of_the_host

@pytest.fixture(scope="session")
def orgtenancy_stock_of_the_host():
    with embedded.server() as server, Tenancy(
        server.url, admin_url=server.admin_url, modules=[notes], settings=Settings(listen=False)
    ) as tenancy:
        tenancy.install()
        yield tenancy
        left = tenancy.schemas.list().items
        assert not left, left
"""
    test = """
def test_altered(tenancy, two_organizations):
    first, second = two_organizations
    tenancy.organizations.suspend(first.id, reason="why not")
    tenancy.organizations.change_id(second.id, f"{second.id}-renamed")
"""
    result = run_on_server({"conftest.py": conftest, "test_own.py": test}, "-W", "error")
    result.assert_outcomes(passed=1)
