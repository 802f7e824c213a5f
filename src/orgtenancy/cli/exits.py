"""How a command ends: its exit code, and one clear line for what went wrong."""

from __future__ import annotations

import re
import traceback
from enum import IntEnum
from typing import Any

import psycopg
import typer
from pydantic import ValidationError
from sqlalchemy.exc import DBAPIError
from typer.core import TyperGroup

from orgtenancy.cli.output import show_document, tell
from orgtenancy.errors import (
    AdoptionFailed,
    AdoptionMismatch,
    AdoptionRefused,
    BackupDamaged,
    BackupKeyRefused,
    DropRefused,
    ErasureRefused,
    JobFailed,
    JobLocked,
    JobNotFound,
    MoveFailed,
    OrganizationBusy,
    OrganizationExists,
    OrganizationNotFound,
    OrganizationUnavailable,
    OrgTenancyError,
    PlacementNotFound,
    PlacementUnavailable,
    PurgeRefused,
    RevisionNotFound,
    SyncRefused,
    TransitionRefused,
)
from orgtenancy.naming import CONTROL_PLACEMENT
from orgtenancy.organizations import LIFECYCLE
from orgtenancy.schemas.fleet.jobs import job_label

#: Where the arguments are kept, all of them and as they were typed.
ARGUMENTS = "orgtenancy.arguments"

TRACEBACK = "orgtenancy.traceback"


class ExitCode(IntEnum):
    """What a command says to whoever started it."""

    OK = 0
    ERROR = 1
    USAGE = 2
    ATTENTION = 3
    """Something is behind, different or wrong."""
    JOB_FAILED = 4
    """A job came to its end with schemas that were not done."""
    LOCKED = 5
    """Another runner works on the placement, or others hold the organization."""
    PAUSED = 6
    """A job waits between two waves."""
    INTERRUPTED = 130
    TERMINATED = 143


_NEXT_STEPS: dict[type[OrgTenancyError], str] = {
    BackupDamaged: "take another backup: `orgtenancy backup list FOLDER` shows which there are",
    BackupKeyRefused: "--key-file or ORGTENANCY_BACKUP_KEY says which key",
    ErasureRefused: "--replace-in or --ignore with the column",
    AdoptionFailed: "mend the cause, and the same command goes on",
    AdoptionMismatch: "`orgtenancy adopt verify` names the rows",
    AdoptionRefused: "`orgtenancy adopt plan` tells all that is wrong",
    DropRefused: "on the command line: --confirm with the id, and --force",
    JobFailed: "`orgtenancy jobs show ID --failed` tells why",
    JobLocked: "wait for it, or stop it with `orgtenancy jobs cancel ID`",
    JobNotFound: "`orgtenancy jobs list` shows which there are",
    MoveFailed: "`orgtenancy org show ID` tells where it is",
    OrganizationBusy: "the same command again goes on with it",
    OrganizationExists: "`orgtenancy org list` shows which there are",
    OrganizationNotFound: "`orgtenancy org list` shows which there are",
    OrganizationUnavailable: "`orgtenancy org show ID` tells its status",
    PlacementNotFound: "`orgtenancy placements list` shows which there are",
    PlacementUnavailable: "`orgtenancy placements list` tells how they are",
    RevisionNotFound: "`orgtenancy migrate history` shows which there are",
    SyncRefused: "if they are really gone in Logto: --max-archived, or `orgtenancy org archive`",
}
_EXIT_CODES: dict[type[OrgTenancyError], ExitCode] = {
    AdoptionFailed: ExitCode.JOB_FAILED,
    JobFailed: ExitCode.JOB_FAILED,
    JobLocked: ExitCode.LOCKED,
    OrganizationBusy: ExitCode.LOCKED,
    SyncRefused: ExitCode.ATTENTION,
}
# What a document says of an error, where the error knows it.
_ABOUT = (
    "organization_id",
    "schema",
    "placement",
    "job_id",
    "operation",
    "status",
    "purge_after",
    "retry_after",
    "would_archive",
    "columns",
    "findings",
    "failed",
)
# What leads back out of a status, and so may have to come first.
_WAYS_BACK = ("unfence", "resume", "restore")
# By SQLSTATE; 3F000 and 42P01 are an unknown schema and table.
_DATABASE_STEPS = {
    "28000": "look at the user of the URL, and at pg_hba.conf",
    "28P01": "look at the user and password of the URL",
    "3D000": "make the database, or look at its name in the URL",
    "3F000": "`orgtenancy init` prepares the database",
    "42501": "`orgtenancy doctor` looks at the rights of both logins",
    "42703": "`orgtenancy init` brings the registry to its newest revision",
    "42883": "`orgtenancy init` brings the registry to its newest revision",
    "42P01": "`orgtenancy init` prepares the database",
    "53300": "too many connections: end some, or raise max_connections",
}
_CANNOT_CONNECT = "look at the URL, and whether the server is running"


