"""`orgtenancy openapi`: the OpenAPI document of modules, whatever framework serves them."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from orgtenancy.modules import OrganizationModule
from orgtenancy.tenancy import Tenancy

# Nothing connects to it: a document is made of the modules alone.
_NO_DATABASE = "postgresql+psycopg://nobody@localhost/nothing"


def openapi(
    module: Annotated[
        list[str] | None,
        typer.Argument(help="Where each module is: package.module:name"),
    ] = None,
    title: Annotated[str, typer.Option(help="The title of the document.")] = "API",
    version: Annotated[str, typer.Option(help="The version of the API.")] = "1",
    prefix: Annotated[str, typer.Option(help="Where the API is mounted, as /api.")] = "",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A file instead of the terminal.")
    ] = None,
) -> None:
    """Print the OpenAPI document of modules; by default the community's."""
    try:
        from orgtenancy.adapters.fastapi import openapi_document
    except ModuleNotFoundError as error:
        raise typer.BadParameter(
            "the document is made with FastAPI: python3 -m pip install 'orgtenancy[fastapi]'"
        ) from error
    modules = [find_module(place) for place in module or ["orgtenancy.community:community"]]
    tenancy = Tenancy(_NO_DATABASE, modules=modules)
    document = openapi_document(tenancy, title=title, version=version, prefix=prefix)
    text = json.dumps(document, indent=2, ensure_ascii=False)
    if output is None:
        typer.echo(text)
    else:
        output.write_text(f"{text}\n", encoding="utf-8")


def find_module(place: str) -> OrganizationModule:
    """Return the module at `package.module:name`.

    Raises:
        typer.BadParameter: If there is none.
    """
    path, _, name = place.partition(":")
    try:
        found = getattr(import_module(path), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise typer.BadParameter(f"no module at {place!r}: {error}") from error
    if not isinstance(found, OrganizationModule):
        raise typer.BadParameter(f"{place!r} is a {type(found).__name__}, no OrganizationModule")
    return found
