"""A client of the running app: a browser with its cookies, or a program with a token."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.cookiejar import CookieJar
from typing import Any

_TIMEOUT = 10  # seconds


class Surprise(Exception):
    """The app answered otherwise than it should."""


class Client:
    """A browser with its cookies, or a program with a token."""

    def __init__(self, url: str, **headers: str) -> None:
        self.url = url
        self.headers = {"Origin": url, **headers}
        jar = urllib.request.HTTPCookieProcessor(CookieJar())
        # No proxy: the app is on this machine.
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), jar)

    def send(
        self,
        method: str,
        path: str,
        *,
        expect: int = 200,
        form: Mapping[str, str] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> str:
        """Return the text of an answer.

        Raises:
            Surprise: If its status is not the expected one.
        """
        data, sent = None, {**self.headers, **(headers or {})}
        if form is not None:
            data = urllib.parse.urlencode(form).encode()
        elif body is not None:
            data = json.dumps(body).encode()
            sent["Content-Type"] = "application/json"
        request = urllib.request.Request(  # noqa: S310 - always the demo's own address
            self.url + path, data, sent, method=method
        )
        try:
            with self.opener.open(request, timeout=_TIMEOUT) as response:
                status, text = response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            status, text = error.code, error.read().decode()
        if status != expect:
            raise Surprise(f"{method} {path} answered {status}, not {expect}: {text[:200]}")
        return str(text)

    def json(self, method: str, path: str, **options: Any) -> Any:
        """Return what an answer of the API holds."""
        return json.loads(self.send(method, path, **options))

    @contextmanager
    def events(self) -> Iterator[Iterator[tuple[str, Any]]]:
        """Follow the stream of news: kind and data of each, from `ready` on."""
        request = urllib.request.Request(  # noqa: S310 - always the demo's own address
            self.url + "/live", headers=self.headers
        )
        with self.opener.open(request, timeout=_TIMEOUT) as response:

            def read() -> Iterator[tuple[str, Any]]:
                kind = ""
                for line in response:
                    name, _, value = line.decode().strip().partition(": ")
                    if name == "event":
                        kind = value
                    elif name == "data":
                        yield kind, json.loads(value)

            events = read()
            if next(events) != ("ready", {}):
                raise Surprise("expected a stream that says when it hears")
            yield events
