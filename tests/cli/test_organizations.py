"""`orgtenancy init`, `org` and `spares`."""

from __future__ import annotations

import json

import pytest

from tests.cli.projects import Project


def test_a_database_is_prepared_and_may_be_again(project: Project) -> None:
    first = project.ok("init")
    assert first == {"installed": True, "organizations": 0, "behind": 0}
    assert project.ok("init") == first


def test_an_organization_is_made_shown_renamed_and_dropped(installed: Project) -> None:
    labels = ["--attribute", "plan=beta", "--attribute", "seats:=5"]
    made = installed.ok("org", "create", "acme", "--name", "Acme", *labels)
    assert (made["name"], made["attributes"]) == ("Acme", {"plan": "beta", "seats": 5})
    renamed = installed.ok("org", "rename", "acme", "Acme Ltd")
    assert (renamed["name"], renamed["schema_name"]) == ("Acme Ltd", "org_acme")
    assert installed.ok("org", "show", "acme") == renamed
    refused = installed.run("org", "drop", "acme", "--confirm", "acme")
    assert refused.exit_code == 1
    assert "--force" in refused.stderr
    installed.ok("org", "drop", "acme", "--confirm", "acme", "--force")
    assert installed.ok("org", "list") == {"organizations": []}


def test_all_organizations_are_listed_with_tabs_where_nobody_looks_on(
    installed: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orgtenancy.cli.org.MAX_PAGE_SIZE", 2)
    names = ["a", "b", "c"]
    for name in names:
        installed.ok("org", "create", name)
    found = installed.run("org", "list")
    assert found.exit_code == 0
    header, *lines = [line.split("\t") for line in found.stdout.splitlines()]
    assert header == ["ID", "NAME", "STATUS", "SCHEMA", "REVISIONS", "CREATED", "PLACEMENT"]
    assert [line[0] for line in lines] == names
    assert [line[4] for line in lines] == ["shop=shop_0001"] * 3
    assert installed.ok("org", "list", "--status", "suspended") == {"organizations": []}


def test_a_label_that_is_none_is_a_usage_error(installed: Project) -> None:
    for label in ("plan", "=beta", "seats:=many"):
        result = installed.run("org", "create", "acme", "--attribute", label)
        assert result.exit_code == 2, label
    assert installed.ok("org", "list") == {"organizations": []}


@pytest.mark.slow
def test_spares_are_filled_counted_and_discarded(installed: Project) -> None:
    assert installed.ok("spares", "fill", "2") == {"made": 2, "ready": 2}
    assert installed.ok("spares", "count") == {"ready": 2, "stale": 0, "unfinished": 0}
    assert installed.ok("spares", "discard") == {"dropped": 0}
    installed.add_revision("pass")
    assert installed.ok("spares", "count")["stale"] == 2
    assert installed.ok("spares", "discard") == {"dropped": 2}
    assert installed.ok("spares", "fill", "1")["made"] == 1
    assert installed.ok("spares", "discard", "--all") == {"dropped": 1}


def test_a_rename_of_nobody_is_refused(installed: Project) -> None:
    result = installed.run("org", "rename", "nobody", "Somebody", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["error"]["code"] == "organization_not_found"