class Commands(TyperGroup):
    """The commands together, and what they all do when something goes wrong."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Keep the arguments as they were typed: the order of some options matters."""
        ctx.meta[ARGUMENTS] = list(args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run a command, and tell an error that is no mistake in the code as one line.

        Raises:
            typer.Exit: With the exit code, if there was one.
        """
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            tell("stopped")
            raise typer.Exit(ExitCode.INTERRUPTED) from None
        except BrokenPipeError:
            raise  # who reads the result has enough of it
        except (OrgTenancyError, DBAPIError, psycopg.Error, ValidationError, OSError) as error:
            if ctx.meta.get(TRACEBACK):
                tell("".join(traceback.format_exception(error)).rstrip())
            tell_error(error, as_json="--json" in ctx.meta[ARGUMENTS])
            raise typer.Exit(exit_code_of(error)) from error


def exit_code_of(error: Exception) -> ExitCode:
    """Return the exit code of an error."""
    for kind, code in _EXIT_CODES.items():
        if isinstance(error, kind):
            return code
    return ExitCode.ERROR


def tell_error(error: Exception, *, as_json: bool) -> None:
    """Write an error as one line, and as a document where one is wanted."""
    message, next_step = _message(error), _next_step(error)
    tell(f"error: {message}" + (f"; {next_step}" if next_step else ""))
    if as_json:
        about = {
            name: getattr(error, name) for name in _ABOUT if getattr(error, name, None) is not None
        }
        code = error.code if isinstance(error, OrgTenancyError) else _other_code(error)
        content = {"code": code, "message": message, "next_step": next_step, **about}
        show_document({"error": content})


def _other_code(error: Exception) -> str:
    if isinstance(error, OSError):
        return "system"
    return "invalid_settings" if isinstance(error, ValidationError) else "database"


def _message(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return "; ".join(
            f"{'.'.join(map(str, one['loc'])) or error.title}: {one['msg']}"
            for one in error.errors(include_url=False)
        )
    cause = _database_cause(error)
    if cause is None:
        return _one_line(str(error))
    if cause.sqlstate is None:  # the driver's own: it could not connect, or lost the server
        return f"no connection to the database: {_one_line(str(cause))}"
    return f"the database says: {_one_line(cause.diag.message_primary or str(cause))}"


def _next_step(error: Exception) -> str | None:
    if (step := _step_of_library(error)) is not None:
        subject = _subject(error)
        return step if subject is None else re.sub(r"\bID\b", lambda _: str(subject), step)
    cause = _database_cause(error)
    if cause is None:
        return None
    if cause.sqlstate is None:
        return _CANNOT_CONNECT
    return _DATABASE_STEPS.get(cause.sqlstate)


def _subject(error: Exception) -> str | None:
    """Return the job or the organization that an error is about."""
    if isinstance(error, JobFailed) and error.job_id is not None:
        return job_label(error.placement or CONTROL_PLACEMENT, error.job_id)
    return getattr(error, "organization_id", None)


def _step_of_library(error: Exception) -> str | None:
    if isinstance(error, TransitionRefused):
        return _step_before(error.operation, error.status)
    if isinstance(error, PurgeRefused):
        again = "`orgtenancy org purge ID --confirm ID"
        return f"{again} --now` skips the grace period" if error.purge_after else f"{again}`"
    for kind, step in _NEXT_STEPS.items():
        if isinstance(error, kind):
            return step
    return None


def _step_before(operation: str, status: str) -> str:
    """Return what makes way for an operation that a status does not allow."""
    # What can get another id can be moved.
    known = LIFECYCLE.get("change_id" if operation == "move" else operation)
    wanted = frozenset() if known is None else known.sources
    for name in (*_WAYS_BACK, "archive") if operation == "purge" else _WAYS_BACK:
        way = LIFECYCLE[name]
        if name != operation and status in way.sources and way.targets & wanted:
            return f"`orgtenancy org {name} ID` has to come first"
    return "`orgtenancy org show ID` tells more"


def _database_cause(error: Exception) -> psycopg.Error | None:
    found = error.orig if isinstance(error, DBAPIError) else error
    return found if isinstance(found, psycopg.Error) else None


def _one_line(text: str) -> str:
    return " ".join(text.split())
