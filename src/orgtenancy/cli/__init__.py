"""The command `orgtenancy`. Each command is a file of its own."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command that the arguments name."""
    try:
        from orgtenancy.cli.app import app
    except ModuleNotFoundError as error:
        if error.name != "typer":
            raise
        sys.exit("The command needs more packages: python3 -m pip install 'orgtenancy[cli]'")
    app()
