"""Runs of pytest inside a test, as a host's project runs it."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from orgtenancy import embedded

PROJECT = Path(__file__).parent.parent.parent

Run = Callable[..., pytest.RunResult]


@pytest.fixture(scope="session")
def installed_plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the path with what an installation says of the plugin, and no more.

    So the entry point is the one of this tree, whatever is installed here.
    """
    declared = tomllib.loads((PROJECT / "pyproject.toml").read_text())
    points = declared["project"]["entry-points"]["pytest11"]
    lines = [f"{name} = {module}" for name, module in points.items()]
    folder = tmp_path_factory.mktemp("installed")
    info = folder / "orgtenancy_of_this_tree-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: orgtenancy-of-this-tree\nVersion: 1\n"
    )
    (info / "entry_points.txt").write_text("\n".join(["[pytest11]", *lines]))
    return folder


@pytest.fixture
def run_pytest(
    pytester: pytest.Pytester,
    installed_plugin: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Run:
    """Runs pytest on some files, in a process of its own."""

    def run(
        files: Mapping[str, str], *arguments: str, server: str | None = None
    ) -> pytest.RunResult:
        for name, text in files.items():
            (pytester.path / name).write_text(text)
        paths = [str(installed_plugin), str(PROJECT / "src"), str(PROJECT)]
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
        for name in [name for name in os.environ if name.startswith("PYTEST_XDIST_")]:
            monkeypatch.delenv(name)
        if server is not None:
            monkeypatch.setenv("DATABASE_URL", server)
        return pytester.runpytest_subprocess(
            "-p", "no:cacheprovider", "-p", "no:randomly", *arguments, timeout=600
        )

    return run


@pytest.fixture
def run_on_server(run_pytest: Run, server: embedded.EmbeddedServer) -> Run:
    """The same, with this run's server as that of `DATABASE_URL`."""

    def run(files: Mapping[str, str], *arguments: str) -> pytest.RunResult:
        return run_pytest(files, *arguments, server=server.admin_url)

    return run
