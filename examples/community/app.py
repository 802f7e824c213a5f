"""The host app: FastAPI, with every request in the organization of its token."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI
from starlette.staticfiles import StaticFiles

from examples.community import api, docs, pages, problems, security, sign_in
from examples.community.identity import IdentityProvider, resolver
from examples.community.templating import environment
from orgtenancy import Tenancy
from orgtenancy.adapters.fastapi import install, lifespan

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
    app = FastAPI(
        title="Community API",
        version="1",
        description=api.DESCRIPTION,
        lifespan=lifespan(tenancy),
        docs_url=None,  # its pages load scripts from elsewhere; `docs.py` has one that does not
        redoc_url=None,
    )
    provider = IdentityProvider()
    app.state.provider = provider
    app.state.templates = environment()

    # This line is what makes the app multi-tenant.
    install(app, tenancy, resolver=resolver(provider), exempt=_WITHOUT_ORGANIZATION)
    # What is added later is further outside.
    app.add_middleware(security.SameOrigin)
    problems.install(app)
    app.add_middleware(security.SecureHeaders)

    app.include_router(api.router)
    app.include_router(docs.router)
    app.include_router(sign_in.router)
    app.include_router(pages.router)
    app.mount("/static", StaticFiles(directory=Path(__file__).parent / "static"))
    return app
