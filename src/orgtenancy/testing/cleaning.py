"""Taking all rows out of a schema, as its owner."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from psycopg import sql
from sqlalchemy import Connection

from orgtenancy import Organization, Tenancy
from orgtenancy.testing.contents import Kind, Relation, driver_text, relations, rows

# The table that says at which revisions a schema is.
_VERSIONS = "alembic_version"

# Of few rows it is faster to write the deletion than to make new files.
_LARGE = 256 * 1024


def clean(tenancy: Tenancy, *organizations: Organization) -> None:
    """Take all rows out of organizations' tables, and set their sequences back.

    Their revisions stay. Rows that a migration has written go too.

    Args:
        tenancy: A tenancy with an `admin_url`.
        *organizations: Which organizations.
    """
    schemas = [organization.schema_name for organization in organizations]
    with tenancy._database.admin_engine.begin() as connection:
        found = [one for one in relations(connection, schemas) if one.name != _VERSIONS]
        for schema in schemas:
            empty(connection, [one for one in found if one.schema == schema])


def empty(
    connection: Connection, found: Sequence[Relation], keep: Collection[str] = frozenset()
) -> bool:
    """Take the rows out of tables of one schema, refresh its views, and set sequences back.

    Args:
        connection: A connection of the owner, in a transaction.
        found: The schema's relations.
        keep: Names of those that are left alone.

    Returns:
        Whether any was truncated or refreshed, which makes it anew.
    """
    others = [one for one in found if one.name not in keep]
    written = [one for one in others if one.size]
    counted = rows(connection, written)
    full = [one for one, its in zip(written, counted, strict=True) if its.count]
    tables = [one for one in full if one.kind is Kind.TABLE]
    views = [one for one in full if one.kind is Kind.MATERIALIZED_VIEW]
    truncates = any(one.size > _LARGE or one.has_triggers for one in tables)
    statements = [_restart(one) for one in others if one.last_value is not None]
    if truncates:
        # All of them, for their foreign keys: CASCADE would empty tables of other schemas too.
        statements.append(_truncation([one for one in others if one.kind is Kind.TABLE]))
    elif tables:
        statements.append(_deletion(tables))
    statements += [_refreshment(one) for one in views]
    if statements:
        connection.exec_driver_sql(driver_text(sql.SQL("; ").join(statements)))
    return truncates or bool(views)


def _restart(sequence: Relation) -> sql.Composable:
    # Unlike ALTER SEQUENCE ... RESTART it leaves the definition alone.
    name = sql.Literal(sequence.identifier.as_string(None))
    return sql.SQL(
        "SELECT setval({0}, seqstart, false) FROM pg_sequence WHERE seqrelid = {0}::regclass"
    ).format(name)


def _deletion(tables: Sequence[Relation]) -> sql.Composable:
    # In one statement: foreign keys are checked at its end, in whatever order it deletes.
    deletions = sql.SQL(", ").join(
        sql.SQL("{} AS (DELETE FROM {})").format(sql.Identifier(f"d{number}"), table.identifier)
        for number, table in enumerate(tables)
    )
    return sql.SQL("WITH {} SELECT").format(deletions)


def _truncation(tables: Sequence[Relation]) -> sql.Composable:
    # It fires no trigger for rows, and does not need to read them.
    return sql.SQL("TRUNCATE {}").format(sql.SQL(", ").join(one.identifier for one in tables))


def _refreshment(view: Relation) -> sql.Composable:
    return sql.SQL("REFRESH MATERIALIZED VIEW {}").format(view.identifier)
