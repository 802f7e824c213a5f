"""Apps of all frameworks are proven, and all leaks are held."""

from __future__ import annotations

import pytest

from orgtenancy import Tenancy
from orgtenancy.testing.isolation import AppUnderProof, Verdict, WebSocket, prove
from orgtenancy.testing.isolation.leaks.requests import APP_LEAKS
from tests.isolation.held_apps import HOSTS, REQUESTS
from tests.isolation.members import RESOLVER, as_member, plant

# What no WSGI server can do.
LEFT_OUT = {
    "starlette": set(),
    "fastapi": set(),
    "flask": {
        "a request that is cancelled in the middle",
        "a websocket that is open while the other organization is served",
        "a websocket without credentials, after one with them",
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("framework", HOSTS)
def test_every_leak_of_an_app_is_held_in_each_framework(
    notes_tenancy: Tenancy, framework: str
) -> None:
    app = AppUnderProof(
        HOSTS[framework](notes_tenancy, RESOLVER),
        as_member=as_member,
        plant=plant,
        requests=REQUESTS,
        websockets=[WebSocket("/live", ["hello", '{"organization": "{other}"}'])],
    )
    report = prove(notes_tenancy, (), app=app)
    assert report.is_held, str(report)
    assert {one.leak for one in report.of(Verdict.LEFT_OUT)} == LEFT_OUT[framework]
    assert len(report.findings) == len(APP_LEAKS)
