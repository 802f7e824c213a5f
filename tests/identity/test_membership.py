"""Who is let in without a signature, and who is kept out in spite of one."""

from __future__ import annotations

import asyncio
import logging
import threading

import pytest

from orgtenancy.errors import AccessDenied, ConfigurationError, Unauthenticated
from orgtenancy.identity import (
    AllowEveryone,
    ChainResolver,
    ClaimedMembership,
    DenyUnproven,
    Gate,
    MembershipPolicy,
    RequestInfo,
)
from orgtenancy.organizations import Actor
from tests.identity.asking import (
    HEADER,
    MEMBER,
    ORGANIZATION,
    SIGNER,
    TOKENS,
    USER,
    USER_ID,
    Identify,
    request,
)
from tests.identity.signing import recorded


class Members(MembershipPolicy):
    """A host's own policy: one method."""

    def __init__(self, *members: tuple[str, str], checks_proven: bool = False) -> None:
        self.members = members
        self.checks_proven = checks_proven
        self.threads: list[int] = []

    def is_member(self, actor: Actor, organization_id: str) -> bool:
        self.threads.append(threading.get_ident())
        return (actor.id, organization_id) in self.members


class Removed(MembershipPolicy):
    """A host's own policy that knows who was put out, and nothing else."""

    checks_proven = True

    def __init__(self, *removed: str) -> None:
        self.removed = removed
        self.threads: list[int] = []

    def is_member(self, actor: Actor, organization_id: str) -> bool:
        return False

    def still_member(self, actor: Actor, organization_id: str) -> bool:
        self.threads.append(threading.get_ident())
        return actor.id not in self.removed


class NeverBlocks(Members):
    """A host's own policy that asks on the event loop."""

    async def is_member_async(self, actor: Actor, organization_id: str) -> bool:
        return self.is_member(actor, organization_id)


def test_a_host_writes_one_method_for_a_policy(identify: Identify) -> None:
    gate = Gate(HEADER, Members((USER_ID, "acme")))
    assert identify(gate, request(USER, "acme")).actor.id == USER_ID
    with pytest.raises(AccessDenied) as caught:
        identify(gate, request(USER, "globex"))
    assert caught.value.organization_id == "globex"


def test_what_a_token_proves_is_not_asked_about_unless_the_policy_wants_it(
    identify: Identify,
) -> None:
    for policy in (Members((USER_ID, ORGANIZATION), checks_proven=True), Members()):
        assert identify(Gate(TOKENS, policy), request(MEMBER)).proven
    with pytest.raises(AccessDenied):
        identify(Gate(TOKENS, Members(checks_proven=True)), request(MEMBER))


def test_a_policy_may_have_another_answer_for_what_a_token_proves(identify: Identify) -> None:
    assert identify(Gate(TOKENS, Removed()), request(MEMBER)).proven
    with pytest.raises(AccessDenied):
        identify(Gate(TOKENS, Removed(USER_ID)), request(MEMBER))
    with pytest.raises(AccessDenied):  # it lets in nobody whom a token does not
        identify(Gate(HEADER, Removed()), request(USER, ORGANIZATION))


def test_a_header_and_a_chain_ask_about_what_the_token_proves_too(identify: Identify) -> None:
    for resolver in (HEADER, ChainResolver(TOKENS, HEADER)):
        with pytest.raises(AccessDenied):
            identify(Gate(resolver, Removed(USER_ID)), request(MEMBER, ORGANIZATION))


@pytest.mark.parametrize(
    ("policy", "asked"),
    [
        (Members((USER_ID, "acme")), request(USER, "acme")),
        (Members((USER_ID, ORGANIZATION), checks_proven=True), request(MEMBER, ORGANIZATION)),
        (Removed(), request(MEMBER, ORGANIZATION)),
    ],
    ids=["is_member", "is_member of a proven one", "still_member"],
)
def test_a_policy_that_may_block_runs_beside_the_event_loop(
    policy: Members | Removed, asked: RequestInfo
) -> None:
    asyncio.run(Gate(HEADER, policy).identify_async(asked))
    assert policy.threads
    assert threading.get_ident() not in policy.threads


def test_a_policy_that_never_blocks_stays_on_the_event_loop() -> None:
    policy = NeverBlocks((USER_ID, ORGANIZATION), checks_proven=True)
    asyncio.run(Gate(TOKENS, policy).identify_async(request(MEMBER)))
    assert policy.threads == [threading.get_ident()]


def test_nobody_is_let_in_without_a_signature_by_default(identify: Identify) -> None:
    for gate in (Gate(HEADER), Gate(HEADER, DenyUnproven())):
        with pytest.raises(AccessDenied):
            identify(gate, request(USER, ORGANIZATION))
        assert identify(gate, request(MEMBER, ORGANIZATION)).proven


def test_opting_out_of_membership_is_logged_when_the_app_starts(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        AllowEveryone()
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "membership is not checked" in record.message
    assert "RegisteredMembers" in record.message  # and what to do about it


def listing(**claims: object) -> str:
    return SIGNER.sign(recorded("user, API alone") | claims)


LISTS: list[tuple[dict[str, object], ClaimedMembership]] = [
    ({"organizations": ["acme", "initech"]}, ClaimedMembership()),
    ({"o": {"all": ["acme"]}}, ClaimedMembership(("o", "all"))),
    ({"organizations": {"acme": {}, "initech": {}}}, ClaimedMembership()),
    (
        {"organization": {"ACME": {"id": "acme"}, "globex": {"id": "initech"}, "x": "acme"}},
        ClaimedMembership(("organization",), mapping_id="id"),
    ),
]


@pytest.mark.parametrize(("claims", "policy"), LISTS)
def test_a_token_that_lists_organizations_opens_these(
    claims: dict[str, object], policy: ClaimedMembership, identify: Identify
) -> None:
    gate = Gate(HEADER, policy)
    assert not identify(gate, request(listing(**claims), "acme")).proven
    for other in ("globex", "ac", "", "id"):
        with pytest.raises(AccessDenied):
            identify(gate, request(listing(**claims), other))


@pytest.mark.parametrize("claims", [{}, {"organizations": None}, {"organizations": []}])
def test_a_token_that_lists_none_opens_none(claims: dict[str, object], identify: Identify) -> None:
    with pytest.raises(AccessDenied):
        identify(Gate(HEADER, ClaimedMembership()), request(listing(**claims), "acme"))


@pytest.mark.parametrize("claim", ["acme", "acme globex", 1, True])
def test_a_list_that_is_none_is_refused(claim: object, identify: Identify) -> None:
    with pytest.raises(Unauthenticated, match="malformed"):
        identify(Gate(HEADER, ClaimedMembership()), request(listing(organizations=claim), "acme"))


def test_a_token_of_one_organization_is_not_asked_what_it_lists(identify: Identify) -> None:
    token = SIGNER.sign(recorded("user, API of organization") | {"organizations": ["globex"]})
    assert identify(Gate(HEADER, ClaimedMembership()), request(token, ORGANIZATION)).proven
    with pytest.raises(AccessDenied):
        identify(Gate(HEADER, ClaimedMembership()), request(token, "globex"))


@pytest.mark.parametrize("path", ["organizations", ()])
def test_a_path_that_is_none_is_a_mistake(path: tuple[str, ...]) -> None:
    with pytest.raises(ConfigurationError, match="path"):
        ClaimedMembership(path)
