"""Members are as Logto has them: who is put out was asked for by name."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy.orm import Session

from orgtenancy import Organization
from orgtenancy.errors import Conflict
from orgtenancy.identity import RegisteredMembers
from orgtenancy.identity.logto_sync import LogtoUser
from orgtenancy.identity.logto_sync.api.management import Listing
from orgtenancy.identity.logto_sync.reconciliation.planning import clock_of
from orgtenancy.organizations import Actor
from orgtenancy.registry import members
from tests.logto.worlds import World, remember
from tests.schemas.databases import FreshDatabase

pytestmark = pytest.mark.slow


def standing(world: World, organization_id: str, user_id: str) -> tuple[str | None, str | None]:
    with world.tenancy.control_session() as session:
        found = members.find_standing(session, organization_id, user_id)
    return found.member, found.actor


def hear(world: World, of: str, status: Any, at: datetime, who: str = "alice") -> None:
    """Write something down as a webhook does it."""
    with world.tenancy._database.admin_engine.begin() as connection:
        if of == "actor":
            members.set_actor(connection, who, status, at)
        else:
            members.set_member(connection, "acme", who, status, at)


@pytest.fixture
def acme(world: World) -> str:
    """An organization with the members alice and bob."""
    made = world.data.create_organization("Acme", organization_id="acme")
    users = [world.data.create_user(name, user_id=name) for name in ("alice", "bob")]
    world.data.add_members(made, users)
    return made


def test_members_are_taken_over_and_put_out(world: World, acme: str) -> None:
    assert world.sync(sync_members=True).run().done == {"provision": 1, "add_member": 2}
    assert standing(world, acme, "alice") == ("active", None)
    world.data.remove_member(acme, "alice")
    assert world.sync(sync_members=True).run().done == {"remove_member": 1}
    assert standing(world, acme, "alice") == ("removed", None)
    assert standing(world, acme, "bob") == ("active", None)
    world.data.add_members(acme, ["alice"])
    assert world.sync(sync_members=True).run().done == {"add_member": 1}
    assert standing(world, acme, "alice") == ("active", None)
    (entry,) = world.audited("member_removed")
    assert (entry.organization_id, entry.details, entry.origin) == (
        acme,
        {"member": "alice"},
        "logto:sync",
    )
    assert len(world.audited("member_added")) == 3


def test_without_the_setting_nobody_is_asked_for_members(world: World, acme: str) -> None:
    assert world.sync().run().done == {"provision": 1}
    assert world.fake.requests(f"/api/organizations/{acme}/users") == 0
    assert standing(world, acme, "alice") == (None, None)


def test_one_who_is_put_out_is_so_since_the_reading_began(
    world: World, acme: str, bare_database: FreshDatabase
) -> None:
    world.sync(sync_members=True).run()
    world.data.remove_member(acme, "alice")
    plan = world.sync(sync_members=True).plan()
    world.sync(sync_members=True).apply(plan)
    ((since,),) = bare_database.ask(
        "SELECT changed_at FROM orgtenancy.members WHERE actor_id = 'alice'"
    )
    assert since == plan.started_at


def test_a_token_from_before_logto_said_no_is_worth_nothing(world: World, acme: str) -> None:
    world.sync(sync_members=True).run()
    times: list[float] = []

    def take_a_token_and_go() -> None:
        times.append(clock_of(world.tenancy).timestamp())
        world.data.remove_member(acme, "alice")

    world.fake.shift_while_read(take_a_token_and_go)
    plan = world.sync(sync_members=True).plan()
    world.sync(sync_members=True).apply(plan)
    assert plan.started_at.timestamp() < times[0]
    times.append(clock_of(world.tenancy).timestamp())
    policy = RegisteredMembers(world.tenancy)
    still = [
        policy.still_member(Actor(id="alice", claims={"iat": issued_at}), acme)
        for issued_at in times
    ]
    assert still == [False, True]


@pytest.mark.parametrize("of", ["member", "actor"])
def test_who_was_let_in_goes_although_logtos_clock_is_behind(
    world: World, acme: str, of: str
) -> None:
    if of == "actor":
        hear(world, of, "suspended", clock_of(world.tenancy) - timedelta(hours=1))
    plan = world.sync(sync_members=True).plan()
    world.sync(sync_members=True).apply(plan)
    hear(world, of, "suspended" if of == "actor" else "removed", plan.started_at - timedelta(0, 30))
    expected = ("active", "suspended") if of == "actor" else ("removed", None)
    assert standing(world, acme, "alice") == expected
    # What is longer ago than clocks differ is older.
    hear(world, of, "active", plan.started_at - timedelta(0, 90))
    assert standing(world, acme, "alice") == expected


def test_who_was_suspended_stays_so_though_something_older_is_heard(
    world: World, acme: str
) -> None:
    world.data.suspend_user("alice")
    plan = world.sync(sync_members=True).plan()
    world.sync(sync_members=True).apply(plan)
    hear(world, "actor", "active", plan.started_at - timedelta(0, 30))
    assert standing(world, acme, "alice") == ("active", "suspended")


@pytest.mark.parametrize("seconds", [-30, 30])
def test_what_was_known_before_is_older_whichever_clock_it_is_by(
    world: World, acme: str, seconds: int
) -> None:
    at = clock_of(world.tenancy) + timedelta(seconds=seconds)
    for of, status in (("member", "removed"), ("actor", "suspended")):
        hear(world, of, status, at)
    report = world.sync(sync_members=True).run()
    assert (report.done["add_member"], report.done["resume_actor"]) == (2, 1)
    assert standing(world, acme, "alice") == ("active", "active")
    world.data.remove_member(acme, "alice")
    world.data.suspend_user("bob")
    hear(world, "actor", "active", at, "bob")
    assert world.sync(sync_members=True).run().done == {"remove_member": 1, "suspend_actor": 1}
    assert standing(world, acme, "alice") == ("removed", "active")
    assert standing(world, acme, "bob") == ("active", "suspended")


def test_what_is_heard_while_logto_is_read_is_newer(world: World, acme: str) -> None:
    long_ago = clock_of(world.tenancy) - timedelta(hours=1)
    for of, status in (("member", "removed"), ("actor", "suspended")):
        hear(world, of, status, long_ago)

    def shut_out() -> None:
        for of, status in (("member", "removed"), ("actor", "suspended")):
            hear(world, of, status, clock_of(world.tenancy))

    world.fake.shift_while_read(shut_out, path="/api/organizations/acme/users$")
    report = world.sync(sync_members=True).run()
    assert report.done == {"provision": 1, "add_member": 1}  # bob, whom nobody put out
    assert standing(world, acme, "alice") == ("removed", "suspended")


def test_what_a_webhook_told_since_is_newer(world: World, acme: str) -> None:
    world.sync(sync_members=True).run()
    world.data.remove_member(acme, "alice")
    plan = world.sync(sync_members=True).plan()
    later = datetime.now(UTC) + timedelta(seconds=1)
    with world.tenancy._database.admin_engine.begin() as connection:
        members.set_member(connection, acme, "alice", "removed", later)
        members.set_member(connection, acme, "alice", "active", later + timedelta(seconds=1))
    assert world.sync(sync_members=True).apply(plan).done == {}
    assert standing(world, acme, "alice") == ("active", None)
    assert len(world.audited("member_removed")) == 0


def test_members_on_pages_that_shift_stay_members(world: World, acme: str) -> None:
    users = [world.data.create_user(f"user{n:02}", user_id=f"user{n:02}") for n in range(30)]
    world.data.add_members(acme, users)
    world.sync(sync_members=True).run()
    # Whoever comes before in the list moves all others by one, on every pass.
    for name in ("a1", "a2", "a3"):
        world.data.create_user(name, user_id=name)
        world.data.add_members(acme, [name])
    with_shifts = world.sync(sync_members=True)
    world.fake.shift_while_read(
        lambda: world.data.remove_member(acme, "a1"),
        lambda: None,
        lambda: None,
        lambda: None,
        lambda: world.data.remove_member(acme, "a2"),
        lambda: None,
        lambda: None,
        lambda: world.data.remove_member(acme, "a3"),
        path="/api/organizations/acme/users$",
    )
    report = with_shifts.run()
    assert "remove_member" not in report.done
    assert all(standing(world, acme, user) == ("active", None) for user in users)
    world.sync(sync_members=True).run()
    assert standing(world, acme, "a1")[0] in (None, "removed")


def test_a_member_who_is_missed_while_the_numbers_agree_stays_one(
    world: World, acme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.sync(sync_members=True).run()
    found = world.api.members(acme).items
    misses = Listing({"alice": found["alice"]}, (1, 1))
    monkeypatch.setattr(world.api, "members", lambda organization_id: misses)
    assert world.sync(sync_members=True).run().done == {}
    assert standing(world, acme, "bob") == ("active", None)


def test_a_suspended_user_is_shut_out_and_let_in_again(world: World, acme: str) -> None:
    world.data.suspend_user("alice")
    assert world.sync(sync_members=True).run().done["suspend_actor"] == 1
    assert standing(world, acme, "alice") == ("active", "suspended")
    assert world.sync(sync_members=True).run().done == {}
    world.data.suspend_user("alice", suspended=False)
    assert world.sync(sync_members=True).run().done == {"resume_actor": 1}
    assert standing(world, acme, "alice") == ("active", "active")
    assert [len(world.audited(a)) for a in ("actor_suspended", "actor_resumed")] == [1, 1]


def test_a_user_who_was_deleted_is_no_member_any_more(world: World, acme: str) -> None:
    world.sync(sync_members=True).run()
    world.data.delete_user("alice")
    assert world.sync(sync_members=True).run().done == {"remove_member": 1}


def test_the_members_of_one_that_was_made_by_hand_are_the_hosts_own(
    world: World, acme: str
) -> None:
    world.tenancy.schemas.provision("by-hand")
    with world.tenancy._database.admin_engine.begin() as connection:
        members.set_member(connection, "by-hand", "carol", "active", datetime.now(UTC))
    world.sync(sync_members=True).run()
    assert standing(world, "by-hand", "carol") == ("active", None)


@pytest.mark.parametrize(
    ("status", "times", "code"),
    [(403, 1, "identity_provider_refused"), (500, 6, "identity_provider_unavailable")],
)
def test_members_that_cannot_be_read_stop_no_other_organization(
    world: World, acme: str, status: int, times: int, code: str
) -> None:
    world.data.create_organization("Globex", organization_id="globex")
    world.data.add_members("globex", ["bob"])
    world.fake.fail_next(status, times, path="/api/organizations/acme/users")
    report = world.sync(sync_members=True).run()
    assert report.done == {"provision": 2, "add_member": 1}
    assert [one.organization_id for one in report.left_alone] == ["acme"]
    (failure,) = report.failures
    assert (failure.organization_id, failure.action, failure.code) == ("acme", "read_members", code)
    assert report.plan.failures == report.failures
    (entry,) = world.audited("logto.sync")
    assert (entry.details["failed"], entry.details["left_alone"]) == (1, 1)
    assert standing(world, "globex", "bob") == ("active", None)
    assert standing(world, "acme", "bob") == (None, None)


def test_members_that_make_no_sense_stop_no_other_organization(world: World, acme: str) -> None:
    world.data.create_organization("Globex", organization_id="globex")
    odd = world.data.create_user("odd", user_id="odd")
    world.data.add_members("globex", [odd])
    world.data._users[odd]["name"] = 5
    report = world.sync(sync_members=True).run()
    assert report.done == {"provision": 2, "add_member": 2}
    assert [one.organization_id for one in report.failures] == ["globex"]
    assert "is not understood" in report.failures[0].message


def test_a_logto_that_is_down_is_not_asked_for_all_members(world: World) -> None:
    ann = world.data.create_user("ann", user_id="ann")
    keys = [f"acme-{n}" for n in range(6)]
    for key in keys:
        world.data.create_organization(key, organization_id=key)
        world.data.add_members(key, [ann])
    world.sync(sync_members=True).run()
    for key in keys:
        world.data.remove_member(key, ann)
    new = world.data.create_organization("Globex", organization_id="globex")
    asked = {key: world.fake.requests(f"/api/organizations/{key}/users") for key in keys}
    # One that answers begins the count anew.
    for key in ("acme-0", "acme-1", "acme-3", "acme-4", "acme-5"):
        world.fake.fail_next(503, 6, path=f"/api/organizations/{key}/users")
    report = world.sync(sync_members=True).run()
    assert report.done == {"provision": 1, "remove_member": 1}
    failed = [one.organization_id for one in report.failures]
    assert failed == ["acme-0", "acme-1", "acme-3", "acme-4", "acme-5"]
    assert [one.organization_id for one in report.left_alone] == [*failed, new]
    assert "Logto is down" in report.left_alone[-1].reason
    assert world.fake.requests(f"/api/organizations/{new}/users") == 0
    assert asked["acme-5"] < world.fake.requests("/api/organizations/acme-5/users")
    assert world.sync(sync_members=True).run().done == {"remove_member": 5}


def test_the_hosts_function_hears_of_each_member_in_a_session(world: World, acme: str) -> None:
    world.data.create_organization("Globex", organization_id="globex")
    world.data.add_members("globex", ["bob"])
    told: list[tuple[str, str]] = []
    sync = world.sync(sync_members=True, on_member=remember(told))
    sync.run()
    assert sorted(told) == [("acme", "alice"), ("acme", "bob"), ("globex", "bob")]
    world.tenancy.organizations.suspend("acme")
    told.clear()
    assert sync.run().failures == ()
    assert told == [("globex", "bob")]


def test_a_function_that_fails_stops_no_other_organization(world: World, acme: str) -> None:
    world.data.create_organization("Globex", organization_id="globex")
    world.data.add_members("globex", ["bob"])

    def write(session: Session, organization: Organization, user: LogtoUser) -> None:
        session.connection().exec_driver_sql(
            "INSERT INTO notes (id, body) VALUES (%s, '')", (ord(user.id[0]),)
        )
        if (organization.id, user.id) == ("acme", "bob"):
            raise Conflict("no room")

    report = world.sync(sync_members=True, on_member=write).run()
    (failure,) = report.failures
    assert (failure.organization_id, failure.action, failure.code) == (
        "acme",
        "on_member",
        "conflict",
    )
    (entry,) = world.audited("logto.sync")
    assert (entry.details["failed"], entry.result) == (1, "done")
    counts = {}
    for key in ("acme", "globex"):
        with world.tenancy.session(key) as session:
            counts[key] = session.connection().exec_driver_sql("SELECT 1 FROM notes").rowcount
    assert counts == {"acme": 0, "globex": 1}


def test_the_members_of_one_organization_are_read_anew(world: World, acme: str) -> None:
    told: list[tuple[str, str]] = []
    sync = world.sync(on_member=remember(told))
    sync.refresh_members(acme)  # it is not made yet
    assert (standing(world, acme, "alice"), told) == (("active", None), [])
    world.sync().run()
    world.data.remove_member(acme, "alice")
    sync.refresh_members(acme)
    assert standing(world, acme, "alice") == ("removed", None)
    assert told == [(acme, "bob")]
