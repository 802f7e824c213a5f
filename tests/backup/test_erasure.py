"""After an erasure nothing has the person's id: no table, no later backup, no log."""

from __future__ import annotations

import io
import logging
import tarfile
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread

import psycopg
import pytest
import zstandard
from sqlalchemy import Column, MetaData, Table, Text, text

from orgtenancy import OrganizationModule, Tenancy, acting, embedded
from orgtenancy.community import (
    ActivityLogRepository,
    ConversationRepository,
    GroupRepository,
    MessageRepository,
    PostCommentRepository,
    PostLikeRepository,
    PostRepository,
    UserProfileRepository,
    community,
)
from orgtenancy.errors import ConfigurationError, ErasureRefused, OrganizationNotFound
from orgtenancy.modules import PERSON
from orgtenancy.registry.members import set_member
from tests.backup.worlds import LEVELS, backup_of, new_id, state_of
from tests.lifecycle.worlds import history
from tests.schemas.conftest import MakeModule
from tests.schemas.databases import FreshDatabase, dsn, fresh_database

ANN, BOB = "auth0|5f7c8ec7c33c6c004bbafe82", 'a "quoted\\one"-7f3a9'
#: What of them looks the same however they are escaped.
PARTS = {ANN: "5f7c8ec7c33c6c004bbafe82", BOB: "7f3a9"}


@pytest.fixture(scope="module")
def place(server: embedded.EmbeddedServer) -> Iterator[FreshDatabase]:
    with fresh_database(server.url, server.admin_url) as database:
        with database.tenancy([community]) as tenancy:
            tenancy.install()
        yield database


@pytest.fixture
def tenancy(place: FreshDatabase) -> Iterator[Tenancy]:
    with place.tenancy([community]) as tenancy:
        yield tenancy


def talk(tenancy: Tenancy, *people: str) -> str:
    """Let people do all there is to do in a community, and return the organization."""
    organization_id = new_id()
    tenancy.schemas.provision(organization_id)
    one, other = people
    with tenancy.session(organization_id) as session:
        for name, user_id in (("ann", one), ("bob", other)):
            claims = {"sub": user_id, "preferred_username": name, "name": name.title()}
            UserProfileRepository(session).upsert_from_claims(claims)
        UserProfileRepository(session).update(other, metadata={"manager": one})
        group = GroupRepository(session).create(creator_id=one, name="News", slug="news")
        post = PostRepository(session).create(user_id=one, content="Hello")
        PostLikeRepository(session).like(post.id, one)
        PostCommentRepository(session).create(post_id=post.id, user_id=one, content="First")
        comments = PostCommentRepository(session)
        gone = comments.create(post_id=post.id, user_id=other, content="Second")
        comments.remove(gone.id, one, moderating=True)
        talk = ConversationRepository(session).open_direct(one, other)
        message = MessageRepository(session).send(talk.id, one, content="Hi")
        answer = MessageRepository(session).send(talk.id, other, content="Ho")
        MessageRepository(session).flag(answer.id, one, "rude")
        log = ActivityLogRepository(session)
        log.record("post.create", user_id=one, ip_address="10.1.2.3", metadata={"a": 1})
        log.record("profile.view", user_id=other, entity_type="profile", entity_id=one)
        log.record("role.change", user_id=other, metadata={"by": one, "of": [one]})
        assert group.owner_id == message.sender_id == one
    return organization_id


def everything(database: FreshDatabase, schema: str) -> str:
    """Return all rows of a schema as one text, generated columns and statistics included."""
    tables = database.ask(
        "SELECT format('%%I.%%I', schemaname, tablename) FROM pg_tables WHERE schemaname = %s "
        "UNION ALL SELECT format('%%I.%%I', schemaname, matviewname) FROM pg_matviews "
        "WHERE schemaname = %s",
        schema,
        schema,
    )
    rows = [str(database.ask(f"SELECT t::text FROM {table} t")) for (table,) in tables]
    statistics = "SELECT s::text FROM pg_stats s WHERE schemaname = %s"
    return "\n".join([*rows, str(database.ask(statistics, schema))])


def unpacked(backup: bytes) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(backup)) as tar:
        contents = [(m.name, tar.extractfile(m).read()) for m in tar]  # type: ignore[union-attr]
    decompress = zstandard.ZstdDecompressor().decompress
    return b"".join(decompress(c) if name.endswith(".zst") else c for name, c in contents)


