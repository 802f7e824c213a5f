"""`orgtenancy openapi`: the OpenAPI document of modules, whatever framework serves them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from orgtenancy.cli.context import find_module
from orgtenancy.cli.output import Json, show_document
from orgtenancy.errors import ConfigurationError
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
    as_json: Json = False,
) -> None:
    """Print the OpenAPI document of modules; by default the community's."""
    try:
        from orgtenancy.adapters.fastapi import openapi_document
    except ModuleNotFoundError as error:
        raise typer.BadParameter(
            "the document is made with FastAPI: python3 -m pip install 'orgtenancy[fastapi]'"
        ) from error
    try:
        modules = [find_module(place) for place in module or ["orgtenancy.community:community"]]
    except ConfigurationError as error:
        raise typer.BadParameter(str(error)) from error
    tenancy = Tenancy(_NO_DATABASE, modules=modules)
    document = openapi_document(tenancy, title=title, version=version, prefix=prefix)
    if output is None:
        show_document(document)
        return
    text = json.dumps(document, indent=2, ensure_ascii=False)
    output.write_text(f"{text}\n", encoding="utf-8")
    if as_json:
        show_document({"output": str(output)})
