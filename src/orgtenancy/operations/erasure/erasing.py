"""Erasing a person: the id goes from an organization, and what was said stays.

All of it is one transaction, in which nobody else writes in the organization. At its end every
text is searched: if the id is left anywhere, nothing is changed at all. Where there are several
placements, each has a transaction, and that of the organization is committed last.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager

from psycopg import sql
from pydantic import BaseModel, ConfigDict
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from orgtenancy.context import acting, bind, current_actor, current_origin, organization_var
from orgtenancy.database.engines import Database
from orgtenancy.errors import ErasureRefused, OrganizationNotFound, OrganizationUnavailable
from orgtenancy.modules import OrganizationModule
from orgtenancy.operations.data.filling import without_triggers
from orgtenancy.operations.data.tables import (
    Table,
    analyze,
    enter,
    query_relations,
    refresh_views,
    tables_of,
)
from orgtenancy.operations.erasure.columns import PersonColumn, columns_of, pick
from orgtenancy.operations.erasure.registry import former_ids, registry_columns, remove_member
from orgtenancy.operations.erasure.replacing import replace, without_foreign_keys
from orgtenancy.operations.erasure.searching import Occurrence, search
from orgtenancy.operations.erasure.sought import new_pseudonym, seek
from orgtenancy.organizations import Organization, OrganizationStatus
from orgtenancy.registry import audit, store
from orgtenancy.schemas import grants
from orgtenancy.schemas.dropping import check_is_staying
from orgtenancy.schemas.waiting import limit_lock_wait

#: What the audit calls it.
ACTION = "person_erased"

#: What errors call it.
OPERATION = "erase in"

_LOCK_TIMEOUT = 1.0  # seconds that an attempt waits for a lock

_TOO_LONG = "22001"  # string_data_right_truncation

# Why nobody is erased, by the columns that it is about.
_LEFT = (
    "the id would be left in {}: declare what holds ids, or say where to replace it in texts, or "
    "where it is something else"
)
_NO_ROOM = "{} is too short for what stands for the person from now on: make it longer"

_VIEWS = query_relations("SELECT relname FROM relations WHERE relkind = 'm' AND relispopulated")

_WITHOUT_ROWS = frozenset({OrganizationStatus.PROVISIONING, OrganizationStatus.PURGED})


class Erasure(BaseModel):
    """What an erasure did.

    Attributes:
        organization_id: In which organization.
        pseudonym: What stands for the person from now on.
        replaced: Where it stands now, and in how many rows.
        ignored: Where the id still is, as the caller said that it is something else there.
    """

    model_config = ConfigDict(frozen=True)

    organization_id: str
    pseudonym: str
    replaced: tuple[Occurrence, ...]
    ignored: tuple[Occurrence, ...]


def find(
    database: Database,
    others: Sequence[Database],
    modules: Sequence[OrganizationModule],
    organization_id: str,
    person_id: str,
) -> list[Occurrence]:
    """Return where a person's id stands in an organization; nothing is changed.

    Raises:
        OrganizationNotFound: If the registry does not have it.
        OrganizationUnavailable: If it has no rows.
    """
    with (
        _transaction(database, organization_id) as (connection, organization),
        _registries(others) as elsewhere,
    ):
        everywhere = [connection, *elsewhere]
        for one in everywhere:
            seek(one, person_id, "")
        columns = columns_of(connection, organization.schema_name, modules)
        registry = registry_columns(organization_id, former_ids(everywhere, organization))
        found = _searched(everywhere, columns, registry)
        for one in everywhere:
            one.rollback()
    return found


def erase(
    database: Database,
    others: Sequence[Database],
    modules: Sequence[OrganizationModule],
    organization_id: str,
    person_id: str,
    *,
    replace_in: Collection[str] = (),
    ignoring: Collection[str] = (),
) -> Erasure:
    """Replace a person's id by a pseudonym, and what else is personal by nothing.

    Args:
        database: The placement.
        others: The other ones. Their registries tell of the organization if it was there before,
            and the control server's of its members.
        modules: What is in the organization.
        organization_id: The organization.
        person_id: The id.
        replace_in: Columns, as `table.column`, in which the id is replaced as a word of a text.
        ignoring: Columns in which it may stay.

    Raises:
        OrganizationNotFound: If the registry does not have it.
        OrganizationUnavailable: If it has no rows.
        OrganizationBusy: If it is about to be on another placement.
        ErasureRefused: If the id would be left in another column, or a column is too short for
            what would be in it.
    """
    with (
        _transaction(database, organization_id) as (connection, organization),
        _registries(others) as elsewhere,
    ):
        check_is_staying(organization, OPERATION)
        schema = organization.schema_name
        tables = tables_of(connection, schema)
        _keep_writers_out(connection, tables)
        everywhere = [connection, *elsewhere]
        columns = columns_of(connection, schema, modules)
        declared = [column for column in columns if column.is_declared]
        registry = registry_columns(organization_id, former_ids(everywhere, organization))
        lengths = [column.length for column in declared if column.length is not None]
        pseudonym = new_pseudonym(person_id, min(lengths, default=None))
        for one in everywhere:
            seek(one, person_id, pseudonym)
        with (
            without_triggers(connection, schema),
            without_foreign_keys(connection, schema, declared),
        ):
            _forget(database, connection, organization, modules, (person_id, pseudonym))
            for column in declared:
                _replace(connection, organization, column)
            in_texts = pick([*columns, *registry], replace_in).values()
            for column in (one for one in in_texts if one in columns):
                _replace(connection, organization, column, in_text=True)
            for one in everywhere:
                _erase_from_registry(one, registry, in_texts)
            remove_member(everywhere[_control(database, others)], organization_id)
            left = _searched(everywhere, columns, registry)
            if refused := [one.label for one in left if one.label not in ignoring]:
                raise _refusal(organization, list(dict.fromkeys(refused)), _LEFT)
        refresh_views(connection, schema)
        # Statistics have the commonest values in clear, until they are made anew.
        analyze(connection, tables)
        _analyze_views(connection, schema)
        for one in everywhere:
            seek(one, pseudonym, "")
        replaced = _searched(everywhere, columns, registry)
        _record(connection, organization_id, person_id, pseudonym, replaced)
    return Erasure(
        organization_id=organization_id,
        pseudonym=pseudonym,
        replaced=tuple(replaced),
        ignored=tuple(left),
    )


@contextmanager
def _transaction(
    database: Database, organization_id: str
) -> Iterator[tuple[Connection, Organization]]:
    """Open a transaction in an organization's schema, with its row of the registry locked."""
    with database.admin_engine.begin() as connection:
        limit_lock_wait(connection, _LOCK_TIMEOUT)
        organization = store.find(connection, organization_id, lock=True)
        if organization is None:
            raise OrganizationNotFound(
                f"no organization {organization_id!r}", organization_id=organization_id
            )
        if organization.status in _WITHOUT_ROWS or store.is_being_dropped(connection, organization):
            raise OrganizationUnavailable(
                f"organization {organization_id!r} has no rows, or they are being dropped",
                status=organization.status,
                organization_id=organization_id,
                schema=organization.schema_name,
                placement=organization.placement,
            )
        enter(connection, organization.schema_name, database.settings.extensions_schema)
        yield connection, organization


