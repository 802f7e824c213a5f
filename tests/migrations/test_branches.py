"""`orgtenancy revision`: revisions, branches that are merged, and old ones that are squashed."""

from __future__ import annotations

import json
from pathlib import Path
from textwrap import dedent

import pytest

from orgtenancy.errors import ConfigurationError, JobFailed, RevisionNotFound
from orgtenancy.schemas.revisions.writing import squash, write_revision
from tests.migrations.hosts import Host
from tests.schemas.conftest import MakeModule
from tests.schemas.databases import FreshDatabase

pytestmark = pytest.mark.slow

INVOICE = """
class Invoice(Base):
    __tablename__ = "invoices"

    id: Mapped[UUID] = mapped_column(primary_key=True)
"""


def write(host: Host, revision: str, down: str | None, body: str = "pass", **names: object) -> None:
    content = f"""\
    from alembic import op
    import sqlalchemy as sa

    revision = {revision!r}
    down_revision = {down!r}
    branch_labels = {names.get("labels")!r}
    depends_on = {names.get("depends")!r}


    def upgrade():
        {body}


    def downgrade():
        pass
    """
    Path(f"billing/migrations/versions/{revision}.py").write_text(dedent(content))


@pytest.mark.slow
def test_the_next_revision_is_written_without_an_alembic_ini(host: Host) -> None:
    Path("alembic.ini").unlink()
    host.write_models(INVOICE)
    result = host.orgtenancy("revision", "-m", "invoices", "--json")
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert answer["module"] == "billing"
    assert "op.create_table('invoices'" in Path(answer["file"]).read_text()

    again = host.orgtenancy("revision", "-m", "again")
    assert "no revision is written" in again.stdout
    empty = host.orgtenancy(
        "revision", "-m", "empty", "--no-autogenerate", "--rev-id", "x1", "--module", "billing"
    )
    assert "x1_empty.py" in empty.stdout
    assert len(host.versions()) == 3


def test_a_module_without_an_environment_gets_its_revision_too(
    bare_database: FreshDatabase, make_module: MakeModule
) -> None:
    module = make_module("plain", "op.create_table('things', sa.Column('id', sa.Integer))")
    with bare_database.tenancy([module]) as tenancy:
        tenancy.install()
        file = write_revision(tenancy, "plain", "things go")
        assert file is not None
        assert file.parent == module.migrations
        assert "op.drop_table('things')" in file.read_text()
        with pytest.raises(ConfigurationError, match="no module 'other'; it has: plain"):
            write_revision(tenancy, "other", "x")


def test_two_heads_are_refused_until_they_are_merged(host: Host) -> None:
    host.provision("acme")
    write(host, "left", "billing_0001", "op.create_table('l', sa.Column('id', sa.Integer))")
    write(host, "right", "billing_0001", "op.create_table('r', sa.Column('id', sa.Integer))")
    for command in (["revision", "--autogenerate", "-m", "x"], ["upgrade", "head"], ["check"]):
        assert "found 2 (left, right: merge them)" in host.refused(*command)
    refused = host.orgtenancy("revision", "-m", "x")
    assert refused.exit_code == 1
    assert "left, right: merge them" in refused.output

    merged = host.orgtenancy("revision", "--merge", "-m", "one again")
    assert merged.exit_code == 0, merged.output
    host.alembic("upgrade", "head")
    assert host.tables() == {"alembic_version", "l", "r"}
    assert len(host.stamps()) == 1
    assert host.orgtenancy("revision", "--merge", "-m", "x").exit_code == 1


@pytest.mark.slow
def test_alembic_merges_the_branches_as_well(host: Host) -> None:
    write(host, "left", "billing_0001")
    write(host, "right", "billing_0001")
    host.alembic("merge", "heads", "-m", "one again")
    host.provision("acme")
    assert len(host.stamps()) == 1


def test_a_revision_may_depend_on_one_of_another_module(community_host: Host) -> None:
    host = community_host
    body = "op.execute('CREATE TABLE fans AS SELECT user_id FROM user_profiles')"
    write(host, "needs", "billing_0001", body, depends="community_0001")
    host.provision("acme")
    assert host.revisions() == {"billing": "needs", "community": "community_0001"}
    assert host.stamps() == {"needs"}


@pytest.mark.slow
def test_old_revisions_are_squashed_into_one_with_the_id_of_the_last(community_host: Host) -> None:
    host = community_host
    host.provision("behind")
    host.write_models(
        "from orgtenancy.community import UserProfile\n"
        f"{INVOICE}    user_id: Mapped[str] = mapped_column(sa.ForeignKey(UserProfile.user_id))\n"
    )
    host.alembic("revision", "--autogenerate", "--rev-id", "two", "-m", "two")
    host.provision("acme")
    result = host.orgtenancy("revision", "--squash", "-m", "all of it")
    assert result.exit_code == 0, result.output
    (file,) = host.versions()
    text = file.read_text()
    assert "revision = 'two'\ndown_revision = None\nbranch_labels = ('billing',)" in text

    # There already: nothing to do. A fresh one runs the squash alone, to the same end.
    host.provision("globex")
    assert host.stamps() == host.stamps("globex")
    assert host.tables() == host.tables("globex")
    with host.tenancy() as tenancy:
        assert tenancy.schemas.fleet.migrate(organizations=["acme", "globex"]) is None
        # One that was left behind at a revision which is gone is told, by its name.
        with pytest.raises((RevisionNotFound, JobFailed)) as caught:
            tenancy.schemas.fleet.migrate()
        job_id = getattr(caught.value, "job_id", 0)
        (item,) = [i for i in tenancy.schemas.fleet.items(job_id) if i.error]
        assert item.label == "behind"
        assert "billing_0001" in str(item.error)
    assert host.stamps("behind") == {"billing_0001", "community_0001"}


@pytest.mark.slow
def test_a_squash_that_cannot_be_leaves_the_files_as_they_were(host: Host) -> None:
    before = {file: file.read_text() for file in host.versions()}
    host.write_models(INVOICE)
    with host.tenancy() as tenancy, pytest.raises(ConfigurationError, match="first write"):
        squash(tenancy, "billing", "all")
    host.write_models("")
    with host.tenancy() as tenancy, pytest.raises(ConfigurationError, match="has no tables"):
        squash(tenancy, "billing", "all")
    assert {file: file.read_text() for file in host.versions()} == before
    assert {file.name for file in Path("billing/migrations").iterdir()} == {
        "env.py",
        "script.py.mako",
        "versions",
    }


def test_a_squash_does_not_take_away_what_another_module_depends_on(
    bare_database: FreshDatabase, make_module: MakeModule
) -> None:
    base = make_module("base", "pass", "pass")
    addon = make_module("addon", "pass", requires=("base",), depends_on="base_0001")
    with (
        bare_database.tenancy([base, addon]) as tenancy,
        pytest.raises(ConfigurationError, match="'addon' depends on base_0001"),
    ):
        squash(tenancy, "base", "all")


def test_the_two_ways_exclude_each_other(host: Host) -> None:
    assert host.orgtenancy("revision", "--merge", "--squash", "-m", "x").exit_code == 2
