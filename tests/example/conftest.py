"""One demo for all tests that only use it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.example.browsing import FLAGS, LAPTOP, OpenPage
from tests.example.demo import Demo, running
from tests.example.visiting import Visit, sign_in

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page


@contextmanager
def open_folder() -> Iterator[Path]:
    """Make a folder that `nobody` can enter, which pytest's own does not allow."""
    with tempfile.TemporaryDirectory(prefix="demo-") as name:
        folder = Path(name).resolve()
        folder.chmod(0o755)
        yield folder


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder for all that a demo makes on disk."""
    with open_folder() as folder:
        yield folder


@pytest.fixture(scope="session")
def demo() -> Iterator[Demo]:
    """A running demo."""
    with open_folder() as folder, running(place=folder) as demo:
        yield demo


@pytest.fixture
def visit(demo: Demo) -> Iterator[Visit]:
    """Signs somebody in, in a browser without scripts."""
    with ExitStack() as opened:

        def visit(name: str, organization: str = "northwind") -> httpx.Client:
            browser = httpx.Client(base_url=demo.url, headers={"Origin": demo.url}, timeout=20)
            opened.enter_context(browser)
            assert sign_in(browser, name, organization).status_code == 303
            return browser

        yield visit


@pytest.fixture
def open_page(demo: Demo, tmp_path: Path) -> Iterator[OpenPage]:
    """Opens a page in a fresh browser; at the end, nothing has gone wrong in it."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium in PATH (Debian: apt install chromium)")
    contexts: list[BrowserContext] = []
    wrong: list[str] = []
    with playwright.sync_playwright() as started:

        def open_page(
            size: tuple[int, int] = LAPTOP, scheme: str = "light", refused: int | None = None
        ) -> Page:
            def hear(text: str) -> None:
                # What the server refused, a browser writes to its console.
                if refused is None or str(refused) not in text:
                    wrong.append(text)

            context = started.chromium.launch_persistent_context(
                str(tmp_path / f"profile-{len(contexts)}"),
                executable_path=chromium,
                args=FLAGS,
                viewport={"width": size[0], "height": size[1]},
                color_scheme=scheme,
            )
            contexts.append(context)
            page: Page = context.pages[0]
            page.set_default_timeout(15_000)
            page.on("console", lambda m: hear(m.text) if m.type != "log" else None)
            page.on("pageerror", lambda error: wrong.append(str(error)))
            page.on(
                "request", lambda r: None if r.url.startswith(demo.url) else wrong.append(r.url)
            )
            return page

        yield open_page
        for context in contexts:
            context.close()
    assert wrong == []
