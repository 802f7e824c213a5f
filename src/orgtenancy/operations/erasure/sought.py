"""The person that is looked for, where no statement and no log shows who it is.

A parameter of a statement that takes long is in the log of a server that logs those; what is
copied into a table is not. So the id is copied into a temporary one, and statements refer to it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any
from uuid import UUID, uuid4

from psycopg import sql
from sqlalchemy import Connection

from orgtenancy.schemas import grants

_TABLE = sql.Identifier("pg_temp", "orgtenancy_sought")

_escape = re.compile(r"([^\w\s])").sub


def new_pseudonym(person_id: str) -> str:
    """Return what stands for a person from now on; nothing leads back from it.

    For an id that is a UUID it is one as well, as its columns may be of that type.
    """
    return str(uuid4()) if is_uuid(person_id) else f"erased-{uuid4().hex}"


def is_uuid(person_id: str) -> bool:
    """Return whether an id is a UUID, as the server writes it."""
    try:
        return str(UUID(person_id)) == person_id
    except ValueError:
        return False


def seek(connection: Connection, person_id: str, pseudonym: str) -> None:
    """Tell the transaction who is looked for.

    Args:
        connection: A connection of the owner, in a transaction.
        person_id: The id.
        pseudonym: What replaces it.
    """
    drop = sql.SQL("DROP TABLE IF EXISTS {}").format(_TABLE)
    create = sql.SQL(
        "CREATE TEMPORARY TABLE {} (person text, pseudonym text, json_person text, "
        "json_pseudonym text, escaped text, word text) ON COMMIT DROP"
    ).format(_TABLE)
    grants.execute(connection, [drop, create])
    driver: Any = connection.connection.driver_connection
    with driver.cursor() as cursor, cursor.copy(sql.SQL("COPY {} FROM STDIN").format(_TABLE)) as to:
        quoted, by = (json.dumps(text, ensure_ascii=False) for text in (person_id, pseudonym))
        escaped = quoted[1:-1]
        word = _word({person_id, escaped})
        to.write_row([person_id, pseudonym, quoted, by, escaped, word])


PERSON = sql.SQL("(SELECT person FROM {})").format(_TABLE)
PSEUDONYM = sql.SQL("(SELECT pseudonym FROM {})").format(_TABLE)
#: The same as JSON writes them, with their quotes.
JSON_PERSON = sql.SQL("(SELECT json_person FROM {})").format(_TABLE)
JSON_PSEUDONYM = sql.SQL("(SELECT json_pseudonym FROM {})").format(_TABLE)
#: The same within a longer text, of which arrays and composites are one.
ESCAPED_PERSON = sql.SQL("(SELECT escaped FROM {})").format(_TABLE)
#: A pattern that finds the id in a text, and not in the middle of a word.
WORD = sql.SQL("(SELECT word FROM {})").format(_TABLE)


def _word(forms: Iterable[str]) -> str:
    """Return a pattern as PostgreSQL reads it."""
    literals = "|".join(_escape(r"\\\1", form) for form in sorted(forms))
    return f"(?<![[:alnum:]])(?:{literals})(?![[:alnum:]])"
