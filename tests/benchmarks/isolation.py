"""What is held of the catalogue of leaks: orgtenancy and others, as tables in Markdown."""

from __future__ import annotations

import argparse
import importlib.util
import re
from collections import Counter
from collections.abc import Iterator, Sequence

from sqlalchemy import URL, make_url

from orgtenancy import Settings, Tenancy, embedded
from orgtenancy.testing.isolation import GROUPS, LEAKS, Finding, Report, Verdict, prove
from tests.benchmarks.isolation_peers import FastapiTenancy, Peer, SqlalchemyTenants

_ASYNC = {leak.name for leak in LEAKS if leak.is_async}


def main(arguments: Sequence[str]) -> None:
    """Try every leak on each of them, and print what came of it."""
    argparse.ArgumentParser(prog="isolation", description=__doc__).parse_args(arguments)
    with embedded.server() as server:
        url, admin_url = (
            make_url(u).set(drivername="postgresql+psycopg") for u in (server.url, server.admin_url)
        )
        reports = list(_reports(url, admin_url))
    print("\n".join(_summary(reports)))
    for report in reports:
        print("\n".join(_what_got_through(report)))


def _reports(url: URL, admin_url: URL) -> Iterator[Report]:
    with Tenancy(url, admin_url=admin_url, settings=Settings(listen=False)) as tenancy:
        tenancy.install()
        yield prove(tenancy)
    peers: dict[str, type[Peer]] = {
        "fastapi_tenancy": FastapiTenancy,
        "sqlalchemy_tenants": SqlalchemyTenants,
    }
    for package, peer in peers.items():
        if importlib.util.find_spec(package):
            yield prove(peer(url, admin_url))


def _summary(reports: Sequence[Report]) -> Iterator[str]:
    yield f"| leaks | {' | '.join(report.subject for report in reports)} |"
    yield f"| --- |{' --- |' * len(reports)}"
    for group in GROUPS:
        cells = (_cell([f for f in report.findings if f.group == group.name]) for report in reports)
        yield f"| {group.name} | {' | '.join(cells)} |"
    yield f"| all | {' | '.join(_cell(report.findings) for report in reports)} |"


def _cell(findings: Sequence[Finding]) -> str:
    counts = Counter(finding.verdict for finding in findings)
    tried = len(findings) - counts[Verdict.LEFT_OUT]
    if not tried:
        return "does not apply"
    unclear = f", {counts[Verdict.UNCLEAR]} unclear" if counts[Verdict.UNCLEAR] else ""
    return f"{counts[Verdict.HELD]} of {tried}{unclear}"


def _what_got_through(report: Report) -> Iterator[str]:
    found = report.of(Verdict.BROKEN, Verdict.UNCLEAR)
    if not found:
        return
    yield f"\n{report.subject}:\n\n| leak | way | evidence |\n| --- | --- | --- |"
    for finding in found:
        leak = finding.leak.removesuffix(", async")
        way = "async" if finding.leak in _ASYNC else "sync"
        evidence = re.sub(r"proof-[0-9a-f]{12}-([ab])", lambda m: m[1].upper(), finding.evidence)
        yield f"| {finding.group}: {leak} | {way} | {evidence} |"
