"""All commands that there are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer.main

from orgtenancy.cli.app import app


def commands() -> dict[str, Any]:
    """Return every command by its full name."""
    return dict(_walk((), typer.main.get_command(app)))


def options(command: Any) -> set[str]:
    """Return the long options of a command, but `--help`; `--no-x` counts as `--x`."""
    return {
        max(parameter.opts, key=len)
        for parameter in command.params
        if parameter.param_type_name == "option" and "--help" not in parameter.opts
    }


def _walk(names: tuple[str, ...], command: Any) -> Iterator[tuple[str, Any]]:
    for name, inner in getattr(command, "commands", {}).items():
        yield from _walk((*names, name), inner)
    if not hasattr(command, "commands"):
        yield " ".join(names), command
