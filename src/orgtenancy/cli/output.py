"""What a command writes: its result to stdout, everything else to stderr.

A result is a JSON document where one is asked for. For people it is text and tables, and
where nobody looks on, a table is lines with tabs, for `cut` and `awk`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any

import typer
from pydantic_core import to_jsonable_python
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document, and nothing else.")]


@dataclass(frozen=True, slots=True)
class Table:
    """A list for people.

    Attributes:
        columns: What stands above them.
        rows: The cells; None is shown as nothing.
    """

    columns: Sequence[str]
    rows: Iterable[Sequence[Any]] = field(default=())


def show(as_json: bool, document: Any, *parts: Table | str) -> None:
    """Write a result.

    Args:
        as_json: Whether the document is wanted.
        document: All of the result: models, dataclasses, mappings and sequences.
        *parts: The same for people.
    """
    if as_json:
        show_document(document)
        return
    for part in parts:
        if isinstance(part, Table):
            _show_table(part)
        elif part:
            sys.stdout.write(f"{part}\n")


def show_document(document: Any) -> None:
    """Write a result as JSON."""
    text = json.dumps(to_jsonable_python(document), indent=2, ensure_ascii=False)
    sys.stdout.write(f"{text}\n")


def tell(line: str) -> None:
    """Write to stderr what is not the result."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def revisions_text(revisions: dict[str, str] | Any) -> str:
    """Return the revision of each module in one cell."""
    return ", ".join(f"{name}={revision}" for name, revision in sorted(dict(revisions).items()))


def _show_table(table: Table) -> None:
    rows = [[_cell(value) for value in row] for row in table.rows]
    if not sys.stdout.isatty():
        for row in (table.columns, *rows):
            sys.stdout.write("\t".join(row) + "\n")
        return
    rich = RichTable(*table.columns, box=None, header_style="bold", pad_edge=False)
    for row in rows:
        rich.add_row(*map(Text, row))
    Console(file=sys.stdout, soft_wrap=True).print(rich)


def _cell(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case datetime():
            return value.isoformat(sep=" ", timespec="seconds")
        case float():
            return f"{value:g}"
    return str(value).replace("\t", " ").replace("\n", " ")
