"""`python -m tests.mutants [WORD ...]`: take each guard away, and see the tests fail.

Each mutation is made in a copy of the sources; what is installed is not touched. The tests that
are named for it run without the guard, and at least one must fail. Before that they all run
with every guard in its place, and must pass.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.mutants import adapters, adoption, backup, database, placements, propagation
from tests.mutants.mutation import SOURCE, Mutation

MUTATIONS = (
    *database.MUTATIONS,
    *adapters.MUTATIONS,
    *propagation.MUTATIONS,
    *placements.MUTATIONS,
    *backup.MUTATIONS,
    *adoption.MUTATIONS,
)

_PROJECT = Path(__file__).parents[2]
_PASSED, _FAILED = 0, 1  # exit codes of pytest
_TIMEOUT = 600  # seconds; a mutant may hang, which is a way to fail


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("words", nargs="*", help="only those with one of these in their guard")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    given = parser.parse_args()
    chosen = [m for m in MUTATIONS if not given.words or any(w in m.guard for w in given.words)]
    for needs_slow in (False, True):
        tests = sorted({test for m in chosen if m.needs_slow is needs_slow for test in m.tests})
        code, output = _pytest(SOURCE.parent, tests, needs_slow) if tests else (_PASSED, "")
        if code != _PASSED:
            print(output)
            print("The tests fail with every guard in its place.")
            return 1
    with ThreadPoolExecutor(given.workers) as threads:
        survivors = [
            m for m, found in zip(chosen, threads.map(_is_found, chosen), strict=True) if not found
        ]
    print(f"{len(chosen) - len(survivors)} of {len(chosen)} mutations were found.")
    return 1 if survivors else 0


def _is_found(mutation: Mutation) -> bool:
    """Return whether the tests fail without a guard."""
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "src"
        shutil.copytree(SOURCE.parent, source, ignore=shutil.ignore_patterns("__pycache__"))
        # The parents too: tests start processes as other users.
        Path(folder).chmod(0o755)
        (source / "orgtenancy" / mutation.file).write_text(mutation.applied())
        code, output = _pytest(source, mutation.tests, mutation.needs_slow)
    failed = [line for line in output.splitlines() if line.startswith(("FAILED", "ERROR"))]
    outcome = "found" if code == _FAILED else f"SURVIVED (pytest: {code})"
    seen = failed[0].removeprefix("FAILED ").partition(" - ")[0] if failed else ""
    print(f"{outcome:<9} {time.monotonic() - begin:4.0f} s  {mutation.guard}  [{seen}]", flush=True)
    return code == _FAILED


def _pytest(source: Path, tests: Iterable[str], needs_slow: bool) -> tuple[int, str]:
    """Run tests on some sources; return pytest's exit code, and what it printed."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
    if not needs_slow:
        command += ["-m", "not slow"]
    try:
        ran = subprocess.run(
            [*command, *(f"tests/{test}" for test in tests)],
            cwd=_PROJECT,
            env={**os.environ, "PYTHONPATH": str(source)},
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
        )
    except subprocess.TimeoutExpired:
        return _FAILED, "ERROR it hangs"
    return ran.returncode, ran.stdout + ran.stderr


if __name__ == "__main__":
    sys.exit(main())
