"""500 requests a second while the issuer changes its keys and goes down.

The seconds are counted by a clock of the test's own, and the keys are fetched over HTTP: so
the numbers of requests are exact, on any machine.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest

from orgtenancy.errors import IdentityProviderUnavailable, OrgTenancyError, Unauthenticated
from orgtenancy.identity import RemoteKeys, TokenVerifier
from orgtenancy.identity.claim_paths import Claims
from orgtenancy.identity.fetching import JsonFetcher
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
        self.fetched_at: list[float] = []
        self._fetch = JsonFetcher(issuer.jwks_url, timeout=5)
        self.keys: RemoteKeys = issuer.keys(
            cooldown=COOLDOWN, max_age=MAX_AGE, clock=self.clock, fetch=self._fetch_and_note
        )
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

    def check_fetches(self, at_least: int) -> None:
        """Make sure that no two of the issuer's requests came within one cooldown."""
        assert len(self.fetched_at) == self.issuer.requests(JWKS) >= at_least
        gaps = [later - earlier for earlier, later in pairwise(self.fetched_at)]
        assert min(gaps) >= COOLDOWN - 1 / STEPS, self.fetched_at

    def _fetch_and_note(self) -> object:
        self.fetched_at.append(self.clock.now)
        return self._fetch()

    def take_new_token(self) -> None:
        self.token = self.new_token()

    def verify(self, token: str) -> Claims:
        return self.verifier.verify(token)

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
    load.check_fetches(5)


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
    load.check_fetches(2)


@pytest.mark.slow
def test_an_issuer_that_is_down_is_asked_once_per_cooldown(issuer: LocalIssuer) -> None:
    load = Load(issuer)
    unknown = Signer("new").sign({"iss": issuer.issuer})
    events = {1: issuer.stop_answering}
    asyncio.run(load.run(12, events, forged=unknown))
    assert load.refused == Counter()
    assert load.served == 12 * RATE
    load.check_fetches(2)


@pytest.mark.slow
def test_threads_wait_for_one_fetch_and_refuse_nothing(issuer: LocalIssuer) -> None:
    load = Load(issuer)
    forged = Signer("invented").sign({"iss": issuer.issuer})
    load.verify(load.token)  # the first fetch
    with ThreadPoolExecutor(8) as threads:
        for second in range(10):
            if second == 5:
                issuer.rotate("RS256")
                load.take_new_token()
            if second == 6:
                issuer.stop_answering()
            for _ in range(5):
                # All of them at once, and each of them with the newest token.
                tokens = [load.token] * (RATE // 5)
                assert all(claims["sub"] == "alice" for claims in threads.map(load.verify, tokens))
                if second >= 5:
                    with pytest.raises((Unauthenticated, IdentityProviderUnavailable)):
                        load.verify(forged)
                load.clock.now += 1 / 5
    load.check_fetches(2)
