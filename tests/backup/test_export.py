"""An export is for people and their programs: every row, as of one moment."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from orgtenancy import Tenancy
from orgtenancy.errors import OrganizationNotFound
from tests.backup.every_type import every_type, fill
from tests.backup.worlds import new_id, with_notes
from tests.lifecycle.worlds import history
from tests.schemas.databases import FreshDatabase

TRICKY = 'a "b", c\\d\te\nf\r\n漢\\n'

pytestmark = pytest.mark.slow


@pytest.fixture
def tricky(bare_database: FreshDatabase) -> Iterator[Tenancy]:
    """An organization whose texts are hard to write down."""
    with bare_database.tenancy([every_type]) as tenancy:
        tenancy.install()
        acme = tenancy.schemas.provision("acme", name="Acme")
        row = {
            "a_text": TRICKY,
            "a_json": '{\n\t"a": "x\\ny\\\\z",\r\n "b": [1.50, null]\n}',
            "a_jsonb": '{"\\u2603": "\\"q\\""}',
            "a_timestamptz": "2026-03-04 05:06:07+02",
            "a_bytea": "\\xdeadbeef",
            "a_numeric": "1.00",
            "a_text_array": '{a,NULL,"b c"}',
        }
        fill(bare_database, acme, [row, {"a_text": ""}, {"a_text": None}], [])
        yield tenancy


def test_json_lines_have_every_value(tricky: Tenancy, tmp_path: Path) -> None:
    exported = tricky.backups.export("acme", tmp_path / "out")
    assert {table.name: table.rows for table in exported.tables} == {
        "plain": 3,
        "nested": 0,
        "parts": 50,
        "empty_text": 0,
        "named": 1,
    }
    first, second, third = map(json.loads, (tmp_path / "out/plain.jsonl").read_text().splitlines())
    assert first["a_text"] == TRICKY
    assert first["a_json"] == {"a": "x\ny\\z", "b": [1.5, None]}
    assert first["a_jsonb"] == {"\u2603": '"q"'}
    assert first["a_timestamptz"] == "2026-03-04T03:06:07+00:00"
    assert first["a_bytea"] == "\\xdeadbeef"
    assert first["a_text_array"] == ["a", None, "b c"]
    assert (second["a_text"], third["a_text"]) == ("", None)
    assert "words" not in first  # computed from others
    index = json.loads((tmp_path / "out/export.json").read_text())
    assert (index["organization_id"], index["name"], index["format"]) == ("acme", "Acme", "jsonl")
    assert index == json.loads(exported.model_dump_json())
    assert len((tmp_path / "out/parts.jsonl").read_text().splitlines()) == 50


def test_csv_has_a_header_and_tells_null_from_an_empty_text(
    tricky: Tenancy, tmp_path: Path
) -> None:
    exported = tricky.backups.export("acme", tmp_path / "out.zip", format="csv")
    assert {table.name: table.rows for table in exported.tables}["plain"] == 3
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        assert archive.testzip() is None
        text = archive.read("plain.csv").decode()
        assert archive.read("empty_text.csv").decode() == "moods\n"
        assert "export.json" in archive.namelist()
    first, second, third = csv.DictReader(io.StringIO(text, newline=""))
    assert first["a_text"] == TRICKY
    assert first["a_numeric"] == "1.00"
    assert ',"",' in text
    assert (second["a_text"], third["a_text"]) == ("", "")


def test_an_export_into_a_stream_is_a_zip_and_is_audited(
    installed: Tenancy, database: FreshDatabase
) -> None:
    acme = with_notes(installed, database)
    stream = io.BytesIO()
    installed.backups.export(acme.id, stream)
    with zipfile.ZipFile(stream) as archive:
        assert len(archive.read("notes.jsonl").splitlines()) == 20
    last = history(installed, acme.id)[-1]
    assert (last.action, last.details) == ("exported", {"format": "jsonl", "rows": 20})


def test_an_export_that_fails_leaves_nothing(
    installed: Tenancy, database: FreshDatabase, tmp_path: Path
) -> None:
    with pytest.raises(OrganizationNotFound):
        installed.backups.export(new_id(), tmp_path / "out")
    acme = with_notes(installed, database)
    (tmp_path / "there").mkdir()
    (tmp_path / "there.zip").touch()
    for path in (tmp_path / "there", tmp_path / "there.zip"):
        with pytest.raises(FileExistsError):
            installed.backups.export(acme.id, path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["there", "there.zip"]
