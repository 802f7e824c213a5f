"""Keys of an issuer that says itself where they are: OpenID Connect Discovery 1.0.

The document is believed only where it names the issuer that was asked for, and only as to
where the keys are.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from urllib.parse import urlsplit

from orgtenancy.identity.fetching import JsonFetcher
from orgtenancy.identity.jwks import RemoteKeys


def discovered_keys(
    issuer: str, *, max_age: float = 600.0, cooldown: float = 5.0, timeout: float = 5.0
) -> RemoteKeys:
    """Return the keys of an issuer, found through its discovery document.

    Args:
        issuer: The exact `iss` of its tokens; the document is below it.
        max_age: Seconds after which the document, and the key set, are fetched again.
        cooldown: Seconds from the start of one fetch to the next one.
        timeout: Seconds that one fetch may take, for each of the two documents.

    Raises:
        ConfigurationError: If the issuer is no http or https URL.
    """
    fetch = DiscoveredKeySet(issuer, max_age=max_age, timeout=timeout)
    return RemoteKeys(fetch.url, max_age=max_age, cooldown=cooldown, timeout=timeout, fetch=fetch)


class DiscoveredKeySet:
    """Fetches an issuer's key set from where its discovery document says.

    Args:
        issuer: The exact `iss`.
        max_age: Seconds for which the document's answer is used again.
        timeout: Seconds for each of the two documents.
        clock: Seconds that only ever grow.

    Raises:
        ConfigurationError: If the issuer is no http or https URL.
    """

    def __init__(
        self,
        issuer: str,
        *,
        max_age: float = 600.0,
        timeout: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.url = f"{issuer.rstrip('/')}/.well-known/openid-configuration"
        self._issuer = issuer
        self._max_age = max_age
        self._timeout = timeout
        self._clock = clock
        self._document = JsonFetcher(self.url, timeout=timeout)
        self._keys: JsonFetcher | None = None
        self._discovered_at = -math.inf

    def __call__(self) -> object:
        """Return the decoded key set; blocks. One thread at a time calls it.

        Raises:
            OSError: If one of the two documents cannot be had.
            ValueError: If one of them is not what it should be.
            ConfigurationError: If the keys are said to be at no http or https URL.
        """
        keys = self._keys
        if keys is None or self._clock() - self._discovered_at > self._max_age:
            keys = self._discover()
            self._keys, self._discovered_at = keys, self._clock()
        try:
            return keys()
        except Exception:
            # They may have moved: the next fetch asks again.
            self._keys = None
            raise

    def _discover(self) -> JsonFetcher:
        document = self._document()
        if not isinstance(document, dict) or document.get("issuer") != self._issuer:
            raise ValueError(f"{self.url} is the document of another issuer")
        url = document.get("jwks_uri")
        if not isinstance(url, str):
            raise ValueError(f"{self.url} does not say where the keys are")
        if urlsplit(self._issuer).scheme == "https" and urlsplit(url).scheme != "https":
            raise ValueError(f"{self.url} leads away from TLS")
        return JsonFetcher(url, timeout=self._timeout)
