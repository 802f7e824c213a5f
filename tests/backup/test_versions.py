"""From one major version of PostgreSQL into another one, up and down."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from orgtenancy import Tenancy, embedded
from orgtenancy.community import (
    ConversationRepository,
    MessageRepository,
    PostRepository,
    UserProfileRepository,
    community,
)
from orgtenancy.errors import EmbeddedServerError
from tests.backup.every_type import TABLES, every_type, fill
from tests.backup.worlds import backup_of, manifest_of, rows_in
from tests.schemas.databases import FreshDatabase, fresh_database

pytestmark = pytest.mark.slow

PLAIN = {
    "a_bool": "t",
    "a_numeric": "1.00",
    "a_money": "12.34",
    "a_timestamptz": "infinity",
    "an_interval": "1 mon -2 days 03:04:05.000006",
    "an_inet": "fe80::1/64",
    "a_jsonb": '{"a": [1.0, null, "\\u2603"]}',
    "a_tsvector": "'a':1A 'b':2",
    "a_multirange": "{[1,3),[5,9)}",
    "a_text_array": '{a,NULL,"b c"}',
    "a_mood": "so-so",
}
NESTED = {"moods": "{sad,NULL}", "homes": '{"(\\"a b\\",1,{x})"}', "times": "{infinity}"}


@pytest.fixture(scope="module")
def databases() -> Iterator[dict[int, FreshDatabase]]:
    """A database on the oldest server that there is here, and one on the newest."""
    found: dict[int, FreshDatabase] = {}
    with ExitStack() as stack:
        for majors in ((15, 16), (18, 17)):
            for major in majors:
                try:
                    server = stack.enter_context(embedded.server(major=major))
                except EmbeddedServerError:
                    continue
                urls = server.url, server.admin_url
                found[major] = stack.enter_context(fresh_database(*urls))
                break
        if len(found) < 2:
            pytest.skip("there are no two major versions of PostgreSQL here")
        yield found


def talk(tenancy: Tenancy) -> None:
    """Let two people of an organization write something."""
    with tenancy.session("acme") as session:
        for name in ("ann", "bob"):
            UserProfileRepository(session).upsert_from_claims({"sub": name, "name": name.title()})
        PostRepository(session).create(user_id="ann", content="Hello world", tags=["news"])
        talk = ConversationRepository(session).open_direct("ann", "bob")
        MessageRepository(session).send(talk.id, "ann", content="Hello Bob")


@pytest.mark.parametrize("upwards", [True, False])
def test_a_backup_goes_from_one_major_version_into_another(
    databases: dict[int, FreshDatabase], upwards: bool
) -> None:
    majors = sorted(databases, reverse=not upwards)
    source, target = (databases[major] for major in majors)
    modules = [every_type, community]
    with source.tenancy(modules) as here, target.tenancy(modules) as there:
        here.install()
        there.install()
        acme = here.schemas.provision("acme")
        fill(source, acme, [PLAIN, {"a_text": "second"}], [NESTED])
        talk(here)
        backup = backup_of(here, "acme")
        assert manifest_of(here, backup).server_version.startswith(str(majors[0]))
        name = f"from_{majors[0]}"
        copy = there.backups.restore(io.BytesIO(backup), organization_id=name)
        for table in (*TABLES, "posts", "messages", "user_profiles"):
            assert rows_in(target, copy.schema_name, table) == rows_in(
                source, acme.schema_name, table
            )
        again = manifest_of(there, backup_of(there, copy.id))
        assert again.server_version.startswith(str(majors[1]))
        assert [t.digest for t in again.tables] == [
            t.digest for t in manifest_of(here, backup).tables
        ]
