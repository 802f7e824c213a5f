"""The JSON API: the community's own, and what only this demo has."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Security
from pydantic import BaseModel, ConfigDict, Field

from examples.community.identity import LIFETIME, IdentityProvider
from examples.community.people import all_people
from orgtenancy import Tenancy
from orgtenancy.adapters.fastapi import (
    CurrentActor,
    CurrentOrganization,
    bearer,
    module_router,
    problem_responses,
)
from orgtenancy.errors import AccessDenied

DESCRIPTION = """\
Every request works in the one organization that its token names, and PostgreSQL refuses
the others. Ask for a token and send it along, as below; in a browser where somebody is
signed in, addresses to read from work as they are.
"""

demo = APIRouter(tags=["demo"])


class TokenRequest(BaseModel):
    """Whose token, and for which organization."""

    username: str = Field(examples=["mateo.fuentes"])
    organization: str = Field(examples=["northwind"])


class Token(BaseModel):
    """A token of the demo's identity provider."""

    access_token: str
    token_type: str = "Bearer"  # noqa: S105 - no secret
    expires_in: int = LIFETIME


class Me(BaseModel):
    """Who asks, and where."""

    model_config = ConfigDict(frozen=True)

    user_id: str
    organization_id: str
    organization_name: str
    scopes: list[str]


def router(tenancy: Tenancy) -> APIRouter:
    """Return everything below `/api`."""
    whole = APIRouter(prefix="/api")
    whole.include_router(demo)
    # This line is the API: all endpoints of the community, with their documentation.
    whole.include_router(module_router(tenancy))
    return whole


@demo.post("/token", summary="Return a token for a member, without a password.")
async def create_token(request: Request, wanted: TokenRequest) -> Token:
    """Stands in for the identity provider."""
    provider: IdentityProvider = request.app.state.provider
    for person in all_people().values():
        if person.username == wanted.username:
            return Token(access_token=provider.token(person, wanted.organization))
    raise AccessDenied("there is no such person")


_needs_token: Any = {"dependencies": [Security(bearer)], "responses": problem_responses(401)}


@demo.get("/me", summary="Say who the token is for, and where.", **_needs_token)
async def read_me(actor: CurrentActor, organization: CurrentOrganization) -> Me:
    """The scopes are those of this organization."""
    return Me(
        user_id=actor.id,
        organization_id=organization.id,
        organization_name=organization.name,
        scopes=sorted(actor.scopes),
    )
