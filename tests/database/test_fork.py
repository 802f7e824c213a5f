"""A forked process never shares a connection with its parent."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable

from sqlalchemy import text

from orgtenancy import Organization, Tenancy

PID = text("SELECT pg_backend_pid()")


def test_a_child_opens_connections_of_its_own(
    make_tenancy: Callable[..., Tenancy], organization: Organization
) -> None:
    tenancy = make_tenancy(pool_size=1, max_overflow=0, listen=False)
    with tenancy.session(organization) as session:
        parent = session.scalar(PID)

    reading, writing = os.pipe()
    with warnings.catch_warnings(action="ignore"):  # of other tests' threads, on 3.12
        child = os.fork()
    if child == 0:
        try:
            with tenancy.session(organization) as session:
                os.write(writing, str(session.scalar(PID)).encode())
        finally:
            os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    in_child = int(os.read(reading, 20) or 0)
    os.close(reading)

    assert in_child not in (0, parent)
    with tenancy.session(organization) as session:
        assert session.scalar(PID) == parent
