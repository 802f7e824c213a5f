"""The API's documentation as a page of this app: no scripts, nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel
from starlette.responses import Response

from examples.community.templating import render
from orgtenancy.community import community

router = APIRouter(include_in_schema=False)

_CHAPTERS = ("demo", *dict.fromkeys(endpoint.tag for endpoint in community.endpoints))


class Field(BaseModel):
    """A value that an operation takes."""

    name: str
    place: str
    kind: str
    required: bool


class Operation(BaseModel):
    """A method of a path."""

    method: str
    path: str
    tag: str
    summary: str
    description: str
    needs: str
    fields: list[Field]
    answer: str
    statuses: list[tuple[str, str]]


@router.get("/docs")
async def show_docs(request: Request) -> Response:
    """Show the operations of the OpenAPI description, chapter by chapter."""
    schema = request.app.openapi()
    chapters: dict[str, list[Operation]] = {tag: [] for tag in _CHAPTERS}
    for operation in read_operations(schema):
        chapters[operation.tag].append(operation)
    return render(
        request,
        "docs.html",
        info=schema["info"],
        chapters=chapters,
        number=sum(map(len, chapters.values())),
        url=str(request.base_url),
    )


def read_operations(schema: Mapping[str, Any]) -> Iterator[Operation]:
    """Yield the operations of an OpenAPI description."""
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            responses = operation["responses"]
            good = next(answer for status, answer in responses.items() if status < "300")
            yield Operation(
                method=method.upper(),
                path=path,
                tag=operation["tags"][0],
                summary=operation.get("summary", ""),
                description=operation.get("description", ""),
                needs=_needs(operation.get("security", ())),
                fields=[*_parameters(operation), *_body(schema, operation)],
                answer=_kind(_json(good)) if "content" in good else "nothing",
                statuses=[(status, answer["description"]) for status, answer in responses.items()],
            )


def _needs(security: Any) -> str:
    """Return which scopes a token needs; an empty text where none is needed at all."""
    scopes = [scope for scheme in security for scopes in scheme.values() for scope in scopes]
    return " ".join(scopes) or ("a token" if security else "")


def _parameters(operation: Mapping[str, Any]) -> Iterator[Field]:
    for parameter in operation.get("parameters", ()):
        yield Field(
            name=parameter["name"],
            place=parameter["in"],
            kind=_kind(parameter["schema"]),
            required=parameter["required"],
        )


def _body(schema: Mapping[str, Any], operation: Mapping[str, Any]) -> Iterator[Field]:
    if "requestBody" not in operation:
        return
    name = _kind(_json(operation["requestBody"]))
    model = schema["components"]["schemas"][name]
    for field, value in model["properties"].items():
        required = field in model.get("required", ())
        yield Field(name=field, place="body", kind=_kind(value), required=required)


def _json(holder: Mapping[str, Any]) -> Mapping[str, Any]:
    content: Mapping[str, Any] = holder["content"]["application/json"]["schema"]
    return content


def _kind(schema: Mapping[str, Any]) -> str:
    """Return a type in words."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        return " or ".join(_kind(choice) for choice in schema["anyOf"])
    if "enum" in schema:
        return " or ".join(map(str, schema["enum"]))
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    return str(schema.get("format") or schema.get("type", "any"))
