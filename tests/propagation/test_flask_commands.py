"""A command of the `flask` program is bound to the organization that it was given."""

from __future__ import annotations

import getpass
import socket

import click
import pytest
from flask import Flask

from orgtenancy import Organization, Tenancy
from orgtenancy.adapters.flask import OrgTenancy, with_organization
from orgtenancy.errors import OrganizationContextMissing
from tests.propagation.servers import Believing
from tests.propagation.support import bound, marks, note, write, written


@pytest.fixture
def app(tenancy: Tenancy) -> Flask:
    """An app with commands."""
    app = Flask(__name__)
    OrgTenancy(app, tenancy=tenancy, resolver=Believing())

    @app.cli.command("write")
    @click.argument("mark")
    @with_organization
    def bound_command(mark: str) -> None:
        write(tenancy, mark)

    @app.cli.command("write-unbound")
    def unbound_command() -> None:
        write(tenancy, "lost")

    return app


def test_a_command_works_for_the_organization_that_its_option_names(
    app: Flask, tenancy: Tenancy, two_organizations: tuple[Organization, Organization]
) -> None:
    runner = app.test_cli_runner()
    origin = f"cli:{getpass.getuser()}@{socket.gethostname()}"
    for organization in two_organizations:
        result = runner.invoke(args=["write", "--organization", organization.id, "typed"])
        assert result.exit_code == 0, result.output
        assert written(tenancy, organization) == [note(organization, "typed", origin, None)]
    assert bound() == {"organization": None, "actor": None, "session": False}


def test_without_the_option_a_command_is_not_run(app: Flask) -> None:
    result = app.test_cli_runner().invoke(args=["write", "lost"])
    assert result.exit_code == 2
    assert "Missing option '--organization'" in result.output


def test_an_organization_that_is_closed_or_unknown_is_told_in_one_line(
    app: Flask, tenancy: Tenancy, organization: Organization
) -> None:
    runner = app.test_cli_runner()
    tenancy.organizations.suspend(organization.id)
    for organization_id, reason in (
        (organization.id, f"organization '{organization.id}' is suspended"),
        ("nobody", "no organization 'nobody'"),
        ("a b", "invalid organization id"),
    ):
        result = runner.invoke(args=["write", "--organization", organization_id, "lost"])
        assert result.exit_code == 1
        assert reason in result.output
        assert result.output.startswith("Error: ")
    tenancy.organizations.resume(organization.id)
    assert marks(tenancy, organization) == []


def test_a_command_that_names_none_is_refused(
    app: Flask, tenancy: Tenancy, organization: Organization
) -> None:
    result = app.test_cli_runner().invoke(args=["write-unbound"])
    assert isinstance(result.exception, OrganizationContextMissing)


def test_an_app_without_a_tenancy_has_no_organizations() -> None:
    bare = Flask("bare")

    @bare.cli.command("write")
    @with_organization
    def never() -> None:
        pytest.fail("it was run")

    result = bare.test_cli_runner().invoke(args=["write", "--organization", "acme"])
    assert result.exit_code == 1
    assert "the app 'bare' has no tenancy" in result.output
