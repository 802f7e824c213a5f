"""An issuer's key set, fetched when needed and kept fresh.

- A key that is known is found without I/O, a thread or a lock.
- An unknown key id fetches the set again: the issuer rotated its keys, or somebody
  invents ids. Whatever the reason, there is one request per cooldown.
- All who wait for the set wait for the same fetch, threads and tasks alike.
- While the issuer is down, the keys it had are good for a while.
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future

from orgtenancy.errors import IdentityProviderUnavailable
from orgtenancy.identity.fetching import JsonFetcher
from orgtenancy.identity.keys import KeySet, VerificationKey, parse_key_set, unknown_key

logger = logging.getLogger(__name__)

_FetchDone = Future[None]

# One that hangs is given up after a while, but its thread goes on.
_MAX_THREADS = 3


class RemoteKeys:
    """The keys behind an issuer's `jwks_uri`.

    Args:
        url: The `jwks_uri`, http or https.
        max_age: Seconds after which the set is fetched again although nothing is missing.
        max_stale: Seconds that a set is used while the issuer cannot be reached.
        cooldown: Seconds from the start of one request to the next one.
        timeout: Seconds that one request may take.
        fetch: Returns the decoded JSON of the set, or raises; an HTTP GET if not given.
        clock: Seconds that only ever grow.

    Raises:
        ConfigurationError: If the URL is no http or https URL.
    """

    def __init__(
        self,
        url: str,
        *,
        max_age: float = 600.0,
        max_stale: float = 86_400.0,
        cooldown: float = 5.0,
        timeout: float = 5.0,
        fetch: Callable[[], object] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.url = url
        self._max_age = max_age
        self._max_stale = max_stale
        self._cooldown = cooldown
        # A waiter outlasts the request, and still ends if the fetching thread was lost,
        # as it is in the child of a fork.
        self._patience = 2 * timeout
        self._fetch = fetch if fetch is not None else JsonFetcher(url, timeout=timeout)
        self._clock = clock
        self._lock = threading.Lock()
        self._keys: KeySet | None = None
        self._fetched_at = -math.inf
        self._asked_at = -math.inf  # when the request for the keys that are there began
        self._attempted_at = -math.inf
        self._failed = False
        self._running: _FetchDone | None = None
        self._threads: list[threading.Thread] = []

    def find(self, kid: str | None, algorithm: str) -> VerificationKey:
        """Return the key; blocks while the set is fetched, if the key is not known.

        Raises:
            Unauthenticated: If the issuer has no such key.
            IdentityProviderUnavailable: If its keys cannot be had.
        """
        key = self._known(kid, algorithm)
        if key is not None and not self._is_old():
            return key
        fetch = self._fetch_once()
        if key is None and fetch is not None:
            try:
                fetch.result(self._patience)
            except TimeoutError:
                raise self._unavailable() from None
        return key or self._settled(kid, algorithm)

    async def find_async(self, kid: str | None, algorithm: str) -> VerificationKey:
        """Return what `find` returns, without blocking the event loop."""
        key = self._known(kid, algorithm)
        if key is not None and not self._is_old():
            return key
        fetch = self._fetch_once()
        if key is None and fetch is not None:
            try:
                await asyncio.wait_for(asyncio.wrap_future(fetch), self._patience)
            except TimeoutError:
                raise self._unavailable() from None
        return key or self._settled(kid, algorithm)

    def _known(self, kid: str | None, algorithm: str) -> VerificationKey | None:
        keys = self._keys
        if keys is None or self._clock() - self._fetched_at > self._max_stale:
            return None
        return keys.get(kid, algorithm)

    def _is_old(self) -> bool:
        return self._clock() - self._fetched_at > self._max_age

    def _fetch_once(self) -> _FetchDone | None:
        """Return the fetch under way, begun now if one may; None during the cooldown.

        During the cooldown, what is known is all there is.
        """
        with self._lock:
            since = self._clock() - self._attempted_at
            if self._running is not None and since <= self._patience:
                return self._running
            self._failed = self._failed or self._running is not None  # it took too long
            self._threads = [thread for thread in self._threads if thread.is_alive()]
            if since < self._cooldown or len(self._threads) >= _MAX_THREADS:
                return None
            self._attempted_at = at = self._clock()
            self._running = done = _FetchDone()
            # A running future cannot be cancelled: a task that gives up must not take the
            # others with it. For the same reason the fetch has a thread of its own, which
            # no cancelled task and no full executor stops; there is one per cooldown.
            done.set_running_or_notify_cancel()
            thread = threading.Thread(
                target=self._run, args=(done, at), name="orgtenancy-jwks", daemon=True
            )
            self._threads.append(thread)
            thread.start()
        return done

    def _run(self, done: _FetchDone, asked_at: float) -> None:
        """Fetch the set; whatever happens, those who wait are woken."""
        keys: KeySet | None = None
        try:
            keys = parse_key_set(self._fetch())
        except Exception as error:  # noqa: BLE001 - the host's `fetch` may raise anything
            logger.warning("cannot fetch the key set %s: %s", self.url, error)
        finally:
            with self._lock:
                if keys and asked_at > self._asked_at:
                    # An answer that comes late tells less than one that was asked for later.
                    self._keys, self._fetched_at, self._asked_at = keys, self._clock(), asked_at
                if self._running is done:
                    self._failed = not keys
                    self._running = None
            done.set_result(None)

    def _settled(self, kid: str | None, algorithm: str) -> VerificationKey:
        """Return the key as far as it can be known now."""
        key = self._known(kid, algorithm)
        if key is not None:
            return key
        if self._failed or self._keys is None:
            # The key may be a new one that the issuer cannot tell of.
            raise self._unavailable()
        raise unknown_key()

    def _unavailable(self) -> IdentityProviderUnavailable:
        rest = self._cooldown - (self._clock() - self._attempted_at)
        return IdentityProviderUnavailable(
            "the identity provider's keys cannot be fetched", retry_after=max(1, math.ceil(rest))
        )