@pytest.mark.parametrize(("person", "other"), [(ANN, BOB), (BOB, ANN)])
def test_after_it_no_table_no_backup_and_no_log_has_the_id(
    place: FreshDatabase,
    tenancy: Tenancy,
    caplog: pytest.LogCaptureFixture,
    person: str,
    other: str,
) -> None:
    organization_id = talk(tenancy, person, other)
    schema = f"org_{organization_id}"
    with acting(person, "http"):
        tenancy.organizations.set_attributes(organization_id, {"owner": person, "plan": "x"})
    with tenancy._database.admin_engine.begin() as connection:
        now = connection.scalar(text("SELECT now()"))
        set_member(connection, organization_id, person, "removed", now)
        set_member(connection, organization_id, other, "active", now)
    place.ask(f'ANALYZE "{schema}".messages')
    in_statistics = "SELECT histogram_bounds::text FROM pg_stats WHERE attname = 'sender_id' AND "
    assert PARTS[person] in str(place.ask(f"{in_statistics} schemaname = %s", schema))
    assert PARTS[person] in everything(place, schema)
    found = {one.label for one in tenancy.erasure.find(organization_id, person)}
    assert found >= {"posts.user_id", "messages.flags", "conversations.direct_key"}
    assert found >= {"orgtenancy.audit.actor_id", "orgtenancy.organizations.attributes"}

    caplog.set_level(logging.DEBUG)
    with acting(person, "http"):  # people may erase themselves
        erasure = tenancy.erasure.erase(organization_id, person)
    pseudonym = erasure.pseudonym
    assert pseudonym.startswith("erased-")
    assert list(tenancy.erasure.find(organization_id, person)) == []

    backup = unpacked(backup_of(tenancy, organization_id))
    registry = str(
        [
            place.ask(f"SELECT t::text FROM orgtenancy.{t} t WHERE {c} = %s", organization_id)
            for t, c in (
                ("audit", "organization_id"),
                ("members", "organization_id"),
                ("organizations", "id"),
            )
        ]
    )
    for told in (everything(place, schema), registry, caplog.text):
        assert PARTS[person] not in told
    assert PARTS[other] in everything(place, schema)
    assert PARTS[person].encode() not in backup
    assert PARTS[other].encode() in backup
    # It still reads well: the same pseudonym everywhere, and the other person untouched.
    with tenancy.session(organization_id) as session:
        profile = UserProfileRepository(session).get(pseudonym)
        assert profile is not None
        assert (profile.status, profile.display_name) == ("anonymized", None)
        (post,) = PostRepository(session).find_feed(other).items
        assert (post.user_id, post.content) == (pseudonym, "Hello")
        talks = ConversationRepository(session).find_for(pseudonym).items
        assert ConversationRepository(session).open_direct(other, pseudonym).id == talks[0].id
        messages = MessageRepository(session).list_before(talks[0].id, other).items
        assert {m.sender_id for m in messages} == {pseudonym, other}
        assert [f["user_id"] for m in messages for f in m.flags] == [pseudonym]
        boss = UserProfileRepository(session).get(other)
        assert boss is not None
        assert boss.metadata_ == {"manager": pseudonym}
    assert tenancy.organizations.get(organization_id).attributes["owner"] == pseudonym
    assert place.ask(
        "SELECT actor_id FROM orgtenancy.members WHERE organization_id = %s", organization_id
    ) == [(other,)]
    last = history(tenancy, organization_id)[-2]
    assert (last.action, last.actor_id) == ("person_erased", pseudonym)
    assert tenancy.schemas.drift([organization_id]).is_clean


@pytest.mark.slow
@pytest.mark.parametrize("level", LEVELS)
def test_at_every_level_a_person_is_erased(bare_database: FreshDatabase, level: str) -> None:
    with bare_database.tenancy([community], **LEVELS[level]) as tenancy:
        tenancy.install()
        organization_id = talk(tenancy, ANN, BOB)
        tenancy.organizations.suspend(organization_id)
        assert tenancy.erasure.erase(organization_id, ANN).replaced
        assert PARTS[ANN] not in everything(bare_database, f"org_{organization_id}")


