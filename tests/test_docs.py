"""Every Python block of the README and the docs runs, top to bottom, page by page.

The blocks of one page share a namespace; `await` is allowed at their top level. A page
that names `pg` gets a running PostgreSQL of its own under that name. A block that cannot
run stands under `<!-- skip: next "the reason" -->`.
"""

import ast
import asyncio
import inspect
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from unittest import SkipTest

import pytest
from sybil import Example
from sybil.document import Document
from sybil.parsers.markdown import CodeBlockParser, SkipParser

PROJECT = Path(__file__).parent.parent
PAGES = [PROJECT / "README.md", *sorted((PROJECT / "docs").rglob("*.md"))]
# What everybody reads first. Pages without code cost nothing either way.
QUICK = {"README.md", "first-app.md"}


def execute(example: Example) -> None:
    """Run one block, with the line numbers of its page."""
    padding = "\n" * (example.line + example.parsed.line_offset)
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    code = compile(padding + example.parsed, example.path, "exec", flags, dont_inherit=True)
    result = eval(code, example.namespace)
    if inspect.iscoroutine(result):
        example.namespace["__runner__"].run(result)


def parse(page: Path) -> Document:
    return Document.parse(str(page), CodeBlockParser("python", execute), SkipParser())


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture
def pg() -> Iterator[object]:
    from orgtenancy import embedded

    with embedded.server() as server:
        yield server


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(
            page,
            id=str(page.relative_to(PROJECT)),
            marks=() if page.name in QUICK else pytest.mark.slow,
        )
        for page in PAGES
    ],
)
def test_the_python_blocks_of_a_page_run(
    page: Path, runner: asyncio.Runner, request: pytest.FixtureRequest
) -> None:
    document = parse(page)
    blocks = [example for example in document if isinstance(example.parsed, str)]
    document.namespace.update(__name__=page.stem, __runner__=runner)
    names_pg = any(re.search(r"\bpg\b", block.parsed) for block in blocks)
    makes_pg = any(re.search(r"^pg = ", block.parsed, re.MULTILINE) for block in blocks)
    if names_pg and not makes_pg:
        document.namespace["pg"] = request.getfixturevalue("pg")
    try:
        for example in document:
            with suppress(SkipTest):
                example.evaluate()
    finally:
        if tenancy := document.namespace.get("tenancy"):
            runner.run(tenancy.aclose())
        if makes_pg:
            document.namespace["pg"].stop()


def test_every_skipped_block_says_why() -> None:
    bare = [
        f"{page.relative_to(PROJECT)}:{number}"
        for page in PAGES
        for number, line in enumerate(page.read_text().splitlines(), 1)
        if re.fullmatch(r"<!--+\s*skip: (next|start)\s*--+>", line.strip())
    ]
    assert not bare


def test_every_test_that_a_page_names_is_there() -> None:
    tests = [path.relative_to(PROJECT) for path in (PROJECT / "tests").rglob("*")]
    there = {path.stem for path in tests}
    for path in tests:
        if path.name.startswith("test_") and path.suffix == ".py":
            there.update(re.findall(r"^def (test_\w+)", (PROJECT / path).read_text(), re.MULTILINE))
    folders = set(map(str, tests))
    for page in PAGES:
        text = page.read_text()
        missing = set(re.findall(r"`(test_\w+)(?:\.py)?`", text)) - there
        missing |= set(re.findall(r"`(tests/[\w/.]+?)/?`", text)) - folders
        assert not missing, page
