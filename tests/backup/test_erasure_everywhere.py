"""Where an id is hard to see, or what replaces it has no room: nothing is left, or cut."""

from __future__ import annotations

import json
import re

import pytest
from sqlalchemy import Column, MetaData, Table, Text

from orgtenancy import OrganizationModule, Tenancy, acting, embedded
from orgtenancy.errors import ErasureRefused, OrganizationBusy
from orgtenancy.modules import PERSON
from orgtenancy.operations.erasure.sought import new_pseudonym
from tests.backup.test_erasure import everything
from tests.backup.worlds import new_id, state_of
from tests.lifecycle.worlds import history
from tests.placements.cells import fresh_cells
from tests.schemas.conftest import MakeModule
from tests.schemas.databases import FreshDatabase

UUID = "0F8FAD5B-D9CB-469F-A165-70867728950E"


def a_module(
    make_module: MakeModule, tables: str, people: dict[str, tuple[str, ...]]
) -> OrganizationModule:
    """Make a module of tables, of which some columns hold people's ids."""
    module = make_module("shop", f"for s in '''{tables}'''.split(';'): op.execute(s)")
    metadata = MetaData()
    for table, columns in people.items():
        Table(table, metadata, *(Column(name, Text, info=PERSON) for name in columns))
    return module.model_copy(update={"metadata": metadata})


def test_an_id_behind_what_json_escapes_is_seen(
    bare_database: FreshDatabase, make_module: MakeModule
) -> None:
    tables = "CREATE TABLE notes (n int, data jsonb, body text)"
    with bare_database.tenancy([a_module(make_module, tables, {})]) as tenancy:
        tenancy.install()
        organization = tenancy.schemas.provision("acme")
        insert = "INSERT INTO org_acme.notes VALUES (%s, %s, %s)"
        ends = "\n\t\r\b\f\x1b"
        for n, end in enumerate(ends):
            said = json.dumps({"note": f"Please ask:{end}user-1 knows"})
            bare_database.ask(insert, n, said, said)
        kept = json.dumps({"note": "ask\nauser-1, newuser-1"})
        bare_database.ask(insert, 9, kept, kept)
        tenancy.organizations.set_attributes("acme", {"note": "first\nuser-1"})

        found = {one.label: one.rows for one in tenancy.erasure.find("acme", "user-1")}
        columns = ["notes.data", "notes.body", "orgtenancy.organizations.attributes"]
        assert found == dict(zip(columns, (len(ends), len(ends), 1), strict=True))
        with pytest.raises(ErasureRefused) as caught:
            tenancy.erasure.erase("acme", "user-1")
        assert caught.value.columns == tuple(columns)
        erased = tenancy.erasure.erase("acme", "user-1", replace_in=columns)
        rows = bare_database.ask("SELECT data, body::jsonb FROM org_acme.notes ORDER BY n")
        notes = [{"note": f"Please ask:{end}{erased.pseudonym} knows"} for end in ends]
        assert rows == [(one, one) for one in [*notes, json.loads(kept)]]
        attributes = tenancy.organizations.get(organization.id).attributes
        assert attributes == {"note": f"first\n{erased.pseudonym}"}


def test_an_id_that_json_writes_in_ascii_is_seen(
    bare_database: FreshDatabase, make_module: MakeModule
) -> None:
    person = "jürgen😀-1"
    tables = "CREATE TABLE notes (declared json, data json)"
    module = a_module(make_module, tables, {"notes": ("declared",)})
    with bare_database.tenancy([module]) as tenancy:
        tenancy.install()
        tenancy.schemas.provision("acme")
        said = json.dumps({"by": person}), json.dumps({"note": f"ask {person}"})
        assert "jürgen" not in "".join(said)
        bare_database.ask("INSERT INTO org_acme.notes VALUES (%s, %s)", *said)
        with pytest.raises(ErasureRefused) as caught:
            tenancy.erasure.erase("acme", person)
        assert caught.value.columns == ("notes.data",)
        p = tenancy.erasure.erase("acme", person, replace_in=["notes.data"]).pseudonym
        rows = bare_database.ask("SELECT * FROM org_acme.notes")
        assert rows == [({"by": p}, {"note": f"ask {p}"})]


