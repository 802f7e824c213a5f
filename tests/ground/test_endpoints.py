"""A declaration that cannot work is refused when it is made, with the rule it breaks."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel

from orgtenancy.endpoints import Caller, Endpoint, endpoints_by_path
from orgtenancy.errors import ConfigurationError, Invalid
from orgtenancy.organizations import Actor

if TYPE_CHECKING:
    from decimal import Decimal

    from sqlalchemy.orm import Session


class Query(BaseModel):
    names: tuple[str, ...] | None = None
    sets: frozenset[int] = frozenset()
    text: bytes | str = ""


def plain(session: Session, caller: Caller) -> str:
    """Say hello.

    To whom it may concern:
    the caller.

    Raises:
        Conflict: Never.
    """
    return "hello"


def of_thing(session: Session, caller: Caller, *, thing: int) -> str:
    return ""


def of_query(session: Session, caller: Caller, *, query: Query) -> str:
    return ""


def with_body(session: Session, caller: Caller, *, body: Query) -> str:
    return ""


def nothing(session: Session, caller: Caller) -> None: ...


def no_caller(session: Session) -> str:
    return ""


def no_keyword(session: Session, caller: Caller, thing: int) -> str:
    return ""


def anything(session: Session, caller: Caller, **inputs: int) -> str:
    return ""


def no_type(session: Session, caller: Caller, *, thing) -> str:  # type: ignore[no-untyped-def]
    return ""


def no_return(session: Session, caller: Caller): ...  # type: ignore[no-untyped-def]


def unknown_type(session: Session, caller: Caller, *, thing: Decimal) -> str:
    return ""


def query_in_path(session: Session, caller: Caller, *, query: int) -> str:
    return ""


@pytest.mark.parametrize(
    ("function", "method", "path", "status", "rule"),
    [
        (plain, "get", "/a", 200, "the method is one of GET, POST"),
        (plain, "TRACE", "/a", 200, "the method is one of"),
        (plain, "GET", "a", 200, "a path is like '/posts/{post_id}', not 'a'"),
        (plain, "GET", "", 200, "a path is like"),
        (plain, "GET", "/", 200, "a path is like"),
        (plain, "GET", "/a/", 200, "a path is like"),
        (plain, "GET", "//a", 200, "a path is like"),
        (plain, "GET", "/<a>", 200, "a path is like"),
        (plain, "GET", "/a b", 200, "a path is like"),
        (of_thing, "GET", "/a-{thing}", 200, "a path is like"),
        (of_thing, "GET", "/{thing:path}", 200, "a path is like"),
        (of_thing, "GET", "/{Thing}", 200, "a path is like"),
        (of_thing, "GET", "/{thing}/{thing}", 200, "two parameters of the path share a name"),
        (query_in_path, "GET", "/{query}", 200, "no names for parameters of the path"),
        (plain, "GET", "/{thing}", 200, "the function does not take 'thing' of the path"),
        (of_thing, "GET", "/a", 200, "'thing' is neither in the path nor 'query' or 'body'"),
        (with_body, "GET", "/a", 200, "GET has no body"),
        (with_body, "DELETE", "/a", 200, "DELETE has no body"),
        (no_caller, "GET", "/a", 200, r"the function takes \(session, caller, \*, inputs\)"),
        (no_keyword, "GET", "/{thing}", 200, r"the function takes \(session, caller"),
        (anything, "GET", "/a", 200, r"the function takes \(session, caller"),
        (no_type, "GET", "/{thing}", 200, "'thing' has no annotation"),
        (no_return, "GET", "/a", 200, "'return' has no annotation"),
        (plain, "GET", "/a", 404, "the status is that of a success"),
        (plain, "GET", "/a", 204, "204 is the status of what returns None"),
        (nothing, "GET", "/a", 200, "204 is the status of what returns None"),
    ],
)
def test_what_does_not_fit_is_refused_by_rule(
    function: Callable[..., Any], method: str, path: str, status: int, rule: str
) -> None:
    with pytest.raises(ConfigurationError, match=f"endpoint '{function.__name__}': .*{rule}"):
        Endpoint(method, path, function, status=status)


def test_a_type_that_nothing_knows_is_refused_by_name() -> None:
    endpoint = Endpoint("GET", "/{thing}", unknown_type)
    with pytest.raises(ConfigurationError, match=r"endpoint 'unknown_type': .*Decimal"):
        endpoint.prepare()


def test_the_session_s_class_may_be_for_type_checkers_only() -> None:
    assert Endpoint("GET", "/{thing}", of_thing).types == {"thing": int, "return": str}


def test_paths_with_literals_go_before_those_with_parameters() -> None:
    paths = ["/{a}/x", "/b/{c}", "/b/{c}/d", "/b/e", "/{a}", "/b"]
    endpoints = [_named(path, f"f{number}") for number, path in enumerate(paths)]
    assert list(endpoints_by_path(endpoints)) == [
        "/b",
        "/b/e",
        "/b/{c}",
        "/b/{c}/d",
        "/{a}",
        "/{a}/x",
    ]


def test_endpoints_that_cannot_be_told_apart_are_refused() -> None:
    for first, second, rule in (
        (_named("/a", "f"), _named("/b", "f"), "two endpoints share the name 'f'"),
        (_named("/a", "f"), _named("/a", "g"), "two endpoints serve GET /a"),
        (_named("/a/{b}", "f"), _named("/a/{c}", "g"), "/a/{b} and /a/{c} are one path"),
    ):
        with pytest.raises(ConfigurationError, match=rule):
            endpoints_by_path([first, second])


def test_a_query_knows_which_fields_take_several_values() -> None:
    endpoint = Endpoint("GET", "/a", of_query)
    inputs = endpoint.read({}, b"names=a&sets=1&sets=1&sets=2&text=a", b"")
    assert inputs["query"] == Query(names=("a",), sets=frozenset({1, 2}), text="a")
    with pytest.raises(Invalid) as caught:
        endpoint.read({}, b"text=a&text=b", b"")
    assert {error.field.split(".")[0] for error in caught.value.errors} == {"text"}


def test_the_docstring_ends_where_its_sections_begin() -> None:
    endpoint = Endpoint("GET", "/a", plain)
    assert endpoint.summary == "Say hello."
    assert endpoint.description == "To whom it may concern:\nthe caller."
    assert Endpoint("GET", "/a", nothing, status=204).summary == ""


def test_an_output_of_another_type_is_an_error_of_the_endpoint() -> None:
    def wrong(session: Session, caller: Caller) -> int:
        return "text"  # type: ignore[return-value]

    caller = Caller(Actor(id="alice"))
    assert caller.id == "alice"
    with pytest.raises(ValueError, match="valid integer"):
        Endpoint("GET", "/a", wrong).run(None, caller, {})


def _named(path: str, name: str) -> Endpoint:
    """Return an endpoint of the path, whose function takes what is in it."""
    parameters = "".join(f"{part[1:-1]}: int, " for part in path.split("/") if part[:1] == "{")
    keywords = f", *, {parameters}" if parameters else ""
    scope: dict[str, Any] = {}
    exec(f"def {name}(session, caller{keywords}) -> int: ...", scope)
    return Endpoint("GET", path, scope[name])
