"""Every error is a problem (RFC 9457); whoever asked for a page gets it as one."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from examples.community.identity import COOKIE
from examples.community.templating import is_htmx, render
from orgtenancy.adapters import PROBLEM_MEDIA_TYPE, Problem

_HEADLINES = {
    400: "That address makes no sense here",
    403: "That is not yours to open",
    404: "Nothing here",
    405: "That is not how this works",
    409: "That does not go together",
    422: "That did not fit",
    503: "One moment, please",
}


class ProblemPages:
    """Shows problems as pages outside of `/api`; who is not signed in gets the sign-in page."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith("/api"):
            await self.app(scope, receive, send)
            return
        body: bytearray | None = None

        async def send_page(message: Message) -> None:
            nonlocal body
            if message["type"] == "http.response.start" and _is_problem(message):
                body = bytearray()
            elif body is None:
                await send(message)
            else:
                body += message.get("body", b"")
                if not message.get("more_body"):
                    problem = Problem.model_validate_json(bytes(body))
                    await page_of(problem, Request(scope))(scope, receive, send)

        await self.app(scope, receive, send_page)


def install(app: FastAPI) -> None:
    """Answer what FastAPI refuses, and what nobody expected, with problems too."""
    app.add_middleware(ProblemPages)

    @app.exception_handler(HTTPException)
    async def refuse(request: Request, error: HTTPException) -> Response:
        detail = "there is no such page" if error.status_code == 404 else str(error.detail)
        return _response(error.status_code, "http", detail)

    @app.exception_handler(RequestValidationError)
    async def correct(request: Request, error: RequestValidationError) -> Response:
        details = [f"{'.'.join(map(str, e['loc'][1:]))}: {e['msg']}" for e in error.errors()]
        return _response(422, "invalid", "; ".join(details))

    @app.exception_handler(Exception)
    async def apologize(request: Request, error: Exception) -> Response:
        # It is answered outside of all middleware: no page is made of it on the way out.
        response = _response(500, "error", "the request could not be served")
        if request.url.path.startswith("/api"):
            return response
        return page_of(Problem.model_validate_json(bytes(response.body)), request)


def page_of(problem: Problem, request: Request) -> Response:
    """Return the page that shows a problem, or the part of one that htmx puts in its place."""
    if problem.status == HTTPStatus.UNAUTHORIZED:
        return _to_sign_in(request)
    detail = problem.detail[:1].upper() + problem.detail[1:]
    if is_htmx(request):
        return render(request, "parts/notice.html", status=problem.status, detail=detail)
    headline = _HEADLINES.get(problem.status, "Something went wrong")
    return render(request, "problem.html", status=problem.status, headline=headline, detail=detail)


def _to_sign_in(request: Request) -> Response:
    response: Response = RedirectResponse("/sign-in", HTTPStatus.SEE_OTHER)
    if is_htmx(request):
        response = Response(headers={"HX-Redirect": "/sign-in"})
    response.delete_cookie(COOKIE)
    return response


def _response(status: int, code: str, detail: str) -> Response:
    problem = Problem(title=HTTPStatus(status).phrase, status=status, code=code, detail=detail)
    return JSONResponse(problem.model_dump(), status, media_type=PROBLEM_MEDIA_TYPE)


def _is_problem(message: Any) -> bool:
    media_type = dict(message["headers"]).get(b"content-type", b"")
    return bool(media_type.startswith(PROBLEM_MEDIA_TYPE.encode()))
