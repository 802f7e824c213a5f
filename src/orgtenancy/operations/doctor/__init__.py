"""Whether the placements are as they should be: versions, rights, sizes, poolers, isolation.

Nothing is changed, but for two schemas that the isolation probe makes and drops again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Protocol, TypeAlias

import psycopg
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from orgtenancy.errors import OrgTenancyError
from orgtenancy.operations.doctor import (
    capacity,
    crossing,
    directory,
    grants,
    pooling,
    rights,
    server,
    statuses,
)
from orgtenancy.operations.doctor.report import Finding, Level, Report, problem, unknown
from orgtenancy.operations.placements import PlacementManager
from orgtenancy.schemas import SchemaManager

__all__ = ["Examined", "Finding", "Level", "Report", "examine"]

_CatalogCheck: TypeAlias = Callable[[SchemaManager, Connection], Iterable[Finding]]
_Check: TypeAlias = Callable[[SchemaManager], Iterable[Finding]]

# What the owner reads in the catalogs, each in a transaction of its own.
_CATALOG_CHECKS: tuple[tuple[str, _CatalogCheck], ...] = (
    ("server version", server.check_version),
    ("encoding", server.check_encoding),
    ("collation", server.check_collation),
    ("extensions", server.check_extensions_schema),
    ("owner", rights.check_owner),
    ("app's login", rights.check_login),
    ("open to everybody", rights.check_public),
    ("memberships per login", capacity.check_memberships),
    ("relations", capacity.check_relations),
    ("connections", capacity.check_connections),
    ("crash recovery", capacity.check_recovery),
    ("registry", server.check_registry),
)
# What is known of organizations is in the registry.
_REGISTRY_CHECKS: tuple[tuple[str, _CatalogCheck], ...] = (
    ("ownership", rights.check_ownership),
    ("grants", grants.check_grants),
    ("memberships of roles", grants.check_memberships),
    ("rights by status", statuses.check_rights),
    ("purges", statuses.check_purges),
    ("memory", capacity.check_memory),
    ("locks", capacity.check_locks),
)
# What needs connections of its own.
_OTHER_CHECKS: tuple[tuple[str, _Check], ...] = (
    ("pooler of the app", pooling.check_app),
    ("pooler of the owner", pooling.check_owner),
)
_PROVISIONED_CHECKS: tuple[tuple[str, _Check], ...] = (
    ("revisions", server.check_revisions),
    ("isolation", crossing.check_isolation),
)


class Examined(Protocol):
    """What is examined: a Tenancy."""

    @property
    def placements(self) -> PlacementManager:
        """The placements, each with its schemas."""


def examine(tenancy: Examined, *, placements: Sequence[str] | None = None) -> Report:
    """Look at everything, and return what was found; nothing is raised.

    A check that cannot be made is a finding as well, of level `unknown`.

    Args:
        tenancy: With an `admin_url`; without one, little can be found out.
        placements: Only these; None for all, and for what the control server knows of them.

    Raises:
        PlacementNotFound: If the tenancy does not name one of them.
    """
    findings = list(server.check_libraries())
    for name in tenancy.placements if placements is None else placements:
        found = _examine_one(tenancy.placements[name].schemas)
        findings.extend(replace(finding, placement=name) for finding in found)
    if placements is None and len(tenancy.placements) > 1:
        for check_name, check in directory.CHECKS:
            with _caught(check_name, findings):
                findings.extend(check(tenancy.placements))
    return Report(tuple(findings))


def _examine_one(schemas: SchemaManager) -> list[Finding]:
    if schemas.builder.database.admin_url is None:
        reason = "no admin_url is given: nothing else was examined"
        return [unknown("owner", reason, "give one")]
    if (unreachable := _reach(schemas)) is not None:
        return [unreachable]
    findings: list[Finding] = []
    _examine_catalogs(schemas, _CATALOG_CHECKS, findings)
    is_installed = findings[-1].check == "registry" and findings[-1].level is Level.OK
    if is_installed:
        _examine_catalogs(schemas, _REGISTRY_CHECKS, findings)
    for name, check in _OTHER_CHECKS + (_PROVISIONED_CHECKS if is_installed else ()):
        with _caught(name, findings):
            findings.extend(check(schemas))
    return findings


def _examine_catalogs(
    schemas: SchemaManager,
    checks: Iterable[tuple[str, _CatalogCheck]],
    findings: list[Finding],
) -> None:
    for name, check in checks:
        with _caught(name, findings), schemas.builder.database.admin_engine.begin() as connection:
            findings.extend(check(schemas, connection))


def _reach(schemas: SchemaManager) -> Finding | None:
    try:
        with schemas.builder.database.admin_engine.connect():
            return None
    except DBAPIError as error:
        message = f"the owner cannot connect: {_told(error)}"
        return problem("connection", message, "look at admin_url, and whether the server runs")


@contextmanager
def _caught(check: str, findings: list[Finding]) -> Iterator[None]:
    try:
        yield
    except (DBAPIError, psycopg.Error, OrgTenancyError) as error:
        findings.append(unknown(check, f"it could not be examined: {_told(error)}"))


def _told(error: Exception) -> str:
    cause = error.orig if isinstance(error, DBAPIError) else error
    primary = cause.diag.message_primary if isinstance(cause, psycopg.Error) else None
    return " ".join((primary or str(cause)).split())
