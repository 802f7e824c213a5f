"""Requests of two organizations to one app, and what may happen to them on their way."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TypeAlias

from orgtenancy.testing.isolation.apps.access import AppAccess
from orgtenancy.testing.isolation.apps.clients import Exchange, Stop
from orgtenancy.testing.isolation.apps.holding import Hold
from orgtenancy.testing.isolation.catalogue import Group, Leak, World
from orgtenancy.testing.isolation.marks import NotApplicable

requests = Group("requests")

_STRANGER = "proof-of-nobody"
_CROWD = 4  # requests of each organization at the same time

_AppAttack: TypeAlias = Callable[[World, AppAccess], None]


def _leak(
    name: str, *, pool_size: int = 1, of_websockets: bool = False, shows_marks: bool = True
) -> Callable[[_AppAttack], Leak]:
    """Declare a leak of an app: its answers and logs are looked at, and late work is waited for.

    Where `shows_marks` says so, members are asked, and nothing is proven if none sees a mark.
    """

    def declare(attack: _AppAttack) -> Leak:
        @wraps(attack)
        def attacked(world: World, access: AppAccess) -> str:
            if not (access.requests.sockets if of_websockets else access.requests.asks):
                raise NotApplicable(f"no {'websockets' if of_websockets else 'requests'} are named")
            failure: Exception | None = None
            with access.watch(world):
                try:
                    attack(world, access)
                except Exception as error:  # noqa: BLE001 - what was seen before counts more
                    failure = error
                access.settle()
            what = "websockets and answers" if of_websockets else "answers"
            evidence = access.lookout.tell(what)
            if failure is not None:
                raise failure
            return access.lookout.prove(what) if shows_marks else evidence

        return requests.leak(name, pool_size=pool_size)(attacked)

    return declare


@requests.leak("answers show their own organization's mark", pool_size=2)
def own(world: World, access: AppAccess) -> str:
    """Make sure that a leak would be seen: without a mark in any answer nothing is proven."""
    if not access.requests.asks:
        raise NotApplicable("no requests are named")
    with access.watch(world):
        answers = [access.ask(call) for pair in access.pairs(world) for call in pair]
        access.settle()
    evidence = access.lookout.tell("answers")
    shown = any(world.marks[one] in str(a.seen) for one in (world.a, world.b) for a in answers)
    stored = any(world.marks[one] in row for one in (world.a,) for row in world.subject.stored(one))
    if not shown:
        statuses = ", ".join(sorted({str(answer.status) for answer in answers})) or "none"
        raise LookupError(
            f"no answer shows a mark (statuses: {statuses}; a mark is "
            f"{'stored' if stored else 'not stored'}): `plant` writes what the requests read"
        )
    return evidence


@_leak("one request after another on a connection")
def in_turn(world: World, access: AppAccess) -> None:
    """Ask for one, the other and the first one again."""
    for first, second in access.pairs(world):
        for call in (first, second, first):
            access.ask(call)


@_leak("one request after another on two connections", pool_size=2)
def in_turn_on_two(world: World, access: AppAccess) -> None:
    """Do the same where the pool has a choice."""
    for first, second in access.pairs(world):
        for call in (first, second, second, first):
            access.ask(call)


@_leak("requests without credentials, in the context or thread that the one before left")
def kept_alive(world: World, access: AppAccess) -> None:
    """Ask for both, and for nobody, one after the other on a connection that is kept alive."""
    for pair in access.pairs(world):
        for call in pair:
            access.ask(call, kept_alive=True)
            access.ask_as_nobody(call)


@_leak("requests at the same time on one connection")
def at_once_on_one(world: World, access: AppAccess) -> None:
    """Ask for both at once, so that one waits for the other's connection."""
    for first, second in access.pairs(world):
        access.together([first, second])


@_leak("many requests at the same time in several threads or tasks", pool_size=2)
def at_once(world: World, access: AppAccess) -> None:
    """Ask for both many times at once."""
    for _ in range(2):
        access.together(
            [call for pair in access.pairs(world) for _ in range(_CROWD) for call in pair]
        )


@_leak("an answer read late, after requests of the other organization", pool_size=2)
def read_late(world: World, access: AppAccess) -> None:
    """Read the first piece of a stream, and the rest after the other one's request."""
    for first, second in access.pairs(world):
        exchange = access.begin(first, Stop.PIECE)
        access.ask(second)
        while exchange.go_on():
            access.ask(second)
        access.end(exchange)


@_leak("two answers read piece by piece in turn", pool_size=2)
def alternating(world: World, access: AppAccess) -> None:
    """Read a piece of each of two streams at a time."""
    for pair in access.pairs(world):
        exchanges = [access.begin(call, Stop.PIECE) for call in pair]
        going = exchanges
        while going:
            going = [exchange for exchange in going if exchange.go_on()]
        for exchange in exchanges:
            access.end(exchange)


@_leak("a client that goes away in the middle of an answer")
def left(world: World, access: AppAccess) -> None:
    """Read the first piece of a stream, go, and ask for the other one."""
    for first, second in access.pairs(world):
        exchange = access.begin(first, Stop.PIECE)
        exchange.leave()
        access.end_abandoned(exchange)
        access.ask_as_nobody(first)
        access.ask(second)


