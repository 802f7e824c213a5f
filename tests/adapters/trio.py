"""An app of each framework with routes of its own, which are asked the same."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI
from flask import Flask
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

from orgtenancy import Tenancy
from orgtenancy.adapters.fastapi import install
from orgtenancy.adapters.flask import OrgTenancy
from orgtenancy.adapters.starlette import OrganizationMiddleware, exception_handlers
from orgtenancy.identity import Resolver
from tests.adapters import asgi, wsgi
from tests.adapters.asgi import Answer
from tests.adapters.hosts import compared

FRAMEWORKS = ("starlette", "fastapi", "flask")


@dataclass
class Trio:
    """The apps; a test adds its routes to each of them."""

    starlette: Starlette
    fastapi: FastAPI
    flask: Flask
    runner: asyncio.Runner

    def send(self, name: str, *args: Any, **options: Any) -> Answer:
        """Send a request to one of them."""
        if name == "flask":
            return wsgi.request(self.flask, *args, **options)
        app: ASGIApp = getattr(self, name)
        return self.runner.run(asgi.request(app, *args, **options))

    def ask(self, *args: Any, **options: Any) -> Answer:
        """Send a request to all of them, and return what all of them answered."""
        first, *others = [self.send(name, *args, **options) for name in FRAMEWORKS]
        for other, name in zip(others, FRAMEWORKS[1:], strict=True):
            assert compared(other) == compared(first), name
        return first


MakeTrio = Callable[..., Trio]


def make_trio(tenancy: Tenancy, resolver: Resolver, runner: asyncio.Runner, **options: Any) -> Trio:
    middleware = Middleware(OrganizationMiddleware, tenancy=tenancy, resolver=resolver, **options)
    starlette = Starlette(middleware=[middleware], exception_handlers=exception_handlers)
    fastapi = FastAPI()
    install(fastapi, tenancy, resolver=resolver, **options)
    flask = Flask(__name__)
    OrgTenancy(flask, tenancy=tenancy, resolver=resolver, **options)
    return Trio(starlette, fastapi, flask, runner)


def with_header_twice(trio: Trio, name: str, *values: str) -> Trio:
    """Return the apps as they are asked by a server that got a header several times."""

    def in_asgi(app: ASGIApp) -> Any:
        async def serve(scope: Scope, receive: Receive, send: Send) -> None:
            scope["headers"] += [(name.encode(), value.encode()) for value in values]
            await app(scope, receive, send)

        return serve

    def in_wsgi(environ: Any, start_response: Any) -> Any:
        environ[f"HTTP_{name.upper().replace('-', '_')}"] = ", ".join(values)
        return trio.flask(environ, start_response)

    asked: Any = in_wsgi
    return Trio(in_asgi(trio.starlette), in_asgi(trio.fastapi), asked, trio.runner)
