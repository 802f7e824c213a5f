"""What the owner finds in the tables at the end."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

from psycopg import sql

from orgtenancy import Organization, Tenancy

_SCHEMAS = r"SELECT nspname FROM pg_namespace WHERE nspname LIKE 'org\_%%'"


def read_ledgers(paths: Iterable[Path]) -> dict[str, set[int]]:
    """Return the keys of the rows whose commit was acknowledged, by organization."""
    acknowledged: dict[str, set[int]] = defaultdict(set)
    for path in paths:
        with path.open() as lines:
            for line in lines:
                organization_id, _, note_id = line.partition("\t")
                acknowledged[organization_id].add(int(note_id))
    return acknowledged


def check_tables(
    tenancy: Tenancy, organizations: Iterable[Organization], acknowledged: dict[str, set[int]]
) -> Iterator[str]:
    """Tell what is wrong: rows of another organization, of a doomed transaction, or missing."""
    known = {o.schema_name: o for o in organizations}
    with tenancy._database.admin_engine.connect() as connection:
        schemas = set(connection.exec_driver_sql(_SCHEMAS).scalars())
        for schema in sorted(schemas):
            organization = known.get(schema)
            mark = organization.id if organization is not None else None
            query = sql.SQL("SELECT id, body FROM {}.notes").format(sql.Identifier(schema))
            rows = connection.exec_driver_sql(query.as_string()).all()
            strange = {body for _, body in rows} - {mark}
            if strange:
                yield f"{schema} holds rows of {sorted(strange)}"
            if organization is not None:
                lost = acknowledged.get(organization.id, set()) - {note_id for note_id, _ in rows}
                if lost:
                    yield f"{schema} lost {len(lost)} acknowledged rows, such as {min(lost)}"
    for missing in sorted(known.keys() - schemas):
        yield f"{missing} is gone"
