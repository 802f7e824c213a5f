"""The OpenAPI document says all that a client needs to know of a module's endpoints."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi import Depends, FastAPI, HTTPException
from fastapi.security import OAuth2PasswordBearer
from openapi_spec_validator import validate

from orgtenancy import Organization, Tenancy
from orgtenancy.adapters.fastapi import bearer, install, module_router, openapi_document
from orgtenancy.identity import TokenResolver
from tests.adapters.board import ENDPOINTS
from tests.adapters.conftest import Call, Member

EVERY_REQUEST = {"400", "401", "403", "404", "503"}


@pytest.fixture
def document(board_tenancy: Tenancy) -> dict[str, Any]:
    return openapi_document(board_tenancy, title="Board", version="2", prefix="/api")


def operations(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        operation["operationId"]: operation
        for methods in document["paths"].values()
        for operation in methods.values()
    }


def test_the_document_is_valid_and_has_every_endpoint(document: dict[str, Any]) -> None:
    validate(document)
    assert document["info"] == {"title": "Board", "version": "2"}
    documented = {
        (method.upper(), path.removeprefix("/api"), operation["operationId"])
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }
    assert documented == {(e.method, e.path, e.name) for e in ENDPOINTS}


def test_every_operation_has_its_problems_and_its_success(document: dict[str, Any]) -> None:
    found = operations(document)
    for endpoint in ENDPOINTS:
        responses = found[endpoint.name]["responses"]
        inputs = {"422"} if set(endpoint.types) - {"return"} else set()
        body = {"413", "415"} if endpoint.reads_body else set()
        own = set(map(str, endpoint.problems))
        assert set(responses) == EVERY_REQUEST | inputs | body | own | {str(endpoint.status)}
        for status, response in responses.items():
            if status == "204":
                assert "content" not in response
            elif status.startswith("2"):
                assert "$ref" in response["content"]["application/json"]["schema"]
            else:
                assert response["content"] == {
                    "application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}
                }


def test_inputs_are_parameters_and_components(document: dict[str, Any]) -> None:
    found = operations(document)
    schemas = document["components"]["schemas"]
    (note_id,) = found["read_note"]["parameters"]
    assert (note_id["in"], note_id["name"], note_id["required"]) == ("path", "note_id", True)
    assert (note_id["schema"]["type"], note_id["schema"]["minimum"]) == ("integer", 1)
    query = {parameter["name"]: parameter for parameter in found["list_notes"]["parameters"]}
    assert set(query) == {"limit", "cursor", "contains", "colour", "is-exact"}
    assert query["limit"]["schema"]["maximum"] == 100
    assert query["colour"]["schema"]["items"] == {"$ref": "#/components/schemas/Colour"}
    assert not any(parameter["required"] for parameter in query.values())
    body = found["create_note"]["requestBody"]
    assert body["required"] is True
    assert body["content"] == {
        "application/json": {"schema": {"$ref": "#/components/schemas/NewNote"}}
    }
    assert set(schemas) == {
        "Author",
        "Change",
        "Colour",
        "Echo",
        "InputError",
        "Listing",
        "NewNote",
        "NoteView",
        "Page_NoteView_",
        "Problem",
    }
    assert set(schemas["InputError"]["properties"]) == {"in", "field", "message"}


def test_the_docstring_is_the_documentation(document: dict[str, Any]) -> None:
    listing = operations(document)["list_notes"]
    assert listing["summary"] == "List the notes of the organization."
    assert listing["description"] == "The newest come first."
    assert listing["tags"] == ["notes"]
    assert "description" not in operations(document)["create_note"]


def test_every_operation_names_its_scopes(document: dict[str, Any]) -> None:
    assert set(document["components"]["securitySchemes"]) == {"bearer"}
    for endpoint in ENDPOINTS:
        operation = operations(document)[endpoint.name]
        # Scopes of a scheme that is not OAuth are in later versions of FastAPI only.
        assert operation["security"] in ([{"bearer": list(endpoint.scopes)}], [{"bearer": []}])
        assert all(f"`{scope}`" in operation["description"] for scope in endpoint.scopes)


def test_a_host_documents_its_own_scheme(board_tenancy: Tenancy, tokens: TokenResolver) -> None:
    app = FastAPI()
    install(app, board_tenancy, resolver=tokens, security=bearer)
    app.include_router(
        module_router(board_tenancy, security=OAuth2PasswordBearer("token", scheme_name="ours"))
    )

    @app.get("/own")
    async def own() -> None: ...

    document = app.openapi()
    validate(document)
    assert document["paths"]["/own"]["get"]["security"] == [{"bearer": []}]
    schemes = {name for each in operations(document)["delete_note"]["security"] for name in each}
    assert "ours" in schemes


def test_dependencies_of_the_host_run_before_an_endpoint(
    board_tenancy: Tenancy,
    tokens: TokenResolver,
    organization: Organization,
    member: Member,
    call: Call,
) -> None:
    async def refuse() -> None:
        raise HTTPException(418)

    for inner, outer in (([Depends(refuse)], []), ([], [Depends(refuse)])):
        app = FastAPI(dependencies=outer)
        install(app, board_tenancy, resolver=tokens)
        app.include_router(module_router(board_tenancy), prefix="/api", dependencies=inner)
        assert call(app, "GET", "/api/notes", member(organization)).status == 418
        app.dependency_overrides[refuse] = lambda: None
        assert call(app, "GET", "/api/notes", member(organization)).status == 200


def test_an_endpoint_has_its_url_by_name(board_tenancy: Tenancy) -> None:
    app = FastAPI()
    app.include_router(module_router(board_tenancy), prefix="/api")
    assert app.url_path_for("update_note", note_id=1) == "/api/notes/1"
