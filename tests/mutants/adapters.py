"""The guards of the adapters: how a request enters its organization."""

from __future__ import annotations

from tests.mutants.mutation import Mutation

STARLETTE = ("adapters/test_starlette.py",)
FASTAPI = ("adapters/test_fastapi.py",)
FLASK = ("adapters/test_flask.py",)
SCOPES = "adapters/test_scopes.py"

MUTATIONS = (
    *(
        Mutation(
            f"a request begins without the {what} of the one before, in {adapter}",
            f"adapters/{adapter}.py",
            f"{begin}bind({what}_var, None)",
            f"{begin}bind({what}_var, {what}_var.get())",
            tests,
        )
        for adapter, begin, tests in (
            ("starlette", "            ", STARLETTE),
            ("flask", "        self.bound.enter_context(", FLASK),
        )
        for what in ("organization", "session", "actor")
    ),
    Mutation(
        "only what is exempt is served without an organization",
        "adapters/starlette.py",
        "            if self._is_exempt(request):\n",
        "            if True:\n",
        STARLETTE,
    ),
    Mutation(
        "a websocket enters its organization too",
        "adapters/starlette.py",
        'if scope["type"] not in ("http", "websocket"):',
        'if scope["type"] != "http":',
        STARLETTE,
    ),
    Mutation(
        "a request that is refused does not reach the app",
        "adapters/starlette.py",
        "                await _refuse(error, scope, receive, send)\n",
        "                await self.app(scope, receive, send)\n",
        STARLETTE,
    ),
    Mutation(
        "exempt paths are those inside of where the app is mounted",
        "adapters/starlette.py",
        "        path = path[len(root) :] or",
        "        path = path or",
        (*STARLETTE, *FASTAPI),
    ),
    Mutation(
        "scopes are asked for, async",
        "adapters/starlette.py",
        "            require_scopes(*scopes)\n            return await cast",
        "            return await cast",
        (SCOPES,),
    ),
    Mutation(
        "scopes are asked for, sync",
        "adapters/starlette.py",
        "            require_scopes(*scopes)\n            return endpoint(",
        "            return endpoint(",
        (SCOPES,),
    ),
    Mutation(
        "scopes are asked for by a dependency of FastAPI",
        "adapters/fastapi.py",
        "        return require_scopes(*scopes)\n",
        "        return await _actor()\n",
        (SCOPES, *FASTAPI),
    ),
    Mutation(
        "the async transaction is committed before the response is sent",
        "adapters/fastapi.py",
        'Depends(organization_session, scope="function")',
        "Depends(organization_session)",
        FASTAPI,
    ),
    Mutation(
        "the sync transaction is committed before the response is sent",
        "adapters/fastapi.py",
        'Depends(organization_sync_session, scope="function")',
        "Depends(organization_sync_session)",
        FASTAPI,
    ),
    Mutation(
        "a sync transaction ends although its request was cancelled",
        "adapters/fastapi.py",
        "            with anyio.CancelScope(shield=True):\n",
        "            if True:\n",
        FASTAPI,
    ),
    Mutation(
        "a request without an actor is refused where one is asked for",
        "adapters/fastapi.py",
        "    if actor is None:\n        raise",
        "    if False:\n        raise",
        FASTAPI,
    ),
    Mutation(
        "of the pages that are exempt only the documentation's own are",
        "adapters/fastapi.py",
        "        return request.path in docs or is_exempt(request)\n",
        "        return request.path.startswith(tuple(docs)) or is_exempt(request)\n",
        FASTAPI,
    ),
    Mutation(
        "only what is exempt is served without an organization, in Flask",
        "adapters/flask.py",
        "        if self._is_exempt(asked):\n",
        "        if True:\n",
        FLASK,
    ),
    Mutation(
        "an answer that is an error rolls back",
        "adapters/flask.py",
        "        if work.error is not None or response.status_code >= 400:\n",
        "        if work.error is not None:\n",
        FLASK,
    ),
    Mutation(
        "an error that became a page rolls back",
        "adapters/flask.py",
        "            work.error = arguments[-1]\n",
        "            pass\n",
        FLASK,
    ),
    Mutation(
        "a request that ends without an answer rolls back",
        "adapters/flask.py",
        "            work.roll_back(error or _Abandoned())\n",
        "            work.transaction.close()\n",
        FLASK,
    ),
    Mutation(
        "what a request bound is unbound when it ends",
        "adapters/flask.py",
        "            work.bound.close()\n",
        "            pass\n",
        FLASK,
    ),
    Mutation(
        "a stream does not use the request's session",
        "adapters/flask.py",
        "    context.run(session_var.set, None)\n",
        "",
        FLASK,
    ),
    Mutation(
        "a stream is closed in the organization it works in",
        "adapters/flask.py",
        "                context.run(close)\n",
        "                close()\n",
        FLASK,
    ),
    Mutation(
        "scopes are asked for, in Flask",
        "adapters/flask.py",
        "            require_scopes(*scopes)\n",
        "",
        (SCOPES, *FLASK),
    ),
    Mutation(
        "a header that was sent twice is seen twice",
        "adapters/flask.py",
        'else [part.strip() for part in value.split(",")]',
        "else [value]",
        (*FLASK, "adapters/test_identity.py"),
    ),
    Mutation(
        "an exempt path is that path alone",
        "adapters/web/requests.py",
        "        return request.path in self._paths or",
        "        return request.path.startswith(tuple(self._paths)) or",
        (*STARLETTE, *FLASK, *FASTAPI),
    ),
    Mutation(
        "a host that was named twice is none",
        "adapters/web/requests.py",
        "    if len(given) != 1:\n",
        "    if not given:\n",
        ("identity/test_named_resolvers.py", "adapters/test_identity.py"),
    ),
    Mutation(
        "an error of the inside tells nothing to the outside",
        "adapters/web/problems.py",
        '    return _problem(500, error.code, "the request could not be served")\n',
        "    return _problem(500, error.code, str(error))\n",
        ("adapters/test_problems.py", "adapters/test_modules.py"),
    ),
    Mutation(
        "who is not let in does not enter",
        "identity/gate.py",
        "        if not self._lets_in(identity):\n",
        "        if False:\n",
        FLASK,
    ),
    Mutation(
        "who is not let in does not enter, async",
        "identity/gate.py",
        "        if not await self._lets_in_async(identity):\n",
        "        if False:\n",
        STARLETTE,
    ),
)
