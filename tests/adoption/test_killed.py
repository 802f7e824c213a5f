"""A shared schema of a hundred organizations is adopted by a runner that is killed all the time.

With `ORGTENANCY_TEST_ADOPTION=full` it has a million posts, and as many of the rest.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from orgtenancy import Tenancy, embedded
from orgtenancy.community import community
from orgtenancy.operations.adoption import AdoptionState
from tests.adoption import shared
from tests.adoption.shared import Sizes
from tests.adoption.writing import written_to
from tests.schemas.databases import FreshDatabase, assert_nothing_is_unknown, fresh_database

pytestmark = pytest.mark.slow

KILLS = 20
SIZES = (
    shared.FULL
    if os.environ.get("ORGTENANCY_TEST_ADOPTION") == "full"
    else Sizes(100, 10, 1_000, 8_000, 8_000, 8_000, 8_000, 500, 8_000, 1_000)
)

# Of each table, there and here: what the library itself does not use to compare them.
SUMS = {
    "profiles": (
        "hashtext(user_id || handle || coalesce(about, ''))",
        "user_profiles",
        "hashtext(user_id || username || coalesce(bio, ''))",
    ),
    "circles": (
        "hashtext(title || slug || owner_id)",
        "groups",
        "hashtext(name || slug || owner_id)",
    ),
    "circle_members": ("hashtext(user_id || role)", "group_members", "hashtext(user_id || role)"),
    "posts": (
        "hashtext(body || author_id || tags::text || media::text) + likes",
        "posts",
        "hashtext(content || user_id || tags::text || media::text) + likes_count",
    ),
    "likes": ("hashtext(user_id)", "post_likes", "hashtext(user_id)"),
    "comments": (
        "hashtext(body || author_id) + depth + cardinality(path)",
        "post_comments",
        "hashtext(content || user_id) + depth + cardinality(path)",
    ),
    "talks": (
        "hashtext(kind || direct_key) + last_number",
        "conversations",
        "hashtext(type || direct_key) + last_sequence",
    ),
    "talkers": ("hashtext(user_id)", "conversation_participants", "hashtext(user_id)"),
    "messages": (
        "hashtext(body || sender_id) + number",
        "messages",
        "hashtext(content || sender_id) + sequence",
    ),
    "logs": (
        "hashtext(action || actor_id || details::text || host(ip))",
        "activity_logs",
        "hashtext(action || user_id || metadata::text || host(ip_address))",
    ),
}


@pytest.fixture
def own(server: embedded.EmbeddedServer) -> Iterator[FreshDatabase]:
    with fresh_database(server.url, server.admin_url) as database:
        yield database


@pytest.fixture
def adopting(own: FreshDatabase) -> Iterator[Tenancy]:
    shared.make(own.admin_url, SIZES)
    with own.tenancy([community]) as tenancy:
        tenancy.install()
        yield tenancy


def run(database: FreshDatabase, job: str, kill_after: int | None, draw: random.Random) -> bool:
    """Run a job, killed after it did some organizations; return whether it was killed."""
    urls = [u.render_as_string(hide_password=False) for u in (database.url, database.admin_url)]
    command = [sys.executable, "-m", "tests.adoption.dying", *urls, job]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        for number, line in enumerate(process.stdout):
            if line.strip() == "done":
                break
            if kill_after is not None and number >= kill_after:
                time.sleep(draw.uniform(0, 0.1))
                process.send_signal(signal.SIGKILL)
                return process.wait() == -signal.SIGKILL
        assert process.wait() == 0
    return False


def test_killed_twenty_times_while_people_write_every_row_ends_in_one_place(
    own: FreshDatabase, adopting: Tenancy
) -> None:
    draw, kills, jobs = random.Random(7), 0, 0
    began = time.monotonic()
    with written_to(own.admin_url, SIZES, 4) as told:
        for job, until in (("copy", KILLS // 2), ("catch-up", KILLS // 2 + 2), ("switch", KILLS)):
            while kills < until:
                killed = run(own, job, draw.randint(0, 6), draw)
                kills, jobs = kills + killed, jobs + 1
                assert killed, "it was done before it was killed often enough"
            run(own, job, None, draw)
        while told["refused"] < 20 and not told["errors"]:  # late ones, who have not heard of it
            time.sleep(0.1)
    own.wait_until_idle()
    seconds = time.monotonic() - began
    print(f"{kills} kills in {jobs} runs, {seconds:.0f} s; writers: {dict(told)}")
    assert kills == KILLS
    assert told["written"] > 100
    report = adopting.adoption(shared.MAPPING).verify()
    assert report.is_equal, [str(d) for o in report.organizations for d in o.differences]
    assert [o.state for o in report.organizations] == [AdoptionState.SWITCHED] * len(
        report.organizations
    )
    assert (len(report.organizations), report.pending) == (SIZES.organizations, ())
    assert_nothing_is_unknown(own, adopting)
    assert {o.status for o in adopting.schemas.list().items} == {"active"}
    assert sums_there(own) == sums_here(own)
    adopting.adoption(shared.MAPPING).finish()


def sums_there(database: FreshDatabase) -> dict[str, object]:
    return {
        table: database.ask(f"SELECT count(*), sum(({there})::numeric) FROM shared.{table}")
        for table, (there, _, _) in SUMS.items()
    }


def sums_here(database: FreshDatabase) -> dict[str, object]:
    found: dict[str, object] = {}
    for table, (_, into, here) in SUMS.items():
        each = " UNION ALL ".join(
            f'SELECT count(*) AS n, sum(({here})::numeric) AS s FROM "{schema}".{into}'
            for schema in sorted(database.schemas())
        )
        found[table] = database.ask(f"SELECT sum(n)::bigint, sum(s) FROM ({each}) AS each")
    return found
