"""What the OpenAPI document says is what the API does, and nobody sees the other organization.

Schemathesis makes requests from the document that the FastAPI app serves; ids that exist, in
the caller's organization and in the other one, stand in for some of what it makes. They are
sent in this process: a server would add sockets, and nothing that is asked here.

An answer to a person of one organization must not hold an id of the other's rows, even where
the request named it: errors do not echo ids. A person of the other side whom a request may
name (`Side.named`) is an exception, since a subject is a text that anybody can write down:
whoever is banned or invited under it stands in the lists then. Their name, and whoever was
never named, are no exception.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from collections import Counter
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, note, seed, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from starlette.types import ASGIApp

from orgtenancy import Tenancy
from orgtenancy.community import community
from orgtenancy.identity import TokenResolver
from tests.adapters import asgi
from tests.adapters.asgi import Answer
from tests.adapters.hosts import fastapi_app
from tests.api.conftest import token_of
from tests.api.player import MODERATOR as MODERATOR_SCOPE
from tests.api.seeding import MEMBER, MODERATOR, Side
from tests.api.seeding import seed as seed_rows

#: What the slow test takes, in seconds.
BUDGET = float(os.environ.get("ORGTENANCY_FUZZING_SECONDS", "180"))

CHECKS: list[Any] = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
_SETTINGS = settings(
    deadline=None, database=None, print_blob=False, suppress_health_check=list(HealthCheck)
)
_READS_FIRST = ("GET", "POST", "PUT", "PATCH", "DELETE")

#: Which fields of a request are fed with something that exists, and of which kind.
_FED = {
    "group_id": "group",
    "post_id": "post",
    "comment_id": "comment",
    "parent_comment_id": "comment",
    "conversation_id": "conversation",
    "message_id": "message",
    "entity_id": "post",
    "user_id": "user",
    "username": "user",
    "participants": "users",
    "user_ids": "users",
    "tag": "word",
    "q": "word",
    "media_url": "url",
    "avatar_url": "url",
}

#: What is fed of kinds that are nobody's.
_COMMON = {"word": ["rope"], "url": ["https://pictures.example/1"]}


class Fuzzer:
    """Asks an app whatever the document allows, and what it does not."""

    def __init__(self, tenancy: Tenancy, app: ASGIApp, document: Any, runner: asyncio.Runner):
        self.tenancy = tenancy
        self.app = app
        self.runner = runner
        self.outcomes: Counter[tuple[str, int]] = Counter()
        self.probes: Counter[str] = Counter()
        schema = schemathesis.openapi.from_dict(document)
        self.operations = sorted(
            (found.ok() for found in schema.get_all_operations() if isinstance(found, Ok)),
            key=lambda operation: _READS_FIRST.index(operation.method.upper()),
        )
        self.sides: tuple[Side, Side]

    def seed(self) -> None:
        """Make two fresh organizations, full of rows."""
        made = []
        for name in ("north", "south"):
            organization = self.tenancy.schemas.provision(f"t{uuid4().hex[:12]}")
            marker = f"{name}{uuid4().hex[:6]}"
            made.append(Side(organization, marker, named=f"{name[0]}named{uuid4().hex[:6]}"))
            with self.tenancy.session(organization) as session:
                seed_rows(session, made[-1])
        self.sides = (made[0], made[1])

    def run(self, examples: int, mode: GenerationMode, number: int | None) -> None:
        """Try every operation with some examples; by a seed, in an order of its own."""
        operations = [*self.operations]
        if number is not None:
            random.Random(number).shuffle(operations)
        for operation in operations:
            if mode is GenerationMode.NEGATIVE and not _has_inputs(operation):
                continue
            reads = operation.method.upper() == "GET"
            budget = settings(
                _SETTINGS,
                # What shows the most is asked the most.
                max_examples=2 * examples if reads else examples,
                derandomize=number is None,
            )

            @budget
            @given(case=operation.as_strategy(generation_mode=mode), data=st.data())
            def ask(case: Case[Any], data: st.DataObject) -> None:
                self.ask(case, data)

            (ask if number is None else seed(number)(ask))()

    def ask(self, case: Case[Any], data: st.DataObject) -> None:
        here, there = data.draw(st.sampled_from([self.sides, self.sides[::-1]]))
        moderating = data.draw(st.booleans())
        self._feed(case, data, here, there)
        user, scope = (MODERATOR, MODERATOR_SCOPE) if moderating else (MEMBER, "")
        token = token_of(here.organization.id, user, scope)
        kwargs = case.as_transport_kwargs(base_url="http://app.example")
        prepared = requests.Request(**kwargs).prepare()
        # Bad credentials are among what it makes up, and would end most of the others.
        if data.draw(st.integers(0, 9)) < 9 or "authorization" not in prepared.headers:
            prepared.headers["Authorization"] = f"Bearer {token}"
        answer = self.runner.run(_send(self.app, prepared))
        name = case.operation.definition.raw["operationId"]
        self.outcomes[name, answer.status] += 1
        note(f"{user} of {here.marker}: {prepared.method} {prepared.url} {prepared.body!r}")
        note(f"{answer.status} {answer.text}")
        leaked = there.leaks_in(answer.text)
        if answer.status >= 400:
            leaked |= {there.named} if there.named in answer.text else set()
        assert not leaked, f"{name} shows {leaked} of the other organization"
        here.note(answer.text)
        headers = {key: [value] for key, value in answer.headers.items()}
        response = schemathesis.Response(
            answer.status, headers, answer.body, prepared, elapsed=0.0, verify=False
        )
        case.validate_response(response, checks=CHECKS)

    def _feed(self, case: Case[Any], data: st.DataObject, here: Side, there: Side) -> None:
        """Put ids that exist in the place of some that were made up."""

        def chosen(field: str, value: Any) -> Any:
            kind = _FED.get(field)
            side = data.draw(st.sampled_from([here, there, here, there, here, None]))
            if kind is None or side is None:
                return value
            if kind in _COMMON:
                return data.draw(st.sampled_from(_COMMON[kind]))
            if kind.startswith("user"):
                known = [side.named] if side is there else side.people
            else:
                known = side.ids[kind]
            self.probes["own" if side is here else "foreign"] += 1
            found = data.draw(st.sampled_from(known))
            return [found] if kind == "users" else found

        parts: list[Any] = [case.path_parameters, case.query, case.body]
        for part in parts:
            if isinstance(part, dict):
                part.update({f: chosen(f, value) for f, value in part.items() if f in _FED})
        # Most made-up cursors say the same: that they were made up.
        if "cursor" in case.query and data.draw(st.integers(0, 3)):
            del case.query["cursor"]


async def _send(app: ASGIApp, prepared: requests.PreparedRequest) -> Answer:
    parts = urlsplit(str(prepared.url))
    path = f"{parts.path}?{parts.query}" if parts.query else parts.path
    body: Any = prepared.body or b""
    raw = body.encode() if isinstance(body, str) else bytes(body)
    headers = {name.lower(): str(value) for name, value in prepared.headers.items()}
    return await asgi.request(app, str(prepared.method), path, headers, body=[raw])


def _has_inputs(operation: Any) -> bool:
    return bool([*operation.path_parameters, *operation.query, *operation.body])


@pytest.fixture
def fuzzer(tenancy: Tenancy, tokens: TokenResolver, event_loop_runner: asyncio.Runner) -> Fuzzer:
    app = fastapi_app(tenancy, tokens)
    served = event_loop_runner.run(asgi.request(app, "GET", "/openapi.json"))
    document = json.loads(served.body)
    for path in [path for path in document["paths"] if "/notes" in path]:
        del document["paths"][path]  # of the tests' own module
    fuzzer = Fuzzer(tenancy, app, document, event_loop_runner)
    fuzzer.seed()
    return fuzzer


def test_every_endpoint_is_tried(fuzzer: Fuzzer) -> None:
    names = {operation.definition.raw["operationId"] for operation in fuzzer.operations}
    assert names == {endpoint.name for endpoint in community.endpoints}


@pytest.mark.slow
def test_answers_are_as_documented_and_of_one_organization(fuzzer: Fuzzer) -> None:
    fuzzer.run(2, GenerationMode.POSITIVE, None)
    fuzzer.run(1, GenerationMode.NEGATIVE, None)
    _report(fuzzer)
    # Nothing is proven by what never happened.
    assert fuzzer.probes["foreign"] > 50
    worked = {name for name, status in fuzzer.outcomes if status < 300}
    assert worked >= {e.name for e in community.endpoints if e.method == "GET"}


@pytest.mark.slow
def test_answers_are_as_documented_and_of_one_organization_for_long(fuzzer: Fuzzer) -> None:
    began = time.monotonic()
    number = int(os.environ.get("ORGTENANCY_FUZZING_SEED", random.SystemRandom().randrange(2**32)))
    while time.monotonic() - began < BUDGET:
        print(f"ORGTENANCY_FUZZING_SEED={number}")
        fuzzer.seed()
        fuzzer.run(10, GenerationMode.POSITIVE, number)
        fuzzer.run(4, GenerationMode.NEGATIVE, number)
        number += 1
    _report(fuzzer)


def _report(fuzzer: Fuzzer) -> None:
    statuses = Counter[int]()
    for (_, status), times in fuzzer.outcomes.items():
        statuses[status] += times
    print(f"\n{sum(statuses.values())} requests: {dict(sorted(statuses.items()))}")
    print(f"ids of the caller's and of the other organization: {dict(fuzzer.probes)}")
    worked = {name for name, status in fuzzer.outcomes if status < 300}
    print(f"without a success: {sorted({e.name for e in community.endpoints} - worked)}")
