"""Flask: a request enters its organization, and its work is one transaction.

```python
app = Flask(__name__)
OrgTenancy(app, tenancy=tenancy, resolver=logto("https://auth.example.com").resolver())

@app.get("/feed")
def feed():
    return PostRepository().find_feed(current_actor().id).model_dump(mode="json")

app.register_blueprint(module_blueprint(tenancy), url_prefix="/api")
```

Repositories without an argument share the request's session, which takes a connection with
its first statement. It commits before the response is sent, so that a commit that fails is
an error response; it rolls back if anything was raised, or if the response is an error. A
response that is streamed goes through `stream_with_organization`.

A command of the `flask` program is bound by an option, `with_organization`. Elsewhere outside
of requests, code says itself for whom it works: `with tenancy.session("acme"):`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from contextvars import copy_context
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast
from wsgiref.types import WSGIEnvironment

import click
from flask import Blueprint, Flask, Response, current_app, request
from flask.blueprints import BlueprintSetupState
from werkzeug.exceptions import RequestEntityTooLarge

from orgtenancy.adapters.web.problems import (
    PROBLEM_ERRORS,
    PROBLEM_MEDIA_TYPE,
    log_problem,
    problem_headers,
    problem_of,
)
from orgtenancy.adapters.web.requests import Exempt, PathList, asked_host, origin_of
from orgtenancy.adapters.web.resources import MEDIA_TYPE, Resource, resources_of
from orgtenancy.adapters.web.webhooks import (
    RECEIVED,
    WEBHOOK_PATH,
    check_delivery,
    check_delivery_size,
    webhook_name,
)
from orgtenancy.context import (
    actor_var,
    bind,
    current_organization,
    organization_var,
    origin_var,
    session_var,
)
from orgtenancy.endpoints import MAX_BODY_SIZE, Endpoint, check_body_size
from orgtenancy.errors import ConfigurationError, OrgTenancyError
from orgtenancy.identity.gate import Gate
from orgtenancy.identity.requests import RequestInfo
from orgtenancy.identity.scopes import require_scopes
from orgtenancy.identity.webhooks import MAX_WEBHOOK_SIZE
from orgtenancy.schemas.fleet.journal import this_runner

if TYPE_CHECKING:
    from orgtenancy.identity.membership import MembershipPolicy
    from orgtenancy.identity.resolvers import Resolver
    from orgtenancy.identity.webhooks import WebhookReceiver
    from orgtenancy.tenancy import Tenancy

P = ParamSpec("P")
T = TypeVar("T")

_EXTENSION = "orgtenancy"
_ENVIRON_KEY = "orgtenancy.request"
_END = object()


class OrgTenancy:
    """The extension: binds organization, actor, origin and session for a whole request.

    Make it before other extensions that work when a request ends: Flask calls them in the
    reverse order, and the transaction is to end last. A preflight request of CORS has no
    credentials; where the app answers it, `exempt` is a function that lets `OPTIONS` pass.

    Args:
        app: The app, or None to call `init_app` later, with as many apps as there are.
        tenancy: Finds the organizations.
        resolver: Says who asks, and for which organization.
        membership: Decides what no signature proves; nobody is let in if not given.
        exempt: What is served without an organization. Sessions are refused there.
    """

    def __init__(
        self,
        app: Flask | None = None,
        *,
        tenancy: Tenancy,
        resolver: Resolver,
        membership: MembershipPolicy | None = None,
        exempt: Exempt = (),
    ) -> None:
        self.tenancy = tenancy
        self._gate = Gate(resolver, membership)
        self._is_exempt = exempt if callable(exempt) else PathList(exempt)
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Make every request of an app enter its organization.

        Raises:
            ConfigurationError: If one does so already.
        """
        if _EXTENSION in app.extensions:
            raise ConfigurationError(f"the app {app.name!r} has a tenancy already")
        app.extensions[_EXTENSION] = self
        app.before_request(self._enter)
        app.after_request(_end_transaction)
        app.teardown_request(_leave)
        for kind in PROBLEM_ERRORS:
            app.register_error_handler(kind, _handle_error)
        _watch_errors(app)

    def _enter(self) -> None:
        work = request.environ[_ENVIRON_KEY] = _Work(request.remote_addr)
        asked = request_info(request.environ)
        if self._is_exempt(asked):
            return
        identity = self._gate.identify(asked)
        work.bound.enter_context(self.tenancy.organization(identity.organization_id))
        work.bound.enter_context(bind(actor_var, identity.actor))
        work.transaction.enter_context(self.tenancy.session())


class _Work:
    """What is bound for one request, and its transaction.

    It is kept with the request, since requests nest in tests and threads serve many.

    Args:
        client: The client's address, as the server saw it.
    """

    def __init__(self, client: str | None) -> None:
        self.error: BaseException | None = None
        self.bound = ExitStack()
        self.transaction = ExitStack()
        # The last request of this thread may have ended in another one.
        self.bound.enter_context(bind(organization_var, None))
        self.bound.enter_context(bind(session_var, None))
        self.bound.enter_context(bind(actor_var, None))
        self.bound.enter_context(bind(origin_var, origin_of(client)))

    def roll_back(self, error: BaseException) -> None:
        self.transaction.__exit__(type(error), error, None)


