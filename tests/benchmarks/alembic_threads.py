"""Several threads that migrate: Alembic's own commands, and ours beside them.

Alembic keeps the operations and the context of the command that runs in globals of its
modules, so that a command of one thread may work on the schema of another. Here some threads
upgrade schemas of three modules, with revisions that become SQL and revisions that
read rows, and every schema is looked at afterwards.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

from alembic import command
from psycopg import sql
from sqlalchemy import MetaData, create_engine

from orgtenancy import OrganizationModule
from orgtenancy.errors import JobFailed
from orgtenancy.schemas.fleet.jobs import JobOptions
from tests.benchmarks import fleet_ground as ground
from tests.benchmarks.fleet_ground import Place
from tests.benchmarks.migrators import enter
from tests.benchmarks.provisioning import alembic_config

_MODULES = ("first", "second", "third")
_ROWS = 3


def main(arguments: Sequence[str]) -> None:
    """Migrate, count, and print Markdown."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks alembic_threads")
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--schemas", type=int, default=40, help="of each thread")
    options = parser.parse_args(arguments)
    ground.tell_machine("sqlalchemy", "psycopg", "alembic")
    with ground.started() as server, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        first, every = folder / "first", folder / "every"
        template = server.make("template")
        _fill(template, _write_modules(first, 1), options.threads * options.schemas)
        modules = _write_modules(every, len(_REVISIONS))
        print(f"\n{options.threads} threads, {options.schemas} schemas each.\n")
        print("| | wrong schemas | of these: stamps | tables and columns | rows | errors raised |")
        print("|---|---:|---:|---:|---:|---:|")
        ways: dict[str, Callable[[Place], Counter[str]]] = {
            "Alembic, command.upgrade in threads": lambda place: _by_commands(
                place, every, options.threads
            ),
            "fleet.migrate": lambda place: _by_fleet(place, modules, options.threads),
        }
        for number, (way, migrate) in enumerate(ways.items()):
            place = server.make(f"way_{number}", template)
            errors = migrate(place)
            found = _count_wrong(place)
            print(
                f"| {way} | **{found['wrong']}** of {len(place.schemas())} | {found['stamps']} "
                f"| {found['tables']} | {found['rows']} "
                f"| {', '.join(f'{n} {kind}' for kind, n in errors.most_common()) or 0} |",
                flush=True,
            )
    print()
    ground.tell_load("at the end")


def _write_modules(folder: Path, revisions: int) -> list[OrganizationModule]:
    return [_write_module(folder / name, name, revisions) for name in _MODULES]


def _write_module(migrations: Path, name: str, revisions: int) -> OrganizationModule:
    migrations.mkdir(parents=True)
    for number, body in enumerate(_REVISIONS[:revisions], 1):
        before = f'"{name}_{number - 1}"' if number > 1 else "None"
        labels = "None" if number > 1 else f'("{name}",)'
        (migrations / f"{name}_{number}.py").write_text(
            _REVISION.format(name=name, number=number, before=before, labels=labels)
            + body.format(name=name, rows=_ROWS)
        )
    return OrganizationModule(name=name, metadata=MetaData(), migrations=migrations)


_REVISION = '''\
"""Revision {number} of {name}."""

import sqlalchemy as sa
from alembic import op

revision = "{name}_{number}"
down_revision = {before}
branch_labels = {labels}
depends_on = None


def upgrade() -> None:
'''

#: The first is there before; the third reads rows, and so becomes no SQL.
_REVISIONS = (
    """\
    op.create_table("{name}", sa.Column("id", sa.Integer(), primary_key=True))
    op.execute("INSERT INTO {name} SELECT generate_series(1, {rows})")
""",
    """\
    op.add_column("{name}", sa.Column("doubled", sa.Integer()))
    op.create_index("ix_{name}_doubled", "{name}", ["doubled"])
""",
    """\
    connection = op.get_bind()
    for row in connection.execute(sa.text("SELECT id FROM {name} ORDER BY id")).all():
        op.execute(f"UPDATE {name} SET doubled = {{2 * row.id}} WHERE id = {{row.id}}")
""",
    """\
    op.create_table("{name}_notes", sa.Column("id", sa.Integer(), primary_key=True))
    op.alter_column("{name}", "doubled", nullable=False)
""",
)


def _fill(template: Place, modules: Sequence[OrganizationModule], number: int) -> None:
    """Make schemas at the first revision of each module."""
    with closing(template.tenancy(modules)) as tenancy, ThreadPoolExecutor(2) as threads:
        list(threads.map(tenancy.schemas.provision, [f"t{n:04}" for n in range(number)]))


def _by_commands(place: Place, folder: Path, number: int) -> Counter[str]:
    """Upgrade, each thread its own schemas; return which errors the commands raised."""
    schemas = place.schemas()
    migrations = os.pathsep.join(str(folder / module) for module in _MODULES)
    engine = create_engine(place.admin, pool_size=number)

    def work(own: Sequence[str]) -> Counter[str]:
        errors: Counter[str] = Counter()
        for schema in own:
            try:
                with engine.begin() as connection:
                    enter(connection, schema)
                    command.upgrade(alembic_config(migrations, connection), "heads")
            except Exception as error:  # noqa: BLE001 - whatever it is, it is counted
                errors[type(error).__name__] += 1
        return errors

    with ThreadPoolExecutor(number) as threads:
        shares = [schemas[n::number] for n in range(number)]
        errors = sum(threads.map(work, shares), Counter[str]())
    engine.dispose()
    return errors


def _by_fleet(place: Place, modules: Sequence[OrganizationModule], number: int) -> Counter[str]:
    with closing(place.tenancy(modules)) as tenancy:
        try:
            tenancy.schemas.fleet.migrate(options=JobOptions(workers=number))
        except JobFailed:
            return Counter(JobFailed=tenancy.schemas.fleet.jobs(limit=1)[0].failed)
    return Counter()


def _count_wrong(place: Place) -> Counter[str]:
    """Compare every schema with what it should be, and count those that are not."""
    wrong: Counter[str] = Counter()
    expected = {
        ("alembic_version", "version_num"),
        *((module, "id") for module in _MODULES),
        *((module, "doubled") for module in _MODULES),
        *((f"{module}_notes", "id") for module in _MODULES),
    }
    with place.connect() as connection:
        for schema in place.schemas():
            rows = connection.execute(
                "SELECT relname, attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid "
                "WHERE relkind = 'r' AND attnum > 0 AND relnamespace = %s::regnamespace",
                [schema],
            ).fetchall()
            stamps = connection.execute(
                sql.SQL("SELECT version_num FROM {}").format(
                    sql.Identifier(schema, "alembic_version")
                )
            ).fetchall()
            findings = {
                "stamps": sorted(str(stamp) for (stamp,) in stamps)
                != [f"{module}_{len(_REVISIONS)}" for module in _MODULES],
                "tables": set(rows) != expected,
            }
            findings["rows"] = findings["tables"] or any(
                connection.execute(
                    sql.SQL("SELECT count(*) FILTER (WHERE doubled = 2 * id) FROM {}").format(
                        sql.Identifier(schema, module)
                    )
                ).fetchone()
                != (_ROWS,)
                for module in _MODULES
            )
            wrong.update(kind for kind, is_so in findings.items() if is_so)
            wrong["wrong"] += any(findings.values())
    return wrong
