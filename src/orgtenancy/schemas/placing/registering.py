"""Adding a placement: what the control server notes of it."""

from __future__ import annotations

from typing import Literal, TypeAlias

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from orgtenancy.database.engines import Database
from orgtenancy.registry.tables import organizations, placements

State: TypeAlias = Literal["open", "draining"]


def register(database: Database, state: State | None = None) -> None:
    """Note on the control server that a placement is there.

    Args:
        database: The placement, which is installed.
        state: The state that it gets; if not given, it is open, or stays as it is noted.
    """
    given = insert(placements).values(
        name=database.name, is_self=database.control is database, state=state or "open"
    )
    statement = (
        given.on_conflict_do_nothing()
        if state is None
        else given.on_conflict_do_update(index_elements=["name"], set_={"state": state})
    )
    with database.control.admin_engine.begin() as connection:
        connection.execute(statement)


def check_login(database: Database) -> None:
    """Connect to a placement as the app does, and read the registry.

    Raises:
        sqlalchemy.exc.DBAPIError: If the app's login cannot.
    """
    with database.control_session() as session:
        session.execute(select(organizations.c.id).limit(1))
        session.commit()
