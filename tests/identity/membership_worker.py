"""Another process of the application: it answers whom it lets in.

Run as `python -m tests.identity.membership_worker URL SETTINGS`. Each line of its input is a
request, each line of its output `in`, or the name of the error.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import URL

from orgtenancy import OrgTenancyError, Settings, Tenancy
from orgtenancy.identity import Gate, HeaderResolver, OrganizationClaims, RegisteredMembers
from orgtenancy.identity.requests import RequestInfo
from orgtenancy.organizations import Actor
from tests.registry.worker import Dialogue, dialogue


class SignedIn:
    """Who the request says, with the claims of a token that was verified elsewhere."""

    def find(self, request: RequestInfo) -> Actor | None:
        claims = json.loads(request.query)
        return Actor(id=claims["sub"], claims=claims)

    async def find_async(self, request: RequestInfo) -> Actor | None:
        return self.find(request)


def answer(gate: Gate, line: str) -> str:
    asked = json.loads(line)
    headers = {"x-organization": [asked["organization"]]}
    try:
        gate.identify(RequestInfo("GET", "/", headers, query=json.dumps(asked["claims"])))
    except OrgTenancyError as error:
        return type(error).__name__
    return "in"


def ask(process: Dialogue, organization: str, **claims: object) -> str:
    """Return what the other process answers to a request with such a token."""
    process.say(json.dumps({"organization": organization, "claims": claims}))
    return process.hear()


@contextmanager
def worker(url: URL, **settings: object) -> Iterator[Dialogue]:
    """Start another process that answers whom it lets in."""
    with dialogue(
        "tests.identity.membership_worker",
        url.render_as_string(hide_password=False),
        json.dumps(settings),
    ) as process:
        yield process


def main(url: str, settings: str) -> None:
    with Tenancy(url, settings=Settings.model_validate_json(settings)) as tenancy:
        proves = OrganizationClaims(paths=(("organization_id",),))
        resolver = HeaderResolver(SignedIn(), organization=proves)
        gate = Gate(resolver, RegisteredMembers(tenancy))
        for line in sys.stdin:
            print(answer(gate, line), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
