"""What was seen: anything that an app or a function gave, and what was logged meanwhile."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from orgtenancy.context import organization_var
from orgtenancy.testing.isolation.apps.clients import asking_var
from orgtenancy.testing.isolation.marks import Leaked, Marks

_DEEPEST = 8  # steps into a value


def flattened(value: object, depth: int = 0) -> Iterator[str]:
    """Return all texts in a value: items of mappings and iterables, and attributes of objects.

    An iterator is read to its end; an attribute that a model has not loaded is left alone.
    """
    match value:
        case str():
            yield value
        case bytes() | bytearray() | memoryview():
            yield bytes(value).decode("utf-8", "replace")
        case _ if depth == _DEEPEST or value is None or isinstance(value, int | float):
            yield str(value)
        case Mapping():
            for part in value.items():
                yield from flattened(part, depth + 1)
        case Iterable():
            for part in value:
                yield from flattened(part, depth + 1)
        case _ if dataclasses.is_dataclass(value) and not isinstance(value, type):
            for one in dataclasses.fields(value):
                yield from flattened(getattr(value, one.name), depth + 1)
        case _ if hasattr(value, "__dict__") and not isinstance(value, type):
            # A copy: reading an object of a closed session may change what it holds.
            attributes = {k: v for k, v in vars(value).items() if not k.startswith("_sa_")}
            yield from flattened(list(attributes.values()), depth + 1)
            yield str(value)
        case _:
            yield str(value)


class Lookout:
    """Looks at all that organizations see, and remembers what they should not have.

    Args:
        marks: The marks.
    """

    def __init__(self, marks: Marks) -> None:
        self._marks = marks
        self._leaked: list[str] = []
        self._looks = self._own = 0

    def look(self, what: str, seen: object, organization: str | None) -> bool:
        """Look at something; returns whether the organization's own mark is in it.

        Args:
            what: What it was, for people.
            seen: What was seen.
            organization: Who saw it; None for somebody who may see none.
        """
        texts = list(flattened(seen))
        self._looks += 1
        try:
            self._marks.check(texts, organization)
        except Leaked as leaked:
            self._leaked.append(f"{what}: {leaked}")
        is_own = organization is not None and any(self._marks[organization] in t for t in texts)
        self._own += is_own
        return is_own

    def tell(self, what: str) -> str:
        """Return what was looked at, as evidence.

        Args:
            what: What was looked at, such as `answers`.

        Raises:
            Leaked: If somebody saw what they should not have.
        """
        if self._leaked:
            first, *more = dict.fromkeys(self._leaked)
            raise Leaked(first + (f" (and {len(more)} more)" if more else ""))
        return f"{self._looks} {what}, {self._own} of them with their own mark"

    def prove(self, what: str) -> str:
        """Return the same, of work in which a leak would have been seen.

        Args:
            what: What was looked at.

        Raises:
            Leaked: If somebody saw what they should not have.
            LookupError: If nobody saw a mark of their own: then nothing is proven.
        """
        evidence = self.tell(what)
        if not self._own:
            raise LookupError(f"{evidence}: `plant` writes what is to be read and shown")
        return evidence

    @contextmanager
    def on_logs(self) -> Iterator[None]:
        """Look at everything that is logged in a block, too."""
        handler = _LogHandler(self._look_at_log)
        root = logging.getLogger()
        root.addHandler(handler)
        try:
            yield
        finally:
            root.removeHandler(handler)

    def _look_at_log(self, record: logging.LogRecord, text: str) -> None:
        bound = organization_var.get()
        organization = asking_var.get() or (bound.id if bound is not None else None)
        if organization is None:
            return
        try:
            self._marks.check(text, organization)
        except Leaked:
            self._leaked.append(f"the log {record.name!r} of {organization} has another's mark")


class _LogHandler(logging.Handler):
    def __init__(self, look: object) -> None:
        super().__init__()
        self._look = look

    def emit(self, record: logging.LogRecord) -> None:
        self._look(record, self.format(record))  # type: ignore[operator]
