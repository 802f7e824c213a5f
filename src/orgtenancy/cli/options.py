"""Options that several commands share, each said once."""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, get_type_hints

import typer
from pydantic import ValidationError

from orgtenancy.cli.exits import ARGUMENTS
from orgtenancy.schemas.fleet import JobOptions, Wave

Organizations = Annotated[
    list[str] | None,
    typer.Option("--org", metavar="ID", help="Only this organization; repeat it for more."),
]
_Waves = list[str] | None


def takes_job_options(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of a job, in place of its argument `options`.

    The argument is None where none of the options was given.
    """
    of_job = inspect.signature(_job_options).parameters
    hints = get_type_hints(_job_options, include_extras=True)
    own = inspect.signature(function).parameters
    own_hints = get_type_hints(function, include_extras=True)

    @functools.wraps(function)
    def command(**given: Any) -> None:
        about_job = {name: given.pop(name) for name in of_job}
        function(**given, options=_job_options(**about_job))

    parameters = [
        *(p.replace(annotation=own_hints[n]) for n, p in own.items() if n != "options"),
        *(p.replace(annotation=hints[n]) for n, p in of_job.items()),
    ]
    keyword_only = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in parameters]
    command.__signature__ = inspect.Signature(keyword_only)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in keyword_only}
    return command


def parse_labels(texts: Iterable[str]) -> dict[str, Any]:
    """Return labels that are given as `key=text`, or as `key:=JSON`.

    Raises:
        typer.BadParameter: If one is neither.
    """
    labels: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key.removesuffix(":"):
            raise typer.BadParameter(f"{text!r} is no label: write key=text, or key:=JSON")
        if not key.endswith(":"):
            labels[key] = value
            continue
        try:
            labels[key.removesuffix(":")] = json.loads(value)
        except ValueError as error:
            raise typer.BadParameter(f"{value!r} is no JSON: {error}") from error
    return labels


def _job_options(
    ctx: typer.Context,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Schemas worked on at the same time.", show_default="4"),
    ] = None,
    canary: Annotated[
        _Waves,
        typer.Option(
            metavar="ID,ID", help="A wave: these organizations. Waves go in the order given."
        ),
    ] = None,
    canary_attribute: Annotated[
        _Waves,
        typer.Option(
            metavar="KEY=VALUE", help="A wave: organizations with this label; KEY:=JSON too."
        ),
    ] = None,
    canary_percent: Annotated[
        _Waves, typer.Option(metavar="N", help="A wave: this share of all organizations.")
    ] = None,
    pause: Annotated[
        bool | None,
        typer.Option(help="Stop between waves, until the job is resumed.", show_default="no"),
    ] = None,
    max_failures: Annotated[
        int | None,
        typer.Option(
            min=0, help="More failures than this, and no other is begun.", show_default="10"
        ),
    ] = None,
    max_attempts: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="How often a schema is tried while a lock or the connection is missing.",
            show_default="20",
        ),
    ] = None,
    lock_timeout: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="How long to wait for a lock.", show_default="0.1"),
    ] = None,
    statement_timeout: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            help="How long a statement may run.",
            show_default="the server's own",
        ),
    ] = None,
) -> JobOptions | None:
    by_name = {
        "--canary": [_wave(organizations=_ids(text)) for text in canary or ()],
        "--canary-attribute": [
            _wave(attributes=parse_labels(text.split(","))) for text in canary_attribute or ()
        ],
        "--canary-percent": [_wave(percent=text) for text in canary_percent or ()],
    }
    given: Mapping[str, Any] = {
        "workers": workers,
        "waves": tuple(_in_order(by_name, ctx.meta[ARGUMENTS])) or None,
        "pause": pause,
        "max_failures": max_failures,
        "max_attempts": max_attempts,
        "lock_timeout": lock_timeout,
        "statement_timeout": statement_timeout,
    }
    values = {name: value for name, value in given.items() if value is not None}
    try:
        return JobOptions.model_validate(values) if values else None
    except ValidationError as error:
        raise typer.BadParameter(_first(error)) from error


def _wave(**content: Any) -> Wave:
    try:
        return Wave.model_validate(content)
    except ValidationError as error:
        raise typer.BadParameter(f"a wave cannot be so: {_first(error)}") from error


def _in_order(waves: Mapping[str, Sequence[Wave]], arguments: Iterable[str]) -> Iterable[Wave]:
    """Yield waves as they were typed: a parser keeps the order of one option only."""
    left = {name: iter(content) for name, content in waves.items()}
    for argument in arguments:
        found = left.get(argument.partition("=")[0])
        if found is not None:
            yield from (wave for wave in [next(found, None)] if wave is not None)


def _ids(text: str) -> tuple[str, ...]:
    return tuple(one.strip() for one in text.split(",") if one.strip())


def _first(error: ValidationError) -> str:
    one = error.errors(include_url=False)[0]
    return ": ".join(filter(None, [".".join(map(str, one["loc"])), one["msg"]]))
