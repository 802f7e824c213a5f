"""The HTTP API of a module: a table of endpoints, which every web adapter mounts as it is.

An endpoint is a transaction function and what HTTP needs to know of it. The function's
signature says the rest: which parameters are in the path, what the query and the body hold,
and what it returns.

```python
def read_invoice(session: Session, caller: Caller, *, invoice_id: UUID) -> InvoiceView: ...

ENDPOINTS = (
    Endpoint("GET", "/invoices/{invoice_id}", read_invoice, problems=(404,)),
)
```
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from orgtenancy.organizations import Actor


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls an endpoint, and from where.

    Attributes:
        actor: Who asks.
        ip_address: The address of the client, as the server saw it; None if unknown.
    """

    actor: Actor
    ip_address: str | None = None

    @property
    def id(self) -> str:
        """The actor's id."""
        return self.actor.id


@dataclass(frozen=True)
class Endpoint:
    """One method of one path.

    Attributes:
        method: The HTTP method.
        path: Below where the API is mounted, like `/posts/{post_id}`.
        function: The transaction function, `function(session, caller, **inputs)`. Inputs are
            keyword-only: those named in the path, `query` and `body`, the latter two
            pydantic models. A transient failure runs it again.
        status: The status of a success; 204 has no body.
        scopes: What the actor needs, where the module's settings say nothing else.
        problems: Statuses of problems that the function itself may answer with.
        tag: The chapter of the documentation.
    """

    method: str
    path: str
    function: Callable[..., Any]
    status: int = 200
    scopes: tuple[str, ...] = ()
    problems: tuple[int, ...] = ()
    tag: str = ""

    @property
    def name(self) -> str:
        """Its name in settings and documentation: that of the function."""
        return self.function.__name__
