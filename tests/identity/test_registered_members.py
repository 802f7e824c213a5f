"""Members as the registry knows them: who was put out is out, whatever the token still says."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from orgtenancy import Tenancy
from orgtenancy.errors import AccessDenied, InvalidOrganizationId
from orgtenancy.identity import Gate, RegisteredMembers, RequestInfo
from orgtenancy.registry.members import (
    ActorStatus,
    MemberStatus,
    announce,
    set_actor,
    set_member,
)
from tests.identity.asking import HEADER, ORGANIZATION, SIGNER, TOKENS, Identify, request
from tests.identity.membership_worker import ask, worker
from tests.identity.signing import recorded
from tests.registry.test_directory import LISTEN, WITHIN
from tests.schemas.databases import FreshDatabase, eventually

NOW = datetime.now(UTC).replace(microsecond=0)
BEFORE, AFTER = NOW - timedelta(minutes=10), NOW + timedelta(seconds=10)


@pytest.fixture(scope="module")
def registry(database: FreshDatabase) -> Iterator[Tenancy]:
    """Another program: it writes what a webhook told, and tells the other processes."""
    with database.tenancy() as tenancy:
        yield tenancy


@pytest.fixture(scope="module")
def tenancy(database: FreshDatabase, event_loop_runner: asyncio.Runner) -> Iterator[Tenancy]:
    """A tenancy that listens, and would otherwise see a change in a minute."""
    tenancy = database.tenancy(listen=True, membership_max_age=60)
    before = tenancy.members._generation
    tenancy.members.find("acme", "nobody")
    eventually(lambda: tenancy.members._generation > before)  # it listens
    yield tenancy
    event_loop_runner.run(tenancy.aclose())


@pytest.fixture
def gate(tenancy: Tenancy) -> Gate:
    """Takes the token's word, until the registry hears otherwise."""
    return Gate(TOKENS, RegisteredMembers(tenancy))


@pytest.fixture
def header_gate(tenancy: Tenancy) -> Gate:
    """Takes a header's word for nothing."""
    return Gate(HEADER, RegisteredMembers(tenancy))


@pytest.fixture
def user() -> str:
    return uuid4().hex


def member(
    registry: Tenancy,
    user: str,
    status: MemberStatus,
    at: datetime,
    organization: str = ORGANIZATION,
) -> None:
    with registry._database.admin_engine.begin() as connection:
        set_member(connection, organization, user, status, at)


def actor(registry: Tenancy, user: str, status: ActorStatus, at: datetime) -> None:
    with registry._database.admin_engine.begin() as connection:
        set_actor(connection, user, status, at)


def proven(user: str, issued_at: datetime | None = BEFORE) -> RequestInfo:
    """Return a request with a token of `ORGANIZATION`."""
    claims = recorded("user, API of organization") | {"sub": user}
    if issued_at is None:
        del claims["iat"]
    else:
        claims["iat"] = int(issued_at.timestamp())
    return request(SIGNER.sign(claims))


def unproven(user: str, organization: str = ORGANIZATION) -> RequestInfo:
    """Return a request with a token of nothing, and a header that names an organization."""
    return request(SIGNER.sign(recorded("user, API alone") | {"sub": user}), organization)


def is_in(identify: Identify, gate: Gate, asked: RequestInfo) -> bool:
    try:
        return bool(identify(gate, asked))
    except AccessDenied:
        return False


def test_a_name_opens_what_the_registry_has_the_actor_in_and_no_more(
    header_gate: Gate, registry: Tenancy, user: str, identify: Identify
) -> None:
    assert not is_in(identify, header_gate, unproven(user))
    member(registry, user, "active", BEFORE)
    eventually(lambda: is_in(identify, header_gate, unproven(user)), WITHIN)
    assert not is_in(identify, header_gate, unproven(user, "globex"))
    assert not is_in(identify, header_gate, unproven(uuid4().hex))