@pytest.mark.slow
def test_another_organization_keeps_the_person(place: FreshDatabase, tenancy: Tenancy) -> None:
    first, second = talk(tenancy, ANN, BOB), talk(tenancy, ANN, BOB)
    with acting(ANN, "http"):
        tenancy.organizations.rename(second, "Second")
    before = everything(place, f"org_{second}"), history(tenancy, second)
    erased = [tenancy.erasure.erase(first, ANN).pseudonym]
    assert (everything(place, f"org_{second}"), history(tenancy, second)) == before
    erased.append(tenancy.erasure.erase(second, ANN).pseudonym)
    assert erased[0] != erased[1]


@pytest.mark.slow
def test_who_is_not_there_or_has_no_profile_is_erased_too(
    place: FreshDatabase, tenancy: Tenancy
) -> None:
    organization_id = talk(tenancy, ANN, BOB)
    with tenancy.session(organization_id) as session:
        ActivityLogRepository(session).record("x", user_id="ghost", ip_address="10.9.9.9")
    erasure = tenancy.erasure.erase(organization_id, "ghost")
    assert [one.label for one in erasure.replaced] == ["activity_logs.user_id"]
    assert "10.9.9.9" not in everything(place, f"org_{organization_id}")
    assert tenancy.erasure.erase(organization_id, "ghost").replaced == ()
    with pytest.raises(OrganizationNotFound):
        tenancy.erasure.erase(new_id(), ANN)
    for nobody in ("", "a\0b"):
        with pytest.raises(ValueError, match="id"):
            tenancy.erasure.erase(organization_id, nobody)


def test_a_text_that_names_the_person_refuses_the_erasure_until_somebody_decides(
    place: FreshDatabase, tenancy: Tenancy
) -> None:
    organization_id = talk(tenancy, "ann", "bob")
    with tenancy.session(organization_id) as session:
        post = PostRepository(session).create(user_id="bob", content="Annual: ask ann, not annie")
        UserProfileRepository(session).update("bob", bio="like ann")
    before = everything(place, f"org_{organization_id}"), state_of(place)
    with pytest.raises(ErasureRefused) as caught:
        tenancy.erasure.erase(organization_id, "ann")
    assert caught.value.columns == ("posts.content", "user_profiles.bio")
    assert (everything(place, f"org_{organization_id}"), state_of(place)) == before
    assert history(tenancy, organization_id, done=False)[-1].result == "refused"
    with pytest.raises(ConfigurationError, match=r"posts\.contents"):
        tenancy.erasure.erase(organization_id, "ann", replace_in=["posts.contents"])
    erasure = tenancy.erasure.erase(
        organization_id, "ann", replace_in=["posts.content"], ignoring=["user_profiles.bio"]
    )
    assert [(one.label, one.rows) for one in erasure.ignored] == [("user_profiles.bio", 1)]
    with tenancy.session(organization_id) as session:
        content = PostRepository(session).get(post.id)
        assert content is not None
        assert content.content == f"Annual: ask {erasure.pseudonym}, not annie"


@pytest.fixture
def shop(make_module: MakeModule) -> OrganizationModule:
    """A host's module with keys, triggers and types of its own."""
    module = make_module(
        "shop",
        """
        for statement in '''
            CREATE TYPE contact AS (who text, since date);
            CREATE TABLE people (id uuid PRIMARY KEY, code varchar(80) UNIQUE);
            CREATE TABLE orders (n int PRIMARY KEY, person uuid REFERENCES people,
                watchers uuid[], helpers text[], notes json, forgotten text, contact contact);
            CREATE TABLE history (what text);
            CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS
                'BEGIN INSERT INTO history VALUES (OLD::text); RETURN NEW; END';
            CREATE TRIGGER keep BEFORE UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION keep();
            CREATE MATERIALIZED VIEW buyers AS SELECT person::text AS who FROM orders
        '''.split(";\\n"):
            op.execute(statement)
        """,
    )
    metadata = MetaData()
    for table, columns in (
        ("people", ("id", "code")),
        ("orders", ("person", "watchers", "helpers", "notes")),
        ("gone", ("person",)),
    ):
        Table(table, metadata, *(Column(name, Text, info=PERSON) for name in columns))
    return module.model_copy(update={"metadata": metadata})


