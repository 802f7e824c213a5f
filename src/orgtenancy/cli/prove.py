"""`orgtenancy prove`: try to get something from one organization to another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orgtenancy.cli.context import find_object, load_tenancy
from orgtenancy.cli.exits import ExitCode
from orgtenancy.cli.output import Json, Table, show, tell
from orgtenancy.errors import ConfigurationError

if TYPE_CHECKING:
    from orgtenancy.testing.isolation import AppUnderProof

_PLACE = "PACKAGE.MODULE:NAME"
_FUNCTION = "PACKAGE.MODULE:FUNCTION"


def prove(
    app: Annotated[
        str | None,
        typer.Option(
            metavar=_PLACE,
            help="Your ASGI or WSGI app, a function that returns it, or an AppUnderProof.",
        ),
    ] = None,
    as_member: Annotated[
        str | None,
        typer.Option(
            "--as",
            metavar=_FUNCTION,
            help="Returns the headers of an organization's member, by the organization's id.",
        ),
    ] = None,
    plant: Annotated[
        str | None,
        typer.Option(
            metavar=_FUNCTION,
            help="Writes what app and callables read: plant(session, mark).",
        ),
    ] = None,
    request: Annotated[
        list[str] | None,
        typer.Option(
            metavar="REQUEST",
            help="What is sent, as /notes or 'POST /notes?body={mark}'; repeat it for more. "
            "Without any, and without --websocket, all GET operations of /openapi.json.",
        ),
    ] = None,
    websocket: Annotated[
        list[str] | None,
        typer.Option(metavar="PATH", help="A websocket that is opened; repeat it for more."),
    ] = None,
    callables: Annotated[
        list[str] | None,
        typer.Option(
            "--callable",
            metavar=_FUNCTION,
            help="A function of a session whose results are looked at; repeat it for more.",
        ),
    ] = None,
    own_only: Annotated[
        bool,
        typer.Option("--own-only", help="Only your app and callables, not the library itself."),
    ] = False,
    json: Json = False,
) -> None:
    """Try to get something from one organization to another, in every way that is known.

    Two organizations are made for each part of it, and dropped again: not for a database in
    production. Exits with 1 if a leak is broken or unclear.
    """
    from orgtenancy.testing.isolation import LEAKS, Verdict
    from orgtenancy.testing.isolation import prove as prove_it

    if own_only and not (app or callables):
        raise typer.BadParameter("--own-only is for an app or callables")
    if app is None and (as_member or request or websocket):
        raise typer.BadParameter("--as, --request and --websocket are for an --app after `prove`")
    if plant and not (app or callables):
        raise typer.BadParameter("--plant is for an app or callables")
    under_proof = None if app is None else _under_proof(app, as_member, request, websocket)
    functions = [_function(place) for place in callables or ()]
    plants = None if plant is None else _function(plant)
    with load_tenancy() as tenancy:
        # A server that is not there is told of first.
        tenancy._database.admin_engine.connect().close()
        database = tenancy._database.url
        tell(
            f"two organizations, proof-..., are made and dropped in the database "
            f"{database.database!r} on {database.host or database.query.get('host', 'localhost')}"
        )
        report = prove_it(
            tenancy,
            () if own_only else LEAKS,
            app=under_proof,
            callables=functions,
            plant=plants,
        )
    rows = [(one.verdict, one.group, one.leak, one.evidence) for one in report.findings]
    counts = {verdict.value: len(report.of(verdict)) for verdict in Verdict}
    show(
        json,
        {"is_held": report.is_held, "counts": counts, "findings": report.findings},
        Table(("VERDICT", "GROUP", "LEAK", "EVIDENCE"), rows),
        ", ".join(f"{number} {verdict}" for verdict, number in counts.items()),
    )
    if not report.is_held:
        raise typer.Exit(ExitCode.ERROR)


def _under_proof(
    place: str,
    as_member: str | None,
    requests: Sequence[str] | None,
    websockets: Sequence[str] | None,
) -> AppUnderProof:
    from orgtenancy.testing.isolation import AppUnderProof

    found = find_object(place)
    if isinstance(found, AppUnderProof):
        if as_member or requests or websockets:
            raise typer.BadParameter(f"{place!r} says itself how it is asked")
        return found
    if as_member is None:
        raise typer.BadParameter("--app needs --as, which returns the headers of a member")
    return AppUnderProof(
        found, _function(as_member), requests=requests or (), websockets=websockets or ()
    )


def _function(place: str) -> Any:
    found = find_object(place)
    if not callable(found):
        raise ConfigurationError(f"{place!r} is a {type(found).__name__}, no function")
    return found
