"""What a browser must not do: send another site's form, or load anything from elsewhere."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orgtenancy.adapters.starlette import problem_response
from orgtenancy.errors import AccessDenied

_SAFE = {"GET", "HEAD", "OPTIONS"}
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


class SecureHeaders:
    """Adds headers that keep the pages to what this app serves itself."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        await self.app(scope, receive, send_with_headers)


class SameOrigin:
    """Refuses changes that another site's page sends with this app's cookie.

    SameSite=Lax keeps the cookie from most of them; the Origin, which every browser sends
    with a form, from the rest. A program that proves itself by a header needs none.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] not in _SAFE and not is_trusted(scope):
            refusal = problem_response(AccessDenied("the request comes from another site"))
            if refusal is not None:
                await refusal(scope, receive, send)
                return
        await self.app(scope, receive, send)


def is_trusted(scope: Scope) -> bool:
    """Return whether a request comes from a page of this app, or from no page at all."""
    headers = Headers(scope=scope)
    if "authorization" in headers:
        return True
    if "origin" not in headers:
        return "cookie" not in headers
    return urlsplit(headers["origin"]).netloc == headers.get("host")
