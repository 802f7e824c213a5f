"""Which requests are sent to an app: those of a host, or of its OpenAPI document."""

from __future__ import annotations

import pytest

from orgtenancy.errors import ConfigurationError
from orgtenancy.testing.isolation.apps.asgi import AsgiClient
from orgtenancy.testing.isolation.apps.asking import Ask, as_ask, fill_json
from orgtenancy.testing.isolation.apps.planning import asks_of, told_by, values_for
from orgtenancy.testing.isolation.apps.under_proof import client_of
from orgtenancy.testing.isolation.apps.wsgi import WsgiClient

DOCUMENT = {
    "components": {"parameters": {"day": {"name": "day", "in": "query", "required": True}}},
    "paths": {
        "/notes": {
            "get": {"parameters": [{"name": "limit", "in": "query"}]},
            "post": {},
        },
        "/notes/{note_id}": {"get": {}},
        "/days": {"get": {"parameters": [{"$ref": "#/components/parameters/day"}]}},
        "/reports": {
            "get": {
                "parameters": [
                    {
                        "name": "kind",
                        "in": "query",
                        "required": True,
                        "schema": {"enum": ["sales", "stock"]},
                    },
                    {"name": "tenant", "in": "query", "schema": {"type": "string"}},
                ]
            }
        },
    },
}


def test_a_document_has_its_get_operations_asked_and_organizations_named() -> None:
    assert [ask.path for ask in asks_of(DOCUMENT)] == [
        "/notes",
        "/notes/{note_id}",
        "/days?day=x",
        "/reports?kind=sales",
        "/reports?kind=sales&tenant={other}",
        "/reports?kind=sales&tenant={other_schema}",
    ]


def test_a_place_is_filled_with_what_answers_told_the_likeliest_first() -> None:
    told = [
        *told_by("/users", [{"id": 7, "name": "alice"}]),
        *told_by("/notes?limit=1", {"items": [{"id": 1, "is_pinned": True}]}),
    ]
    assert values_for(Ask("GET", "/notes/{note_id}"), "note_id", told) == [1, 7]
    told += told_by("/likes", [{"note_id": 3}])
    assert values_for(Ask("GET", "/notes/{note_id}"), "note_id", told) == [3, 1, 7]
    assert values_for(Ask("GET", "/notes/{slug}"), "slug", told) == []


def test_a_request_is_given_as_a_path_or_with_its_method() -> None:
    assert as_ask("/notes") == Ask("GET", "/notes")
    assert as_ask("post /notes") == Ask("POST", "/notes")


def test_a_text_of_the_body_that_is_one_place_becomes_its_value() -> None:
    body = {"id": "{number}", "tags": ["a {mark}", "{unknown}"]}
    filled = fill_json(body, {"number": 5, "mark": "m"})
    assert filled == {"id": 5, "tags": ["a m", "{unknown}"]}


async def asgi(scope: object, receive: object, send: object) -> None:
    raise NotImplementedError


def wsgi(environ: object, start_response: object) -> list[bytes]:
    raise NotImplementedError


@pytest.mark.parametrize(
    ("app", "client"),
    [
        (asgi, AsgiClient),
        (wsgi, WsgiClient),
        (lambda: asgi, AsgiClient),
        (lambda: wsgi, WsgiClient),
    ],
)
def test_an_app_is_told_by_what_it_takes(app: object, client: type) -> None:
    assert isinstance(client_of(app), client)


@pytest.mark.parametrize("app", ["a text", lambda scope: None, lambda: "a text"])
def test_what_is_no_app_is_refused(app: object) -> None:
    with pytest.raises(ConfigurationError, match="neither an ASGI app"):
        client_of(app)
