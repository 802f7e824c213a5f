"""Alembic's own commands work on the whole fleet, by the `env.py` of a new module."""

from __future__ import annotations

import re
from inspect import signature
from pathlib import Path

import pytest
from alembic import command

from tests.migrations.hosts import Host

pytestmark = pytest.mark.slow

INVOICE = """
class Invoice(Base):
    __tablename__ = "invoices"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    total: Mapped[int]
"""


def names_a_schema(text: str) -> bool:
    return re.search(r"schema|orgtenancy_reference|org_", text.replace("op.f(", "")) is not None


def test_models_become_a_revision_and_all_organizations_get_it(host: Host) -> None:
    host.provision("acme", "globex")
    host.write_models(INVOICE)
    assert "add_table" in host.refused("check")

    text = host.revise("invoices")
    assert "op.create_table('invoices'" in text
    assert "op.drop_table('invoices')" in text
    assert not names_a_schema(text)

    assert "No new upgrade operations" in host.alembic("check")
    printed = host.alembic("upgrade", "head").splitlines()
    assert {re.sub(r"^\d/2 ", "", line) for line in printed[:2]} == {"acme: done", "globex: done"}
    assert host.tables("globex") == {"alembic_version", "invoices"}
    assert host.alembic("upgrade", "head") == "every schema is there already\n"


def test_without_news_no_revision_is_written(host: Host) -> None:
    assert host.revise("nothing") == ""
    assert len(host.versions()) == 1


def test_a_revision_without_comparing_goes_onto_the_branch_of_the_module(host: Host) -> None:
    host.alembic("revision", "-m", "by hand")
    text = max(host.versions(), key=lambda file: "by_hand" in file.name).read_text()
    assert "down_revision = 'billing_0001'" in text


def test_the_comparison_leaves_nothing_in_the_database(host: Host) -> None:
    before = host.database.ask("SELECT oid FROM pg_namespace ORDER BY oid")
    roles = host.database.roles()
    host.write_models(INVOICE)
    host.revise("invoices")
    host.alembic("check")
    assert host.database.ask("SELECT oid FROM pg_namespace ORDER BY oid") == before
    assert host.database.roles() == roles


def test_what_was_changed_by_hand_in_one_schema_never_gets_into_a_revision(host: Host) -> None:
    host.provision("acme")
    host.database.ask("CREATE TABLE org_acme.by_hand (id int)")
    host.database.ask("CREATE TABLE public.by_hand (id int)")
    assert host.revise("nothing") == ""


@pytest.mark.slow
def test_relative_targets_lead_every_schema_to_the_same_revision(host: Host) -> None:
    host.provision("acme", "globex")
    host.write_models(INVOICE)
    host.alembic("revision", "--autogenerate", "--rev-id", "two", "-m", "two")
    host.alembic("revision", "--rev-id", "three", "-m", "three")

    host.alembic("upgrade", "+1")
    assert host.revisions() == host.revisions("globex") == {"billing": "two"}
    host.alembic("-x", "organization=acme", "upgrade", "+1")
    assert host.revisions() == {"billing": "three"}
    assert "name a revision" in host.refused("upgrade", "+1")
    assert "name a revision" in host.refused("downgrade", "-1")
    host.alembic("downgrade", "billing_0001")
    assert host.stamps() == host.stamps("globex") == {"billing_0001"}
    assert host.tables() == {"alembic_version"}
    host.alembic("downgrade", "-1")
    assert host.stamps() == set()
    assert host.alembic("downgrade", "-1") == "every schema is there already\n"
    assert "Relative revision" in host.refused("upgrade", "+9")


@pytest.mark.slow
def test_base_and_head_are_those_of_the_module(community_host: Host) -> None:
    host = community_host
    host.provision("acme")
    assert host.revisions().keys() == {"billing", "community"}
    host.alembic("downgrade", "base")
    assert host.revisions().keys() == {"community"}
    host.alembic("downgrade", "base")
    host.alembic("upgrade", "heads")
    assert host.revisions().keys() == {"billing", "community"}


def test_current_and_history_speak_of_the_fleet(host: Host) -> None:
    assert host.alembic("current") == "no organizations yet\n"
    host.provision("acme", "globex")
    at_head = "2 organizations, 0 spares: billing=billing_0001 (head)\n"
    assert host.alembic("current") == at_head
    host.alembic("revision", "--rev-id", "two", "-m", "two")
    if "check_heads" in signature(command.current).parameters:  # Alembic 1.17.1 brought it
        assert "2 organizations are not at the heads" in host.refused("current", "--check-heads")
    assert "billing_0001 -> two" in host.alembic("history")
    assert "(current)" not in host.alembic("history")
    assert "(billing) (current)" in host.alembic("history", "--indicate-current")
    assert "Rev: billing_0001" in host.alembic("show", "current")
    assert "two (billing) (head)" in host.alembic("heads")


def test_the_sql_of_a_path_is_written_once(host: Host) -> None:
    host.provision("acme", "globex")
    host.write_models(INVOICE)
    host.alembic("revision", "--autogenerate", "--rev-id", "two", "-m", "two")
    text = host.alembic("upgrade", "billing_0001:head", "--sql")
    assert text.count("CREATE TABLE invoices") == 1
    assert "SET version_num = 'two'" in text
    assert text.count("BEGIN;") == text.count("COMMIT;") == 1
    assert not names_a_schema(text.partition("BEGIN")[2])
    assert "DROP TABLE invoices" in host.alembic("downgrade", "two:billing_0001", "--sql")
    assert host.tables() == {"alembic_version"}


@pytest.mark.slow
def test_a_revision_that_reads_rows_cannot_be_written_as_sql(host: Host) -> None:
    host.alembic("revision", "--rev-id", "two", "-m", "two")
    file = next(file for file in host.versions() if "two" in file.name)
    file.write_text(file.read_text().replace("    pass", "    op.get_bind()", 1))
    assert "revision 'two' cannot be written as SQL" in host.refused("upgrade", "head", "--sql")


@pytest.mark.slow
def test_what_has_no_meaning_for_a_fleet_is_refused(host: Host) -> None:
    assert "which only migrations write" in host.refused("stamp", "head")
    assert "which only migrations write" in host.refused("ensure_version")
    assert "--tag" in host.refused("upgrade", "head", "--tag", "x")
    assert "--sql" in host.refused("revision", "-m", "x", "--sql")
    assert "workers=none" in host.refused("-x", "workers=none", "upgrade", "head")
    assert len(host.versions()) == 1


@pytest.mark.slow
def test_an_unknown_target_and_an_unknown_module_are_named(host: Host) -> None:
    assert "nowhere" in host.refused("upgrade", "nowhere")
    host.replace("billing/migrations/env.py", 'module="billing"', 'module="billings"')
    assert "no module 'billings'; it has: billing" in host.refused("current")


@pytest.mark.slow
def test_a_folder_that_alembic_does_not_see_is_named(community_host: Host) -> None:
    community_host.replace("alembic.ini", "    orgtenancy.community:migrations/versions\n", "")
    message = community_host.refused("current")
    assert "version_locations" in message
    assert str(Path("community/migrations/versions")) in message


@pytest.mark.slow
def test_options_of_the_host_are_kept(host: Host) -> None:
    host.write_models(
        INVOICE + "\n\nsa.Table('ignored', Base.metadata, sa.Column('id', sa.Integer))"
    )
    host.replace(
        "billing/migrations/env.py",
        'module="billing"',
        'module="billing", include_object=lambda item, name, *rest: name != "ignored"',
    )
    text = host.revise("invoices")
    assert "invoices" in text
    assert "ignored" not in text
