"""What the adoption of an organization takes, and what the plain INSERT … SELECT of its rows.

The baseline makes the same schema, role and rights, drops the indexes and foreign keys of its
empty tables, inserts the same rows, mapped by the same expressions, and makes them again: one
transaction of a script that somebody might write by hand, without a look at what came of it.
The adoption does that and its journal, and compares all rows of both sides by count and
checksum. Each turn does a few organizations, over one new connection. What was made is dropped
after it, outside the measured time.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from contextlib import closing
from functools import partial

from sqlalchemy import Connection, NullPool

from orgtenancy import Tenancy
from orgtenancy.community import community
from orgtenancy.naming import new_role_name, spare_schema_name
from orgtenancy.operations.adoption import Adoption, AdoptionOptions
from orgtenancy.operations.adoption.filling import insert, mapped_digests, target_digests
from orgtenancy.operations.adoption.planning import fresh
from orgtenancy.operations.adoption.resolving import Resolved
from orgtenancy.operations.data.filling import filling
from orgtenancy.operations.data.tables import enter
from orgtenancy.schemas import grants
from orgtenancy.schemas.building import SchemaBuilder
from tests.adoption import shared
from tests.benchmarks import fleet_ground as ground
from tests.benchmarks.fleet_ground import Turn

PLAIN = "plain INSERT … SELECT"
_LARGE = 2**40


def main(arguments: Sequence[str]) -> None:
    """Measure, and print Markdown."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks adoption")
    parser.add_argument("--rows", type=int, default=200_000, help="posts; likes and so on too")
    parser.add_argument("--organizations", type=int, default=20)
    parser.add_argument("--each", type=int, default=3, help="organizations of a turn")
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args(arguments)
    ground.tell_machine("sqlalchemy", "psycopg")
    with ground.started() as server:
        place = server.make("adoption")
        shared.make(place.admin, _sizes(options.rows, options.organizations))
        with closing(place.tenancy([community])) as tenancy:
            _measure(tenancy, options.each, options.rounds)
    print()
    ground.tell_load("at the end")


def _sizes(rows: int, organizations: int) -> shared.Sizes:
    return shared.Sizes(
        organizations=organizations,
        circles=rows // 10,
        posts=rows,
        likes=rows,
        comments=rows,
        replies=rows,
        talks=rows // 50,
        messages=rows,
        logs=rows // 10,
    )


def _measure(tenancy: Tenancy, each: int, rounds: int) -> None:
    adoption = tenancy.adoption(shared.MAPPING)
    builder = tenancy.schemas.builder
    with (
        builder.database.admin_engine.connect() as connection,
        fresh(connection, builder, adoption.mapping) as made,
    ):
        resolved = made.resolved
    plain = partial(_plain, builder, resolved, each)
    contenders: dict[str, Turn] = {
        PLAIN: plain(),
        f"{PLAIN}, again": plain(),
        f"{PLAIN}, both sides read again and compared": plain(compared=True),
        "adoption": _adopt(adoption, tenancy, each),
    }
    for contender in contenders.values():
        contender(-1)  # warm
    seconds = ground.take_turns(contenders, rounds)
    plan = adoption.plan()
    rows = sum(o.rows or 0 for o in plan.organizations if o.key in _keys(each))
    total = sum(o.rows or 0 for o in plan.organizations)
    print(
        f"\n{each} organizations of {rows:,} rows together in ten tables, of "
        f"{len(plan.organizations)} with {total:,} rows; medians of {rounds} rounds."
    )
    ground.table("adoption", seconds, PLAIN, what="organization")


def _keys(each: int) -> list[str]:
    return [str(n) for n in range(1, each + 1)]


def _adopt(adoption: Adoption, tenancy: Tenancy, each: int) -> Turn:
    """Adopt some organizations; what is found out once for all of them is not measured."""
    ids = [shared.slug(int(key)) for key in _keys(each)]

    def turn(number: int) -> float:
        done = adoption.run(ids, options=AdoptionOptions(workers=1)).organizations
        for one in done:
            tenancy.schemas.drop(one.id, confirm=one.id, force=True)
        return sum(one.seconds for one in done) / each

    return turn


def _plain(
    builder: SchemaBuilder, resolved: Resolved, each: int, *, compared: bool = False
) -> Turn:
    def turn(number: int) -> float:
        engine = builder.database.make_admin_engine(poolclass=NullPool)
        began = time.perf_counter()
        with engine.connect() as connection:
            made = [_fill(connection, builder, resolved, key, compared) for key in _keys(each)]
            seconds = time.perf_counter() - began
            for schema, role in made:
                with connection.begin():
                    connection.exec_driver_sql(f'DROP SCHEMA "{schema}" CASCADE')
                    connection.exec_driver_sql(f'DROP OWNED BY "{role}"')
                    connection.exec_driver_sql(f'DROP ROLE "{role}"')
        return seconds / each

    return turn


def _fill(
    connection: Connection, builder: SchemaBuilder, resolved: Resolved, key: str, compared: bool
) -> tuple[str, str]:
    """Make a schema, and fill it in one transaction; return its name and role."""
    role = new_role_name(str(builder.database.url.database))
    schema = spare_schema_name(role)
    tables = resolved.here(schema)
    with connection.begin():
        builder.build(connection, schema, role, builder.create_role(connection, role))
        enter(connection, schema)
        with filling(connection, schema, [(table.target.table, _LARGE) for table in tables]):
            grants.execute(connection, [insert(table, table.rows_of(key)) for table in tables])
        if compared and mapped_digests(connection, tables, key) != target_digests(
            connection, tables
        ):
            raise RuntimeError("the rows differ")
    return schema, role
