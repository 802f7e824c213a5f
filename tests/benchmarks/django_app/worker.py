"""The process that django-tenants works in: one request a line, answered with seconds.

The time is taken here, so that the pipe costs nothing.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any


def main() -> None:
    """Answer until the input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # Django prints
    import django

    django.setup()
    for line in sys.stdin:
        request = json.loads(line)
        function: Callable[..., Any] = _REQUESTS[request.pop("do")]
        began = time.perf_counter()
        function(**request)
        print(json.dumps(time.perf_counter() - began), file=answers, flush=True)


def _make_migrations() -> None:
    from django.core.management import call_command

    call_command("makemigrations", "customers", "social", verbosity=0)


def _migrate_public() -> None:
    from django.core.management import call_command

    call_command("migrate_schemas", shared=True, verbosity=0)


def _create(schemas: list[str]) -> None:
    from tests.benchmarks.django_app.customers.models import Client

    for schema in schemas:
        Client(schema_name=schema, name=schema).save(verbosity=0)


def _reconnect() -> None:
    from django.db import connection

    connection.close()


def _migrate(target: str, executor: str, workers: int) -> None:
    from django.conf import settings
    from django.core.management import call_command

    settings.TENANT_MULTIPROCESSING_MAX_PROCESSES = workers
    call_command("migrate_schemas", "social", target, tenant=True, executor=executor, verbosity=0)


def _load() -> None:
    """Import the migrations: that is done once in a process, and not measured."""
    from django.db.migrations.loader import MigrationLoader

    MigrationLoader(None)


_REQUESTS: dict[str, Callable[..., None]] = {
    "make_migrations": _make_migrations,
    "migrate_public": _migrate_public,
    "create": _create,
    "reconnect": _reconnect,
    "migrate": _migrate,
    "load": _load,
}


if __name__ == "__main__":
    main()
