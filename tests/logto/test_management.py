"""Logto's Management API is read with patience, and nothing is believed that is not its own."""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from pydantic import SecretStr

from orgtenancy.errors import (
    ConfigurationError,
    IdentityProviderRefused,
    IdentityProviderUnavailable,
)
from orgtenancy.identity.logto_sync import LogtoSettings, ManagementApi
from orgtenancy.identity.logto_sync.api.pacing import no_longer_than
from orgtenancy.testing import FakeLogto
from orgtenancy.testing.issuer_http import Answer, Call, LoopbackServer
from tests.logto.times import Clock

TOKEN = {"access_token": "a-token", "expires_in": 3600, "token_type": "Bearer"}
PAGE = "/api/organizations"


@pytest.fixture
def api(fake: FakeLogto, clock: Clock) -> Iterator[ManagementApi]:
    with clock.api(fake) as api:
        yield api


@pytest.fixture
def server(clock: Clock) -> Iterator[Any]:
    """Starts a server that answers with what it is given, and returns an API for it."""
    started: list[LoopbackServer] = []

    def start(answer: Answer) -> ManagementApi:
        def respond(call: Call) -> Answer:
            return Answer(200, TOKEN) if call.path == "/oidc/token" else answer

        server = LoopbackServer(respond)
        server.start()
        started.append(server)
        settings = LogtoSettings(
            endpoint=server.url, client_id="me", client_secret=SecretStr("secret")
        )
        return ManagementApi(settings, clock=clock.now, sleep=clock.sleep)

    yield start
    for server in started:
        server.stop()


def test_all_pages_are_read(fake: FakeLogto, clock: Clock) -> None:
    made = {fake.data.create_organization(f"Acme {n}") for n in range(25)}
    with clock.api(fake, page_size=10) as api:
        listing = api.organizations()
    assert (set(listing.items), listing.totals, listing.is_whole) == (made, (25, 25), True)
    assert fake.requests(PAGE) == 3
    assert fake.requests("/oidc/token") == 1


def test_no_organization_is_one_page(api: ManagementApi, fake: FakeLogto) -> None:
    assert api.organizations().is_whole
    assert fake.requests(PAGE) == 1


def test_pages_that_shift_are_no_whole_list(fake: FakeLogto, clock: Clock) -> None:
    first, *_ = [fake.data.create_organization(f"Acme {n}") for n in range(30)]
    newest = fake.data.organizations()[0]["id"]
    fake.shift_while_read(lambda: fake.data.delete_organization(newest))
    with clock.api(fake, page_size=10) as api:
        listing = api.organizations()
        assert (listing.totals, listing.is_whole) == ((30, 29), False)
        assert len(listing.items) == 29  # one that is gone is in it, and another is missed
        assert api.organizations().is_whole
    assert first in listing.items


def test_an_organization_is_asked_for_by_its_id(api: ManagementApi, fake: FakeLogto) -> None:
    made = fake.data.create_organization("Acme", custom_data={"plan": "pro"})
    found = api.organization(made)
    assert found is not None
    assert (found.id, found.name, found.custom_data) == (made, "Acme", {"plan": "pro"})
    assert found.data == fake.data.organization(made)
    assert api.organization("elsewhere") is None


def test_members_and_users_are_read(api: ManagementApi, fake: FakeLogto) -> None:
    organization = fake.data.create_organization("Acme")
    alice = fake.data.create_user("alice", name="Alice")
    bob = fake.data.create_user("bob")
    fake.data.add_members(organization, [alice])
    fake.data.suspend_user(alice)
    (member,) = api.members(organization).items.values()
    assert (member.id, member.is_suspended) == (alice, True)
    assert member.claims == {"sub": alice, "username": "alice", "name": "Alice"}
    assert (api.is_member(organization, alice), api.is_member(organization, bob)) == (True, False)
    assert not api.is_member("elsewhere", alice)
    user = api.user(bob)
    assert user is not None
    assert user.username == "bob"
    assert api.user("nobody") is None


@pytest.mark.parametrize("wrong", ["", ".", "..", "a/b", "a?b", "a%2fb", "ä", "a b", "a" * 129])
def test_an_id_that_is_more_than_an_id_is_not_asked_about(
    api: ManagementApi, fake: FakeLogto, wrong: str
) -> None:
    organization = fake.data.create_organization("Acme")
    assert not api.is_member(organization, wrong)
    assert not api.is_member(wrong, "alice")
    assert (api.user(wrong), api.organization(wrong)) == (None, None)
    assert fake.requests("/oidc/token") == 0


def test_a_token_serves_until_a_minute_before_its_end(
    fake: FakeLogto, api: ManagementApi, clock: Clock
) -> None:
    api.organizations()
    clock.pass_by(3600 - 61)
    api.organizations()
    assert fake.requests("/oidc/token") == 1
    clock.pass_by(2)
    api.organizations()
    assert fake.requests("/oidc/token") == 2


