"""Every statement of the repositories is served by indexes, in a large organization.

Each is explained twice: with its parameters, and without knowing them. PostgreSQL may keep
the latter plan of a prepared statement after five executions.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from orgtenancy import Organization, Tenancy, embedded
from tests.benchmarks import community_data as data
from tests.community.cast import Cast, find_cast
from tests.community.operations import (
    REPOSITORIES,
    Operation,
    operations,
    public_methods,
)
from tests.community.statements import recorded

pytestmark = pytest.mark.slow

OPERATIONS: Final = tuple(operations())

#: Tables that are never read from end to end.
LARGE: Final = {
    "activity_logs",
    "conversation_participants",
    "group_members",
    "messages",
    "post_comments",
    "post_likes",
    "posts",
}

#: Tables of a few thousand rows. Where a hundred of them are wanted, to read all is right:
#: it must be a choice, which an index would have served too.
SMALL: Final = {"conversations", "groups", "user_profiles"}

#: What reads all of a table for a good reason.
EXCEPTIONS: Final[Mapping[str, str]] = {
    f"{repository.__name__}.count": "it counts all rows" for repository in REPOSITORIES
}

#: What sends nothing.
SILENT: Final = {("ActivityLogRepository", "delete"): "it is refused"}

#: How many rows of the large tables a page or a change may touch, at the most.
MOST: Final = 3_000
BEYOND: Final[Mapping[str, str]] = {
    "PostRepository.search, old": "it looks for the newest first, behind all without the word",
    "PostRepository.find_by_tag, old": "it looks for the newest first, behind all without the tag",
    "PostRepository.delete": "it deletes what belongs to the post",
    "PostCommentRepository.recount": "it counts them",
    "ParticipantRepository.unread_counts, hundreds": "it counts them",
}

#: What hands on the rows that it gets only after it has got them all.
_BLOCKING = {"Aggregate", "Hash", "Sort", "Incremental Sort", "WindowAgg"}


@dataclass(frozen=True)
class Crowd:
    """A large organization."""

    organization: Organization
    cast: Cast


@pytest.fixture(scope="module")
def crowd(tenancy: Tenancy, server: embedded.EmbeddedServer) -> Iterator[Crowd]:
    """An organization with a million messages, and what else they bring along."""
    organization = tenancy.schemas.provision(f"t{uuid4().hex[:12]}")
    data.fill(server.admin_url, organization)
    with data.connect(server.admin_url, organization) as connection:
        cast = find_cast(connection)
    yield Crowd(organization, cast)
    tenancy.schemas.drop(organization.id, confirm=organization.id, force=True)


def touched(session: Session) -> Counter[tuple[str, str]]:
    """Return how often tables were read from end to end, and how many rows were touched.

    It is what the server did, foreign keys included, which no plan shows.
    """
    rows = session.connection().exec_driver_sql(
        "SELECT relname, seq_scan, seq_tup_read + coalesce(idx_tup_fetch, 0) AS touched "
        "FROM pg_stat_xact_user_tables WHERE schemaname = current_schema()"
    )
    found: Counter[tuple[str, str]] = Counter()
    for row in rows:
        found[row.relname, "scans"], found[row.relname, "rows"] = row.seq_scan, row.touched
    return found


def run(
    session: Session, operation: Operation, cast: Cast
) -> tuple[Mapping[str, Any], Counter[tuple[str, str]]]:
    """Run an operation, and return its statements with parameters, and what it touched."""
    before = touched(session)  # of transactions whose numbers are not reported yet
    with recorded(session) as statements:
        operation.work(session, cast)
    after = touched(session)
    session.rollback()
    assert statements, f"{operation} sends nothing"
    marks = ("SAVEPOINT", "RELEASE", "ROLLBACK")
    return {s: p for s, p in statements if not s.startswith(marks)}, after - before


def explain(session: Session, statement: str, parameters: Any, *, generic: bool) -> Any:
    """Return the plan of a statement, with its parameters or for any."""
    connection = session.connection()
    if not generic:
        rows = connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement}", parameters)
        return _plan(rows.scalar_one())
    names: dict[str, str] = {}

    def number(match: re.Match[str]) -> str:
        return names.setdefault(match[1], f"${len(names) + 1}")

    prepared = re.sub(r"%\((\w+)\)s", number, statement).replace("%%", "%")
    session.execute(text("SET LOCAL plan_cache_mode TO force_generic_plan"))
    driver: Any = connection.connection.driver_connection
    with driver.cursor() as cursor:
        cursor.execute(f"PREPARE explained AS {prepared}")
        values = f"({', '.join(['NULL'] * len(names))})" if names else ""
        (found,) = cursor.execute(f"EXPLAIN (FORMAT JSON) EXECUTE explained{values}").fetchone()
        cursor.execute("DEALLOCATE explained")
    return _plan(found)


def _plan(found: Any) -> Any:
    return (json.loads(found) if isinstance(found, str) else found)[0]["Plan"]


def whole_tables(node: Any, tables: set[str], *, stops: bool = False) -> Iterator[str]:
    """Yield which of some tables a plan reads from end to end, by themselves or by an index."""
    kind = node["Node Type"]
    if node.get("Relation Name") in tables:
        by_index = kind in ("Index Scan", "Index Only Scan") and "Index Cond" not in node
        if kind == "Seq Scan" or (by_index and not stops and tables is LARGE):
            yield node["Relation Name"]
    stops = kind not in _BLOCKING and (stops or kind == "Limit")
    for below in node.get("Plans", ()):
        yield from whole_tables(below, tables, stops=stops)


def outline(node: Any, depth: int = 0) -> str:
    """Return a plan as text."""
    said = [node["Node Type"]]
    said += [f"on {node[name]}" for name in ("Relation Name", "CTE Name") if name in node]
    said += [f"using {node['Index Name']}"] if "Index Name" in node else []
    said += [f"{name}: {node[name]}" for name in ("Index Cond", "Filter") if name in node]
    said += [f"cost={node['Total Cost']:.0f} rows={node['Plan Rows']}"]
    lines = ["  " * depth + " ".join(said)]
    return "\n".join([*lines, *(outline(below, depth + 1) for below in node.get("Plans", ()))])


def faults(session: Session, operation: Operation, cast: Cast) -> Sequence[str]:
    """Return what an operation reads from end to end, each with its statement and plan."""
    statements, work = run(session, operation, cast)
    found = [f"{operation} really read all of {t}" for t in sorted(LARGE) if work[t, "scans"]]
    rows = {table: work[table, "rows"] for table in sorted(LARGE)}
    if sum(rows.values()) > MOST and str(operation) not in BEYOND:
        found.append(f"{operation} touches too many rows: {rows}")
    for statement, parameters in statements.items():
        given = parameters[0] if isinstance(parameters, (list, tuple)) else parameters
        for tables, generic in ((LARGE, False), (LARGE, True), (SMALL, False), (SMALL, True)):
            scans = "on" if tables is LARGE else "off"
            session.execute(text(f"SET LOCAL enable_seqscan TO {scans}"))
            plan = explain(session, statement, given, generic=generic)
            kind = "the plan for any parameters" if generic else "the plan"
            found += [
                f"{operation} reads all of {table}: {kind}\n{outline(plan)}\nof\n{statement}"
                for table in sorted(set(whole_tables(plan, tables)))
            ]
        session.rollback()
    return found


def test_every_public_method_is_explained() -> None:
    explained = {(o.repository.__name__, o.method) for o in OPERATIONS}
    public = {(r.__name__, method) for r in REPOSITORIES for method in public_methods(r)}
    assert explained | SILENT.keys() == public


@pytest.mark.parametrize("operation", OPERATIONS, ids=str)
def test_no_large_table_is_read_from_end_to_end(
    tenancy: Tenancy, crowd: Crowd, operation: Operation
) -> None:
    with tenancy.session(crowd.organization) as session:
        found = faults(session, operation, crowd.cast)
    if f"{operation.repository.__name__}.{operation.method}" not in EXCEPTIONS:
        assert not found, "\n\n".join(found)


def test_a_missing_index_is_noticed(
    tenancy: Tenancy, crowd: Crowd, server: embedded.EmbeddedServer
) -> None:
    (operation,) = (o for o in OPERATIONS if str(o) == "MessageRepository.list_before, old ones")
    with (
        data.connect(server.admin_url, crowd.organization) as owner,
        data.without_index(owner, "uq_messages_sequence"),
        tenancy.session(crowd.organization) as session,
    ):
        found = faults(session, operation, crowd.cast)
    assert any("really read all of messages" in fault for fault in found)
    assert any("the plan\n" in fault for fault in found)
