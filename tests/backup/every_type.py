"""A module with every type, and rows for it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
from hypothesis import strategies as st
from psycopg import sql
from sqlalchemy import MetaData

from orgtenancy import Organization, OrganizationModule
from tests.backup.worlds import insert
from tests.schemas.databases import FreshDatabase, dsn

every_type = OrganizationModule(
    name="every_type",
    metadata=MetaData(),
    migrations=Path(__file__).parent / "every_type_migrations",
)

_texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
_words = st.text("abcxyzäß漢", min_size=1, max_size=6)
_integers = st.integers(-(2**31), 2**31 - 1)
_jsons = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | _texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_texts, inner, max_size=3),
    max_leaves=6,
)
_dates = st.sampled_from(
    ["infinity", "-infinity", "0044-03-15 BC", "2026-02-28", "1999-12-31", "4713-01-01 BC"]
)
_stamps = st.sampled_from(
    ["infinity", "-infinity", "0044-03-15 12:00 BC", "2026-02-28 23:59:59.999999", "epoch"]
)
_floats = st.floats(width=32).map(repr)
_moods = st.sampled_from(["sad", "so-so", "glad"])
_numerics = st.sampled_from(["NaN", "Infinity", "-Infinity", "1.0", "1.00", "-0.0"]) | st.decimals(
    -(10**30), 10**30, places=12
).map(str)


def _quoted(value: object) -> str:
    """Return an element as literals of arrays and composites have it."""
    if value is None:
        return ""
    text = str(value)
    return '"{}"'.format(text.replace("\\", "\\\\").replace('"', '\\"'))


def _array(values: list[Any]) -> str:
    return "{{{}}}".format(",".join("NULL" if v is None else _quoted(v) for v in values))


def _arrays(values: st.SearchStrategy[Any]) -> st.SearchStrategy[str]:
    return st.lists(st.none() | values, max_size=4).map(_array)


_addresses = st.tuples(st.none() | _texts, st.none() | _integers, st.none() | _arrays(_texts)).map(
    lambda parts: "({})".format(",".join(map(_quoted, parts)))
)

TABLES = ["plain", "nested", "parts", "empty_text", "named", "mood_counts"]

#: What the text of a value may be, by the column of `plain`.
PLAIN: Mapping[str, st.SearchStrategy[str]] = {
    "a_bool": st.sampled_from(["t", "f"]),
    "a_smallint": st.integers(-(2**15), 2**15 - 1).map(str),
    "an_integer": _integers.map(str),
    "a_bigint": st.integers(-(2**63), 2**63 - 1).map(str),
    "a_numeric": _numerics,
    "a_decimal": st.integers(1 - 10**9, 10**9 - 1).map(str),
    "a_real": _floats,
    "a_double": st.floats().map(repr),
    "a_money": st.integers(-(10**9), 10**9).map(lambda cents: str(cents / 100)),
    "a_text": _texts,
    "a_varchar": _texts,
    "a_char": _words,
    "a_bytea": st.binary(max_size=40).map(lambda value: f"\\x{value.hex()}"),
    "a_date": _dates,
    "a_time": st.times().map(str),
    "a_timetz": st.times().map(lambda time: f"{time}+05:30"),
    "a_timestamp": _stamps,
    "a_timestamptz": _stamps,
    "an_interval": st.sampled_from(
        ["1 mon -2 days 03:04:05.000006", "-1 year", "0", "178000000 years", "1 day -24:00"]
    ),
    "an_inet": st.sampled_from(["10.1.2.3/8", "::1", "fe80::1/64", "255.255.255.255"]),
    "a_cidr": st.sampled_from(["10.0.0.0/8", "2001:db8::/32"]),
    "a_macaddr": st.just("08:00:2b:01:02:03"),
    "a_macaddr8": st.just("08:00:2b:01:02:03:04:05"),
    "a_bit": st.text("01", min_size=5, max_size=5),
    "a_varbit": st.text("01", max_size=40),
    "a_json": _jsons.map(lambda value: json.dumps(value, indent=1)),
    "a_jsonb": _jsons.map(json.dumps),
    "a_tsvector": st.lists(_words, max_size=4).map(
        lambda words: " ".join(f"'{word}':{n}B" for n, word in enumerate(words, 1))
    ),
    "a_tsquery": st.lists(_words, min_size=1, max_size=3).map(" <-> ".join),
    "a_point": st.just("(1.5,-2)"),
    "a_box": st.just("(3,4),(1,2)"),
    "a_path": st.just("[(0,0),(1,1),(2,0)]"),
    "a_polygon": st.just("((0,0),(1,1),(2,0))"),
    "a_circle": st.just("<(1,2),3.25>"),
    "a_lseg": st.just("[(0,0),(1,1)]"),
    "a_line": st.just("{1,-1,0}"),
    "an_int4range": st.sampled_from(["empty", "[1,5)", "(,)", "[3,)"]),
    "a_numrange": st.sampled_from(["[1.50,2.0]", "(,1]", "empty"]),
    "a_tstzrange": st.sampled_from(["[2026-01-01,infinity)", "(,)"]),
    "a_daterange": st.sampled_from(["[2026-01-01,2026-02-01)", "[-infinity,infinity]"]),
    "a_multirange": st.sampled_from(["{}", "{[1,3),[5,9)}"]),
    "an_oid": st.integers(0, 2**32 - 1).map(str),
    "a_lsn": st.just("16/B374D848"),
    "a_uuid_array": _arrays(st.uuids()),
    "a_text_array": _arrays(_texts),
    "a_mood": _moods,
    "a_percent": st.integers(0, 10**6).map(lambda n: f"{n}.50"),
    'an odd %s "name': _texts,
}

#: The same of `nested`, without its keys.
NESTED: Mapping[str, st.SearchStrategy[str]] = {
    "moods": _arrays(_moods),
    "home": _addresses,
    "homes": _arrays(_addresses),
    "percents": _arrays(st.integers(0, 100)),
    "matrix": st.just("{{1,2},{3,NULL}}"),
    "jsons": _arrays(_jsons.map(json.dumps)),
    "times": _arrays(_stamps),
}


def rows_of(columns: Mapping[str, st.SearchStrategy[str]]) -> st.SearchStrategy[dict[str, Any]]:
    """Return a strategy of rows, with NULL here and there."""
    return st.fixed_dictionaries({name: st.none() | values for name, values in columns.items()})


def fill(
    database: FreshDatabase,
    organization: Organization,
    plain: list[dict[str, Any]],
    nested: list[dict[str, Any]],
) -> None:
    """Replace the rows of an organization."""
    with psycopg.connect(dsn(database.admin_url)) as connection:
        path = sql.SQL("SET search_path TO {}").format(sql.Identifier(organization.schema_name))
        connection.execute(path)
        connection.execute("TRUNCATE plain, nested, parts")
        keys = [UUID(int=n) for n in range(len(plain))]
        insert(connection, "plain", ({"id": k, **r} for k, r in zip(keys, plain, strict=True)))
        if keys:
            insert(connection, "nested", ({"plain_id": keys[0], **row} for row in nested))
            # Each is the parent of the one before it: deferred, and no order that would do.
            connection.execute(
                "UPDATE nested n SET parent_id = (SELECT min(id) FROM nested WHERE id > n.id), "
                "whole = (SELECT p FROM plain p LIMIT 1)"
            )
        connection.execute(
            "INSERT INTO parts SELECT n, ('1999-12-20'::date + 400 * n), E'a\\tb\\\\' || n "
            "FROM generate_series(1, 50) n"
        )
        connection.execute("SELECT nextval('tickets') FROM generate_series(1, 7)")
        connection.execute("REFRESH MATERIALIZED VIEW mood_counts")
