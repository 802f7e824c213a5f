"""One mutation: a guard that is taken away."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src" / "orgtenancy"


@dataclass(frozen=True)
class Mutation:
    """A change of the code that takes a guard away.

    Attributes:
        guard: What is taken away, in a few words.
        file: Which file, below `src/orgtenancy`.
        before: The text there; it occurs once.
        after: What takes its place.
        tests: Where the tests are that must fail, from `tests` on.
        needs_slow: Whether they are those that are marked slow.
    """

    guard: str
    file: str
    before: str
    after: str
    tests: tuple[str, ...]
    needs_slow: bool = False

    def applied(self) -> str:
        """Return the file's text without the guard.

        Raises:
            ValueError: If the text it replaces does not occur exactly once.
        """
        text = (SOURCE / self.file).read_text()
        if (count := text.count(self.before)) != 1:
            raise ValueError(f"{self.file}: {self.before!r} occurs {count} times")
        return text.replace(self.before, self.after)
