"""What a generated revision has in it: types, sequences, references, and nothing of others."""

from __future__ import annotations

import re

import psycopg.errors
import pytest

from orgtenancy.errors import ProvisioningFailed
from tests.migrations.hosts import Host

pytestmark = pytest.mark.slow

STATE = """
class Invoice(Base):
    __tablename__ = "invoices"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    state: Mapped[str] = mapped_column(sa.Enum({labels}, name="invoice_state"))
"""

TWO_TABLES = """
State = sa.Enum("open", "it's: paid", name="State")


class Invoice(Base):
    __tablename__ = "invoices"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    state: Mapped[str] = mapped_column(State, server_default="open")


class Reminder(Base):
    __tablename__ = "reminders"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    states: Mapped[list[str]] = mapped_column(sa.ARRAY(State))
"""

NUMBERS = """
numbers = sa.Sequence("invoice_numbers", start=1000, metadata=Base.metadata)


class Invoice(Base):
    __tablename__ = "invoices"

    id: Mapped[int] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(server_default=numbers.next_value())
    key: Mapped[UUID] = mapped_column(server_default=sa.func.gen_random_uuid())
    corrects: Mapped[int | None] = mapped_column(sa.ForeignKey("invoices.id"))
"""

REFERENCE = """
from orgtenancy.community import UserProfile


class Invoice(Base):
    __tablename__ = "invoices"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[str] = mapped_column(sa.ForeignKey(UserProfile.user_id))
"""


def labels(host: Host, name: str = "invoice_state") -> list[str]:
    return [
        row[0]
        for row in host.database.ask(
            "SELECT enumlabel FROM pg_enum e JOIN pg_type t ON t.oid = enumtypid "
            "WHERE typname = %s AND typnamespace = 'org_acme'::regnamespace ORDER BY enumsortorder",
            name,
        )
    ]


@pytest.mark.slow
def test_a_type_of_two_tables_is_made_once_and_dropped_with_the_last(host: Host) -> None:
    host.provision("acme")
    host.write_models(TWO_TABLES)
    text = host.revise("tables")
    assert text.count("CREATE TYPE") == text.count("DROP TYPE") == 1
    host.alembic("upgrade", "head")
    assert labels(host, "State") == ["open", "it's: paid"]
    assert "No new" in host.alembic("check")

    host.alembic("downgrade", "-1")
    assert labels(host, "State") == []
    host.alembic("upgrade", "head")

    host.write_models("")
    text = host.revise("nothing left")
    assert text.count("CREATE TYPE") == text.count("DROP TYPE") == 1
    host.alembic("upgrade", "head")
    assert labels(host, "State") == []
    host.alembic("downgrade", "-1")
    assert labels(host, "State") == ["open", "it's: paid"]


@pytest.mark.slow
def test_a_column_brings_its_type_along(host: Host) -> None:
    host.provision("acme")
    host.write_models(STATE.format(labels="'open'").replace("    state: Mapped[str]", "    # "))
    host.revise("without")
    host.alembic("upgrade", "head")
    host.write_models(STATE.format(labels="'open'"))
    text = host.revise("with")
    assert text.index("CREATE TYPE") < text.index("op.add_column")
    host.alembic("upgrade", "head")
    host.alembic("downgrade", "-1")
    assert labels(host) == []


@pytest.mark.slow
def test_a_value_is_added_in_its_place_within_the_transaction(host: Host) -> None:
    host.provision("acme")
    host.write_models(STATE.format(labels="'open', 'paid'"))
    host.revise("first")
    host.alembic("upgrade", "head")
    wanted = ["draft", "open", "sent", "late", "paid", "void"]
    host.write_models(STATE.format(labels=repr(wanted)[1:-1]))
    text = host.revise("more")
    assert "autocommit" not in text
    host.alembic("upgrade", "head")
    assert labels(host) == wanted
    assert "No new" in host.alembic("check")
    # PostgreSQL drops no value: a downgrade keeps them, and the way up is still open.
    host.alembic("downgrade", "-1")
    assert labels(host) == wanted
    host.alembic("upgrade", "head")
    host.provision("globex")


