"""Flask on a real server: what goes on after a request belongs to its organization."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from threading import Event, Thread

import httpx
import pytest
from flask import Flask, Response, stream_with_context

from orgtenancy import Organization, OrgTenancyError, Tenancy, copy_context, embedded
from orgtenancy.adapters.flask import OrgTenancy, stream_with_organization
from orgtenancy.context import current_organization
from tests.propagation.servers import Believing, serving_wsgi
from tests.propagation.support import bound, eventually, marks, note, wait_for, write, written

pytestmark = pytest.mark.slow

Two = tuple[Organization, Organization]


class Work:
    """An app, and what goes on after its requests have ended."""

    def __init__(self, tenancy: Tenancy) -> None:
        self.tenancy = tenancy
        self.may_go_on = Event()
        self.refused: list[str] = []
        self.app = app = Flask(__name__)
        OrgTenancy(app, tenancy=tenancy, resolver=Believing(), exempt=["/look"])
        app.add_url_rule("/start", view_func=self.start)
        app.add_url_rule("/stream", view_func=self.stream)
        app.add_url_rule("/stream/plain", view_func=self.stream_plain)
        app.add_url_rule("/look", view_func=bound, endpoint="look")

    def later(self, mark: str) -> None:
        assert self.may_go_on.wait(30)
        self.try_to_write(mark)

    def try_to_write(self, mark: str) -> None:
        try:
            write(self.tenancy, mark)
        except OrgTenancyError as error:
            self.refused.append(f"{mark}: {type(error).__name__}")

    def start(self) -> Response:
        """Start threads, and leave work for the moment when the response was sent."""
        Thread(target=copy_context(self.later), args=("copied thread",)).start()
        Thread(target=self.later, args=("plain thread",)).start()
        response = Response("{}", mimetype="application/json")
        copied = copy_context(self.try_to_write)
        response.call_on_close(lambda: copied("copied on close"))
        response.call_on_close(lambda: self.try_to_write("plain on close"))
        return response

    def stream(self) -> Response:
        return Response(stream_with_organization(self.lines()))

    def stream_plain(self) -> Response:
        return Response(stream_with_context(self.plain_lines()))

    def lines(self) -> Iterator[str]:
        write(self.tenancy, "line 1")
        yield f"{current_organization().id}\n"
        self.later("line 2")
        yield f"{current_organization().id}\n"

    def plain_lines(self) -> Iterator[str]:
        yield "begun\n"
        self.try_to_write("plain stream")
        yield "ended\n"


@pytest.fixture
def work(server: embedded.EmbeddedServer, tenancy: Tenancy) -> Iterator[Work]:
    """The app, with a tenancy of its own."""
    with Tenancy(server.url) as own:
        work = Work(own)
        yield work
        work.may_go_on.set()


def client_of(address: str, organization: Organization) -> httpx.Client:
    headers = {"x-organization": organization.id, "x-user": "ann"}
    return httpx.Client(base_url=f"http://{address}", headers=headers, timeout=30)


@pytest.mark.parametrize("threaded", [True, False])
def test_what_a_request_started_goes_on_for_its_organization_or_is_refused(
    work: Work, tenancy: Tenancy, two_organizations: Two, threaded: bool
) -> None:
    with serving_wsgi(work.app, threaded=threaded) as address:
        for organization in two_organizations:
            with client_of(address, organization) as client:
                assert client.get("/start").json() == {}
        nothing = {"organization": None, "actor": None, "session": False}
        assert httpx.get(f"http://{address}/look").json() == nothing
        work.may_go_on.set()
        for organization in two_organizations:
            wait_for(tenancy, organization, "copied on close", "copied thread")
            assert written(tenancy, organization) == [
                note(organization, mark, "http:127.0.0.1")
                for mark in ("copied on close", "copied thread")
            ]
        eventually(lambda: len(work.refused) == 4)
    assert sorted(work.refused) == [
        f"plain {place}: OrganizationContextMissing"
        for place in ("on close", "on close", "thread", "thread")
    ]


def test_streams_of_two_organizations_at_once_stay_apart(
    work: Work, tenancy: Tenancy, two_organizations: Two
) -> None:
    with serving_wsgi(work.app, threaded=True) as address, ExitStack() as entered:
        streams = []
        for organization in two_organizations:
            client = entered.enter_context(client_of(address, organization))
            response = entered.enter_context(client.stream("GET", "/stream"))
            lines = response.iter_lines()
            assert next(lines) == organization.id
            streams.append(lines)
        work.may_go_on.set()
        for organization, lines in zip(two_organizations, streams, strict=True):
            assert list(lines) == [organization.id]
    for organization in two_organizations:
        assert written(tenancy, organization) == [
            note(organization, mark, "http:127.0.0.1") for mark in ("line 1", "line 2")
        ]


def test_a_stream_of_flask_s_own_is_refused(
    work: Work, tenancy: Tenancy, organization: Organization
) -> None:
    with (
        serving_wsgi(work.app, threaded=False) as address,
        client_of(address, organization) as client,
    ):
        assert client.get("/stream/plain").text == "begun\nended\n"
    assert work.refused == ["plain stream: OrganizationContextMissing"]
    assert marks(tenancy, organization) == []