class _Abandoned(Exception):
    """Why a transaction is rolled back that nothing was raised in."""


def _end_transaction(response: Response) -> Response:
    # Flask asks no error handler for what is raised here.
    work: _Work | None = request.environ.get(_ENVIRON_KEY)
    if work is None:
        return response
    try:
        if work.error is not None or response.status_code >= 400:
            work.roll_back(work.error or _Abandoned())
        else:
            work.transaction.close()
    except PROBLEM_ERRORS as error:
        if (problem := problem_response(error)) is None:
            raise
        return problem
    return response


def _leave(error: BaseException | None) -> None:
    # Streams make Flask do this twice, or in another context; the stacks are empty then.
    work: _Work | None = request.environ.get(_ENVIRON_KEY)
    if work is not None:
        try:
            work.roll_back(error or _Abandoned())
        finally:
            work.bound.close()


def _watch_errors(app: Flask) -> None:
    """Remember what a request raised, even where a handler makes a page of it."""
    handle = app.handle_user_exception

    def remember(*arguments: Any) -> Any:
        work: _Work | None = request.environ.get(_ENVIRON_KEY)
        if work is not None:
            work.error = arguments[-1]
        return handle(*arguments)

    app.handle_user_exception = remember  # type: ignore[assignment, method-assign]


def _handle_error(error: Exception) -> Response:
    response = problem_response(error)
    if response is None:
        raise error
    return response


def problem_response(error: Exception) -> Response | None:
    """Return the response to an error, or None if the error is none of the library's."""
    problem = problem_of(error)
    if problem is None:
        return None
    log_problem(problem, error)
    return Response(
        problem.content,
        problem.status,
        headers=problem_headers(error, problem),
        mimetype=PROBLEM_MEDIA_TYPE,
    )


def requires_scopes(*scopes: str) -> Callable[[Callable[P, Any]], Callable[P, Any]]:
    """Return a decorator that refuses an actor without these scopes.

    ```python
    @app.delete("/posts/<uuid:post_id>")
    @requires_scopes("posts:moderate")
    def remove(post_id): ...
    ```
    """

    def decorate(view: Callable[P, Any]) -> Callable[P, Any]:
        @wraps(view)
        def checked(*args: P.args, **kwargs: P.kwargs) -> Any:
            require_scopes(*scopes)
            return current_app.ensure_sync(view)(*args, **kwargs)

        return checked

    return decorate


def stream_with_organization(chunks: Iterable[T]) -> Iterator[T]:
    """Return an iterator for a streamed response, which works in the request's organization.

    A response is streamed after the request has ended: its transaction is over, and the
    iterator opens `tenancy.session()` itself. Organization and actor are bound in it, as is
    `flask.request`; what it binds is not seen outside. It takes the place of Flask's
    `stream_with_context`.

    Args:
        chunks: What the response consists of.

    Raises:
        OrganizationContextMissing: If no organization is bound.
    """
    current_organization()
    context = copy_context()
    context.run(session_var.set, None)
    iterator = iter(chunks)

    def steps() -> Iterator[T]:
        try:
            while (chunk := context.run(next, iterator, _END)) is not _END:
                yield chunk  # type: ignore[misc]
        finally:
            if (close := getattr(iterator, "close", None)) is not None:
                context.run(close)

    return steps()


def with_organization(command: Callable[P, T]) -> Callable[P, T]:
    """Give a command of the `flask` program an option that says for whom it works.

    ```python
    @app.cli.command("send-digest")
    @with_organization
    def send_digest():                  # flask send-digest --organization acme
        with tenancy.session():
            ...
    ```

    The option is required. The organization is bound for the whole command, and the origin
    is who typed it, and where; the command opens its transactions itself. What the registry
    does not have, or has closed, is said in one line, and the command is not run.

    Args:
        command: The function, below the decorator that makes a command of it.
    """

    @click.option("--organization", metavar="ID", required=True, help="Whom to work for.")
    @wraps(command)
    def run(*args: Any, organization: str, **kwargs: Any) -> T:
        typed_by = this_runner()
        with ExitStack() as bound:
            bound.enter_context(bind(session_var, None))
            bound.enter_context(bind(origin_var, f"cli:{typed_by.user}@{typed_by.host}"))
            try:
                bound.enter_context(_extension().tenancy.organization(organization))
            except OrgTenancyError as error:
                raise click.ClickException(str(error)) from error
            return command(*args, **kwargs)

    return cast("Callable[P, T]", run)


def _extension() -> OrgTenancy:
    extension: OrgTenancy | None = current_app.extensions.get(_EXTENSION)
    if extension is None:
        raise ConfigurationError(f"the app {current_app.name!r} has no tenancy")
    return extension


