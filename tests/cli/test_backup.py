"""`orgtenancy backup`, `restore`, `export` and `erase`: what they do, and how they end."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.cli.projects import PROGRAM, Project

pytestmark = pytest.mark.slow


@pytest.fixture
def acme(installed: Project) -> Project:
    """A project with an organization that has a row."""
    installed.ok("org", "create", "acme", "--name", "Acme")
    ask(installed, "INSERT INTO org_acme.items VALUES (7)")
    return installed


def ask(project: Project, query: str) -> list[Any]:
    with psycopg.connect(project.dsn, autocommit=True) as connection:
        cursor = connection.execute(query.encode())
        return cursor.fetchall() if cursor.description else []


def error(project: Project, *arguments: str, code: int = 1, **environment: str) -> dict[str, Any]:
    result = project.run(*arguments, "--json", **environment)
    assert result.exit_code == code, result.output
    found: dict[str, Any] = json.loads(result.stdout)["error"]
    return found


def test_what_is_backed_up_is_proven_and_restored(acme: Project) -> None:
    made = acme.ok("backup", "create", "acme", "acme.tar")
    assert made["manifest"]["organization"]["name"] == "Acme"
    proven = acme.ok("backup", "verify", "acme.tar")
    assert (proven["rows"], proven["manifest"]) == (1, made["manifest"])
    text = acme.run("backup", "verify", "acme.tar").stdout
    assert text.startswith("acme.tar is whole: acme (Acme) at ")
    copy = acme.ok("restore", "acme.tar", "--as", "copy", "--name", "A copy")
    assert (copy["id"], copy["name"], copy["status"]) == ("copy", "A copy", "active")
    assert ask(acme, "SELECT id FROM org_copy.items") == [(7,)]
    acme.ok("org", "drop", "acme", "--confirm", "acme", "--force")
    assert acme.run("restore", "acme.tar").stdout == "acme is restored, and active\n"
    actions = [one["action"] for one in acme.ok("audit", "acme")["entries"]]
    assert actions[:2] == ["restored_from_backup", "dropped"]


def test_what_cannot_be_restored_ends_with_1_and_the_next_step(acme: Project) -> None:
    acme.ok("backup", "create", "acme", "acme.tar")
    there = error(acme, "restore", "acme.tar")
    assert (there["code"], there["organization_id"]) == ("organization_exists", "acme")
    content = Path("acme.tar").read_bytes()
    Path("cut.tar").write_bytes(content[:-700])
    damaged = error(acme, "restore", "cut.tar", "--as", "copy")
    assert damaged["code"] == "backup_damaged"
    assert "backup list" in damaged["next_step"]
    Path("text.txt").write_text("a text")
    assert error(acme, "backup", "verify", "text.txt")["code"] == "backup_foreign"
    missing = error(acme, "backup", "verify", "nothing.tar")
    assert missing["code"] == "system"
    assert "nothing.tar" in missing["message"]
    assert error(acme, "backup", "create", "acme", "acme.tar")["code"] == "system"
    assert error(acme, "restore", "acme.tar", "--as", "x", "--placement", "mars")["code"] == (
        "placement_not_found"
    )
    assert acme.run("backup", "create", "acme", "-", "--json").exit_code == 2


def test_keys_are_read_from_files_and_the_environment(acme: Project) -> None:
    key = acme.ok("backup", "key")
    Path("secret.txt").write_text(acme.run("backup", "key").stdout)
    assert Path("secret.txt").read_text().startswith("# public key: age1")
    Path("key.txt").write_text(f"# ours\n{key['secret']}\n")
    acme.ok("backup", "create", "acme", "a.tar.age", "--key-file", "key.txt")
    created = acme.run(
        "backup", "create", "acme", "b", "--workers", "2", ORGTENANCY_BACKUP_KEY=key["public"]
    )
    assert created.stdout == "acme is backed up: 1 rows\n"
    for name in ("a.tar.age", "b"):
        refused = error(acme, "backup", "verify", name)
        assert refused["code"] == "backup_key_refused"
        assert "--key-file" in refused["next_step"]
        assert acme.ok("backup", "verify", name, "--key-file", "key.txt")["rows"] == 1
    other = error(acme, "backup", "verify", "b", "--key-file", "secret.txt")
    assert other["code"] == "backup_key_refused"
    Path("empty.txt").write_text("# nothing\n")
    assert acme.run("backup", "verify", "b", "--key-file", "empty.txt").exit_code == 2


def test_backups_of_all_are_listed_and_the_newest_is_restored(acme: Project) -> None:
    acme.ok("org", "create", "globex")
    job = acme.ok("backup", "all", "backups", "--workers", "1")["job"]
    assert (job["kind"], job["status"], job["done"]) == ("backup", "finished", 2)
    again = acme.run("backup", "all", "backups", "--keep", "1", "--max-age", "30")
    assert again.stdout.endswith("finished: 2 of 2 done\n")
    ask(acme, "INSERT INTO org_acme.items VALUES (8)")
    acme.ok("backup", "all", "backups", "--keep", "2")
    acme.ok("backup", "all", "backups", "--full", "--org", "globex")
    found = acme.ok("backup", "list", "backups")["backups"]
    assert [one["organization_id"] for one in found] == ["acme", "acme", "globex", "globex"]
    newest = acme.ok("backup", "list", "backups", "--newest")["backups"]
    assert [one["organization_id"] for one in newest] == ["acme", "globex"]
    assert [one["rows"] for one in newest] == [2, 0]
    assert newest[0] == found[0]
    assert acme.ok("backup", "list", "backups", "--org", "globex")["backups"] == found[2:]
    acme.ok("restore", newest[0]["path"], "--as", "copy")
    resumed = acme.ok("jobs", "resume", str(job["id"]))
    assert resumed["job"]["status"] == "finished"


def test_a_backup_goes_through_a_pipe(acme: Project) -> None:
    def run(*arguments: str, given: bytes = b"") -> bytes:
        environment = os.environ | acme.environment
        command = [str(PROGRAM), *arguments]
        done = subprocess.run(
            command, input=given, capture_output=True, check=True, env=environment
        )
        return done.stdout

    backup = run("backup", "create", "acme", "-")
    assert b"complete.json" in backup
    assert b"acme is restored" not in run("backup", "verify", "-", given=backup)
    assert b"copy is restored" in run("restore", "-", "--as", "copy", given=backup)
    assert run("export", "acme", "-").startswith(b"PK")


def test_an_export_is_a_folder_or_a_zip(acme: Project) -> None:
    exported = acme.ok("export", "acme", "out")
    assert [table["rows"] for table in exported["tables"]] == [1]
    assert Path("out/items.jsonl").read_text() == '{"id":7}\n'
    table = acme.run("export", "acme", "out.zip", "--format", "csv").stdout
    assert table == "TABLE\tROWS\tFILE\nitems\t1\titems.csv\n"
    assert acme.run("export", "acme", "x", "--format", "xml").exit_code == 2


def test_a_person_is_found_and_erased(acme: Project) -> None:
    ask(acme, "CREATE TABLE org_acme.letters (body text)")
    ask(acme, "INSERT INTO org_acme.letters VALUES ('dear person-7f3a')")
    found = acme.ok("erase", "acme", "person-7f3a", "--find")["found"]
    assert [(one["table"], one["column"], one["rows"]) for one in found] == [("letters", "body", 1)]
    assert acme.run("erase", "acme", "person-7f3a").exit_code == 2
    refused = error(acme, "erase", "acme", "person-7f3a", "--confirm", "acme")
    assert (refused["code"], refused["columns"]) == ("erasure_refused", ["letters.body"])
    arguments = ("erase", "acme", "-", "--confirm", "acme", "--replace-in", "letters.body")
    erased = acme.run(*arguments, given="person-7f3a\n")
    assert erased.stdout.startswith("the person is erased-")
    ((body,),) = ask(acme, "SELECT body FROM org_acme.letters")
    assert body.startswith("dear erased-")
    assert acme.run("erase", "acme", "person-7f3a", "--find").stdout == "the id is nowhere\n"
    kept = acme.ok("erase", "acme", "dear", "--confirm", "acme", "--ignore", "letters.body")
    assert [one["column"] for one in kept["ignored"]] == ["body"]
