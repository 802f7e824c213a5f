"""The apps that the cost of identity is measured on: each does a little more than the last.

They answer `GET /people/{user_id}` with one row that is read by its key, and are called in
the process, as a server would call them.
"""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias, cast

import psycopg
from fastapi import FastAPI
from flask import Flask
from sqlalchemy import URL, Engine, create_engine, event
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session, sessionmaker
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from orgtenancy import Settings, Tenancy, current_session
from orgtenancy.adapters.fastapi import install
from orgtenancy.adapters.flask import OrgTenancy
from orgtenancy.adapters.starlette import OrganizationMiddleware
from orgtenancy.community import UserProfile, community
from orgtenancy.testing import LocalIssuer
from tests.benchmarks import identity_tokens
from tests.benchmarks.contenders import POOL, PREPARE_THRESHOLD, PREPARED_STATEMENTS, Item
from tests.benchmarks.ground import Ground
from tests.benchmarks.identity_clients import ask_asgi, ask_wsgi
from tests.benchmarks.identity_parts import Found, Known, Verified
from tests.benchmarks.identity_peer import fastapi_tenancy_app
from tests.benchmarks.identity_tokens import KEEP

#: The app that the others are compared with, the first part, and the app that has everything.
PLAIN, TOKEN, FULL = "no tenancy, no token", "+ token", "+ session of the organization"
PEER = "fastapi-tenancy 0.5, static key"

PATH = "/people/{user_id}"

Endpoint: TypeAlias = Callable[[Request], Awaitable[Response]]


@dataclass
class AppContender:
    """An app, and the requests that it is sent."""

    name: str
    send: Callable[[Sequence[Item]], None]
    backends: Callable[[], Iterable[int]]

    def run(self, work: Sequence[Item]) -> None:
        """Send requests."""
        self.send(work)


