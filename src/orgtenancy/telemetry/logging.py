"""Log records that say whose request they are about.

```python
logging.basicConfig(format="%(levelname)s %(organization_id)s %(actor_id)s %(message)s")
install_log_context()
```

No token and no claim is logged, but the actor's id and scopes.
"""

from __future__ import annotations

import logging

from orgtenancy.context import actor_var, organization_var, origin_var
from orgtenancy.errors import ConfigurationError

_NOTHING = "-"


class ContextFilter(logging.Filter):
    """Puts the context on every record that passes, for formatters to use.

    A record has `organization_id`, `actor_id`, `scopes` (one text, with spaces) and `origin`
    then: `-` where there is none. What the record has already, by `extra=` for instance, is
    left as it is.

    It reads the context of whoever calls it: on a `QueueHandler` that is where the record was
    made, on the handlers of its listener it would be another thread.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass."""
        given = record.__dict__
        organization, actor = organization_var.get(), actor_var.get()
        given.setdefault("organization_id", _NOTHING if organization is None else organization.id)
        given.setdefault("actor_id", _NOTHING if actor is None else _one_line(actor.id))
        scopes = "" if actor is None else " ".join(sorted(actor.scopes))
        given.setdefault("scopes", _one_line(scopes) or _NOTHING)
        given.setdefault("origin", _one_line(origin_var.get()))
        return True


def _one_line(text: str) -> str:
    # What others chose must not look like a record of its own.
    return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")


def install_log_context(target: logging.Handler | logging.Logger | None = None) -> None:
    """Put the context on all records of a handler, or of all handlers that a logger has now.

    Call it after logging was configured. To call it again changes nothing.

    Args:
        target: The handler, or the logger with the handlers; the root logger if not given.

    Raises:
        ConfigurationError: If the logger has no handler. A filter of the logger itself would
            not see the records of its descendants.
    """
    if isinstance(target, logging.Handler):
        handlers = [target]
    else:
        logger = target if target is not None else logging.getLogger()
        handlers = logger.handlers
        if not handlers:
            raise ConfigurationError(
                f"the logger {logger.name!r} has no handler yet: configure logging first"
            )
    for handler in handlers:
        if not any(isinstance(known, ContextFilter) for known in handler.filters):
            handler.addFilter(ContextFilter())
