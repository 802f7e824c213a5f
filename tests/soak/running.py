"""The run: a server, its workers, the owner, and what came of it."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import make_url

from orgtenancy import Organization, Settings, Tenancy
from tests.schemas.databases import all_organizations
from tests.soak.chaos import APPLICATION, Chaos, Server, patiently
from tests.soak.checking import check_tables, read_ledgers
from tests.soak.ledger import ALARM
from tests.soak.measuring import Growth, Sample, growth, take
from tests.soak.worker import Options
from tests.support.notes import notes

PROJECT = Path(__file__).parent.parent.parent
SPARES = 5
# Shorter runs are still warming up: nothing is said about their memory.
JUDGED_FROM = 300.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be run.

    Attributes:
        seconds: For how long, unless something is wrong.
        organizations: How many there are at the beginning.
        processes: How many work in them.
        threads: Sync clients of each process.
        tasks: Async clients of each process.
        pool_size: Connections that each of a process's two engines keeps.
        restarts: How often the server is restarted; every other time it crashes.
        plant: A bug to plant in the workers.
    """

    seconds: float
    organizations: int
    processes: int
    threads: int = 4
    tasks: int = 8
    pool_size: int = 4
    restarts: int = 1
    plant: str | None = None


@dataclass(slots=True)
class Outcome:
    """What came of it.

    Attributes:
        done: Committed transactions, by what they did.
        errors: By their kind.
        chaos: What the owner did.
        violations: The evidence; a run without any is a good one.
        growth: Memory and connections over time.
        connections: Of the workers, after their last transaction.
        allowed: How many their pools may keep.
        rows: Acknowledged ones that were looked for.
        seconds: How long the clients worked.
    """

    done: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    chaos: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    growth: list[Growth] = field(default_factory=list)
    connections: int = 0
    allowed: int = 0
    rows: int = 0
    seconds: float = 0.0


class Workers:
    """The processes of the application."""

    def __init__(self, processes: list[subprocess.Popen[str]]) -> None:
        self.processes = processes

    @property
    def pids(self) -> list[int]:
        return [process.pid for process in self.processes]

    def tell(self, line: str) -> None:
        for process in self.processes:
            assert process.stdin is not None
            print(line, file=process.stdin, flush=True)

    def kill(self) -> None:
        for process in self.processes:
            process.kill()

    def stop(self) -> list[dict[str, Any]]:
        """Let them end their work; they keep their connections."""
        self.tell("stop")
        answers = []
        for process in self.processes:
            assert process.stdout is not None
            line = process.stdout.readline()
            answers.append(json.loads(line) if line else {"violations": ["a worker died"]})
        return answers


@contextmanager
def start(plan: Plan, server: Server, folder: Path, ids: list[str]) -> Iterator[Workers]:
    """Start the workers, wait until they work, and end those that have not ended."""
    url = make_url(server.url).update_query_dict({"application_name": APPLICATION})
    with ExitStack() as stack:
        workers = Workers([])
        stack.callback(workers.kill)
        for number in range(plan.processes):
            options = Options(
                number=number,
                url=url.render_as_string(hide_password=False),
                ledger=folder / f"ledger-{number}",
                organizations=ids,
                threads=plan.threads,
                tasks=plan.tasks,
                pool_size=plan.pool_size,
                seed=random.randrange(10**6),
                plant=plan.plant,
            )
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.soak.worker", options.model_dump_json()],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                cwd=PROJECT,
            )
            workers.processes.append(stack.enter_context(process))
        for process in workers.processes:
            assert process.stdout is not None
            process.stdout.readline()
        yield workers