def module_blueprint(tenancy: Tenancy, *names: str) -> Blueprint:
    """Return a blueprint with the endpoints of modules.

    They answer errors as problems themselves, run in transactions of their own, and need
    the `OrgTenancy` extension around them.

    Args:
        tenancy: Whose modules.
        *names: Which of them; all that have endpoints if not given.

    Raises:
        ConfigurationError: If there is no such module, or two endpoints cannot be told apart.
    """
    blueprint = Blueprint("_".join(names) or "modules", __name__)
    for resource in resources_of(tenancy, names):
        blueprint.record(partial(_add_rules, resource, _view(tenancy, resource)))
    return blueprint


def _add_rules(resource: Resource, view: Callable[..., Any], state: BlueprintSetupState) -> None:
    path = resource.path.replace("{", "<").replace("}", ">")
    for method, operation in resource.operations.items():
        name = operation.endpoint.name
        state.add_url_rule(path, name, view, methods=[method], provide_automatic_options=False)
    _add_rule_of_any_method(path, f"{resource.name}_other_methods", view, state)


def _add_rule_of_any_method(
    path: str, name: str, view: Callable[..., Any], state: BlueprintSetupState
) -> None:
    state.add_url_rule(path, name, view, methods=[], provide_automatic_options=False)
    # To the router, None is any method: a wrong one is answered like the rest.
    for rule in state.app.url_map.iter_rules(
        f"{state.name_prefix}.{state.name}.{name}".lstrip(".")
    ):
        rule.methods = None


def _view(tenancy: Tenancy, resource: Resource) -> Callable[..., Response]:
    def serve(**path: str) -> Response:
        try:
            # Not `request.method`, which is in upper case whatever was sent.
            operation = resource.operation(request.environ["REQUEST_METHOD"])
            endpoint = operation.endpoint
            caller = operation.admit(request.remote_addr)
            body = _read_body(endpoint)
            query = request.environ.get("QUERY_STRING", "").encode("latin-1")
            inputs = endpoint.read(path, query, body)
            content = tenancy.run(endpoint.run, caller, inputs)
        except PROBLEM_ERRORS as error:
            if (response := problem_response(error)) is None:
                raise
            return response
        response = Response(content, endpoint.status, mimetype=MEDIA_TYPE)
        if not content:
            del response.headers["Content-Type"]
        return response

    return serve


def _read_body(endpoint: Endpoint) -> bytes:
    headers = request.headers
    endpoint.check_body(headers.get("Content-Type"), headers.get("Content-Length"))
    return _read_stream(MAX_BODY_SIZE, check_body_size) if endpoint.reads_body else b""


def _read_stream(limit: int, check_size: Callable[[int], None]) -> bytes:
    body = bytearray()
    try:
        while chunk := request.stream.read(limit + 1 - len(body)):
            body += chunk
            check_size(len(body))
    except RequestEntityTooLarge:  # the app's own limit is lower
        check_size(limit + 1)
    return bytes(body)


def webhook_blueprint(receiver: WebhookReceiver, path: str = WEBHOOK_PATH) -> Blueprint:
    """Return a blueprint with a webhook: what is posted there goes to the receiver as it is.

    ```python
    OrgTenancy(app, ..., exempt=["/health", WEBHOOK_PATH])
    app.register_blueprint(webhook_blueprint(receiver))
    ```

    It is written down before the answer, and answers errors as problems itself. Its path has
    to be exempt: the provider sends a signature, which is for the receiver, and no token.

    Args:
        receiver: Checks deliveries and writes them down.
        path: Where the provider posts them.
    """
    name = webhook_name(path)
    blueprint = Blueprint(name, __name__)
    blueprint.record(partial(_add_rule_of_any_method, path, name, _webhook_view(receiver)))
    return blueprint


def _webhook_view(receiver: WebhookReceiver) -> Callable[[], Response]:
    def serve() -> Response:
        try:
            method = request.environ["REQUEST_METHOD"]
            check_delivery(method, request.headers.get("Content-Length"))
            body = _read_stream(MAX_WEBHOOK_SIZE, check_delivery_size)
            receiver.receive(body, request_info(request.environ))
        except PROBLEM_ERRORS as error:
            if (response := problem_response(error)) is None:
                raise
            return response
        return Response(RECEIVED, mimetype=MEDIA_TYPE)

    return serve


def request_info(environ: WSGIEnvironment) -> RequestInfo:
    """Return what identity needs to know of a WSGI request."""
    headers = {
        name[5:].replace("_", "-").lower(): _values(name, value)
        for name, value in environ.items()
        if name.startswith("HTTP_")
    }
    return RequestInfo(
        method=environ["REQUEST_METHOD"],
        path=environ.get("PATH_INFO", "").encode("latin-1").decode(errors="replace") or "/",
        headers=headers,
        host=asked_host(headers.get("host", ())),
        query=environ.get("QUERY_STRING", ""),
    )


def _values(name: str, value: str) -> list[str]:
    # Servers join a header that was sent twice with a comma, so that one with a comma may
    # have been. Only cookies have commas in their values, and never in place of a semicolon.
    return [value] if name == "HTTP_COOKIE" else [part.strip() for part in value.split(",")]
