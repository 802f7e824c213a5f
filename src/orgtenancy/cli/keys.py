"""Which key a command encrypts or opens backups with: never on the command line."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

_VARIABLE = "ORGTENANCY_BACKUP_KEY"

KeyFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        exists=True,
        dir_okay=False,
        help=f"The key, as `backup key` or age-keygen writes it; or {_VARIABLE}. Its public half "
        "is enough to write.",
    ),
]


def read_keys(file: Path | None) -> Sequence[str] | None:
    """Return the keys in a file, or in the environment; None if there are none.

    A line that begins with `#` is a comment.
    """
    text = os.environ.get(_VARIABLE, "") if file is None else file.read_text(encoding="utf-8")
    lines = (line.strip() for line in text.splitlines())
    keys = [line for line in lines if line and not line.startswith("#")]
    if file is not None and not keys:
        raise typer.BadParameter(f"there is no key in {file}", param_hint="--key-file")
    return keys or None