@pytest.mark.slow
def test_a_new_value_is_used_by_a_later_revision_once_it_was_committed(host: Host) -> None:
    host.provision("acme")
    host.write_models(STATE.format(labels="'open'"))
    host.revise("first")
    host.alembic("upgrade", "head")
    host.write_models(STATE.format(labels="'open', 'paid'"))
    host.alembic("revision", "--autogenerate", "--rev-id", "adds", "-m", "adds")
    host.alembic("revision", "--rev-id", "uses", "-m", "uses")
    by_id = {name: next(f for f in host.versions() if name in f.name) for name in ("adds", "uses")}
    use = "    op.execute(\"INSERT INTO invoices VALUES (gen_random_uuid(), 'paid')\")"
    by_id["uses"].write_text(by_id["uses"].read_text().replace("    pass", use, 1))

    host.alembic("revision", "--rev-id", "last", "-m", "last")
    with pytest.raises(Exception, match="failed"):
        host.alembic("upgrade", "head")
    assert host.stamps() != {"last"}
    text = by_id["adds"].read_text()
    by_id["adds"].write_text(text.replace("depends_on =", "autocommit = True\ndepends_on =", 1))
    host.alembic("upgrade", "head")
    assert host.stamps() == {"last"}
    assert host.database.ask("SELECT state FROM org_acme.invoices") == [("paid",)]
    # A fresh schema is made in one transaction, which allows it from PostgreSQL 17 on.
    ((version,),) = host.database.ask("SELECT current_setting('server_version_num')::int")
    if version >= 170000:
        host.provision("globex")
    else:
        with pytest.raises(ProvisioningFailed, match="unsafe use of new value"):
            host.provision("globex")


@pytest.mark.slow
def test_sequences_and_self_references_are_made_in_every_schema(host: Host) -> None:
    host.provision("acme", "globex")
    host.write_models(NUMBERS)
    text = host.revise("numbers")
    assert "CREATE SEQUENCE invoice_numbers START WITH 1000" in text
    host.alembic("upgrade", "head")
    assert "No new" in host.alembic("check")
    for schema in ("org_acme", "org_globex"):
        insert = f"INSERT INTO {schema}.invoices (corrects) VALUES (1), (1) RETURNING id, number"
        assert host.database.ask(insert) == [(1, 1000), (2, 1001)]
        with pytest.raises(psycopg.errors.ForeignKeyViolation):
            host.database.ask(f"INSERT INTO {schema}.invoices (corrects) VALUES (99)")
    host.alembic("downgrade", "-1")
    sequences = "SELECT sequencename FROM pg_sequences WHERE schemaname LIKE 'org\\_%'"
    assert host.database.ask(sequences) == []


def test_a_table_may_refer_to_one_of_another_module(community_host: Host) -> None:
    host = community_host
    host.provision("acme")
    host.write_models(REFERENCE)
    text = host.revise("invoices")
    assert "['user_profiles.user_id']" in text
    assert "depends_on = 'community_0001'" in text
    assert re.findall(r"op\.\w+", text) == ["op.create_table", "op.f", "op.f", "op.drop_table"]
    host.alembic("upgrade", "head")
    assert "No new" in host.alembic("check")
    target = (
        "SELECT confrelid::regclass::text FROM pg_constraint "
        "WHERE conrelid = 'org_acme.invoices'::regclass AND contype = 'f'"
    )
    assert host.database.ask(target) == [("org_acme.user_profiles",)]
    host.provision("globex")
    # The next one has nothing new to depend on.
    host.write_models(REFERENCE + "    total: Mapped[int | None]\n")
    assert "depends_on = None" in host.revise("total")


def test_a_reference_to_a_module_that_is_not_required_is_refused(community_host: Host) -> None:
    host = community_host
    host.replace("billing/__init__.py", '    requires=("community",),\n', "")
    host.write_models(REFERENCE)
    message = host.refused("revision", "--autogenerate", "-m", "invoices")
    assert "requires=('community',)" in message
    assert len(host.versions()) == 1