def run(plan: Plan) -> Outcome:
    """Run it, and return what came of it."""
    outcome = Outcome()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="soak-")))
        folder.chmod(0o711)
        server = Server(folder / "pg")
        stack.callback(server.stop)
        tenancy = Tenancy(
            server.url,
            admin_url=server.admin_url,
            modules=[notes],
            settings=Settings(listen=False),
        )
        stack.callback(tenancy.close)
        tenancy.install()
        tenancy.schemas.spares.fill(plan.organizations)
        organizations = [tenancy.schemas.provision(f"o-{n}") for n in range(plan.organizations)]
        stack.enter_context(tenancy.schemas.spares.keep(SPARES))
        with start(plan, server, folder, [o.id for o in organizations]) as workers:
            chaos = Chaos(tenancy, server, organizations, workers.tell, outcome.violations.append)
            outcome.growth = _work(plan, chaos, workers, outcome, folder)
            answers = workers.stop()
            _count_connections(plan, chaos, workers, outcome)
            workers.tell("close")
            for process in workers.processes:
                if process.wait(60) != 0:
                    outcome.violations.append("a worker did not end well")
        _gather(outcome, chaos, answers)
        ledgers = [folder / f"ledger-{number}" for number in range(plan.processes)]
        _check(outcome, tenancy, ledgers)
    return outcome


def _work(
    plan: Plan, chaos: Chaos, workers: Workers, outcome: Outcome, folder: Path
) -> list[Growth]:
    """Let them work until something is wrong or the time is over; return how memory grew."""
    dice = random.Random(1)
    samples: list[Sample] = []
    started = time.monotonic()
    pause = plan.seconds / (plan.restarts + 1)
    restarts = [started + pause * (n + 1) for n in range(plan.restarts)]
    sampled = 0.0
    while (now := time.monotonic()) < started + plan.seconds:
        if any(process.poll() is not None for process in workers.processes):
            outcome.violations.append("a worker died")
            break
        if any(folder.glob(f"*{ALARM}")):
            break
        if restarts and now >= restarts[0]:
            restarts.pop(0)
            chaos.restart(crash=len(restarts) % 2 == 1)
            continue
        if now - sampled > max(0.5, plan.seconds / 200):
            sampled = now
            samples.append(take(workers.pids, chaos.backends()))
        patiently(chaos.act)
        time.sleep(dice.random() * 0.6)
    patiently(chaos.settle)
    outcome.seconds = time.monotonic() - started
    return growth(samples) if plan.seconds >= JUDGED_FROM else []


def _count_connections(plan: Plan, chaos: Chaos, workers: Workers, outcome: Outcome) -> None:
    """See that the pools have given back what they opened beyond their sizes."""
    # Two engines and a listener each. The server takes a moment to see a connection go.
    outcome.allowed = plan.processes * (2 * plan.pool_size + 1)
    for _ in range(100):
        outcome.connections = len(chaos.backends())
        if outcome.connections <= outcome.allowed:
            return
        time.sleep(0.1)
    outcome.violations.append(f"{outcome.connections} connections, {outcome.allowed} are allowed")


def _gather(outcome: Outcome, chaos: Chaos, answers: list[dict[str, Any]]) -> None:
    outcome.chaos = chaos.done
    for answer in answers:
        outcome.done.update(answer.get("done", {}))
        outcome.errors.update(answer.get("errors", {}))
        outcome.violations += answer["violations"]
        outcome.violations += [f"unexpected: {told}" for told in answer.get("unexpected", [])]
        for kind, number in answer.get("checked_out", {}).items():
            if number:
                outcome.violations.append(f"{number} {kind} connections were not given back")
    outcome.violations += [f"{told} (memory)" for told in outcome.growth if not told.is_flat]


def _check(outcome: Outcome, tenancy: Tenancy, ledgers: list[Path]) -> None:
    acknowledged = read_ledgers(ledgers)
    open_ones: list[Organization] = [o for o in all_organizations(tenancy) if o.is_active]
    outcome.rows = sum(len(acknowledged.get(o.id, ())) for o in open_ones)
    outcome.violations += check_tables(tenancy, open_ones, acknowledged)
