"""Greenlets, in a process that gevent has patched."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from orgtenancy import Organization, Tenancy, embedded
from tests.propagation.support import note, written

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).parents[2]


def test_greenlets_work_for_the_organization_of_the_copy_while_others_wait_in_the_database(
    server: embedded.EmbeddedServer,
    tenancy: Tenancy,
    two_organizations: tuple[Organization, Organization],
) -> None:
    a, b = two_organizations
    path = os.pathsep.join([str(PROJECT), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "-m", "tests.propagation.gevent_host", a.id, b.id],
        cwd=PROJECT,
        env=os.environ | {"TESTS_URL": server.url, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "plain": "OrganizationContextMissing",
        "native": {"organization": a.id, "actor": "ann", "session": False},
        "left": {"organization": None, "actor": None, "session": False},
    }
    for organization in two_organizations:
        expected = [note(organization, mark, "job") for mark in ("spawn", "executor")]
        expected.append(note(organization, "request", "http:127.0.0.1"))
        assert Counter(written(tenancy, organization)) == dict.fromkeys(expected, 3)
