"""Search: what people type becomes a text search query, and never a syntax error."""

from __future__ import annotations

import re
from typing import Final

from sqlalchemy import ColumnElement, cast, func, literal_column
from sqlalchemy.dialects.postgresql import REGCONFIG

from orgtenancy.community import inputs
from orgtenancy.community.models.base import SEARCH_CONFIGURATION
from orgtenancy.errors import Invalid

MAX_QUERY_LENGTH = 200

_runs = re.compile(r"[A-Za-z0-9\x80-\U0010ffff]+").findall

# Constants, not parameters: a query is then computed once, when the statement is planned.
_LANGUAGE: Final = cast(literal_column(f"'{SEARCH_CONFIGURATION}'"), REGCONFIG)
_SIMPLE: Final = cast(literal_column("'simple'"), REGCONFIG)


def matches(column: ColumnElement[str], query: str) -> ColumnElement[bool]:
    """Return the condition that a text has the words of a query, in any inflection.

    As in a web search, `"quoted words"` stand side by side, `or` is one of two, and `-word`
    must be absent; anything else that is typed has no meaning, and none is an error.

    Args:
        column: A `tsvector` of the configuration `community_search`.
        query: What was typed, 1 to 200 characters.

    Raises:
        Invalid: If it is blank, too long, or PostgreSQL could not store it.
    """
    typed = inputs.text("the search", query, MAX_QUERY_LENGTH)
    return column.bool_op("@@")(func.websearch_to_tsquery(_LANGUAGE, typed))


def begins(column: ColumnElement[str], query: str) -> ColumnElement[bool]:
    """Return the condition that each word of a query begins a word of a text.

    Args:
        column: A `tsvector` of the configuration `simple`.
        query: What was typed, 1 to 200 characters.

    Raises:
        Invalid: If it has no word, is too long, or PostgreSQL could not store it.
    """
    found = words(inputs.text("the search", query, MAX_QUERY_LENGTH))
    if not found:
        raise Invalid("the search must have a word")
    # In quotes a word is cut and put into lower case as the text was, by the same parser.
    prefixes = " & ".join(f"'{word}':*" for word in found)
    return column.bool_op("@@")(func.to_tsquery(_SIMPLE, prefixes))


def words(value: str) -> list[str]:
    """Return the words of a text: runs of letters and digits, and of what is not ASCII.

    What of the latter is a letter, the server's locale decides for texts and queries alike.
    """
    return [run for run in _runs(value) if any(character.isalnum() for character in run)]
