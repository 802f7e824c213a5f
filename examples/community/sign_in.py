"""Signing in as one of the people, and switching the organization. No passwords: a demo."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Form, Request
from starlette.responses import RedirectResponse, Response

from examples.community.identity import COOKIE, IdentityProvider, remember
from examples.community.people import all_people, all_texts, members_of
from examples.community.templating import render
from orgtenancy.adapters.fastapi import CurrentActor
from orgtenancy.errors import AccessDenied

router = APIRouter(include_in_schema=False)


@router.get("/sign-in")
async def choose_person(request: Request) -> Response:
    """Show who one can be."""
    in_both = [person for person in all_people().values() if len(person.organizations) > 1]
    organizations = [
        (texts, [person for person in members_of(texts.id) if person not in in_both])
        for texts in all_texts()
    ]
    return render(request, "sign_in.html", in_both=in_both, organizations=organizations)


@router.post("/sign-in")
async def sign_in(
    request: Request, person: Annotated[str, Form()], organization: Annotated[str, Form()]
) -> Response:
    """Become a person in one of their organizations."""
    return enter(request, person, organization)


@router.post("/switch")
async def switch(
    request: Request, organization: Annotated[str, Form()], actor: CurrentActor
) -> Response:
    """Go to another organization: the same person, but a new token."""
    return enter(request, actor.id, organization)


@router.post("/sign-out")
async def sign_out() -> Response:
    """Forget who it was."""
    response = RedirectResponse("/sign-in", HTTPStatus.SEE_OTHER)
    response.delete_cookie(COOKIE)
    return response


def enter(request: Request, person_id: str, organization_id: str) -> Response:
    """Give the browser a token for an organization; only members get one."""
    provider: IdentityProvider = request.app.state.provider
    person = all_people().get(person_id)
    if person is None:
        raise AccessDenied("there is no such person")
    response = RedirectResponse("/", HTTPStatus.SEE_OTHER)
    remember(response, provider.token(person, organization_id))
    return response