def test_a_token_that_is_not_good_any_more_is_renewed_once(
    api: ManagementApi, fake: FakeLogto
) -> None:
    api.organizations()
    fake.forget_tokens()
    assert api.organizations().is_whole
    assert fake.requests("/oidc/token") == 2
    fake.fail_next(401, 10)
    with pytest.raises(IdentityProviderRefused) as caught:
        api.organizations()
    assert caught.value.http_status == 401
    assert fake.requests("/oidc/token") == 3


def test_threads_share_a_token(fake: FakeLogto) -> None:
    with ManagementApi(fake.settings()) as api:
        threads = [threading.Thread(target=api.organizations) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert (fake.requests("/oidc/token"), fake.requests(PAGE)) == (1, 8)


def test_wrong_credentials_are_refused_and_not_tried_again(fake: FakeLogto, clock: Clock) -> None:
    with (
        clock.api(fake, client_secret="wrong") as api,
        pytest.raises(IdentityProviderRefused) as caught,
    ):
        api.organizations()
    assert caught.value.http_status == 401
    assert "wrong" not in str(caught.value)
    assert fake.requests("/oidc/token") == 1


@pytest.mark.parametrize("status", [500, 502, 503, None])
def test_what_fails_for_a_moment_is_asked_again(
    api: ManagementApi, fake: FakeLogto, clock: Clock, status: int | None
) -> None:
    fake.fail_next(status, 5)
    assert api.organizations().is_whole
    assert (fake.requests(PAGE), len(clock.slept)) == (6, 5)
    # Half a second doubled, give or take a half.
    for number, slept in enumerate(clock.slept):
        assert 0.25 * 2**number <= slept <= 0.75 * 2**number


@pytest.mark.parametrize("status", [500, None])
def test_after_six_attempts_it_is_an_outage(
    api: ManagementApi, fake: FakeLogto, status: int | None
) -> None:
    fake.fail_next(status, 100)
    with pytest.raises(IdentityProviderUnavailable):
        api.organizations()
    assert fake.requests(PAGE) == 6


def test_an_outage_before_the_token_is_an_outage(fake: FakeLogto, clock: Clock) -> None:
    fake.stop_answering()
    with clock.api(fake) as api, pytest.raises(IdentityProviderUnavailable):
        api.organizations()
    assert fake.requests("/oidc/token") == 6


@pytest.mark.parametrize(("asked", "waited"), [(7, 7.0), (3600, 60.0), (0, None)])
def test_it_waits_as_long_as_it_is_asked_to(
    api: ManagementApi, fake: FakeLogto, clock: Clock, asked: int, waited: float | None
) -> None:
    fake.fail_next(429, retry_after=asked)
    assert api.organizations().is_whole
    assert clock.slept == ([] if waited is None else [waited])


def test_it_waits_until_a_date(api: ManagementApi, fake: FakeLogto, clock: Clock) -> None:
    date = datetime.now(UTC) + timedelta(seconds=30)
    fake.fail_next(429, retry_after=format_datetime(date, usegmt=True))
    assert api.organizations().is_whole
    (waited,) = clock.slept
    assert 20 < waited <= 30


@pytest.mark.parametrize("header", ["soon", "-5", "1e9", "²", "Mon, 99 Foo 2026 10:00:00 GMT"])
def test_a_retry_after_that_is_none_is_not_believed(
    api: ManagementApi, fake: FakeLogto, clock: Clock, header: str
) -> None:
    fake.fail_next(429, retry_after=header.encode().decode("latin-1"))
    assert api.organizations().is_whole
    (waited,) = clock.slept
    assert waited <= 0.75


def test_there_are_no_more_requests_in_a_second_than_the_settings_say(
    fake: FakeLogto, clock: Clock
) -> None:
    with clock.api(fake, requests_per_second=5) as api:
        for _ in range(20):
            api.organizations()
    assert fake.requests("/oidc/token") + fake.requests(PAGE) == 21
    # Five at once after a rest, then one every fifth of a second.
    assert sum(clock.slept) == pytest.approx(16 / 5)


def test_who_has_no_time_does_not_wait_for_long(
    api: ManagementApi, fake: FakeLogto, clock: Clock
) -> None:
    organization = fake.data.create_organization("Acme")
    fake.fail_next(429, retry_after=40)
    with pytest.raises(IdentityProviderUnavailable) as caught:
        api.is_member(organization, "alice")
    assert (caught.value.retry_after, clock.slept) == (40, [])
    # Nor does another one ask before that time.
    with pytest.raises(IdentityProviderUnavailable):
        api.is_member(organization, "bob")
    assert fake.requests(f"{PAGE}/{organization}/users/bob/roles") == 0
    assert not api.is_member(organization, "alice", patience=math.inf)


def test_in_a_block_no_request_waits_for_longer_than_it_says(
    api: ManagementApi, fake: FakeLogto, clock: Clock
) -> None:
    organization = fake.data.create_organization("Acme")
    path = f"{PAGE}/{organization}"
    with no_longer_than(30):
        fake.fail_next(429, retry_after=20, path=path)
        assert api.members(organization).is_whole
        fake.fail_next(429, retry_after=20, path=path)
        assert not api.is_member(organization, "alice", patience=math.inf)
        assert clock.slept == [20, 20]  # each has its own time
        fake.fail_next(429, 2, retry_after=20, path=path)
        with pytest.raises(IdentityProviderUnavailable):
            api.members(organization)
        assert clock.slept == [20, 20, 20]
    clock.pass_by(60)
    fake.fail_next(429, retry_after=40, path=path)
    assert api.members(organization).is_whole
    assert clock.slept[3:] == [40]


@pytest.mark.parametrize("status", [400, 403, 404, 422])
def test_what_is_refused_is_not_asked_again(
    api: ManagementApi, fake: FakeLogto, clock: Clock, status: int
) -> None:
    fake.fail_next(status)
    with pytest.raises(IdentityProviderRefused) as caught:
        api.organizations()
    assert (caught.value.http_status, clock.slept) == (status, [])


def test_a_404_that_is_not_logtos_does_not_say_that_an_organization_is_gone(server: Any) -> None:
    body: Any
    for body in ({"message": "Not Found"}, b"<html>nothing here</html>", [], {"code": 404}):
        with server(Answer(404, body)) as api, pytest.raises(IdentityProviderRefused):
            api.organization("acme")
    with server(Answer(404, {"code": "entity.not_exists_with_id"})) as api:
        assert api.organization("acme") is None


def test_a_422_of_another_kind_does_not_say_that_somebody_is_no_member(server: Any) -> None:
    refusal = Answer(422, {"code": "guard.invalid"})
    with server(refusal) as api, pytest.raises(IdentityProviderRefused):
        api.is_member("acme", "alice")


def test_a_redirect_is_not_followed(server: Any, fake: FakeLogto) -> None:
    moved = Answer(302, {}, {"Location": f"{fake.url}/api/organizations"})
    with server(moved) as api, pytest.raises(IdentityProviderRefused) as caught:
        api.organizations()
    assert caught.value.http_status == 302
    assert fake.requests(PAGE) == 0


TOTAL = {"Total-Number": "1"}
ACME = {"id": "acme", "name": "Acme"}


@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, b"no JSON", TOTAL),
        Answer(200, b"", TOTAL),
        Answer(200, ACME, TOTAL),
        Answer(200, [{"id": 1, "name": "Acme"}], TOTAL),
        Answer(200, [{"id": "", "name": "Acme"}], TOTAL),
        Answer(200, [{"id": "acme"}], TOTAL),
        Answer(200, [{"id": "acme", "name": None}], TOTAL),
        Answer(200, [ACME | {"customData": []}], TOTAL),
        Answer(200, [ACME]),
        Answer(200, [ACME], {"Total-Number": "many"}),
        Answer(200, [ACME], {"Total-Number": "-1"}),
        Answer(200, b"[" + b" " * 5 * 1_048_576 + b"]", {"Total-Number": "0"}),
    ],
)
def test_an_answer_that_is_not_understood_is_none(server: Any, answer: Answer) -> None:
    with server(answer) as api, pytest.raises(IdentityProviderUnavailable):
        api.organizations()


