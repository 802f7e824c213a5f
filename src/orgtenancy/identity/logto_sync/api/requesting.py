"""GET requests to Logto's Management API: the token, the pace, and what goes wrong on the way.

A request that the server could not answer is sent again, a while later; one that it refused is
not. Nothing is believed that did not come from where the settings say: no redirect is followed,
and no body without an end is read.
"""

from __future__ import annotations

import json
import logging
import math
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote_plus, urlsplit

import httpx

from orgtenancy.errors import (
    ConfigurationError,
    IdentityProviderRefused,
    IdentityProviderUnavailable,
)
from orgtenancy.identity.logto_sync.api.pacing import (
    MAX_ATTEMPTS,
    Pace,
    Patience,
    backoff,
    retry_after,
)
from orgtenancy.identity.logto_sync.settings import LogtoSettings

MAX_BODY = 5 * 1_048_576

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_RENEWED_BEFORE = 60.0  # seconds before a token expires

logger = logging.getLogger("orgtenancy.logto")


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server says.

    Attributes:
        status: The HTTP status: success, or what it refuses.
        headers: Its headers.
        body: The decoded JSON; None if a refusal has none.
    """

    status: int
    headers: Mapping[str, str]
    body: Any

    @property
    def code(self) -> str:
        """Logto's name of an error; empty if the answer does not look like Logto's."""
        code = self.body.get("code") if isinstance(self.body, dict) else None
        return code if isinstance(code, str) else ""


class Requester:
    """Sends requests with a token of the machine-to-machine app. Threads share it.

    Args:
        settings: Where Logto is, and as whom to ask.
        clock: Seconds that only ever grow.
        sleep: Waits.

    Raises:
        ConfigurationError: If the address is neither https nor this machine, or no
            credentials are given.
    """

    def __init__(
        self,
        settings: LogtoSettings,
        *,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
    ) -> None:
        self._base = _checked(settings.endpoint)
        if settings.client_id is None or settings.client_secret is None:
            raise ConfigurationError(
                "the Management API needs a machine-to-machine app: set client_id and "
                "client_secret, or ORGTENANCY_LOGTO_CLIENT_ID and ORGTENANCY_LOGTO_CLIENT_SECRET"
            )
        secret = settings.client_secret.get_secret_value()
        # RFC 6749, section 2.3.1: both are encoded as in a form.
        self._credentials = httpx.BasicAuth(quote_plus(settings.client_id), quote_plus(secret))
        self._grant = {
            "grant_type": "client_credentials",
            "resource": settings.management_resource,
            "scope": "all",
        }
        self._timeout = settings.timeout
        self._clock = clock
        self._sleep = sleep
        self._pace = Pace(settings.requests_per_second, clock=clock)
        self._lock = threading.Lock()
        self._token = ("", 0.0)
        self._client = httpx.Client(
            timeout=settings.timeout,
            follow_redirects=False,
            # Unpacked, a body may be larger than what is read.
            headers={"Accept": "application/json", "Accept-Encoding": "identity"},
        )

    def get(
        self, path: str, parameters: Mapping[str, int] | None = None, *, patience: float
    ) -> Answer:
        """Return the answer to a request below `/api`.

        Args:
            path: Its segments are quoted already.
            parameters: The query.
            patience: Seconds that the caller has; what takes longer to wait for is not begun.

        Raises:
            IdentityProviderUnavailable: If no answer can be had.
            IdentityProviderRefused: If there is no token for these credentials.
        """
        left = Patience(patience, clock=self._clock, sleep=self._sleep)
        url = f"{self._base}/api/{path}"
        expired = ""
        while True:
            token = self._current_token(left, other_than=expired)
            headers = {"Authorization": f"Bearer {token}"}
            request = self._client.build_request("GET", url, params=parameters, headers=headers)
            answer = self._answered(request, left)
            if answer.status != httpx.codes.UNAUTHORIZED or expired:
                return answer
            # Good a moment ago, as far as we know: its key was withdrawn, or time runs otherwise.
            expired = token

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _current_token(self, left: Patience, *, other_than: str) -> str:
        token, renew_at = self._token
        if token not in ("", other_than) and self._clock() < renew_at:
            return token
        with left.holding(self._lock, "its token is being renewed"):
            token, renew_at = self._token
            if token in ("", other_than) or self._clock() >= renew_at:
                token, lifetime = self._fetch_token(left)
                renew_at = self._clock() + lifetime - min(_RENEWED_BEFORE, lifetime / 2)
                self._token = (token, renew_at)
            return token

    def _fetch_token(self, left: Patience) -> tuple[str, float]:
        url = f"{self._base}/oidc/token"
        request = self._client.build_request("POST", url, data=self._grant)
        answer = self._answered(request, left, auth=self._credentials)
        if answer.status != httpx.codes.OK:
            raise refused(answer, "gives no token for these credentials")
        body = answer.body if isinstance(answer.body, dict) else {}
        token, lifetime = body.get("access_token"), body.get("expires_in")
        if (
            not isinstance(token, str)
            or not token.isascii()
            or not token.isprintable()
            or isinstance(lifetime, bool)
            or not isinstance(lifetime, int | float)
            or lifetime <= 0
        ):
            raise IdentityProviderUnavailable("Logto's answer to a request for a token is none")
        return token, float(lifetime)

    def _answered(
        self, request: httpx.Request, left: Patience, *, auth: httpx.Auth | None = None
    ) -> Answer:
        """Send a request until it is answered."""
        attempt = 1
        while True:
            wait = self._pace.reserve()
            try:
                left.wait(wait, "more requests than the settings allow")
            except IdentityProviderUnavailable:
                self._pace.give_back()
                raise
            try:
                return self._send(request, auth)
            except _Unanswered as error:
                delay = error.retry_after
                if delay is None:
                    delay = backoff(attempt)
                else:
                    self._pace.pause(delay)
                if attempt == MAX_ATTEMPTS:
                    raise IdentityProviderUnavailable(
                        f"Logto cannot be asked: {error}", retry_after=max(1, math.ceil(delay))
                    ) from error.__cause__
                logger.info("Logto is asked again in %.1f s: %s", delay, error)
                left.wait(delay, str(error))
            attempt += 1

    def _send(self, request: httpx.Request, auth: httpx.Auth | None) -> Answer:
        end = self._clock() + self._timeout
        try:
            response = self._client.send(request, auth=auth, stream=True)
            try:
                body = self._read(response, end)
            finally:
                response.close()
        except httpx.RequestError as error:
            raise _Unanswered(f"{type(error).__name__} {error}".strip()) from error
        status = response.status_code
        if status == httpx.codes.TOO_MANY_REQUESTS or status >= 500:
            asked_for = retry_after(response.headers.get("Retry-After"))
            raise _Unanswered(f"it answers {status}", asked_for)
        try:
            content = json.loads(body)
        except ValueError as error:
            if response.is_success:
                raise _Unanswered("its answer is no JSON") from error
            content = None
        return Answer(status, response.headers, content)

    def _read(self, response: httpx.Response, end: float) -> bytes:
        body = bytearray()
        for chunk in response.iter_bytes():
            body += chunk
            if len(body) > MAX_BODY:
                raise IdentityProviderUnavailable(f"Logto's answer has more than {MAX_BODY} bytes")
            # The client's timeout is per read; a slow drip would go on for ever.
            if self._clock() > end:
                raise _Unanswered("its answer takes too long")
        return bytes(body)


class _Unanswered(Exception):
    """The server could not answer; it may be able to, later."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


def refused(answer: Answer, what: str) -> IdentityProviderRefused:
    """Return the error for an answer that is none of those that are expected."""
    code = f" ({answer.code})" if answer.code else ""
    return IdentityProviderRefused(
        f"Logto {what}: it answers {answer.status}{code}", http_status=answer.status
    )


def _checked(endpoint: str) -> str:
    """Return where Logto is.

    Raises:
        ConfigurationError: If what is sent there could be read on the way.
    """
    parts = urlsplit(endpoint)
    is_private = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)
    if not is_private or not parts.hostname:
        raise ConfigurationError("Logto's endpoint must be https, or on this machine")
    if parts.username is not None or parts.query or parts.fragment:
        raise ConfigurationError("Logto's endpoint is an address, and nothing besides")
    return endpoint.rstrip("/")
