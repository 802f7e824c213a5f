"""What works in the background lives as long as the app, and no longer than the tenancy."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette

from orgtenancy import Tenancy
from orgtenancy.adapters import fastapi, starlette


class Block:
    """Says what happens to it."""

    def __init__(self, name: str, log: list[str], *, fails: str = "") -> None:
        self.name = name
        self.log = log
        self.fails = fails

    async def __aenter__(self) -> None:
        self.log.append(f"{self.name} begins")
        if self.fails == "begin":
            raise ZeroDivisionError

    async def __aexit__(self, *exc_info: object) -> None:
        self.log.append(f"{self.name} ends")
        if self.fails == "end":
            raise ZeroDivisionError


def run(app: Any, runner: asyncio.Runner) -> list[str]:
    """Start and stop an app as a server does, and return what it answered."""
    incoming = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    outgoing: list[str] = []

    async def receive() -> Any:
        return incoming.pop(0)

    async def send(message: Any) -> None:
        outgoing.append(message["type"])

    async def main() -> None:
        try:
            await app({"type": "lifespan", "state": {}, "app": app}, receive, send)
        except ZeroDivisionError:
            outgoing.append("raised")

    runner.run(main())
    return outgoing


APPS: dict[str, Callable[..., Any]] = {
    "starlette": lambda *blocks: Starlette(lifespan=starlette.lifespan(*blocks)),
    "fastapi": lambda *blocks: FastAPI(lifespan=fastapi.lifespan(*blocks)),
}


@pytest.mark.parametrize("framework", APPS)
def test_blocks_begin_after_the_tenancy_and_end_before_it(
    framework: str, event_loop_runner: asyncio.Runner
) -> None:
    log: list[str] = []
    app = APPS[framework](Block("tenancy", log), Block("worker", log), Block("keeper", log))
    assert run(app, event_loop_runner) == [
        "lifespan.startup.complete",
        "lifespan.shutdown.complete",
    ]
    assert log == [
        "tenancy begins",
        "worker begins",
        "keeper begins",
        "keeper ends",
        "worker ends",
        "tenancy ends",
    ]


@pytest.mark.parametrize("framework", APPS)
def test_a_block_that_does_not_begin_ends_those_before_it(
    framework: str, event_loop_runner: asyncio.Runner
) -> None:
    log: list[str] = []
    blocks = [Block("tenancy", log), Block("worker", log), Block("broken", log, fails="begin")]
    app = APPS[framework](*blocks, Block("never", log))
    assert run(app, event_loop_runner) == ["lifespan.startup.failed", "raised"]
    assert log == [
        "tenancy begins",
        "worker begins",
        "broken begins",
        "worker ends",
        "tenancy ends",
    ]


@pytest.mark.parametrize("framework", APPS)
def test_a_block_that_does_not_end_well_keeps_no_other_from_ending(
    framework: str, event_loop_runner: asyncio.Runner
) -> None:
    log: list[str] = []
    broken = Block("broken", log, fails="end")
    app = APPS[framework](Block("tenancy", log), broken, Block("keeper", log))
    assert run(app, event_loop_runner)[-1] == "raised"
    assert log[-3:] == ["keeper ends", "broken ends", "tenancy ends"]


def test_spares_are_kept_as_long_as_the_app_runs(
    tenancy: Tenancy, event_loop_runner: asyncio.Runner
) -> None:
    log: list[str] = []

    class Watched(Block):
        async def __aenter__(self) -> None:
            assert keeper._thread.is_alive()

    keeper = tenancy.schemas.spares.keep(0)
    app = Starlette(lifespan=starlette.lifespan(Block("t", log), keeper, Watched("w", log)))  # type: ignore[arg-type]
    assert run(app, event_loop_runner)[0] == "lifespan.startup.complete"
    assert not keeper._thread.is_alive()
