"""The HTTP API of a module: a table of endpoints, which every web adapter mounts as it is.

An endpoint is a transaction function and what HTTP needs to know of it. The function's
signature says the rest: which parameters are in the path, what the query and the body hold,
and what it returns.

```python
def read_invoice(session: Session, caller: Caller, *, invoice_id: UUID) -> InvoiceView: ...

ENDPOINTS = (
    Endpoint("GET", "/invoices/{invoice_id}", read_invoice, problems=(404,)),
)
```

Reading a request and writing the answer happen here and in no framework: every adapter
gives the same bytes for the same request.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cached_property, partial
from types import SimpleNamespace, UnionType
from typing import Annotated, Any, Literal, TypeAlias, TypeVar, Union, get_args, get_origin
from typing import get_type_hints as resolve_annotations
from urllib.parse import parse_qsl

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import from_json

from orgtenancy.errors import (
    ConfigurationError,
    InputError,
    Invalid,
    PayloadTooLarge,
    UnsupportedMediaType,
)
from orgtenancy.organizations import Actor

T = TypeVar("T")

Place: TypeAlias = Literal["path", "query", "body"]

#: A larger body is refused, and never held in memory.
MAX_BODY_SIZE = 2**20

_MAX_QUERY_PARAMETERS = 1000
_MAX_ERRORS = 100  # reported one by one

_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
_METHODS_WITH_BODY = ("POST", "PUT", "PATCH")  # others give a body no meaning (RFC 9110)
_NO_CONTENT = 204

_is_path = re.compile(r"(?:/(?:[A-Za-z0-9._~@-]+|\{[a-z][a-z0-9_]*\}))+").fullmatch
_parameters_of = re.compile(r"\{(\w+)\}").findall


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls an endpoint, and from where.

    Attributes:
        actor: Who asks.
        ip_address: The address of the client, as the server saw it; None if unknown.
    """

    actor: Actor
    ip_address: str | None = None

    @property
    def id(self) -> str:
        """The actor's id."""
        return self.actor.id


