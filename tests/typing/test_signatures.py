"""Both type checkers see real signatures through `awaitable`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).parents[2]
SIGNATURES = Path(__file__).with_name("signatures.py")

PREAMBLE = """\
from uuid import UUID
from orgtenancy.community import (
    AsyncPostLikeRepository, AsyncPostRepository, AsyncUserProfileRepository,
    PostRepository, UserProfile,
)

async def check(
    sync: PostRepository,
    posts: AsyncPostRepository,
    likes: AsyncPostLikeRepository,
    profiles: AsyncUserProfileRepository,
    profile: UserProfile,
    key: UUID,
) -> None:
"""

#: Each of them must be an error, in mypy and in pyright.
MISTAKES = (
    "sync.find_feed()",
    "sync.find_feed(1)",
    "sync.add(profile)",
    "await posts.find_feed()",
    "await posts.find_feed(1)",
    "await posts.find_feed('u', limit=1)",
    "await posts.get_visible('u', key)",
    "await posts.create(user_id='u')",
    "await posts.create(user_id='u', content='x', visibility='all')",
    "await posts.update(key, 'u', content='x')",
    "await posts.update(key, 'u', expected_version=1, likes_count=9)",
    "await posts.publish()",
    "await posts.add(profile)",
    "await posts.list(20)",
    "posts.count().bit_length()",
    "wrong: str = await likes.like(key, 'u')",
    "print((await profiles.get_by_username('u')).bio)",
    "print((await posts.get(key)).content)",
    "await profiles.update('u', bio=1)",
    "await profiles.update('u', status='active')",
)

Report = dict[Path, set[int]]


def mypy(*files: Path) -> Report:
    """Return the lines with errors, by file."""
    config = str(PROJECT / "pyproject.toml")
    run = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", config, "--output", "json"]
        + [str(file) for file in files],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode in (0, 1), run.stdout + run.stderr
    found: Report = {file: set() for file in files}
    for line in run.stdout.splitlines():
        diagnostic = json.loads(line)
        if diagnostic["severity"] == "error":
            found.setdefault((PROJECT / diagnostic["file"]).resolve(), set()).add(
                diagnostic["line"]
            )
    return found


def pyright(*files: Path) -> Report:
    """Return the lines with errors, by file."""
    run = subprocess.run(
        [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable]
        + [str(file) for file in files],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode in (0, 1), run.stdout + run.stderr
    found: Report = {file: set() for file in files}
    # The first run of a version may say on the first lines that it installs itself.
    report = json.loads(run.stdout[run.stdout.index("{") :])
    assert report["summary"]["filesAnalyzed"] >= len(files)
    for diagnostic in report["generalDiagnostics"]:
        if diagnostic["severity"] == "error":
            line = diagnostic["range"]["start"]["line"] + 1
            found.setdefault(Path(diagnostic["file"]).resolve(), set()).add(line)
    return found


@pytest.mark.parametrize("checker", [mypy, pyright])
def test_right_calls_have_the_methods_own_types_and_each_mistake_is_found(
    checker: Callable[..., Report], tmp_path: Path
) -> None:
    mistakes = (tmp_path / "mistakes.py").resolve()
    mistakes.write_text(PREAMBLE + "".join(f"    {line}\n" for line in MISTAKES))
    found = checker(SIGNATURES, mistakes)

    first = PREAMBLE.count("\n") + 1
    unnoticed = [
        line for number, line in enumerate(MISTAKES, first) if number not in found[mistakes]
    ]
    assert unnoticed == []
    assert min(found.pop(mistakes)) == first, "the preamble has an error"
    assert found == {SIGNATURES: set()}
