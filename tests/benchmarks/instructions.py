"""Machine instructions that the client runs per transaction, counted by valgrind.

Other than CPU time it does not depend on what else the machine does, so it shows changes
of a percent. It sees the client only. It needs `valgrind` on Linux.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import make_url

from orgtenancy import Organization
from tests.benchmarks import contenders, ground
from tests.benchmarks.contenders import AsyncContender, SyncContender

_ORGANIZATIONS = 10
_WARM_UP = 10  # passes; each of the five connections prepares after five executions


def main(arguments: Sequence[str]) -> None:
    """Count, and print Markdown."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks instructions")
    parser.add_argument("--mode", choices=("sync", "async"), nargs="+", default=["sync", "async"])
    parser.add_argument("--transactions", type=int, default=50)
    parser.add_argument("--only", nargs="+", help="contenders whose name contains one of these")
    parser.add_argument("--counting", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.counting:
        _count(json.load(sys.stdin), options)
        return
    if shutil.which("valgrind") is None:
        raise SystemExit("This needs valgrind.")
    with ground.prepared(_ORGANIZATIONS, None) as (prepared, _):
        described = {
            name: getattr(prepared, name).render_as_string(hide_password=False)
            for name in ("app", "peer", "tenants", "admin")
        } | {"organizations": [o.model_dump(mode="json") for o in prepared.organizations]}
        for mode in options.mode:
            with tempfile.TemporaryDirectory() as folder:
                _run_counted(Path(folder), mode, described, options)


def _run_counted(
    folder: Path, mode: str, described: Mapping[str, Any], options: argparse.Namespace
) -> None:
    command = [
        *("valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/counts.%p", "-q"),
        *(sys.executable, "-m", "tests.benchmarks", "instructions", "--mode", mode),
        *("--transactions", str(options.transactions), "--counting"),
        *(("--only", *options.only) if options.only else ()),
    ]
    # A fixed hash seed: the same dictionaries, the same instructions.
    subprocess.run(
        command,
        check=True,
        input=json.dumps(described),
        text=True,
        env={**os.environ, "PYTHONHASHSEED": "0"},
    )
    counts: dict[str, dict[str, float]] = {}
    for path in folder.iterdir():
        text = path.read_text()
        dumped = re.search(r"^desc: Trigger: dump (.*) / (.*) / (full|empty)$", text, re.M)
        summary = re.search(r"^summary: (\d+)$", text, re.M)
        if dumped is None or summary is None:
            continue
        by_name = counts.setdefault(dumped[1], {})
        sign = 1 if dumped[3] == "full" else -1
        by_name.setdefault(dumped[2], 0)
        by_name[dumped[2]] += sign * int(summary[1]) / options.transactions
    for workload, by_name in counts.items():
        print(f"\n### {mode}, {workload}, thousand client instructions per transaction\n")
        print("| | thousand | ratio |\n|---|---:|---:|")
        base = by_name[contenders.BASELINE]
        for name, count in sorted(by_name.items(), key=lambda pair: pair[1]):
            print(f"| {name} | {count / 1000:,.0f} | {count / base:.3f} |", flush=True)


def _count(described: Mapping[str, Any], options: argparse.Namespace) -> None:
    """Run in valgrind: write one dump for each contender and workload."""
    prepared = ground.Ground(
        make_url(described["app"]),
        make_url(described["peer"]),
        make_url(described["tenants"]),
        make_url(described["admin"]),
        [Organization.model_validate(o) for o in described["organizations"]],
    )
    with asyncio.Runner() as loop, ground.connect(prepared.admin) as watch:
        made: Sequence[SyncContender | AsyncContender]
        if options.mode == ["sync"]:
            made = contenders.sync_contenders(prepared, watch, _ORGANIZATIONS, listen=False)
        else:
            made = contenders.async_contenders(prepared, watch, _ORGANIZATIONS, loop, listen=False)
        for contender in made:
            if not contenders.is_wanted(contender.name, options.only):
                continue
            contender.fill(_ORGANIZATIONS)
            for workload in contenders.WORKLOADS:
                if contender.reads_only and workload is not contenders.READ:
                    continue
                contender.workload = workload
                contender.run(contenders.passes(_ORGANIZATIONS, _WARM_UP))
                work = contenders.passes(
                    _ORGANIZATIONS, options.transactions // _ORGANIZATIONS, text="counted"
                )
                gc.collect()
                gc.disable()
                for kind, counted in (("empty", []), ("full", work)):
                    _control("--zero")
                    contender.run(counted)
                    _control(f"--dump={workload.name} / {contender.name} / {kind}")
                gc.enable()
            contender.close()


def _control(request: str) -> None:
    subprocess.run(
        ["callgrind_control", request, str(os.getpid())],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
