"""Which bug lets which leaks through."""

from __future__ import annotations

from collections.abc import Mapping

from orgtenancy.testing.isolation import LEAKS, Leak
from tests.isolation import bugs
from tests.isolation.planted import ByPath

#: The leaks of each bug, by their names without ", async", or a whole group's.
PLANTED: Mapping[type[ByPath], frozenset[str]] = {
    ByPath: frozenset(
        {
            "a session used in the other one's context",
            "a connection with an open transaction, used in the other one's context",
            "a session used after its block, in the other one's",
            "an object that is loaded late, in the other one's block",
            "a generator that is consumed in the other one's context",
            "a stream of rows that is read in the other one's context",
            "a cursor of the driver that is read in the other one's context",
            "a session used by a thread of the other context",
            "a task that outlives its session's block",
            "a session shared by two tasks of two contexts",
            "every table of the name that the catalog knows",
            "what the planner knows of the other one's values",
            "a large object of the other one",
            "the other one's statement, as the server shows it",
            "COPY of the other one's table",
            "COPY of a query on the other one's table",
            "COPY into the other one's table",
            "a setting of the session",
            "a setting made by set_config",
            "a temporary table",
            "a temporary table of the same name",
            "a cursor WITH HOLD",
            "a statement made by PREPARE",
            "the text of a prepared statement",
            "a row factory, which sees every row",
            "a notice handler, which hears what the server says",
            "a handle on the driver's connection, used in its old context",
            "a table made in public, for the other one to find",
            *(leak.name for leak in LEAKS if leak.name.endswith(" the other one's rows")),
            *(leak.name for leak in LEAKS if leak.name.endswith(" of the other one's rows")),
        }
    ),
    bugs.PathOfTheConnection: frozenset(
        {
            "pool",
            "interruption",
            "a session on another isolation level",
            "two tasks gathered on a pool of one, session after session",
            "a search_path of the session",
            "a statement of the ORM that is only text",
        }
    ),
    bugs.ResetOnSuccess: frozenset(
        {
            "an error of the application between them",
            "an error of the database between them",
            "a statement timeout between them",
            "a savepoint that is rolled back, between them",
            "a COPY that is left half way, between them",
        }
    ),
    bugs.DefaultOrganization: frozenset(
        {
            "the transaction that begins by itself after a commit",
            "the transaction that begins by itself after a rollback",
            "the transaction that begins by itself after an error",
            "a savepoint that is rolled back as the first thing",
            "a session in autocommit",
            "a core connection in autocommit",
            "a core connection after a commit and a rollback",
            "a two-phase transaction",
            "the driver's pipeline mode",
            "a session of no organization",
            "a core connection of no organization",
            "a query without a condition",
            "a query after COMMIT in the text",
            "a query after ROLLBACK in the text",
            "a query after RESET ROLE",
            "a query after RESET ALL",
            "COPY of one's own table, on the connection that served the other one",
            "COPY as the first statement of the next transaction",
            "COPY into one's own table, on the connection that served the other one",
            "the driver's connection in autocommit",
            "a handle on the driver's connection, used when its block is over",
        }
    ),
    bugs.GlobalContext: frozenset(
        {
            "two threads in two contexts at once",
            "a thread that is started in one context, while the other one works",
            "a thread that carries one context, while the other one works",
            "`asyncio.to_thread` from two tasks at once",
            "two tasks gathered, each in its own context",
            "a task group in one context, whose starter goes on in the other",
            "a callback of the event loop that is planned in one context",
        }
    ),
    bugs.FirstContext: frozenset(
        {
            "one organization's context inside the other's, and back",
            "a context that an error has ended",
            "a generator that is only made in one context, and begins in the other's",
            "a generator that is abandoned, and then nobody's work",
            "a worker thread that gets nobody's job after an organization's",
            "a worker thread that carries one context and then the other",
            "`run_in_executor` from one context after the other",
        }
    ),
    bugs.OneSession: frozenset(
        {
            "one organization's session inside the other's",
            "a generator of one organization that waits while the other one works",
            "the key of an object that the other one has loaded",
            "an object that is written by the other one's session",
        }
    ),
    bugs.CachedRows: frozenset({"prepared statements", "a statement whose compiled form is kept"}),
    bugs.PublicFallback: frozenset(
        {
            "a table that exists only in public",
            "one's own table is gone, and one of its name is in public",
        }
    ),
}


def leaks_of(names: frozenset[str]) -> list[Leak]:
    """Return the leaks with such names, or of such groups."""
    return [
        leak
        for leak in LEAKS
        if leak.group in names or leak.name in names or leak.name.removesuffix(", async") in names
    ]
