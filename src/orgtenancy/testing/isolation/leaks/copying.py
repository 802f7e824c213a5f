"""COPY, in and out, which goes past SQLAlchemy."""

from __future__ import annotations

from contextlib import suppress

from sqlalchemy.orm import Session

from orgtenancy.testing.isolation.catalogue import Group, World
from orgtenancy.testing.isolation.driving import break_off_copy, copy_in, copy_out
from orgtenancy.testing.isolation.scripts import Steps, Work

copying = Group("COPY")


@copying.script("COPY of one's own table, on the connection that served the other one")
def out(world: World) -> Steps:
    """Copy a table that is named without a schema."""

    def copy(session: Session) -> str:
        return world.check(copy_out(session, "COPY {} TO STDOUT", world.table), world.a)

    yield world.reading(world.b)
    return (yield Work(world.a, copy))


@copying.script("COPY as the first statement of the next transaction")
def out_after_commit(world: World) -> Steps:
    """Copy after a commit, so that COPY begins the transaction."""

    def copy(session: Session) -> str:
        world.see(session, world.a)
        session.commit()
        return world.check(copy_out(session, "COPY {} TO STDOUT", world.table), world.a)

    yield world.reading(world.b)
    return (yield Work(world.a, copy))


@copying.script("COPY of the other one's table")
def out_foreign(world: World) -> Steps:
    """Copy a table by its full name."""
    name = world.table_of(world.b)
    return (
        yield Work(
            world.a,
            lambda session: world.check(copy_out(session, "COPY {} TO STDOUT", name), world.a),
        )
    )


@copying.script("COPY of a query on the other one's table")
def out_query(world: World) -> Steps:
    """Copy what a query finds."""
    query, name = "COPY (SELECT mark FROM {}) TO STDOUT", world.table_of(world.b)
    return (
        yield Work(world.a, lambda session: world.check(copy_out(session, query, name), world.a))
    )


@copying.script("COPY into one's own table, on the connection that served the other one")
def into(world: World) -> Steps:
    """Copy rows into a table that is named without a schema."""
    line = f"500\t{world.marks[world.a]}\n"
    yield world.reading(world.b)
    yield Work(
        world.a,
        lambda session: copy_in(session, "COPY {} (id, mark) FROM STDIN", world.table, data=line),
    )
    return (yield world.reading(world.b))


@copying.script("COPY into the other one's table")
def into_foreign(world: World) -> Steps:
    """Copy rows into a table by its full name."""
    line, name = f"501\t{world.marks[world.a]}\n", world.table_of(world.b)
    yield Work(
        world.a,
        lambda session: copy_in(session, "COPY {} (id, mark) FROM STDIN", name, data=line),
    )


@copying.script("a COPY that is left half way, between them")
def left_half_way(world: World) -> Steps:
    """Leave a COPY by an error when its first piece has come."""
    query = "COPY (SELECT mark, g FROM {}, generate_series(1, 50000) g) TO STDOUT"
    with suppress(Exception):
        yield Work(world.a, lambda session: break_off_copy(session, query, world.table))
    yield world.reading(world.b)
    return (yield world.reading(world.a))