@dataclass(frozen=True)
class Endpoint:
    """One method of one path.

    Attributes:
        method: The HTTP method.
        path: Below where the API is mounted, like `/posts/{post_id}`. A literal segment
            goes before a parameter, so that `/posts/search` is no `post_id`.
        function: The transaction function, `function(session, caller, **inputs)`. Inputs are
            keyword-only: those named in the path, `query` (a pydantic model) and `body`.
            What it returns is validated as the type that it is annotated with. A transient
            failure runs it again.
        status: The status of a success; 204 has no body.
        scopes: What the actor needs, where the module's settings say nothing else.
        problems: Statuses of problems that the function itself may answer with.
        tag: The chapter of the documentation.

    Raises:
        ConfigurationError: If the function and what HTTP knows of it do not fit.
    """

    method: str
    path: str
    function: Callable[..., Any]
    status: int = 200
    scopes: tuple[str, ...] = ()
    problems: tuple[int, ...] = ()
    tag: str = ""

    def __post_init__(self) -> None:
        for broken, rule in _rules(self):
            if broken:
                raise ConfigurationError(f"endpoint {self.name!r}: {rule}")

    @property
    def name(self) -> str:
        """Its name in settings and documentation: that of the function."""
        return self.function.__name__

    @property
    def summary(self) -> str:
        """The first line of the function's docstring."""
        return _docstring(self.function)[0]

    @property
    def description(self) -> str:
        """The rest of the docstring, without its `Args:`, `Raises:` and so on."""
        return _docstring(self.function)[1]

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names of the parameters in the path."""
        return tuple(_parameters_of(self.path))

    @cached_property
    def types(self) -> Mapping[str, Any]:
        """The annotations of the function's inputs, and of its `return`.

        Raises:
            ConfigurationError: If one of them names something unknown.
        """
        given = self.function.__annotations__
        wanted = {name: given[name] for name in (*_inputs(self.function), "return")}
        try:
            # Not of the function itself: the session's class may be imported for type
            # checkers only.
            return resolve_annotations(
                SimpleNamespace(__annotations__=wanted),
                globalns=self.function.__globals__,
                include_extras=True,
            )
        except NameError as error:
            raise ConfigurationError(f"endpoint {self.name!r}: {error}") from error

    def check_body(self, content_type: str | None, content_length: str | None) -> None:
        """Refuse a request for what its headers say of its body, before that is read.

        Raises:
            UnsupportedMediaType: If the endpoint reads a body, and this one is no JSON.
            PayloadTooLarge: If it is too large.
        """
        if not self.reads_body:
            return
        if (content_type or "").partition(";")[0].strip().lower() != "application/json":
            raise UnsupportedMediaType("the body must be application/json")
        if content_length is not None and content_length.isdecimal():
            check_body_size(int(content_length))

    @cached_property
    def reads_body(self) -> bool:
        """Whether it reads the body of a request; what others are sent is ignored."""
        return "body" in self.types

    def prepare(self) -> None:
        """Do now what the first request would, so that a mistake shows when the app starts.

        Raises:
            ConfigurationError: If an annotation names something unknown.
            pydantic.errors.PydanticUserError: If pydantic knows nothing of a type.
        """
        _ = self._readers, self._output

    def read(self, path: Mapping[str, str], query: bytes, body: bytes) -> dict[str, Any]:
        """Return the function's inputs.

        Args:
            path: The values of the path's parameters.
            query: The query string as it was sent. Unknown parameters are ignored; one
                that was sent twice is a list, which only a field for several values takes.
            body: The body as it was sent; unused where the endpoint reads none.

        Raises:
            Invalid: With everything that is wrong in all of them.
        """
        sent: Mapping[Place, Any] = {"path": path, "query": query, "body": body}
        inputs: dict[str, Any] = {}
        errors: list[InputError] = []
        for name, place, read in self._readers:
            try:
                inputs[name] = read(sent[place])
            except Invalid as invalid:
                errors += invalid.errors
        if errors:
            raise Invalid("the input is invalid", errors=errors)
        return inputs

    def run(self, session: Any, caller: Caller, inputs: Mapping[str, Any]) -> bytes:
        """Call the function in a transaction, and return what it returned as JSON.

        What cannot be written is an error inside the transaction, which undoes it.
        """
        output = self.function(session, caller, **inputs)
        if self.status == _NO_CONTENT:
            return b""
        adapter = self._output
        return adapter.dump_json(adapter.validate_python(output), by_alias=True)

    @cached_property
    def _output(self) -> TypeAdapter[Any]:
        return TypeAdapter(self.types["return"])

    @cached_property
    def _readers(self) -> Sequence[tuple[str, Place, Callable[[Any], Any]]]:
        readers: list[tuple[str, Place, Callable[[Any], Any]]] = []
        for name, kind in self.types.items():
            if name == "query":
                readers.append((name, "query", partial(_read_query, kind, _query_fields(kind))))
            elif name == "body":
                readers.append((name, "body", partial(_read_body, TypeAdapter(kind))))
            elif name != "return":
                readers.append((name, "path", partial(_read_parameter, name, TypeAdapter(kind))))
        return readers


def check_body_size(size: int) -> None:
    """Refuse a body of this many bytes, or of at least as many.

    Raises:
        PayloadTooLarge: If it is larger than `MAX_BODY_SIZE`.
    """
    if size > MAX_BODY_SIZE:
        raise PayloadTooLarge(f"the body has more than {MAX_BODY_SIZE} bytes")


def endpoints_by_path(endpoints: Iterable[Endpoint]) -> dict[str, dict[str, Endpoint]]:
    """Return the endpoints by path and method, literal segments before parameters.

    In this order, the first path that matches is the one that is meant, with whatever
    router: they agree on how a path matches, and not on which of two does.

    Raises:
        ConfigurationError: If two endpoints cannot be told apart.
    """
    paths: dict[str, dict[str, Endpoint]] = {}
    names: dict[str, Endpoint] = {}
    spellings: dict[str, str] = {}
    for endpoint in endpoints:
        if names.setdefault(endpoint.name, endpoint) is not endpoint:
            raise ConfigurationError(f"two endpoints share the name {endpoint.name!r}")
        path = endpoint.path
        spelling = spellings.setdefault(re.sub(r"\{\w+\}", "{}", path), path)
        if spelling != path:
            raise ConfigurationError(f"{spelling} and {path} are one path: name it alike")
        methods = paths.setdefault(path, {})
        if methods.setdefault(endpoint.method, endpoint) is not endpoint:
            raise ConfigurationError(f"two endpoints serve {endpoint.method} {path}")
    return {path: paths[path] for path in sorted(paths, key=_literals_first)}


def _literals_first(path: str) -> list[tuple[bool, str]]:
    return [(segment.startswith("{"), segment) for segment in path.split("/")]


def _rules(endpoint: Endpoint) -> Iterable[tuple[bool, str]]:
    function = endpoint.function
    signature = inspect.signature(function)
    kinds = [parameter.kind for parameter in signature.parameters.values()]
    inputs, named = set(_inputs(function)), endpoint.parameters
    yield endpoint.method not in _METHODS, f"the method is one of {', '.join(_METHODS)}"
    yield (
        not _is_path(endpoint.path),
        f"a path is like '/posts/{{post_id}}', not {endpoint.path!r}",
    )
    yield len(set(named)) < len(named), "two parameters of the path share a name"
    yield (
        bool({"query", "body"}.intersection(named)),
        "'query' and 'body' are no names for parameters of the path",
    )
    yield (
        kinds.count(inspect.Parameter.POSITIONAL_OR_KEYWORD) != 2
        or len(inputs) + 2 != len(signature.parameters),
        "the function takes (session, caller, *, inputs)",
    )
    yield (
        not inputs.issuperset(named),
        f"the function does not take {_listed(set(named) - inputs)} of the path",
    )
    unknown = inputs - {*named, "query", "body"}
    yield bool(unknown), f"{_listed(unknown)} is neither in the path nor 'query' or 'body'"
    yield (
        "body" in inputs and endpoint.method not in _METHODS_WITH_BODY,
        f"{endpoint.method} has no body",
    )
    bare = [name for name in (*inputs, "return") if name not in function.__annotations__]
    yield bool(bare), f"{_listed(bare)} has no annotation"
    yield not 200 <= endpoint.status < 300, "the status is that of a success"
    yield (
        (endpoint.status == _NO_CONTENT) != (signature.return_annotation in (None, "None")),
        "204 is the status of what returns None, and of nothing else",
    )


def _inputs(function: Callable[..., Any]) -> list[str]:
    parameters = inspect.signature(function).parameters.values()
    return [p.name for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY]


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(repr, sorted(names)))


def _read_parameter(name: str, adapter: TypeAdapter[T], path: Mapping[str, str]) -> T:
    _refuse_nul("path", [(name, path[name])])
    return _validated("path", adapter.validate_strings, path[name], name)


def _read_query(model: type[BaseModel], fields: Mapping[str, bool], query: bytes) -> BaseModel:
    try:
        # Strict: what is no UTF-8 would otherwise be another text than was sent.
        pairs = parse_qsl(
            query.decode(),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=_MAX_QUERY_PARAMETERS,
        )
    except ValueError:
        raise _invalid("query", "", "is no UTF-8, or has too many parameters") from None
    pairs = [(name, value) for name, value in pairs if name in fields]
    _refuse_nul("query", pairs)
    values: dict[str, list[str]] = {}
    for name, value in pairs:
        values.setdefault(name, []).append(value)
    given = {
        name: texts if fields[name] or len(texts) > 1 else texts[0]
        for name, texts in values.items()
    }
    return _validated("query", model.model_validate, given)


def _read_body(adapter: TypeAdapter[T], body: bytes) -> T:
    # Two readings, since the first is stricter, and the second knows what types JSON has.
    try:
        value = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise _invalid("body", "", f"is no JSON: {error}") from None
    valid = _validated("body", adapter.validate_json, body)
    if not _is_storable(value):
        raise _invalid("body", "", "has a NUL character, or a number out of range")
    return valid


def _validated(place: Place, validate: Callable[[Any], T], value: Any, *prefix: str) -> T:
    try:
        return validate(value)
    except ValidationError as error:
        if (count := error.error_count()) > _MAX_ERRORS:
            raise _invalid(place, ".".join(prefix), f"has {count} errors") from None
        errors = error.errors(include_url=False, include_context=False, include_input=False)
        reasons = [
            InputError(
                place=place, field=".".join(map(str, (*prefix, *e["loc"]))), message=e["msg"]
            )
            for e in errors
        ]
        raise Invalid("the input is invalid", errors=reasons) from None


def _refuse_nul(place: Place, texts: Iterable[tuple[str, str]]) -> None:
    for name, text in texts:
        if "\0" in text:
            raise _invalid(place, name, "has a NUL character")


def _is_storable(value: Any) -> bool:
    """Return whether PostgreSQL can hold a value of JSON, and not fail instead."""
    kind = type(value)
    if kind is str:
        return "\0" not in value
    if kind is float:
        return math.isfinite(value)  # 1e999 is JSON
    if kind is list:
        return all(map(_is_storable, value))
    if kind is dict:
        return all(map(_is_storable, value)) and all(map(_is_storable, value.values()))
    return True


def _invalid(place: Place, field: str, message: str) -> Invalid:
    reason = InputError(place=place, field=field, message=message)
    return Invalid("the input is invalid", errors=[reason])


def _query_fields(model: type[BaseModel]) -> dict[str, bool]:
    """Return the names of a query's parameters, and whether one takes several values."""
    return {
        field.validation_alias if isinstance(field.validation_alias, str) else name: _is_several(
            field.annotation
        )
        for name, field in model.model_fields.items()
    }


def _is_several(annotation: Any) -> bool:
    origin = get_origin(annotation) or annotation
    if origin in (Union, UnionType):
        return any(map(_is_several, get_args(annotation)))
    if origin is Annotated:
        return _is_several(get_args(annotation)[0])
    return (
        isinstance(origin, type)
        and issubclass(origin, (Sequence, AbstractSet))
        and not issubclass(origin, (str, bytes))
    )


def _docstring(function: Callable[..., Any]) -> tuple[str, str]:
    summary, _, rest = (inspect.getdoc(function) or "").partition("\n")
    # Google's sections: a capitalized word with a colon, alone on its line.
    return summary, re.split(r"^[A-Z]\w+:$", rest, maxsplit=1, flags=re.MULTILINE)[0].strip()
