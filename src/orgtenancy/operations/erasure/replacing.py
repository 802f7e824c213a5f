"""Replacing a person's id by a pseudonym, the same one everywhere in an organization."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from psycopg import sql
from sqlalchemy import Connection

from orgtenancy.operations.data.tables import query_relations
from orgtenancy.operations.erasure.columns import PersonColumn, Shape
from orgtenancy.operations.erasure.sought import (
    JSON_PERSONS,
    JSON_PSEUDONYM,
    PERSONS,
    PSEUDONYM,
    WORD,
    is_in,
)
from orgtenancy.schemas import grants

# What refers by an id, or is referred to by one.
_FOREIGN_KEYS = query_relations("""
    SELECT t.relname, k.conname, pg_get_constraintdef(k.oid)
    FROM relations t JOIN pg_constraint k ON k.conrelid = t.oid
    JOIN pg_class r ON r.oid = k.confrelid
    WHERE k.contype = 'f' AND k.conparentid = 0
        AND EXISTS (
            SELECT FROM pg_attribute a
            WHERE a.attrelid = k.conrelid AND a.attnum = ANY(k.conkey)
                    AND t.relname || '.' || a.attname = ANY(:columns)
                OR a.attrelid = k.confrelid AND a.attnum = ANY(k.confkey)
                    AND r.relname || '.' || a.attname = ANY(:columns)
        )
    ORDER BY k.oid
""")


def replace(connection: Connection, column: PersonColumn, *, in_text: bool = False) -> int:
    """Replace the id that is looked for in a column, and return in how many rows it stood.

    Args:
        connection: A connection of the owner, in a transaction that knows whom to `seek`.
        column: The column.
        in_text: Whether to replace it also where it is a word of a longer text.

    Raises:
        sqlalchemy.exc.DataError: If the column is too short for what it would have.
    """
    text, persons = column.text, sql.SQL(", ").join(PERSONS)
    value: sql.Composable
    where: sql.Composable
    if in_text:
        value = sql.SQL("regexp_replace({}, {}, {}, 'g')").format(text, WORD, PSEUDONYM)
        where = sql.SQL("{} ~ {}").format(text, WORD)
    else:
        match column.shape:
            case Shape.TEXT | Shape.UUID:
                value = PSEUDONYM
                where = sql.SQL("{} IN ({})").format(text, persons)
            case Shape.TEXTS | Shape.UUIDS:
                texts = sql.SQL("{}::text[]").format(column.identifier)
                value = _each_replaced("array_replace", texts, PERSONS, PSEUDONYM)
                where = sql.SQL("{} && ARRAY[{}]").format(texts, persons)
            case _:
                value = _each_replaced("replace", text, JSON_PERSONS, JSON_PSEUDONYM)
                where = is_in(text, JSON_PERSONS)
    statement = sql.SQL("UPDATE {} SET {} = ({})::{} WHERE {} AND {}").format(
        column.relation, column.identifier, value, column.cast, where, column.condition
    )
    options = {"no_parameters": True}
    return connection.exec_driver_sql(statement.as_string(None), execution_options=options).rowcount


def _each_replaced(
    function: str, value: sql.Composable, forms: Iterable[sql.Composable], by: sql.Composable
) -> sql.Composable:
    """Return a value in which a function of the server replaces each of some forms."""
    for form in forms:
        value = sql.SQL("{}({}, {}, {})").format(sql.SQL(function), value, form, by)
    return value


@contextmanager
def without_foreign_keys(
    connection: Connection, schema: str, columns: Iterable[PersonColumn]
) -> Iterator[None]:
    """Return a block in which nothing refers by some columns; it does so again behind it.

    Args:
        connection: A connection of the owner, in a transaction.
        schema: The schema.
        columns: The columns.

    Raises:
        sqlalchemy.exc.IntegrityError: If rows do not fit together at the end.
    """
    given = {
        "schema": sql.Identifier(schema).as_string(None),
        "columns": [column.label for column in columns],
    }
    away: list[sql.Composable] = []
    back: list[sql.Composable] = []
    for table, name, definition in connection.execute(_FOREIGN_KEYS, given):
        alter = sql.SQL("ALTER TABLE {}").format(sql.Identifier(schema, table))
        constraint = sql.Identifier(name)
        away.append(sql.SQL("{} DROP CONSTRAINT {}").format(alter, constraint))
        # The server wrote and quoted this definition.
        back.append(
            sql.SQL("{} ADD CONSTRAINT {} {}").format(alter, constraint, sql.SQL(definition))
        )
    grants.execute(connection, away)
    yield
    grants.execute(connection, [sql.SQL("SET CONSTRAINTS ALL IMMEDIATE"), *back])
