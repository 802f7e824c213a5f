"""What proves nothing is not called held."""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager

import pytest
from psycopg import sql
from sqlalchemy import Connection, make_url, text
from sqlalchemy.orm import Session

from orgtenancy import Tenancy, embedded
from orgtenancy.testing.isolation import (
    LEAKS,
    Access,
    AsyncAccess,
    Finding,
    Group,
    Leaked,
    NotApplicable,
    Report,
    Steps,
    TenancySubject,
    Verdict,
    Work,
    World,
    prove,
)
from orgtenancy.testing.isolation.driving import ask
from tests.isolation.planted import ByPath, NobodysWork

own = Group("the tests' own")
SHARED = next(leak for leak in LEAKS if leak.group == "pool")


@own.leak("a mistake of the attack")
def mistaken(world: World, access: Access) -> str:
    raise ValueError("a mistake")


@own.leak("a mistake of the attack, in a task group")
async def mistaken_async(world: World, access: AsyncAccess) -> str:
    raise ExceptionGroup("tasks", [ValueError("a mistake")])


@own.script("a statement that could not work for anybody")
def syntax_error(world: World) -> Steps:
    yield Work(world.a, lambda session: session.execute(text("SELEC 1")))


@own.script("a column that is not there")
def no_such_column(world: World) -> Steps:
    yield Work(world.a, lambda session: ask(session, "SELECT nothing FROM {}", world.table))


@own.leak("a connection that is never given back")
def kept_connection(world: World, access: Access) -> str:
    _kept.append(access.session(world.a))
    return world.see(_kept[0].__enter__(), world.a)


_kept: list[AbstractContextManager[Session]] = []


@own.script("nothing to attack")
def nothing_there(world: World) -> Steps:
    yield world.reading(world.a)
    raise NotApplicable("nothing here")


@own.leak("rows in the other one's table")
def stored_rows(world: World, access: Access) -> None:
    _as_owner(world, "INSERT INTO {} VALUES (2, {})", sql.Literal(world.marks[world.a]))


@own.leak("a lost row")
def lost_row(world: World, access: Access) -> None:
    _as_owner(world, "DELETE FROM {}")


@own.leak("a lost table")
def lost_table(world: World, access: Access) -> None:
    _as_owner(world, "DROP TABLE {}")


@own.leak("a refusal of a task in a group")
async def refused_in_group(world: World, access: AsyncAccess) -> str:
    async with access.session(world.a) as session:
        try:
            await session.execute(text("SELECT * FROM nothing"))
        except Exception as error:
            raise ExceptionGroup("tasks", [error]) from error
    raise AssertionError("nothing was refused")


def _as_owner(world: World, query: str, *values: sql.Literal) -> None:
    with world.subject.owner.begin() as owner:
        ask(owner, query, world.table_of(world.b), *values)


def findings(report: Report) -> dict[str, Finding]:
    return {finding.leak: finding for finding in report.findings}


@pytest.fixture(scope="module")
def told(tenancy: Tenancy) -> dict[str, Finding]:
    apart = ("a connection that is never given back", "a task that is left running")
    leaks = [leak for leak in own.leaks if leak.name not in apart]
    return findings(prove(tenancy, [*leaks, SHARED]))


@pytest.mark.parametrize(
    ("leak", "evidence"),
    [
        ("a mistake of the attack", "ValueError: a mistake (mistaken"),
        ("a mistake of the attack, in a task group", "ExceptionGroup: tasks"),
        ("a statement that could not work for anybody", "syntax error"),
        ("a statement that could not work for anybody, async", "syntax error"),
        ("a column that is not there", 'column "nothing" does not exist'),
        ("a column that is not there, async", 'column "nothing" does not exist'),
    ],
)
def test_an_attack_that_fails_by_itself_is_unclear(
    told: dict[str, Finding], leak: str, evidence: str
) -> None:
    assert told[leak].verdict is Verdict.UNCLEAR
    assert evidence in told[leak].evidence


@pytest.mark.parametrize(
    ("leak", "evidence"),
    [
        ("rows in the other one's table", "-b saw"),
        ("a lost row", "-b lost its row"),
        ("a lost table", "-b lost its table"),
    ],
)
def test_what_was_written_or_destroyed_is_broken(
    told: dict[str, Finding], leak: str, evidence: str
) -> None:
    assert told[leak].verdict is Verdict.BROKEN
    assert evidence in told[leak].evidence


def test_a_broken_leak_does_not_break_the_next_one(told: dict[str, Finding]) -> None:
    assert told["a refusal of a task in a group"].verdict is Verdict.HELD
    assert told[SHARED.name].verdict is Verdict.HELD


def test_where_there_is_nothing_to_attack_the_leak_is_left_out(told: dict[str, Finding]) -> None:
    for leak in ("nothing to attack", "nothing to attack, async"):
        assert (told[leak].verdict, told[leak].evidence) == (Verdict.LEFT_OUT, "nothing here")