@_leak("what is done after an answer, once the other organization was served", pool_size=2)
def afterwards(world: World, access: AppAccess) -> None:
    """Hold the app when it has answered, serve the other one, and let its background tasks run."""
    for first, second in access.pairs(world):
        exchange = access.begin(first, Stop.ANSWER)
        access.ask(second)
        access.end(exchange)
        access.ask(second)


@_leak("a statement that is timed out in the middle of a request")
def timed_out(world: World, access: AppAccess) -> None:
    """Cancel a request's statement, and ask for the other one on that connection."""
    _interrupted(world, access, lambda hold, _: hold.cancel_statements())


@_leak("a connection that is lost in the middle of a request")
def lost(world: World, access: AppAccess) -> None:
    """End a request's connection, and ask for the other one."""
    _interrupted(world, access, lambda hold, _: hold.end_connections())


@_leak("a client that goes away in the middle of a request")
def gone(world: World, access: AppAccess) -> None:
    """Go while a statement runs, and ask for the other one."""

    def go(hold: Hold, exchange: Exchange) -> None:
        exchange.leave()
        hold.release()

    _interrupted(world, access, go)


@_leak("a request that is cancelled in the middle")
def cancelled(world: World, access: AppAccess) -> None:
    """Cancel the app's task while a statement runs, and ask for the other one."""

    def cancel(hold: Hold, exchange: Exchange) -> None:
        exchange.cancel()
        hold.release()

    _interrupted(world, access, cancel)


@_leak("a request in the middle of which the other organization is served", pool_size=2)
def overtaken(world: World, access: AppAccess) -> None:
    """Serve the other one while a statement runs, and let it go on."""
    for first, second in access.pairs(world):
        with access.hold(world.a) as hold:
            exchange = access.begin_held(first, hold)
            access.ask(second)
            hold.release()
            if exchange is not None:
                access.end(exchange)


@_leak("a request of a member of an organization that does not exist", shows_marks=False)
def of_stranger(world: World, access: AppAccess) -> None:
    """Ask for both, and then as somebody of no organization."""
    for ask in access.requests.asks:
        for organization in (world.a, world.b):
            call = access.requests.of_stranger(ask, organization, _STRANGER)
            if call is not None:
                access.ask(call)


@_leak("a request with another organization's ids, or that names it")
def foreign(world: World, access: AppAccess) -> None:
    """Ask for what is another's: by what its answers told, its id and its schema."""
    for ask in access.requests.asks:
        for organization in (world.a, world.b):
            for call in access.requests.for_foreign(ask, organization):
                access.ask(call)


@_leak("a request, during which no row of the other organization may change", pool_size=2)
def changing(world: World, access: AppAccess) -> None:
    """Ask for what is one's own and what is not, and look at all rows of the other one."""
    for ask in access.requests.asks:
        for organization, other in ((world.a, world.b), (world.b, world.a)):
            own_call = access.requests.call(ask, organization)
            foreign_calls = access.requests.for_foreign(ask, organization)
            for call in (*filter(None, [own_call]), *foreign_calls):
                with access.untouched(other, call.what):
                    access.ask(call)
                    access.settle()


@_leak(
    "a websocket that is open while the other organization is served",
    pool_size=2,
    of_websockets=True,
)
def beside_websocket(world: World, access: AppAccess) -> None:
    """Open one for each, talk on both in turn, and send requests in between."""
    calls = list(access.pairs(world))
    for socket in access.requests.sockets:
        opened = [(one, access.open(socket, one)) for one in (world.a, world.b)]
        texts = [access.requests.texts(socket, one) for one, _ in opened]
        for said in [(None, None), *zip(*texts, strict=True)]:
            for (_, conversation), text in zip(opened, said, strict=True):
                if text is not None:
                    conversation.say(text)
                for first, second in calls:
                    access.ask(first)
                    access.ask(second)
        for organization, conversation in opened:
            conversation.close()
            access.hear(socket, conversation, organization)


@_leak(
    "a websocket without credentials, after one with them", of_websockets=True, shows_marks=False
)
def websocket_of_nobody(world: World, access: AppAccess) -> None:
    """Open one for an organization, and then without a word of who asks."""
    for socket in access.requests.sockets:
        for organization in (world.a, None):
            conversation = access.open(socket, organization)
            for text in access.requests.texts(socket, world.a):
                conversation.say(text)
            conversation.close()
            access.hear(socket, conversation, organization)


def _interrupted(
    world: World, access: AppAccess, interrupt: Callable[[Hold, Exchange], None]
) -> None:
    """Interrupt each request that comes to the database, and ask for all after it."""
    held = 0
    for first, second in access.pairs(world):
        for after in ((first, second), (second, first)):
            access.ask(second)
            with access.hold(world.a) as hold:
                exchange = access.begin_held(first, hold)
                if exchange is not None:
                    held += 1
                    interrupt(hold, exchange)
                    hold.release()
                    access.end_abandoned(exchange)
            access.ask_as_nobody(first)
            for call in after:
                access.ask(call)
            if exchange is None:
                break
    if not held:
        raise NotApplicable("no request works with the organization's tables")


#: All of them.
APP_LEAKS: tuple[Leak, ...] = tuple(requests.leaks)
