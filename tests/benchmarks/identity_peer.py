"""The app of fastapi-tenancy that identity is compared with.

It knows one public key, given to it in advance, and tenants that it keeps in memory.
"""

from __future__ import annotations

from types import SimpleNamespace

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from orgtenancy.community import UserProfile
from orgtenancy.testing import Signer
from tests.benchmarks.ground import Ground
from tests.benchmarks.identity_tokens import AUDIENCE


async def fastapi_tenancy_app(
    ground: Ground, engine: AsyncEngine, signer: Signer, path: str
) -> ASGIApp:
    """Return an app that answers `path` with a person of the token's organization."""
    from fastapi_tenancy import TenancyConfig, Tenant
    from fastapi_tenancy.core.context import TenantContext
    from fastapi_tenancy.isolation.schema import SchemaIsolationProvider
    from fastapi_tenancy.middleware import TenancyMiddleware
    from fastapi_tenancy.resolution.jwt import JWTTenantResolver
    from fastapi_tenancy.storage.memory import InMemoryTenantStore

    config = TenancyConfig(
        database_url=engine.url.render_as_string(hide_password=False),
        resolution_strategy="header",
        isolation_strategy="schema",
    )
    isolation = SchemaIsolationProvider(config, engine)
    store = InMemoryTenantStore()
    for o in ground.organizations:
        await store.create(Tenant(id=o.id, identifier=o.id, name=o.name, schema_name=o.schema_name))
    public = signer.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    resolver = JWTTenantResolver(
        store, public.decode(), signer.algorithm, "organization_id", AUDIENCE
    )
    manager = SimpleNamespace(resolver=resolver, config=SimpleNamespace(enable_rate_limiting=False))

    async def read(request: Request) -> Response:
        async with isolation.get_session(TenantContext.get()) as session:
            profile = await session.get(UserProfile, request.path_params["user_id"])
        assert profile is not None
        return PlainTextResponse(profile.username)

    middleware = Middleware(TenancyMiddleware, manager=manager)
    return Starlette(routes=[Route(path, read)], middleware=[middleware])
