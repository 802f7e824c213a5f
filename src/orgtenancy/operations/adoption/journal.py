"""The journal of adoptions, in the registry.

What it says of an organization is written in the transaction that did it, so it is true after
a crash at whatever point.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import Connection, Row, delete, func, select, text, update
from sqlalchemy.dialects.postgresql import insert

from orgtenancy.operations.data.digests import Digest, Digests
from orgtenancy.organizations import Organization
from orgtenancy.registry.tables import adopted, adoptions, organizations

_digests = TypeAdapter(dict[str, Digest])

_NOW = text("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint, now()")

_LOCK = text("SELECT orgtenancy.adoption_lock(:source, :key, true)")


@dataclass(frozen=True, slots=True)
class Moment:
    """When the source was looked at.

    Attributes:
        horizon: The oldest transaction that was under way: what it or a later one wrote may
            not have been seen.
        seen_at: The server's time.
    """

    horizon: int
    seen_at: datetime


@dataclass(frozen=True, slots=True)
class Entry:
    """What is known of an organization that was copied.

    Attributes:
        key: How the source knows it.
        organization: As the registry has it now; None if it is gone.
        mapping: The digest of the mapping that it was copied by.
        source_digests: What its rows in the source added up to when both sides were last the same.
        digests: What its rows here added up to then.
        moment: When that was.
        switched_at: Since when its rows live here; None if the source has them.
        switched_digests: What all columns here added up to at that moment.
    """

    key: str
    organization: Organization | None
    mapping: str
    source_digests: Digests
    digests: Digests
    moment: Moment
    switched_at: datetime | None
    switched_digests: Digests


def begin(connection: Connection, source: str) -> None:
    """Note that a source is being adopted."""
    connection.execute(insert(adoptions).values(source=source).on_conflict_do_nothing())


def archive_of(connection: Connection, source: str) -> str | None:
    """Return where the tables of a source are since its adoption ended; None if it has not."""
    found = select(adoptions.c.archive).where(adoptions.c.source == source)
    archive: str | None = connection.scalar(found)
    return archive


def entries(connection: Connection, source: str) -> dict[str, Entry]:
    """Return what is known of the organizations of a source, by their keys there."""
    rows = connection.execute(_joined().where(adopted.c.source == source))
    return {row.key: _entry_from(row) for row in rows}


def find(connection: Connection, source: str, key: str) -> Entry | None:
    """Return what is known of an organization, which stays so until the transaction ends."""
    statement = _joined().where(adopted.c.source == source, adopted.c.key == key)
    row = connection.execute(statement.with_for_update(of=adopted)).one_or_none()
    return None if row is None else _entry_from(row)


def now(connection: Connection) -> Moment:
    """Return the moment that the transaction looks at, or its next statement."""
    return Moment(*connection.execute(_NOW).one())


def hold(connection: Connection, source: str, key: str) -> None:
    """Wait until nobody writes rows of an organization in the source, and let nobody begin.

    Until the transaction ends. Its triggers must be there.
    """
    connection.execute(_LOCK, {"source": source, "key": key})


def write_copied(
    connection: Connection,
    source: str,
    key: str,
    organization: Organization,
    mapping: str,
    source_digests: Digests,
    digests: Digests,
    moment: Moment,
) -> None:
    """Note that an organization was copied."""
    connection.execute(
        insert(adopted).values(
            source=source,
            key=key,
            role_name=organization.role_name,
            organization_id=organization.id,
            mapping=mapping,
            source_digests=_json(source_digests),
            digests=_json(digests),
            horizon=moment.horizon,
            seen_at=moment.seen_at,
        )
    )


def write_seen(
    connection: Connection,
    source: str,
    key: str,
    source_digests: Digests,
    digests: Digests,
    moment: Moment,
) -> None:
    """Note that both sides of an organization were the same."""
    connection.execute(
        _of(source, key).values(
            source_digests=_json(source_digests),
            digests=_json(digests),
            horizon=moment.horizon,
            seen_at=moment.seen_at,
        )
    )


def write_switched(connection: Connection, source: str, key: str, digests: Digests | None) -> None:
    """Note that an organization's rows live here; with None, that the source has them again.

    The row of the source changes with it, so the next switch waits for the end of this one:
    to be called last.
    """
    connection.execute(
        _of(source, key).values(
            switched_at=None if digests is None else func.clock_timestamp(),
            switched_digests=None if digests is None else _json(digests),
        )
    )
    connection.execute(
        update(adoptions)
        .where(adoptions.c.source == source)
        .values(switches=adoptions.c.switches + 1)
    )


def write_archived(connection: Connection, source: str, archive: str) -> datetime:
    """Note where the tables of a source are now, and return the time."""
    at: datetime = connection.execute(
        update(adoptions)
        .where(adoptions.c.source == source)
        .values(archive=archive, archived_at=func.clock_timestamp())
        .returning(adoptions.c.archived_at)
    ).scalar_one()
    return at


def forget(connection: Connection, source: str, key: str) -> None:
    """Note nothing of an organization that was not switched."""
    connection.execute(
        delete(adopted).where(
            adopted.c.source == source, adopted.c.key == key, adopted.c.switched_at.is_(None)
        )
    )


def _json(digests: Digests) -> Any:
    return _digests.dump_python(dict(digests), mode="json")


def _of(source: str, key: str) -> Any:
    return update(adopted).where(adopted.c.source == source, adopted.c.key == key)


def _joined() -> Any:
    known = [column.label(f"organization_{column.name}") for column in organizations.c]
    mine = [column for column in adopted.c if column.name != "organization_id"]
    return select(*mine, *known).outerjoin(
        organizations, organizations.c.role_name == adopted.c.role_name
    )


def _entry_from(row: Row[Any]) -> Entry:
    values = row._asdict()
    known = {column.name: values[f"organization_{column.name}"] for column in organizations.c}
    return Entry(
        key=row.key,
        organization=None if known["id"] is None else Organization.model_validate(known),
        mapping=row.mapping,
        source_digests=_digests.validate_python(row.source_digests),
        digests=_digests.validate_python(row.digests),
        moment=Moment(row.horizon, row.seen_at),
        switched_at=row.switched_at,
        switched_digests=_digests.validate_python(row.switched_digests or {}),
    )
