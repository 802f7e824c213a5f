"""The folder tree is the architecture: the contracts are in `pyproject.toml`."""

import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parent.parent
LINT_IMPORTS = "from importlinter.cli import lint_imports_command as main; main()"


def test_every_import_contract_is_kept() -> None:
    check = subprocess.run(
        [sys.executable, "-c", LINT_IMPORTS, "--no-cache"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert check.returncode == 0, check.stdout + check.stderr
    assert " 0 broken" in check.stdout