@dataclass
class Bench:
    """Where the apps live, and what they are asked with.

    Attributes:
        ground: The server and its organizations.
        watch: A connection of the owner.
        issuer: Whose tokens they take.
        loop: Of all that is asynchronous.
        at_once: Requests that are under way at the same time.
    """

    ground: Ground
    watch: psycopg.Connection[Any]
    issuer: LocalIssuer
    loop: asyncio.Runner
    at_once: int = 1
    _ends: list[Callable[[], object]] = field(default_factory=list)

    def __post_init__(self) -> None:
        users = [f"user-{o.id}" for o in self.ground.organizations]
        # As many connections as there are requests: one too few is opened anew each time.
        self.options: dict[str, Any] = {
            "pool_size": max(POOL, self.at_once),
            "connect_args": {"prepare_threshold": PREPARE_THRESHOLD},
        }
        self.members = {
            (user, o.id) for user, o in zip(users, self.ground.organizations, strict=True)
        }
        self.tokens = [
            identity_tokens.token(self.issuer, o.id, user)
            for user, o in zip(users, self.ground.organizations, strict=True)
        ]
        keys = self.issuer.keys(max_age=KEEP)
        self.resolver = identity_tokens.provider(self.issuer).resolver(keys)
        self.policy = Known(self.members)

    def close(self) -> None:
        """Close all connections."""
        for end in self._ends:
            end()

    def starlette(self) -> list[AppContender]:
        """Return an app for each part of the work, the one without any first."""
        plain, backends = self._plain_endpoint()
        tenancy, scoped_backends = self._tenancy("scoped")
        scoped = _scoped_endpoint(tenancy)
        entering = Middleware(OrganizationMiddleware, tenancy=tenancy, resolver=self.resolver)
        asking = Middleware(
            OrganizationMiddleware,
            tenancy=tenancy,
            resolver=self.resolver,
            membership=self.policy,
        )
        verified = Middleware(Verified, resolver=self.resolver)
        found = Middleware(Found, resolver=self.resolver, tenancy=tenancy)
        apps = [
            (PLAIN, _app(plain), backends),
            (f"{PLAIN}, again", _app(plain), backends),
            (TOKEN, _app(plain, verified), backends),
            ("+ registry", _app(plain, found), backends),
            ("+ context and problems", _app(plain, entering), backends),
            ("+ membership", _app(plain, asking), backends),
            (FULL, _app(scoped, asking), scoped_backends),
        ]
        made = [self._over_asgi(*app) for app in apps]
        return [*made, self._peer()] if importlib.util.find_spec("fastapi_tenancy") else made

    def fastapi(self) -> list[AppContender]:
        """Return an app without tenancy, and one with everything."""
        plain, backends = self._plain_endpoint()
        tenancy, scoped_backends = self._tenancy("fastapi")
        bare, full = FastAPI(), FastAPI()
        install(full, tenancy, resolver=self.resolver, membership=self.policy)
        bare.get(PATH, response_class=PlainTextResponse)(_by_id(plain))
        full.get(PATH, response_class=PlainTextResponse)(_by_id(_scoped_endpoint(tenancy)))
        return [
            self._over_asgi(PLAIN, bare, backends),
            self._over_asgi(FULL, full, scoped_backends),
        ]

    def flask(self) -> list[AppContender]:
        """Return an app without tenancy, and one with everything."""
        url, backends = self._named(self.ground.peer, "flask plain")
        engine = create_engine(url, **self.options)
        _raise_prepared(engine)
        self._ends.append(engine.dispose)
        maker = sessionmaker(engine, expire_on_commit=False)
        tenancy, scoped_backends = self._tenancy("flask")
        bare, full = Flask("bare"), Flask("full")
        OrgTenancy(full, tenancy=tenancy, resolver=self.resolver, membership=self.policy)

        @bare.get("/people/<user_id>")
        def read(user_id: str) -> str:
            with maker() as session:
                name = _name(session.get(UserProfile, user_id))
                session.commit()
            return name

        @full.get("/people/<user_id>")
        def read_scoped(user_id: str) -> str:
            return _name(cast(Session, current_session()).get(UserProfile, user_id))

        return [
            self._over_wsgi(PLAIN, bare, backends),
            self._over_wsgi(FULL, full, scoped_backends),
        ]

    def _plain_endpoint(self) -> tuple[Endpoint, Callable[[], Iterable[int]]]:
        url, backends = self._named(self.ground.peer, "plain")
        engine = create_async_engine(url, **self.options)
        _raise_prepared(engine.sync_engine)
        self._ends.append(lambda: self.loop.run(engine.dispose()))
        maker = async_sessionmaker(engine, expire_on_commit=False)

        async def read(request: Request) -> Response:
            async with maker() as session:
                profile = await session.get(UserProfile, request.path_params["user_id"])
                await session.commit()
            return PlainTextResponse(_name(profile))

        return read, backends

    def _tenancy(self, name: str) -> tuple[Tenancy, Callable[[], Iterable[int]]]:
        url, backends = self._named(self.ground.app, name)
        settings = Settings(
            pool_size=self.options["pool_size"],
            prepare_threshold=PREPARE_THRESHOLD,
            prepared_statements=PREPARED_STATEMENTS,
            registry_max_age=KEEP,  # an entry ages while the others work
        )
        tenancy = Tenancy(url, modules=[community], settings=settings)
        self._ends.append(lambda: self.loop.run(tenancy.aclose()))
        return tenancy, backends

    def _peer(self) -> AppContender:
        url, backends = self._named(self.ground.peer, "peer")
        engine = create_async_engine(url, **self.options)
        _raise_prepared(engine.sync_engine)
        self._ends.append(lambda: self.loop.run(engine.dispose()))
        making = fastapi_tenancy_app(self.ground, engine, self.issuer.signer, PATH)
        return self._over_asgi(PEER, self.loop.run(making), backends)

    def _named(self, url: URL, name: str) -> tuple[URL, Callable[[], Iterable[int]]]:
        application = f"identity {name}"
        query = "SELECT pid FROM pg_stat_activity WHERE application_name = %s"

        def backends() -> Iterable[int]:
            return [pid for (pid,) in self.watch.execute(query, [application])]

        return url.update_query_dict({"application_name": application}), backends

    def _over_asgi(
        self, name: str, app: ASGIApp, backends: Callable[[], Iterable[int]]
    ) -> AppContender:
        async def client(work: Iterable[Item]) -> None:
            for item in work:
                await ask_asgi(app, item.key, self.tokens[item.organization])

        async def send(work: Sequence[Item]) -> None:
            shared = iter(work)  # each client takes the next one
            await asyncio.gather(*(client(shared) for _ in range(self.at_once)))

        return AppContender(name, lambda work: self.loop.run(send(work)), backends)

    def _over_wsgi(
        self, name: str, app: Flask, backends: Callable[[], Iterable[int]]
    ) -> AppContender:
        def send(work: Sequence[Item]) -> None:
            for item in work:
                ask_wsgi(app, item.key, self.tokens[item.organization])

        return AppContender(name, send, backends)


def _raise_prepared(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def connected(dbapi_connection: Any, record: Any) -> None:
        record.driver_connection.prepared_max = PREPARED_STATEMENTS


def _app(endpoint: Endpoint, *middleware: Middleware) -> ASGIApp:
    return Starlette(routes=[Route(PATH, endpoint)], middleware=middleware)


def _scoped_endpoint(tenancy: Tenancy) -> Endpoint:
    async def read(request: Request) -> Response:
        async with tenancy.session() as session:
            profile = await session.get(UserProfile, request.path_params["user_id"])
        return PlainTextResponse(_name(profile))

    return read


def _by_id(endpoint: Endpoint) -> Callable[[Request, str], Awaitable[Response]]:
    async def read(request: Request, user_id: str) -> Response:
        return await endpoint(request)

    return read


def _name(profile: UserProfile | None) -> str:
    assert profile is not None
    return profile.username
