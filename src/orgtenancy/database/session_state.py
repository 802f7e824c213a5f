"""Which statements leave something on a connection after their transaction.

What a transaction sets with `SET LOCAL` ends with it. Session settings, session advisory
locks, `LISTEN`, `PREPARE` and `WITH HOLD` cursors do not, and the next organization on
the connection would meet them. Neither the command tag nor a reported parameter tells
the two apart, so the text of a statement is read once. It errs on the safe side: a
match costs one reconnect. What is put together while it runs (`EXECUTE 'S' || 'ET ...'`),
and a stored function that calls `set_config(..., false)`, is not seen; nothing of an
organization's role or path depends on it.
"""

from __future__ import annotations

import re
from functools import lru_cache

# A statement begins at the start, after `;`, or where a PL/pgSQL body or a string with
# dynamic SQL opens. `UPDATE ... SET` never stands there.
_START = r"(?:\A|;|'|\$\w*\$|\b(?:begin|then|else|loop)\b|>>)\s*"

# A literal without a quote in it, or a parameter, and its type.
_VALUE = r"\s* (?: '[^']*' | \$\d+ | %s | %\(\w+\)s | :\w+ ) (?: \s* :: \s* \w+ )? \s*"

_leaves_state = re.compile(
    rf"""
    {_START} set \s+ (?! (?:local|transaction|constraints) \b (?! \s* \.) )
  | {_START} (?: listen | load ) \b
  | {_START} prepare \s+ (?! transaction\b )
  | \b set_config "? \s* \( (?! {_VALUE} , {_VALUE} , \s* true \s* \) )
  | \b pg_(?:try_)?advisory_lock (?:_shared)? "? \s* \(
  | \b create \s+ (?: or \s+ replace \s+ )? (?: (?:global|local) \s+ )? temp (?:orary)? \b
  | \b into \s+ temp (?:orary)? \b
  | \b pg_settings \b .* \b set \b
  | \b pg_temp \s* \.
    """,
    re.IGNORECASE | re.DOTALL | re.VERBOSE,
).search

_declares = re.compile(rf"{_START} declare \b", re.IGNORECASE | re.VERBOSE).search
_holds = re.compile(r"\bwith\s+hold\b", re.IGNORECASE).search

# An unclosed comment reaches to the end, so that no text is scanned twice.
_comments = re.compile(r"/\*.*?(?:\*/|\Z)|--[^\n]*", re.DOTALL).sub

# A longer text is not kept: it has its values in it, and is not the next one's equal.
_LONGEST_KEPT = 4_096


def leaves_session_state(query: str | bytes) -> bool:
    """Return whether a query may leave something on the connection it ran on."""
    return _read_once(query) if len(query) <= _LONGEST_KEPT else _read(query)


def _read(query: str | bytes) -> bool:
    text = query.decode("utf-8", "replace") if isinstance(query, bytes) else query
    return _matches(text) or (("/*" in text or "--" in text) and _matches(_comments(" ", text)))


_read_once = lru_cache(maxsize=8_192)(_read)


def _matches(text: str) -> bool:
    return bool(_leaves_state(text) or (_holds(text) and _declares(text)))