def test_an_answer_about_another_organization_is_none(server: Any) -> None:
    with server(Answer(200, ACME)) as api:
        assert api.organization("acme") is not None
        with pytest.raises(IdentityProviderUnavailable, match="another"):
            api.organization("globex")


@pytest.mark.parametrize(
    "token",
    [{}, TOKEN | {"access_token": "a\nb"}, TOKEN | {"expires_in": 0}, TOKEN | {"expires_in": True}],
)
def test_a_token_that_is_none_is_not_sent(
    monkeypatch: pytest.MonkeyPatch, server: Any, token: dict[str, Any]
) -> None:
    monkeypatch.setattr("tests.logto.test_management.TOKEN", token)
    with server(Answer(200, [])) as api, pytest.raises(IdentityProviderUnavailable):
        api.organizations()


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://auth.example.com",
        "ftp://localhost",
        "auth.example.com",
        "https://",
        "https://me:secret@auth.example.com",
        "https://auth.example.com/?a=b",
    ],
)
def test_an_address_that_others_could_listen_to_is_refused(endpoint: str) -> None:
    settings = LogtoSettings(endpoint=endpoint, client_id="me", client_secret=SecretStr("s"))
    with pytest.raises(ConfigurationError, match="endpoint"):
        ManagementApi(settings)


def test_without_credentials_the_error_names_the_settings() -> None:
    with pytest.raises(ConfigurationError, match="ORGTENANCY_LOGTO_CLIENT_SECRET"):
        ManagementApi(LogtoSettings(endpoint="https://auth.example.com", client_id="me"))


def test_without_httpx_the_error_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, fake: FakeLogto
) -> None:
    monkeypatch.setitem(sys.modules, "httpx", None)
    monkeypatch.delitem(sys.modules, "orgtenancy.identity.logto_sync.api.requesting", raising=False)
    with pytest.raises(ConfigurationError, match=r"orgtenancy\[logto\]"):
        ManagementApi(fake.settings())
