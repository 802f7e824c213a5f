"""500 requests a second while the issuer changes its keys and goes down.

The seconds are counted by a clock of the test's own, and the keys are fetched over HTTP: so
the numbers of requests are exact, on any machine.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from orgtenancy.errors import IdentityProviderUnavailable, OrgTenancyError, Unauthenticated
from orgtenancy.identity import RemoteKeys, TokenVerifier
from orgtenancy.testing import LocalIssuer, Signer
from tests.identity.signing import API

RATE = 500
STEPS = 50  # a second; the requests of one step are under way at once
COOLDOWN, MAX_AGE = 4.0, 8.0
JWKS = "/oidc/jwks"


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


class Load:
    """Clients of one app process, which send what the issuer last gave them."""

    def __init__(self, issuer: LocalIssuer) -> None:
        self.issuer = issuer
        self.clock = Clock()
        self.begin = self.clock.now
        self.keys: RemoteKeys = issuer.keys(cooldown=COOLDOWN, max_age=MAX_AGE, clock=self.clock)
        self.verifier = TokenVerifier(issuer.issuer, self.keys, audiences=[API])
        self.token = self.new_token()
        self.served = 0
        self.refused: Counter[str] = Counter()

    def new_token(self) -> str:
        return self.issuer.token("alice", organization="acme", audience=API)

    async def run(
        self, seconds: int, events: dict[int, Callable[[], None]], *, forged: str | None = None
    ) -> None:
        """Send requests for so many seconds; events happen at the start of theirs."""
        await self.verifier.verify_async(self.token)  # the first fetch
        for second in range(seconds):
            events.get(second, lambda: None)()
            for _ in range(STEPS):
                requests = [self._request(self.token) for _ in range(RATE // STEPS)]
                attacks = [self._attack(forged)] if forged else []
                await asyncio.gather(*requests, *attacks)
                self.clock.now += 1 / STEPS

    @property
    def most_fetches(self) -> int:
        """How many fetches there may be: one at the start, and one for each cooldown."""
        last_request = self.clock.now - 1 / STEPS
        return int((last_request - self.begin) // COOLDOWN) + 1

    def take_new_token(self) -> None:
        self.token = self.new_token()

    async def _request(self, token: str) -> None:
        try:
            await self.verifier.verify_async(token)
            self.served += 1
        except OrgTenancyError as error:
            self.refused[error.code] += 1

    async def _attack(self, forged: str) -> None:
        with pytest.raises((Unauthenticated, IdentityProviderUnavailable)):
            await self.verifier.verify_async(forged)


@pytest.fixture
def issuer() -> Iterator[LocalIssuer]:
    with LocalIssuer("ES384") as issuer:
        yield issuer


@pytest.mark.slow
def test_two_rotations_and_an_outage_refuse_no_valid_token(issuer: LocalIssuer) -> None:
    load = Load(issuer)

    def rotate_at_once() -> None:
        issuer.rotate("RS256")
        load.take_new_token()

    events = {
        5: rotate_at_once,
        10: issuer.stop_answering,
        22: issuer.answer_again,
        # As issuers do it: the key is published first, and used when caches had their time.
        26: lambda: issuer.rotate("ES384"),
        34: load.take_new_token,
    }
    asyncio.run(load.run(36, events))
    assert load.refused == Counter()
    assert load.served == 36 * RATE
    # The first, the rotation, the outage's attempts, and what age asks for.
    assert 5 <= issuer.requests(JWKS) <= load.most_fetches


@pytest.mark.slow
def test_invented_keys_cost_one_request_per_cooldown_and_valid_tokens_nothing(
    issuer: LocalIssuer,
) -> None:
    load = Load(issuer)
    forged = Signer("invented").sign({"iss": issuer.issuer})
    events = {2: lambda: issuer.rotate("RS256"), 8: load.take_new_token}
    asyncio.run(load.run(12, events, forged=forged))
    assert load.refused == Counter()
    assert load.served == 12 * RATE
    assert 2 <= issuer.requests(JWKS) <= load.most_fetches


@pytest.mark.slow
def test_an_issuer_that_is_down_is_asked_once_per_cooldown(issuer: LocalIssuer) -> None:
    load = Load(issuer)
    unknown = Signer("new").sign({"iss": issuer.issuer})
    events = {1: issuer.stop_answering}
    asyncio.run(load.run(12, events, forged=unknown))
    assert load.refused == Counter()
    assert load.served == 12 * RATE
    assert 2 <= issuer.requests(JWKS) <= load.most_fetches
