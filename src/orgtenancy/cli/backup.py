"""`orgtenancy backup`: write backups, and prove them."""

from __future__ import annotations

import sys
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from orgtenancy.cli.context import load_tenancy
from orgtenancy.cli.keys import KeyFile, read_keys
from orgtenancy.cli.options import Organizations, takes_job_options
from orgtenancy.cli.output import Json, Table, revisions_text, show, tell
from orgtenancy.cli.running import Run, run_jobs
from orgtenancy.cli.targets import PlacementName, is_about_several, targets_of
from orgtenancy.operations.backup import Backups, Manifest, StoredBackup, generate_key, verify
from orgtenancy.operations.backup.shelves import stored_backups
from orgtenancy.schemas.fleet import JobOptions

app = typer.Typer(help="Write backups of organizations, and prove them.", no_args_is_help=True)

Id = Annotated[str, typer.Argument(metavar="ID", help="The organization's id.")]
Source = Annotated[
    str, typer.Argument(metavar="SOURCE", help="A backup: a file, a folder, or - for stdin.")
]
Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder of all backups.")]

STREAM = "-"


@app.command()
def create(
    organization_id: Id,
    target: Annotated[
        str, typer.Argument(metavar="TARGET", help="A path where nothing is yet, or - for stdout.")
    ],
    workers: Annotated[
        int, typer.Option(min=1, help="More than one write a folder, with a file for each table.")
    ] = 1,
    key_file: KeyFile = None,
    json: Json = False,
) -> None:
    """Write a backup of an organization, as of one moment, while others go on working in it."""
    if target == STREAM and (json or workers > 1):
        raise typer.BadParameter("to stdout there is one file, and nothing else")
    with load_tenancy() as tenancy:
        where = sys.stdout.buffer if target == STREAM else target
        manifest = tenancy.backups.write(
            organization_id, where, key=read_keys(key_file), workers=workers
        )
    line = f"{organization_id} is backed up: {manifest.rows} rows"
    if target == STREAM:
        tell(line)
    else:
        show(json, {"target": target, "manifest": manifest}, line)


@app.command("verify")
def verify_(source: Source, key_file: KeyFile = None, json: Json = False) -> None:
    """Read all of a backup, and show what is in it. It needs no server."""
    manifest = verify(source_of(source), key=read_keys(key_file))
    rows = [(table.name, table.rows, table.format) for table in manifest.tables]
    document = {"source": source, "rows": manifest.rows, "manifest": manifest}
    show(json, document, _about(source, manifest), Table(("TABLE", "ROWS", "FORMAT"), rows))


@app.command("list")
def list_(
    folder: Folder,
    org: Annotated[
        str | None, typer.Option("--org", metavar="ID", help="Only of this organization.")
    ] = None,
    newest: Annotated[
        bool, typer.Option("--newest", help="Only the newest of each organization.")
    ] = False,
    json: Json = False,
) -> None:
    """List the backups that `backup all` wrote, by organization, the newest first."""
    found = list(stored_backups(folder, org))
    if newest:
        found = list({one.organization_id: one for one in reversed(found)}.values())[::-1]
    rows = [
        (one.organization_id, one.taken_at, one.rows, one.size, one.is_encrypted, one.path)
        for one in found
    ]
    columns = ("ORGANIZATION", "TAKEN", "ROWS", "BYTES", "ENCRYPTED", "PATH")
    show(json, {"backups": [_document(one) for one in found]}, Table(columns, rows))


@app.command("all")
@takes_job_options
def all_(
    folder: Folder,
    keep: Annotated[
        int | None, typer.Option(min=1, help="How many of each organization stay.")
    ] = None,
    max_age: Annotated[
        float | None, typer.Option(min=0, metavar="DAYS", help="Older ones are removed.")
    ] = None,
    full: Annotated[
        bool, typer.Option("--full", help="Back up also who has not changed since the newest one.")
    ] = False,
    org: Organizations = None,
    placement: PlacementName = None,
    key_file: KeyFile = None,
    json: Json = False,
    *,
    options: JobOptions | None,
) -> None:
    """Back up all organizations into a folder, and remove what is too old.

    The newest backup of an organization stays, however old it is.
    """
    with load_tenancy() as tenancy:
        runs = []
        for cell, ids in targets_of(tenancy, placement, org):
            start = partial(
                Backups(cell.schemas).write_all,
                folder,
                key=read_keys(key_file),
                keep=keep,
                max_age=None if max_age is None else timedelta(days=max_age),
                incremental=not full,
                organizations=ids,
                options=options or JobOptions(),
            )
            runs.append(Run(cell.name, cell.schemas.fleet, start))
        run_jobs(
            runs,
            as_json=json,
            is_whole=is_about_several(tenancy, placement),
            nothing_to_do="no organization is there",
        )


@app.command()
def key(json: Json = False) -> None:
    """Make a key: the secret half opens backups, the public half is enough to write them."""
    secret, public = generate_key()
    show(json, {"secret": secret, "public": public}, f"# public key: {public}", secret)


def source_of(source: str) -> Any:
    """Return what a backup is read from."""
    return sys.stdin.buffer if source == STREAM else source


def _about(source: str, manifest: Manifest) -> str:
    organization = manifest.organization
    return (
        f"{source} is whole: {organization.id} ({organization.name}) at "
        f"{manifest.taken_at:%F %T %Z}, {manifest.rows} rows, "
        f"{revisions_text(manifest.revisions)}, PostgreSQL {manifest.server_version}"
    )


def _document(backup: StoredBackup) -> dict[str, Any]:
    return {**backup.model_dump(mode="json"), "is_encrypted": backup.is_encrypted}
