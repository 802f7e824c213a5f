"""`orgtenancy prove`: a host's app and functions, attacked from the command line."""

from __future__ import annotations

import json

import pytest
from typer.testing import Result

from tests.cli.projects import Project

HOST = """\
import os
import time

from sqlalchemy import text
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import JSONResponse
from starlette.routing import Route

from HOST import shop
from orgtenancy import Settings, Tenancy
from orgtenancy.adapters.starlette import OrganizationMiddleware, lifespan
from orgtenancy.identity import StaticKeys, logto
from orgtenancy.testing import Signer, key_set
from orgtenancy.testing.isolation import AppUnderProof


tenancy = Tenancy(
    os.environ["HOST_URL"],
    admin_url=os.environ["HOST_ADMIN_URL"],
    modules=[shop],
    settings=Settings(listen=False),
)
cache = {}


def names(session):
    return list(session.scalars(text("SELECT name FROM items")))


async def items(request):
    async with tenancy.session() as session:
        return JSONResponse(await session.run_sync(names))


async def remembered(request):
    async with tenancy.session() as session:
        return JSONResponse(cache.setdefault("names", await session.run_sync(names)))


async def describe(request):
    return JSONResponse({"paths": {"/items": {"get": {}}}})


signer = Signer("key")
resolver = logto("https://issuer.example", audiences=["https://api.example.com"]).resolver(
    StaticKeys(key_set(signer))
)


def headers(organization):
    claims = {
        "iss": "https://issuer.example/oidc",
        "aud": "https://api.example.com",
        "sub": "alice",
        "exp": time.time() + 3600,
        "iat": time.time(),
        "organization_id": organization,
    }
    return {"authorization": "Bearer " + signer.sign(claims)}


app = Starlette(
    routes=[
        Route("/items", items),
        Route("/remembered", remembered),
        Route("/openapi.json", describe),
    ],
    middleware=[
        Middleware(
            OrganizationMiddleware,
            tenancy=tenancy,
            resolver=resolver,
            exempt=["/openapi.json"],
        )
    ],
    lifespan=lifespan(tenancy),
)


def plant(session, mark):
    session.execute(text("INSERT INTO items VALUES (1, :mark)"), {"mark": mark})


described = AppUnderProof(app, headers, plant=plant, requests=["/items"])
no_app = "a text"
"""


@pytest.fixture
def host(installed: Project) -> str:
    """The name of a host's module with an app on the project's database."""
    installed.add_revision("op.execute('ALTER TABLE items ADD COLUMN name text')")
    name = f"{installed.host}_web"
    (installed.folder / f"{name}.py").write_text(
        HOST.replace("HOST import", f"{installed.host} import")
    )
    return name


def prove(project: Project, host: str, *options: str) -> Result:
    given = (one.replace("WEB:", f"{host}:") for one in options)
    return project.run("--app", f"{host}:tenancy", "prove", "--own-only", *given)


@pytest.mark.slow
def test_an_app_that_holds_ends_with_0(installed: Project, host: str) -> None:
    result = prove(
        installed,
        host,
        "--app",
        "WEB:app",
        "--as",
        "WEB:headers",
        "--plant",
        "WEB:plant",
        "--callable",
        "WEB:names",
        "--request",
        "/items",
    )
    assert result.exit_code == 0, result.output
    header, *lines = result.stdout.splitlines()
    assert header.split("\t") == ["VERDICT", "GROUP", "LEAK", "EVIDENCE"]
    assert {line.split("\t")[1] for line in lines[:-1]} == {"requests", "callables"}
    assert lines[-1].endswith("0 broken, 0 unclear, 2 left out")


@pytest.mark.slow
def test_it_says_before_it_begins_what_it_does_to_the_database(
    installed: Project, host: str
) -> None:
    result = prove(installed, host, "--callable", "WEB:names", "--plant", "WEB:plant")
    first, *_ = result.stderr.splitlines()
    assert first.startswith("two organizations, proof-..., are made and dropped in the database")
    assert installed.ok("org", "list") == {"organizations": []}


@pytest.mark.slow
def test_an_app_that_leaks_ends_with_1_and_says_how(installed: Project, host: str) -> None:
    result = prove(
        installed,
        host,
        "--app",
        "WEB:app",
        "--as",
        "WEB:headers",
        "--plant",
        "WEB:plant",
        "--request",
        "/remembered",
        "--json",
    )
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert not document["is_held"]
    assert document["counts"]["broken"] > 5
    broken = [one for one in document["findings"] if one["verdict"] == "broken"]
    assert broken[0]["evidence"].startswith("GET /remembered: proof-")


@pytest.mark.slow
def test_without_requests_those_of_the_openapi_document_are_sent(
    installed: Project, host: str
) -> None:
    result = prove(
        installed,
        host,
        "--app",
        "WEB:app",
        "--as",
        "WEB:headers",
        "--plant",
        "WEB:plant",
    )
    assert result.exit_code == 0, result.output
    assert "of them with their own mark" in result.stdout


@pytest.mark.slow
def test_what_shows_no_mark_proves_nothing(installed: Project, host: str) -> None:
    result = prove(installed, host, "--app", "WEB:app", "--as", "WEB:headers")
    assert result.exit_code == 1
    assert "no answer shows a mark" in result.stdout


@pytest.mark.slow
def test_an_app_may_say_itself_how_it_is_asked(installed: Project, host: str) -> None:
    result = prove(installed, host, "--app", "WEB:described")
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "for an app or callables"),
        (("--app", "WEB:app"), "--app needs --as"),
        (("--callable", "WEB:names", "--request", "/items"), "for an --app after `prove`"),
        (("--app", "WEB:described", "--as", "WEB:headers"), "says itself how it is asked"),
    ],
)
def test_a_command_line_that_lacks_something_ends_with_2(
    installed: Project, host: str, options: tuple[str, ...], message: str
) -> None:
    result = prove(installed, host, *options)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.replace("│", " ").split())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--callable", "WEB:no_app"), "no function"),
        (("--callable", "WEB:nothing"), "nothing"),
        (("--app", "WEB:no_app", "--as", "WEB:headers"), "neither an ASGI app"),
    ],
)
def test_what_is_no_app_or_function_ends_with_1(
    installed: Project, host: str, options: tuple[str, ...], message: str
) -> None:
    result = prove(installed, host, *options)
    assert result.exit_code == 1
    assert message in result.stderr
