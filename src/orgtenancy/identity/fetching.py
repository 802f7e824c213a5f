"""A GET for a small JSON document of the identity provider, with the standard library.

It takes what an issuer publishes, and trusts nothing else: no other scheme, no redirect
to another host, no body without an end.
"""

from __future__ import annotations

import json
import logging
import time
import urllib.request
from http.client import HTTPMessage
from typing import IO, Any
from urllib.error import HTTPError
from urllib.parse import urlsplit

from orgtenancy.errors import ConfigurationError

logger = logging.getLogger(__name__)

_CHUNK = 65_536
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class JsonFetcher:
    """Fetches and decodes one URL.

    Args:
        url: An http or https URL.
        timeout: Seconds for the whole exchange.
        max_bytes: The size that the body may have.

    Raises:
        ConfigurationError: If the URL is not http or https.
    """

    def __init__(self, url: str, *, timeout: float = 5.0, max_bytes: int = 524_288) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ConfigurationError("the identity provider's URL must be http or https")
        if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
            logger.warning("%s is fetched without TLS: who is on the way can forge it", url)
        self._url = url
        self._timeout = timeout
        self._max_bytes = max_bytes
        self._opener = urllib.request.build_opener(_SameHostRedirects)

    def __call__(self) -> Any:
        """Return the decoded document; blocks.

        Raises:
            OSError: If it cannot be had, in time and whole.
            ValueError: If it is too large, or no JSON.
        """
        request = urllib.request.Request(  # noqa: S310 - the scheme was checked
            self._url, headers={"Accept": "application/json"}
        )
        deadline = time.monotonic() + self._timeout
        with self._opener.open(request, timeout=self._timeout) as response:
            return json.loads(self._read(response, deadline))

    def _read(self, response: Any, deadline: float) -> bytes:
        body = bytearray()
        # The socket's timeout is per read; a slow drip would go on for ever.
        while chunk := response.read1(_CHUNK):
            body += chunk
            if len(body) > self._max_bytes:
                raise ValueError(f"more than {self._max_bytes} bytes")
            if time.monotonic() > deadline:
                raise TimeoutError("the answer takes too long")
        return bytes(body)


class _SameHostRedirects(urllib.request.HTTPRedirectHandler):
    """Follows a redirect only within the scheme and host that were configured."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        """Return the request to follow with.

        Raises:
            HTTPError: If it leads elsewhere.
        """
        old, new = urlsplit(req.full_url), urlsplit(newurl)
        # The standard library would read the whole body before it follows: one without an end,
        # as nobody reads it.
        fp.close()
        if (old.scheme, old.netloc) != (new.scheme, new.netloc):
            raise HTTPError(newurl, code, "redirect to another host", headers, None)
        return super().redirect_request(req, fp, code, msg, headers, newurl)
