"""The person that is looked for, where no statement and no log shows who it is.

A parameter of a statement that takes long is in the log of a server that logs those; what is
copied into a table is not. So the id is copied into a temporary one, and statements refer to it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from secrets import token_hex
from typing import Any
from uuid import UUID, uuid4

from psycopg import sql
from sqlalchemy import Connection

from orgtenancy.schemas import grants

_TABLE = sql.Identifier("pg_temp", "orgtenancy_sought")

_PREFIX = "erased-"
_FEWEST_DIGITS = 16

# What a word begins behind. A line of a text ends by a letter where JSON escapes its end.
_BEFORE = r"(?<![[:alnum:]])|(?<=\\[bfnrt])|(?<=\\u[[:xdigit:]]{4})"

_escape = re.compile(r"([^\w\s])").sub


def new_pseudonym(person_id: str, room: int | None = None) -> str:
    """Return what stands for a person from now on; nothing leads back from it.

    For an id that is a UUID it is one as well, as its columns may be of that type.

    Args:
        person_id: The id.
        room: How many characters fit; None if any number does. It is longer all the same if
            so few could be met again by chance.
    """
    if _uuid_of(person_id) is None:
        digits = 32 if room is None else room - len(_PREFIX)
        return _PREFIX + token_hex(16)[: max(digits, _FEWEST_DIGITS)]
    new = uuid4()
    return str(new) if room is None or room >= len(str(new)) else new.hex


def seek(connection: Connection, person_id: str, pseudonym: str) -> None:
    """Tell the transaction who is looked for.

    Args:
        connection: A connection of the owner, in a transaction.
        person_id: The id.
        pseudonym: What replaces it.
    """
    drop = sql.SQL("DROP TABLE IF EXISTS {}").format(_TABLE)
    create = sql.SQL(
        "CREATE TEMPORARY TABLE {} (person text, uuid text, escaped text, in_ascii text, "
        "pseudonym text, word text) ON COMMIT DROP"
    ).format(_TABLE)
    grants.execute(connection, [drop, create])
    driver: Any = connection.connection.driver_connection
    with driver.cursor() as cursor, cursor.copy(sql.SQL("COPY {} FROM STDIN").format(_TABLE)) as to:
        escaped = json.dumps(person_id, ensure_ascii=False)[1:-1]
        forms = [person_id, _uuid_of(person_id) or person_id, escaped, json.dumps(person_id)[1:-1]]
        to.write_row([*forms, pseudonym, _word(set(forms))])


PERSON = sql.SQL("(SELECT person FROM {})").format(_TABLE)
PSEUDONYM = sql.SQL("(SELECT pseudonym FROM {})").format(_TABLE)
#: The id, and the same as the server writes it if it is a UUID.
PERSONS = (PERSON, sql.SQL("(SELECT uuid FROM {})").format(_TABLE))
#: The same as JSON writes them, with their quotes; and with nothing but ASCII.
JSON_PERSONS = tuple(
    sql.SQL("""(SELECT '"' || {} || '"' FROM {})""").format(sql.Identifier(form), _TABLE)
    for form in ("uuid", "escaped", "in_ascii")
)
JSON_PSEUDONYM = sql.SQL("""(SELECT '"' || pseudonym || '"' FROM {})""").format(_TABLE)
#: The same within a longer text, of which arrays and composites are one; null for what is there
#: already.
FORMS = (
    PERSON,
    *(
        sql.SQL("(SELECT nullif({}, {}) FROM {})").format(*map(sql.Identifier, pair), _TABLE)
        for pair in (("uuid", "person"), ("escaped", "person"), ("in_ascii", "escaped"))
    ),
)
#: A pattern that finds the id in a text, and not in the middle of a word.
WORD = sql.SQL("(SELECT word FROM {})").format(_TABLE)


def is_in(text: sql.Composable, forms: Iterable[sql.Composable]) -> sql.Composable:
    """Return the condition that one of some forms is in a text."""
    places = sql.SQL(", ").join(sql.SQL("strpos({}, {})").format(text, form) for form in forms)
    return sql.SQL("greatest({}) > 0").format(places)


def _uuid_of(person_id: str) -> str | None:
    """Return an id as the server writes it, if it is a UUID."""
    try:
        return str(UUID(person_id))
    except ValueError:
        return None


def _word(forms: Iterable[str]) -> str:
    """Return a pattern as PostgreSQL reads it."""
    literals = "|".join(_escape(r"\\\1", form) for form in sorted(forms))
    return f"(?:{_BEFORE})(?:{literals})(?![[:alnum:]])"
