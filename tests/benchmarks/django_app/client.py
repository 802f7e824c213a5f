"""django-tenants as a contender: a process of its own, and its migrations."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import URL

_SEARCH = """\
from django.db import migrations


class Migration(migrations.Migration):
    initial = True
    operations = [
        migrations.RunSQL(
            "CREATE TEXT SEARCH CONFIGURATION community_search (COPY = pg_catalog.english)"
        )
    ]
"""

_STEP = """\
from django.db import migrations, models
from django.db.models.functions import Now


class Migration(migrations.Migration):
    dependencies = [("social", "{before}")]
    operations = [
        migrations.AddField("post", "step_{number}", models.TextField(null=True)),
        migrations.AddIndex(
            "post", models.Index(fields=["step_{number}"], name="ix_posts_step_{number}")
        ),
        migrations.CreateModel(
            "Step{number}",
            [
                ("id", models.UUIDField(primary_key=True)),
                ("note", models.TextField()),
                ("created_at", models.DateTimeField(db_default=Now())),
            ],
            options={{"db_table": "step_{number}"}},
        ),
    ]
"""


class DjangoTenants:
    """Talks to the worker. Made by `started`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(self, request: str, **parameters: object) -> float:
        """Let it do something, and return its seconds."""
        pipe_in, pipe_out = self._process.stdin, self._process.stdout
        assert pipe_in is not None
        assert pipe_out is not None
        print(json.dumps({"do": request, **parameters}), file=pipe_in, flush=True)
        answer = pipe_out.readline()
        if not answer:
            raise RuntimeError(f"django-tenants could not {request}: see above")
        return float(answer)

    def create(self, schemas: Sequence[str]) -> float:
        """Make tenants with their schemas."""
        return self.ask("create", schemas=list(schemas))

    def migrate(self, target: str, *, executor: str = "standard", workers: int = 1) -> float:
        """Bring all tenants to a migration."""
        return self.ask("migrate", target=target, executor=executor, workers=workers)


def write_migrations(url: URL, folder: Path, steps: int = 0) -> list[str]:
    """Write the migrations, and after them steps that all have the same shape.

    Returns:
        The name of the last migration before the steps, then those of the steps.
    """
    for package in ("customers_migrations", "social_migrations"):
        (folder / package).mkdir()
        (folder / package / "__init__.py").touch()
    social = folder / "social_migrations"
    (social / "0001_search.py").write_text(_SEARCH)
    with started(url, folder, load=False) as django:
        django.ask("make_migrations")
    names = [max(path.stem for path in social.glob("0*.py"))]
    for number in range(1, steps + 1):
        name = f"1{number:03}_step"
        (social / f"{name}.py").write_text(_STEP.format(before=names[-1], number=number))
        names.append(name)
    return names


@contextmanager
def started(
    url: URL, folder: Path, *, base_schema: str = "", load: bool = True
) -> Iterator[DjangoTenants]:
    """Start the worker on a database.

    Args:
        url: The owner.
        folder: Where the migrations are.
        base_schema: The schema that new ones are cloned from; none if empty.
        load: Whether the migrations are there already.
    """
    query = dict(url.query)
    database = {
        "NAME": url.database,
        "USER": url.username,
        "PASSWORD": url.password or "",
        "HOST": url.host or query.get("host", ""),
        "PORT": str(url.port or query.get("port", "")),
    }
    root = Path(__file__).parents[3]
    environment = {
        **os.environ,
        "BENCHMARK_DJANGO": json.dumps({"database": database, "base_schema": base_schema}),
        "DJANGO_SETTINGS_MODULE": "tests.benchmarks.django_app.settings",
        "PYTHONPATH": os.pathsep.join([str(root), str(folder)]),
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.django_app.worker"],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    django = DjangoTenants(process)
    try:
        if load:
            django.ask("load")
        yield django
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.wait(30)