@pytest.mark.slow
def test_keys_triggers_arrays_and_views_of_a_host_follow(
    bare_database: FreshDatabase, shop: OrganizationModule
) -> None:
    person = "0f8fad5b-d9cb-469f-a165-70867728950e"
    with bare_database.tenancy([shop]) as tenancy:
        tenancy.install()
        tenancy.schemas.provision("acme")
        bare_database.ask(f"INSERT INTO org_acme.people VALUES ('{person}', '{person}')")
        bare_database.ask(
            f"INSERT INTO org_acme.orders VALUES (1, '{person}', '{{{person}}}', "
            f"'{{{person},x}}', '{{ \"a\": [\"{person}\"] }}')"
        )
        bare_database.ask("REFRESH MATERIALIZED VIEW org_acme.buyers")
        erasure = tenancy.erasure.erase("acme", person)
        assert person not in everything(bare_database, "org_acme")
        (row,) = bare_database.ask("SELECT * FROM org_acme.orders")
        p = erasure.pseudonym
        assert (str(row[1]), list(map(str, row[2])), row[3]) == (p, [p], [p, "x"])
        assert row[4] == {"a": [p]}
        assert bare_database.ask("SELECT who FROM org_acme.buyers") == [(p,)]
        assert bare_database.ask("SELECT count(*) FROM org_acme.history") == [(0,)]
        change = "SET search_path TO org_acme; UPDATE orders SET"
        bare_database.ask(f"{change} n = 2")  # the trigger is back
        assert bare_database.ask("SELECT count(*) FROM org_acme.history") == [(1,)]
        with pytest.raises(psycopg.errors.ForeignKeyViolation):
            bare_database.ask("DELETE FROM org_acme.people")
        assert tenancy.schemas.drift(["acme"]).is_clean
        for column, value in (
            ("forgotten", f"'seen by {person}!'"),
            ("contact", f"ROW('{person}', NULL)"),
        ):
            bare_database.ask(f"{change} {column} = {value}")
            bare_database.ask("DELETE FROM org_acme.history")
            with pytest.raises(ErasureRefused) as caught:
                tenancy.erasure.erase("acme", person)
            assert caught.value.columns == (f"orders.{column}",)
            tenancy.erasure.erase("acme", person, replace_in=[f"orders.{column}"])
            assert person not in everything(bare_database, "org_acme")


def test_a_column_that_cannot_hold_an_id_is_no_column_of_people(
    bare_database: FreshDatabase, make_module: MakeModule
) -> None:
    module = make_module("shop", 'op.execute("CREATE TABLE orders (person bigint)")')
    metadata = MetaData()
    Table("orders", metadata, Column("person", Text, info=PERSON))
    module = module.model_copy(update={"metadata": metadata})
    with bare_database.tenancy([module]) as tenancy:
        tenancy.install()
        tenancy.schemas.provision("acme")
        with pytest.raises(ConfigurationError, match=r"orders\.person"):
            tenancy.erasure.erase("acme", "42")


@pytest.mark.slow
def test_who_writes_at_the_same_time_is_waited_for_and_leaves_nothing(
    place: FreshDatabase, tenancy: Tenancy
) -> None:
    organization_id = talk(tenancy, "ann", "bob")
    schema = f"org_{organization_id}"
    insert = (
        f"INSERT INTO {schema}.posts (id, user_id, content) SELECT gen_random_uuid(), 'ann', 'x'"
    )
    done = Event()

    def erase() -> None:
        tenancy.erasure.erase(organization_id, "ann")
        done.set()

    with psycopg.connect(dsn(place.admin_url)) as writer:
        writer.execute(insert.encode())
        thread = Thread(target=erase)
        thread.start()
        assert not done.wait(0.3)
        writer.commit()
    thread.join()
    assert place.ask(f"SELECT count(*) FROM \"{schema}\".posts WHERE user_id = 'ann'") == [(0,)]


@pytest.mark.slow
def test_a_server_that_logs_every_statement_logs_no_id(shop: OrganizationModule) -> None:
    person = "somebody-7f3a"
    settings = {"log_statement": "all", "log_min_duration_statement": "0"}
    with (
        embedded.server(settings=settings) as server,
        fresh_database(server.url, server.admin_url) as database,
        database.tenancy([shop]) as tenancy,
    ):
        tenancy.install()
        tenancy.schemas.provision("acme")
        ((folder,),) = database.ask("SHOW data_directory")
        log = Path(folder).parent / "server.log"
        database.ask(
            "INSERT INTO org_acme.people (id, code) VALUES (gen_random_uuid(), %s)", person
        )
        before = log.read_text()
        assert person in before  # or else it would prove nothing
        tenancy.erasure.find("acme", person)
        assert tenancy.erasure.erase("acme", person).replaced
        after = log.read_text()[len(before) :]
        assert "orgtenancy_sought" in after
        assert person not in after