def test_a_uuid_is_seen_however_it_is_written(
    bare_database: FreshDatabase, make_module: MakeModule
) -> None:
    tables = "CREATE TABLE people (id uuid, code text, ids uuid[], data jsonb, body text)"
    module = a_module(make_module, tables, {"people": ("id", "code", "ids", "data")})
    with bare_database.tenancy([module]) as tenancy:
        tenancy.install()
        tenancy.schemas.provision("acme")
        bare_database.ask(
            "INSERT INTO org_acme.people VALUES (%s, %s, ARRAY[%s]::uuid[], %s, %s)",
            *(UUID, UUID, UUID, json.dumps([UUID, UUID.lower()]), f"ask {UUID.lower()}"),
        )
        with pytest.raises(ErasureRefused) as caught:
            tenancy.erasure.erase("acme", UUID)
        assert caught.value.columns == ("people.body",)
        p = tenancy.erasure.erase("acme", UUID, replace_in=["people.body"]).pseudonym
        rows = bare_database.ask(
            "SELECT id::text, code, ids::text[], data, body FROM org_acme.people"
        )
        assert rows == [(p, p, [p], [p, p], f"ask {p}")]


def test_nothing_is_cut_where_there_is_no_room(
    bare_database: FreshDatabase, make_module: MakeModule
) -> None:
    tables = (
        "CREATE DOMAIN short AS varchar(12); CREATE TABLE people (id text);"
        "CREATE TABLE notes (body varchar(30), words varchar(12)[], code char(12), name short, "
        "names short[])"
    )
    module = a_module(make_module, tables, {"people": ("id",)})
    with bare_database.tenancy([module]) as tenancy:
        tenancy.install()
        tenancy.schemas.provision("acme")
        bare_database.ask("INSERT INTO org_acme.people VALUES ('ann')")
        for column, value in (
            ("body", "ask ann for the money, please"),
            ("words", "{ann}"),
            ("code", "ann"),
            ("name", "ann"),
            ("names", "{ann}"),
        ):
            bare_database.ask(f"INSERT INTO org_acme.notes ({column}) VALUES (%s)", value)
            before = everything(bare_database, "org_acme"), state_of(bare_database)
            with pytest.raises(ErasureRefused, match="too short") as caught:
                tenancy.erasure.erase("acme", "ann", replace_in=[f"notes.{column}"])
            assert caught.value.columns == (f"notes.{column}",)
            assert (everything(bare_database, "org_acme"), state_of(bare_database)) == before
            assert history(tenancy, "acme", done=False)[-1].result == "refused"
            bare_database.ask("DELETE FROM org_acme.notes")


