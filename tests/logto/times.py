"""A clock that goes only when somebody waits."""

from __future__ import annotations

from orgtenancy.identity.logto_sync import ManagementApi
from orgtenancy.testing import FakeLogto


class Clock:
    """Seconds, and what was waited for.

    Attributes:
        slept: Each wait.
    """

    def __init__(self) -> None:
        self._now = 1000.0
        self.slept: list[float] = []

    def now(self) -> float:
        return self._now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self._now += seconds

    def pass_by(self, seconds: float) -> None:
        self._now += seconds

    def api(self, fake: FakeLogto, **settings: object) -> ManagementApi:
        """Return an API that waits by this clock."""
        return ManagementApi(fake.settings(**settings), clock=self.now, sleep=self.sleep)
