"""Commands that ask a Logto on this machine."""

from __future__ import annotations

import pytest

from orgtenancy.testing import FakeLogto
from tests.cli.projects import Project


def lead_to(fake: FakeLogto, patch: pytest.MonkeyPatch) -> None:
    """Let the commands of all projects ask a Logto."""
    settings = fake.settings()
    secret = settings.client_secret
    variables = {
        "ORGTENANCY_LOGTO_ENDPOINT": settings.endpoint,
        "ORGTENANCY_LOGTO_CLIENT_ID": str(settings.client_id),
        "ORGTENANCY_LOGTO_CLIENT_SECRET": "" if secret is None else secret.get_secret_value(),
    }
    of_project = vars(Project)["environment"].fget
    patch.setattr(Project, "environment", property(lambda self: of_project(self) | variables))
