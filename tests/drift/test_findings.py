"""The registry against the server: what one has and the other lacks, and stamps that lie."""

from __future__ import annotations

import pytest

from orgtenancy import Tenancy
from orgtenancy.errors import OrganizationNotFound
from orgtenancy.naming import new_role_name
from orgtenancy.schemas.drift import DriftReport, Finding, FindingKind
from tests.schemas.conftest import MakeModule
from tests.schemas.databases import FreshDatabase

pytestmark = pytest.mark.slow

TWO = (
    "op.create_table('items', sa.Column('id', sa.Integer, primary_key=True))",
    "op.add_column('items', sa.Column('name', sa.Text))",
)


def only(report: DriftReport, kind: FindingKind) -> Finding:
    """Return the one finding of a report."""
    (finding,) = report.findings
    assert finding.kind is kind
    assert kind in str(finding)
    return finding


def test_a_schema_that_the_registry_lacks_is_named_and_never_dropped(
    bare_database: FreshDatabase, installed: Tenancy
) -> None:
    bare_database.ask('CREATE SCHEMA "org_Left-over"')
    bare_database.ask("CREATE SCHEMA other; CREATE SCHEMA orgchart")
    report = installed.schemas.drift()
    assert only(report, FindingKind.UNKNOWN_SCHEMA).name == "org_Left-over"
    assert not report.is_clean
    plan = installed.schemas.repair_plan(report)
    assert plan.is_empty
    assert plan.left == report.findings
    assert "not mended: unknown schema org_Left-over" in plan.sql()
    installed.schemas.repair(plan, destructive=True)
    assert "org_Left-over" in bare_database.schemas()


def test_a_spares_schema_that_the_registry_lacks_is_named(
    bare_database: FreshDatabase, installed: Tenancy
) -> None:
    installed.schemas.spares.fill(1)
    bare_database.ask("DELETE FROM orgtenancy.spares")
    kinds = {finding.kind for finding in installed.schemas.drift().findings}
    assert kinds == {FindingKind.UNKNOWN_SCHEMA, FindingKind.UNKNOWN_ROLE}


def test_a_role_that_the_registry_lacks_is_named(
    bare_database: FreshDatabase, installed: Tenancy
) -> None:
    role = new_role_name(bare_database.name)
    bare_database.ask(f"CREATE ROLE {role}")
    assert only(installed.schemas.drift(), FindingKind.UNKNOWN_ROLE).name == role


def test_a_row_without_its_schema_is_named(
    bare_database: FreshDatabase, installed: Tenancy
) -> None:
    installed.schemas.provision("acme")
    installed.schemas.provision("globex")
    bare_database.ask("DROP SCHEMA org_acme CASCADE")
    report = installed.schemas.drift()
    finding = only(report, FindingKind.MISSING_SCHEMA)
    assert (finding.name, finding.organization_id) == ("org_acme", "acme")
    assert report.checked == 1
    assert installed.schemas.repair_plan(report).is_empty


def test_a_row_without_its_role_is_named(bare_database: FreshDatabase, installed: Tenancy) -> None:
    role = installed.schemas.provision("acme").role_name
    bare_database.ask(f"DROP OWNED BY {role}; DROP ROLE {role}")
    report = installed.schemas.drift()
    finding = only(report, FindingKind.MISSING_ROLE)
    assert (finding.name, finding.organization_id) == (role, "acme")
    assert {d.object_kind for d in report.schemas[0].differences} >= {"grants on schema"}


def test_a_mirror_that_lies_is_named_and_mended(
    bare_database: FreshDatabase, make_module: MakeModule
) -> None:
    with bare_database.tenancy([make_module("data", *TWO)]) as tenancy:
        tenancy.install()
        tenancy.schemas.provision("acme")
        bare_database.ask(
            """UPDATE orgtenancy.organizations SET revisions = '{"data": "data_0001"}'"""
        )
        report = tenancy.schemas.drift()
        finding = only(report, FindingKind.LYING_MIRROR)
        assert finding.detail == "the registry has data_0001, the stamps are data_0002"
        assert report.schemas == ()
        repaired = tenancy.schemas.repair(tenancy.schemas.repair_plan(report))
        assert repaired.repaired == ("acme",)
        assert tenancy.schemas.drift().is_clean
        assert tenancy.schemas.get("acme").revisions == {"data": "data_0002"}


