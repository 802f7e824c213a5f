"""The host app: FastAPI, with every request in the organization of its token."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI
from starlette.staticfiles import StaticFiles

from examples.community import api, docs, live, pages, problems, security, sign_in
from examples.community.identity import IdentityProvider, resolver
from examples.community.news import announcing
from examples.community.templating import environment
from orgtenancy import Tenancy
from orgtenancy.adapters.fastapi import install

_WITHOUT_ORGANIZATION = [
    "/api/token",
    "/docs",
    "/openapi.json",
    "/sign-in",
    "/sign-out",
    "/static/*",
]


def create_app(tenancy: Tenancy) -> FastAPI:
    """Return the app; its organizations have been provisioned."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with tenancy, live.Hub(tenancy.engine.url) as app.state.hub:
            with announcing():
                yield

    app = FastAPI(
        title="Community API",
        version="1",
        description=api.DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,  # its pages load scripts from elsewhere; `docs.py` has one that does not
        redoc_url=None,
    )
    provider = IdentityProvider()
    app.state.provider = provider
    app.state.tenancy = tenancy
    app.state.templates = environment()

    # This line is what makes the app multi-tenant.
    install(app, tenancy, resolver=resolver(provider), exempt=_WITHOUT_ORGANIZATION)
    # What is added later is further outside.
    app.add_middleware(security.SameOrigin)
    problems.install(app)
    app.add_middleware(security.SecureHeaders)

    app.include_router(api.router(tenancy))
    for chapter in (docs, sign_in, live, pages):
        app.include_router(chapter.router)
    app.mount("/static", StaticFiles(directory=Path(__file__).parent / "static"))
    return app
