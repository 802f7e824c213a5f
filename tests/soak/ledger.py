"""What a process saw and did: counted, and written down where it must be found again."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable
from itertools import count
from pathlib import Path
from typing import Any, NoReturn

#: The body of rows whose transaction must not commit.
DOOMED = "doomed"
#: What a file is called that is there once something is wrong: then the run can end.
ALARM = ".alarm"
_MOST = 20  # pieces of evidence that are kept: one is enough


class Violation(Exception):
    """Something of another organization was seen, or something was lost."""


class Ledger:
    """The outcomes of one process.

    What was acknowledged goes to a file, so that the memory of a long run is that of the library.

    Args:
        path: The file.
        first_id: The first key of the rows that this process writes.
    """

    def __init__(self, path: Path, first_id: int) -> None:
        self.done: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.violations: list[str] = []
        self.unexpected: list[str] = []
        self._ids = count(first_id)
        self._lock = threading.Lock()
        self._file = path.open("a", buffering=1 << 16)
        self._alarm = path.with_suffix(ALARM)

    def new_id(self) -> int:
        """Return a key that no other row has."""
        return next(self._ids)

    def acknowledge(self, organization_id: str, ids: Iterable[int]) -> None:
        """Note rows whose commit was acknowledged."""
        lines = "".join(f"{organization_id}\t{note_id}\n" for note_id in ids)
        with self._lock:
            self._file.write(lines)

    def count(self, act: str) -> None:
        """Count a transaction that was committed."""
        with self._lock:
            self.done[act] += 1

    def fail(self, kind: str) -> None:
        """Count an error that had to be expected."""
        with self._lock:
            self.errors[kind] += 1

    def surprise(self, told: str) -> None:
        """Keep an error that nothing explains."""
        with self._lock:
            self.errors["unexpected"] += 1
            self._alarm.touch()
            if len(self.unexpected) < _MOST:
                self.unexpected.append(told)

    def violate(self, told: str) -> NoReturn:
        """Keep the evidence first: the error itself may be swallowed by a cancellation."""
        with self._lock:
            self.errors["violation"] += 1
            self._alarm.touch()
            if len(self.violations) < _MOST:
                self.violations.append(told)
        raise Violation(told)

    def close(self) -> dict[str, Any]:
        """Write all of it, and return what there is to tell."""
        self._file.close()
        return {
            "done": self.done,
            "errors": self.errors,
            "violations": self.violations,
            "unexpected": self.unexpected,
        }