@pytest.mark.parametrize(
    "lie",
    [
        "UPDATE org_acme.alembic_version SET version_num = 'data_0001'",
        "UPDATE org_acme.alembic_version SET version_num = 'gone'",
        "DELETE FROM org_acme.alembic_version",
        "DROP TABLE org_acme.alembic_version",
    ],
    ids=["older", "unknown", "empty", "no table"],
)
def test_a_stamp_that_lies_is_named_and_mended(
    bare_database: FreshDatabase, make_module: MakeModule, lie: str
) -> None:
    with bare_database.tenancy([make_module("data", *TWO)]) as tenancy:
        tenancy.install()
        tenancy.schemas.provision("acme")
        bare_database.ask(lie)
        report = tenancy.schemas.drift()
        only(report, FindingKind.LYING_STAMP)
        repaired = tenancy.schemas.repair(tenancy.schemas.repair_plan(report))
        assert repaired.repaired == ("acme",), repaired.failed
        assert tenancy.schemas.drift().is_clean
        stamps = bare_database.ask("SELECT version_num FROM org_acme.alembic_version")
        assert stamps == [("data_0002",)]


def test_a_revision_that_no_file_has_is_named_and_its_schema_not_compared(
    bare_database: FreshDatabase, make_module: MakeModule
) -> None:
    module = make_module("data", *TWO)
    with bare_database.tenancy([module]) as tenancy:
        tenancy.install()
        tenancy.schemas.provision("acme")
    (module.migrations / "data_0002.py").unlink()
    with bare_database.tenancy([module]) as tenancy:
        tenancy.schemas.provision("globex")
        report = tenancy.schemas.drift()
        assert only(report, FindingKind.UNKNOWN_REVISION).organization_id == "acme"
        assert report.checked == 1
        assert not report.is_clean


def test_a_reservation_that_nobody_completed_is_a_note_after_a_while(
    bare_database: FreshDatabase, installed: Tenancy
) -> None:
    installed.schemas.provision("acme")
    bare_database.ask("UPDATE orgtenancy.organizations SET status = 'provisioning'")
    assert installed.schemas.drift().findings == ()
    bare_database.ask("UPDATE orgtenancy.organizations SET created_at = now() - interval '1 hour'")
    report = installed.schemas.drift()
    assert only(report, FindingKind.UNFINISHED).organization_id == "acme"
    assert report.is_clean
    assert report.checked == 0


def test_a_check_of_some_organizations_looks_at_nothing_else(
    bare_database: FreshDatabase, installed: Tenancy
) -> None:
    for organization_id in ("acme", "globex"):
        installed.schemas.provision(organization_id)
    installed.schemas.spares.fill(1)
    bare_database.ask("DROP INDEX org_acme.notes_body_idx; CREATE SCHEMA org_unknown")
    report = installed.schemas.drift(["globex"])
    assert report.is_clean
    assert report.checked == 1
    assert installed.schemas.drift(["acme", "globex"]).schemas[0].label == "acme"
    with pytest.raises(OrganizationNotFound, match="nobody"):
        installed.schemas.drift(["acme", "nobody"])


def test_a_spare_that_differs_is_named_by_its_schema_and_mended(
    bare_database: FreshDatabase, installed: Tenancy
) -> None:
    installed.schemas.spares.fill(1)
    ((schema,),) = bare_database.ask("SELECT schema_name FROM orgtenancy.spares")
    bare_database.ask(f"DROP INDEX {schema}.notes_body_idx")
    report = installed.schemas.drift()
    assert [drift.label for drift in report.schemas] == [schema]
    plan = installed.schemas.repair_plan(report)
    assert installed.schemas.repair(plan).repaired == (schema,)