@contextmanager
def _registries(others: Sequence[Database]) -> Iterator[list[Connection]]:
    """Open a transaction of the owner on other placements; they are committed at the end."""
    with ExitStack() as stack:
        opened = [stack.enter_context(one.admin_engine.begin()) for one in others]
        for connection in opened:
            limit_lock_wait(connection, _LOCK_TIMEOUT)
        yield opened


def _control(database: Database, others: Sequence[Database]) -> int:
    """Return the place of the control server among the placement and the other ones."""
    return [database, *others].index(database.control)


def _replace(
    connection: Connection,
    organization: Organization,
    column: PersonColumn,
    *,
    in_text: bool = False,
) -> None:
    """Replace the id in a column of the organization, which must be long enough for that."""
    try:
        replace(connection, column, in_text=in_text)
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) != _TOO_LONG:
            raise
        raise _refusal(organization, [column.label], _NO_ROOM) from error


def _erase_from_registry(
    connection: Connection, registry: Sequence[PersonColumn], in_texts: Collection[PersonColumn]
) -> None:
    for column in registry:
        if column.is_declared:
            replace(connection, column)
        if column in in_texts:
            replace(connection, column, in_text=True)


def _searched(
    everywhere: Sequence[Connection],
    columns: Sequence[PersonColumn],
    registry: Sequence[PersonColumn],
) -> list[Occurrence]:
    here, *elsewhere = everywhere
    found = search(here, [*columns, *registry])
    return found + [occurrence for one in elsewhere for occurrence in search(one, registry)]


def _keep_writers_out(connection: Connection, tables: Sequence[Table]) -> None:
    """Lock tables, so that nobody writes what is searched for behind our back."""
    if tables:
        names = sql.SQL(", ").join(sorted((t.identifier for t in tables), key=str))
        lock = sql.SQL("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE").format(names)
        grants.execute(connection, [lock])


def _analyze_views(connection: Connection, schema: str) -> None:
    """Let the planner forget what was in the materialized views of a schema."""
    names = connection.scalars(_VIEWS, {"schema": sql.Identifier(schema).as_string(None)})
    grants.execute(
        connection, [sql.SQL("ANALYZE {}").format(sql.Identifier(schema, name)) for name in names]
    )


def _forget(
    database: Database,
    connection: Connection,
    organization: Organization,
    modules: Sequence[OrganizationModule],
    names: tuple[str, str],
) -> None:
    """Let each module forget what is personal beyond the id."""
    for module in modules:
        if module.erase is not None:
            with (
                bind(organization_var, organization),
                database.owner_session(connection, organization) as session,
            ):
                module.erase(session, *names)
                session.flush()


def _record(
    connection: Connection,
    organization_id: str,
    person_id: str,
    pseudonym: str,
    replaced: Sequence[Occurrence],
) -> None:
    actor = current_actor()
    # People may erase themselves.
    is_self = actor is not None and actor.id == person_id
    with acting(pseudonym if is_self else actor, current_origin()):
        details = {"pseudonym": pseudonym, "rows": sum(one.rows for one in replaced)}
        audit.record(connection, ACTION, organization_id, details=details)


def _refusal(organization: Organization, columns: Sequence[str], reason: str) -> ErasureRefused:
    return ErasureRefused(
        f"nobody was erased in organization {organization.id!r}, as "
        f"{reason.format(', '.join(columns))}",
        columns=columns,
        organization_id=organization.id,
        schema=organization.schema_name,
        placement=organization.placement,
    )
