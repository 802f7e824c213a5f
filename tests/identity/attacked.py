"""An app of each framework that only the right token may reach."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeAlias

from fastapi import FastAPI
from flask import Flask
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from orgtenancy import Tenancy, current_organization
from orgtenancy.adapters.fastapi import install
from orgtenancy.adapters.flask import OrgTenancy
from orgtenancy.adapters.starlette import OrganizationMiddleware
from orgtenancy.identity import Resolver
from tests.adapters import asgi, wsgi
from tests.adapters.asgi import Answer

FRAMEWORKS = ("starlette", "fastapi", "flask")

#: Sends a token, and returns the answer.
Send: TypeAlias = Callable[[str], Answer]

#: The organizations whose endpoint was reached.
reached: list[str] = []


def sender(framework: str, tenancy: Tenancy, resolver: Resolver, runner: asyncio.Runner) -> Send:
    """Make an app, and return what sends tokens to it."""
    if framework == "flask":
        app = _flask(tenancy, resolver)
        return lambda token: wsgi.request(app, "GET", "/", _bearer(token))
    served = (_starlette if framework == "starlette" else _fastapi)(tenancy, resolver)
    return lambda token: runner.run(asgi.request(served, "GET", "/", _bearer(token)))


def _bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def _reach() -> str:
    reached.append(current_organization().id)
    return ""


async def _endpoint(request: Request) -> Response:
    return PlainTextResponse(_reach())


def _starlette(tenancy: Tenancy, resolver: Resolver) -> Starlette:
    middleware = Middleware(OrganizationMiddleware, tenancy=tenancy, resolver=resolver)
    return Starlette(routes=[Route("/", _endpoint)], middleware=[middleware])


def _fastapi(tenancy: Tenancy, resolver: Resolver) -> FastAPI:
    app = FastAPI()
    install(app, tenancy, resolver=resolver)
    app.get("/")(_reach)
    return app


def _flask(tenancy: Tenancy, resolver: Resolver) -> Flask:
    app = Flask(__name__)
    OrgTenancy(app, tenancy=tenancy, resolver=resolver)
    app.get("/")(_reach)
    return app