@pytest.mark.parametrize(
    ("person", "length", "expected"),
    [
        ("ann", 40, r"erased-[0-9a-f]{32}"),
        ("ann", 30, r"erased-[0-9a-f]{23}"),
        ("ann", 23, r"erased-[0-9a-f]{16}"),
        ("ann", 22, None),
        (UUID, 36, r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"),
        (UUID.lower().replace("-", ""), 32, r"[0-9a-f]{32}"),
        (UUID.lower().replace("-", ""), 31, None),
    ],
)
def test_the_pseudonym_fits_the_shortest_column_of_people(
    person: str, length: int, expected: str | None
) -> None:
    pseudonym = new_pseudonym(person, length)
    if expected is None:
        assert len(pseudonym) > length  # no room: the server refuses it
    else:
        assert re.fullmatch(expected, pseudonym)
        assert len(pseudonym) <= length


def test_all_tables_have_the_pseudonym_that_fits_the_shortest(
    bare_database: FreshDatabase, make_module: MakeModule
) -> None:
    tables = (
        "CREATE DOMAIN short AS varchar(25); CREATE DOMAIN shorter AS short;"
        "CREATE TABLE people (id text, code char(26), names shorter[], name varchar(30))"
    )
    module = a_module(make_module, tables, {"people": ("id", "code", "names", "name")})
    with bare_database.tenancy([module]) as tenancy:
        tenancy.install()
        tenancy.schemas.provision("acme")
        for person in ("ann", "bob"):
            insert = "INSERT INTO org_acme.people VALUES (%s, %s, ARRAY[%s], %s)"
            bare_database.ask(insert, *[person] * 4)
        erased = {tenancy.erasure.erase("acme", person).pseudonym for person in ("ann", "bob")}
        assert {len(p) for p in erased} == {25}
        rows = bare_database.ask("SELECT id, trim(code), names::text[], name FROM org_acme.people")
        assert sorted(rows) == sorted((p, p, [p], p) for p in erased)


def test_in_the_last_part_of_a_move_nobody_is_erased(
    bare_database: FreshDatabase, make_module: MakeModule
) -> None:
    module = a_module(make_module, "CREATE TABLE people (id text)", {"people": ("id",)})
    with bare_database.tenancy([module]) as tenancy:
        tenancy.install()
        tenancy.schemas.provision("acme")
        bare_database.ask("INSERT INTO org_acme.people VALUES ('ann')")
        moving = "UPDATE orgtenancy.organizations SET moving_to = %s"
        bare_database.ask(moving, "eu")
        with pytest.raises(OrganizationBusy, match="being moved to placement 'eu': erase in it"):
            tenancy.erasure.erase("acme", "ann")
        assert bare_database.ask("SELECT id FROM org_acme.people") == [("ann",)]
        assert [one.label for one in tenancy.erasure.find("acme", "ann")] == ["people.id"]
        bare_database.ask(moving, None)
        assert tenancy.erasure.erase("acme", "ann").replaced


def test_the_audit_of_former_ids_is_reached_until_they_are_anothers(
    database: FreshDatabase, installed: Tenancy
) -> None:
    first, second, last = (new_id() for _ in range(3))
    life = installed.organizations
    with acting("ann", "http"):
        installed.schemas.provision(first)
        life.change_id(first, second)
        installed.schemas.provision(first)  # another one
        life.change_id(second, first + "x")
        life.change_id(first + "x", second)
        life.change_id(second, last)
        installed.schemas.provision(second)  # another one
        life.rename(second, "Another")
    database.ask(
        "INSERT INTO orgtenancy.audit (action, organization_id, origin, result, details, "
        "recorded_at) VALUES ('renamed', %s, 'http', 'done', %s, now() - interval '1 day')",
        *(first, '{"by": "ann"}'),
    )
    found = {one.label: one.rows for one in installed.erasure.find(last, "ann")}
    assert found == {"orgtenancy.audit.actor_id": 9, "orgtenancy.audit.details": 1}
    p = installed.erasure.erase(last, "ann").pseudonym
    assert installed.erasure.find(last, "ann") == []
    lines = history(installed, first)
    assert [line.actor_id for line in lines] == [p, p, "ann", None]
    assert dict(lines[-1].details) == {"by": p}


@pytest.mark.slow
def test_the_audit_of_former_ids_is_reached_where_the_organization_was_then(
    server: embedded.EmbeddedServer,
) -> None:
    urls = server.url, server.admin_url
    with fresh_cells(("default", *urls), ("eu", *urls)) as cells, cells.tenancy() as tenancy:
        tenancy.install()
        life = tenancy.organizations
        with acting("ann", "http"):
            tenancy.schemas.provision("first")
            life.change_id("first", "second")
            life.move("second", to="eu")
            life.change_id("second", "third")
            life.move("third", to="default")
        query = "SELECT count(*) FROM orgtenancy.audit WHERE actor_id = 'ann'"
        lines = [cells[name].ask(query)[0][0] for name in ("default", "eu")]
        assert min(lines) > 1
        assert [one.rows for one in tenancy.erasure.find("third", "ann")] == lines
        tenancy.erasure.erase("third", "ann")
        assert [cells[name].ask(query) for name in ("default", "eu")] == [[(0,)]] * 2


def test_statistics_of_materialized_views_forget_who_is_erased(
    bare_database: FreshDatabase, make_module: MakeModule
) -> None:
    tables = (
        "CREATE TABLE notes (who text); INSERT INTO notes VALUES ('ann'), ('ann'), ('bob');"
        'CREATE MATERIALIZED VIEW "Views" AS SELECT * FROM notes'
    )
    module = a_module(make_module, tables, {"notes": ("who",)})
    with bare_database.tenancy([module]) as tenancy:
        tenancy.install()
        tenancy.schemas.provision("acme")
        bare_database.ask('ANALYZE org_acme."Views"')
        query = "SELECT most_common_vals::text FROM pg_stats WHERE tablename = 'Views'"
        assert bare_database.ask(query) == [("{ann}",)]
        p = tenancy.erasure.erase("acme", "ann").pseudonym
        assert bare_database.ask(query) == [(f"{{{p}}}",)]
