"""One API in three hosts, which are asked the same and must answer the same."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from wsgiref.types import WSGIApplication

from fastapi import FastAPI
from flask import Flask
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Mount
from starlette.types import ASGIApp

from orgtenancy import Organization, Tenancy
from orgtenancy.adapters.fastapi import install, module_router
from orgtenancy.adapters.flask import OrgTenancy, module_blueprint
from orgtenancy.adapters.starlette import OrganizationMiddleware, module_routes
from orgtenancy.identity import Resolver
from tests.adapters import asgi, wsgi
from tests.adapters.asgi import Answer

COMPARED = ("content-type", "content-length", "www-authenticate", "allow", "retry-after")


def fastapi_app(tenancy: Tenancy, resolver: Resolver) -> ASGIApp:
    app = FastAPI()
    install(app, tenancy, resolver=resolver)
    app.include_router(module_router(tenancy), prefix="/api")
    return app


def starlette_app(tenancy: Tenancy, resolver: Resolver) -> ASGIApp:
    middleware = Middleware(OrganizationMiddleware, tenancy=tenancy, resolver=resolver)
    return Starlette(routes=[Mount("/api", routes=module_routes(tenancy))], middleware=[middleware])


def flask_app(tenancy: Tenancy, resolver: Resolver) -> WSGIApplication:
    app = Flask(__name__)
    OrgTenancy(app, tenancy=tenancy, resolver=resolver)
    app.register_blueprint(module_blueprint(tenancy), url_prefix="/api")
    return app


@dataclass
class Host:
    """An app, and how to send it a request."""

    name: str
    organization: Organization
    send: Callable[..., Answer]


@dataclass
class Hosts:
    """All of them, each with an organization of its own."""

    each: list[Host]
    member: Callable[..., dict[str, str]]

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        user: str = "alice",
        scope: str = "",
        anonymous: bool = False,
        headers: dict[str, str] | None = None,
        **options: Any,
    ) -> Answer:
        """Send one request to all, and return what all of them answered.

        Args:
            method: The HTTP method.
            path: With the query string, below `/api`.
            body: Values to send as JSON, or the bytes themselves, in one or more pieces.
            user: Who asks.
            scope: What the user was granted.
            anonymous: Whether to send no token.
            headers: More of them.
            options: `client`, the address.
        """
        pieces, more = _body(body)
        answers = [
            host.send(
                method,
                f"/api{path}",
                {
                    **({} if anonymous else self.member(host.organization, user, scope)),
                    **more,
                    **(headers or {}),
                },
                body=pieces,
                **options,
            )
            for host in self.each
        ]
        first, *others = answers
        for other, host in zip(others, self.each[1:], strict=True):
            assert compared(other) == compared(first), host.name
        return first


def make_hosts(
    tenancy: Tenancy,
    resolver: Resolver,
    organizations: Sequence[Organization],
    member: Callable[..., dict[str, str]],
    runner: asyncio.Runner,
) -> Hosts:
    def over_asgi(app: ASGIApp) -> Callable[..., Answer]:
        return lambda *args, **options: runner.run(asgi.request(app, *args, **options))

    def over_wsgi(app: WSGIApplication) -> Callable[..., Answer]:
        return lambda *args, **options: wsgi.request(app, *args, **options)

    sends = {
        "fastapi": over_asgi(fastapi_app(tenancy, resolver)),
        "starlette": over_asgi(starlette_app(tenancy, resolver)),
        "flask": over_wsgi(flask_app(tenancy, resolver)),
    }
    each = [
        Host(name, organization, send)
        for (name, send), organization in zip(sends.items(), organizations, strict=True)
    ]
    return Hosts(each, member)


def _body(body: Any) -> tuple[Sequence[bytes], dict[str, str]]:
    if body is None:
        return [b""], {}
    if isinstance(body, list) and body and isinstance(body[0], bytes):
        return body, {"content-type": "application/json"}
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return [raw], {"content-type": "application/json", "content-length": str(len(raw))}


def compared(answer: Answer) -> tuple[Any, ...]:
    headers = {name: answer.headers.get(name) for name in COMPARED}
    return answer.status, headers, answer.body