def test_a_removed_member_is_out_at_once(
    gate: Gate, header_gate: Gate, registry: Tenancy, user: str, identify: Identify
) -> None:
    member(registry, user, "active", BEFORE)
    eventually(lambda: is_in(identify, header_gate, unproven(user)), WITHIN)
    assert is_in(identify, gate, proven(user))
    member(registry, user, "removed", NOW)
    eventually(lambda: not is_in(identify, header_gate, unproven(user)), WITHIN)
    assert not is_in(identify, gate, proven(user))


def test_one_that_was_never_heard_of_is_taken_at_its_tokens_word(
    gate: Gate, registry: Tenancy, user: str, identify: Identify
) -> None:
    assert is_in(identify, gate, proven(user))
    member(registry, user, "removed", NOW)  # nothing but that is ever heard of it
    eventually(lambda: not is_in(identify, gate, proven(user)), WITHIN)
    assert is_in(identify, gate, proven(uuid4().hex))


@pytest.mark.parametrize("is_heard_of", [True, False], ids=["known", "unknown"])
def test_one_that_came_back_needs_a_token_from_after_the_removal(
    gate: Gate, registry: Tenancy, user: str, is_heard_of: bool, identify: Identify
) -> None:
    member(registry, user, "removed", NOW)
    if is_heard_of:
        member(registry, user, "active", NOW + timedelta(seconds=1))
    eventually(lambda: not is_in(identify, gate, proven(user, BEFORE)), WITHIN)
    assert is_in(identify, gate, proven(user, AFTER))
    # A token has whole seconds: it may have been made in the part before the removal.
    assert not is_in(identify, gate, proven(user, NOW))


def test_a_token_that_does_not_say_when_it_was_made_is_good_while_the_registry_says_so(
    gate: Gate, registry: Tenancy, user: str, identify: Identify
) -> None:
    assert is_in(identify, gate, proven(user, None))
    member(registry, user, "removed", NOW)
    eventually(lambda: not is_in(identify, gate, proven(user, None)), WITHIN)
    member(registry, user, "active", AFTER)
    eventually(lambda: is_in(identify, gate, proven(user, None)), WITHIN)


@pytest.mark.parametrize("status", ["suspended", "deleted"])
def test_an_actor_that_was_shut_out_is_out_of_every_organization(
    gate: Gate,
    header_gate: Gate,
    registry: Tenancy,
    user: str,
    status: ActorStatus,
    identify: Identify,
) -> None:
    for organization in (ORGANIZATION, "globex"):
        member(registry, user, "active", BEFORE, organization)
    eventually(lambda: is_in(identify, header_gate, unproven(user, "globex")), WITHIN)
    assert is_in(identify, gate, proven(user))
    actor(registry, user, status, NOW)
    eventually(lambda: not is_in(identify, gate, proven(user)), WITHIN)
    for organization in (ORGANIZATION, "globex"):
        assert not is_in(identify, header_gate, unproven(user, organization))
    # Whenever the token was made, and whatever else is told of a membership.
    assert not is_in(identify, gate, proven(user, AFTER))
    member(registry, user, "active", AFTER)
    time.sleep(0.1)
    assert not is_in(identify, header_gate, unproven(user))
    actor(registry, user, "active", AFTER)
    eventually(lambda: is_in(identify, gate, proven(user)), WITHIN)
    eventually(lambda: is_in(identify, header_gate, unproven(user)), WITHIN)


def test_a_header_that_the_token_proves_is_asked_about_as_well(
    header_gate: Gate, registry: Tenancy, user: str, identify: Identify
) -> None:
    asked = proven(user)
    named = RequestInfo("GET", "/", {**asked.headers, "x-organization": [ORGANIZATION]})
    assert is_in(identify, header_gate, named)
    member(registry, user, "removed", NOW)
    eventually(lambda: not is_in(identify, header_gate, named), WITHIN)