@pytest.mark.slow  # it waits for a connection until the pool gives up
def test_a_leak_that_keeps_its_connection_is_unclear(tenancy: Tenancy) -> None:
    (leak,) = (leak for leak in own.leaks if "never given back" in leak.name)
    (finding,) = prove(tenancy, [leak]).findings
    _kept.clear()
    assert finding.verdict is Verdict.UNCLEAR
    assert "QueuePool" in finding.evidence


def test_a_login_that_cannot_connect_proves_nothing(tenancy: Tenancy) -> None:
    wrong = tenancy._database.url.set(password="wrong", username="nobody")
    report = prove(TenancySubject(tenancy, url=wrong), [SHARED])
    assert [finding.verdict for finding in report.findings] == [Verdict.UNCLEAR]
    assert not report.is_held


class Closed(ByPath):
    """Refuses everybody."""

    def enter(self, connection: Connection, organization: str, session: Session | None) -> None:
        raise NobodysWork("closed")


def test_where_nobody_can_work_everything_is_unclear(server: embedded.EmbeddedServer) -> None:
    leaks = [leak for leak in LEAKS if leak.group == "pool"]
    subject = Closed(make_url(server.admin_url).set(drivername="postgresql+psycopg"))
    findings = prove(subject, leaks).findings
    assert {finding.verdict for finding in findings} == {Verdict.UNCLEAR}
    assert {finding.evidence for finding in findings} == {
        "ordinary work fails: refused: NobodysWork: closed"
    }


@own.leak("a task that is left running")
async def left_running(world: World, access: AsyncAccess) -> str:
    async def work() -> None:
        async with access.session(world.b) as session:
            pid.set_result(await session.scalar(text("SELECT pg_backend_pid()")))
            await session.execute(text("SELECT pg_sleep(60)"))

    pid = asyncio.get_running_loop().create_future()
    _tasks.append(asyncio.create_task(work()))
    await pid
    return "left"


_tasks: list[asyncio.Task[None]] = []


def test_a_task_that_an_attack_leaves_is_ended_before_its_connection(tenancy: Tenancy) -> None:
    (leak,) = (leak for leak in own.leaks if leak.name == "a task that is left running")
    (finding,) = prove(tenancy, [leak]).findings
    assert finding.verdict is Verdict.HELD, finding
    assert _tasks.pop().cancelled()


def test_a_proof_that_left_something_out_is_held_and_one_that_is_unclear_is_not() -> None:
    def report(*verdicts: Verdict) -> Report:
        return Report("x", tuple(Finding("leak", "group", verdict, "") for verdict in verdicts))

    assert report(Verdict.HELD, Verdict.LEFT_OUT).is_held
    assert not report(Verdict.HELD, Verdict.UNCLEAR).is_held
    assert not report(Verdict.HELD, Verdict.BROKEN).is_held
    assert not report(Verdict.LEFT_OUT).is_held
    assert not report().is_held


def test_a_report_names_subject_counts_and_evidence(tenancy: Tenancy) -> None:
    lines = str(prove(tenancy, [SHARED])).splitlines()
    assert lines[0] == "orgtenancy: 1 held"
    assert lines[1].split() == ["held", *SHARED.name.split(), "saw", "its", "own", "row"]


class OneTable(ByPath):
    """Says that all organizations share a table."""

    def schema_of(self, organization: str) -> str | None:
        return None


def test_leaks_that_name_a_schema_are_left_out_where_all_share_one(
    server: embedded.EmbeddedServer,
) -> None:
    leaks = [leak for leak in LEAKS if leak.name == "a qualified name, for the other one's rows"]
    subject = OneTable(make_url(server.admin_url).set(drivername="postgresql+psycopg"))
    (finding,) = prove(subject, leaks).findings
    assert (finding.verdict, finding.evidence) == (
        Verdict.LEFT_OUT,
        "all organizations share one table",
    )


def test_organizations_are_dropped_also_when_a_proof_is_broken_off(tenancy: Tenancy) -> None:
    def attack(world: World, access: Access) -> str:
        seen.extend((world.a, world.b))
        raise KeyboardInterrupt

    seen: list[str] = []
    leak = Group("broken off").leak("broken off")(attack)
    with pytest.raises(KeyboardInterrupt):
        prove(tenancy, [leak])
    with tenancy._database.admin_engine.connect() as connection:
        left = connection.scalar(
            text("SELECT count(*) FROM orgtenancy.organizations WHERE id = ANY(:ids)"),
            {"ids": seen},
        )
    assert (len(seen), left) == (2, 0)


def test_what_is_seen_is_searched_for_marks_in_rows_bytes_and_text(tenancy: Tenancy) -> None:
    def attack(world: World, access: Access) -> str:
        foreign = world.marks[world.b]
        for seen in (foreign, foreign.encode(), [("x", {foreign: 1})], {"x": [(foreign,)]}):
            with pytest.raises(Leaked):
                world.check(seen, world.a)
            with pytest.raises(Leaked):
                world.check(seen, None)
        return world.check([(world.marks[world.a],)], world.a)

    leak = Group("marks").leak("marks")(attack)
    (finding,) = prove(tenancy, [leak]).findings
    assert (finding.verdict, finding.evidence) == (Verdict.HELD, "saw its own row")