@pytest.mark.slow
def test_another_process_that_listens_shuts_a_removed_member_out_at_once(
    database: FreshDatabase, registry: Tenancy, user: str
) -> None:
    token = {"sub": user, "organization_id": "acme", "iat": int(BEFORE.timestamp())}
    before = set(database.backends(LISTEN))
    with worker(database.url, listen=True, membership_max_age=60) as other:
        assert ask(other, "acme", **token) == "in"
        eventually(lambda: set(database.backends(LISTEN)) - before)
        time.sleep(0.05)  # and its first gap is over
        assert ask(other, "acme", **token) == "in"
        member(registry, user, "removed", NOW, "acme")
        eventually(lambda: ask(other, "acme", **token) == "AccessDenied", WITHIN)
        assert ask(other, "acme", **{**token, "iat": int(AFTER.timestamp())}) == "in"
        actor(registry, user, "suspended", NOW)
        later = {**token, "iat": int(AFTER.timestamp())}
        eventually(lambda: ask(other, "acme", **later) == "AccessDenied", WITHIN)


@pytest.mark.slow
def test_another_process_that_does_not_listen_does_so_when_what_it_remembers_is_too_old(
    database: FreshDatabase, registry: Tenancy, user: str
) -> None:
    token = {"sub": user, "organization_id": "acme", "iat": int(BEFORE.timestamp())}
    with worker(database.url, listen=False, membership_max_age=0.5) as other:
        assert ask(other, "acme", **token) == "in"
        member(registry, user, "removed", NOW, "acme")
        eventually(lambda: ask(other, "acme", **token) == "AccessDenied")


def test_members_of_whom_only_that_they_changed_is_known_are_looked_up_again(
    tenancy: Tenancy, registry: Tenancy, user: str
) -> None:
    tenancy.members.find(ORGANIZATION, user)
    before = tenancy.members._generation
    with registry._database.admin_engine.begin() as connection:
        announce(connection, [ORGANIZATION])
    eventually(lambda: tenancy.members._generation > before)
    assert ORGANIZATION not in tenancy.members._entries


def test_when_the_registry_cannot_be_read_nobody_is_let_in(
    database: FreshDatabase, event_loop_runner: asyncio.Runner, user: str, identify: Identify
) -> None:
    away = database.tenancy(url=database.url.set(database="not_there"))
    policy = RegisteredMembers(away)
    for resolver, asked in ((TOKENS, proven(user)), (HEADER, unproven(user))):
        with pytest.raises(DBAPIError):
            identify(Gate(resolver, policy), asked)
    event_loop_runner.run(away.aclose())


def test_a_name_that_is_no_id_is_refused_before_the_registry_is_asked(
    header_gate: Gate, user: str, identify: Identify
) -> None:
    with pytest.raises(InvalidOrganizationId):
        identify(header_gate, unproven(user, "no/id"))


@pytest.mark.parametrize("isolation", ["role", "search_path"])
def test_the_app_reads_members_and_cannot_write_them(
    bare_database: FreshDatabase, isolation: str
) -> None:
    with bare_database.tenancy(isolation=isolation) as tenancy:
        tenancy.install()
        member(tenancy, "ann", "active", NOW, "acme")
        actor(tenancy, "ann", "active", NOW)
        assert tenancy.members.find("acme", "ann").actor == "active"
        for table in ("members", "actors"):
            with tenancy.control_session() as session:
                assert session.execute(text(f"SELECT count(*) FROM {table}")).scalar() == 1
            for statement in (
                f"INSERT INTO {table} SELECT * FROM {table}",
                f"UPDATE {table} SET status = 'active'",
                f"UPDATE {table} SET changed_at = now()",
                f"DELETE FROM {table}",
                f"TRUNCATE {table}",
            ):
                with pytest.raises(DBAPIError) as caught, tenancy.control_session() as session:
                    session.execute(text(statement))
                assert isinstance(caught.value.orig, psycopg.errors.InsufficientPrivilege)
