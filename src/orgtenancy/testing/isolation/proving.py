"""`prove`: everything under proof in one report."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from typing import Any

from orgtenancy import Tenancy
from orgtenancy.errors import ConfigurationError
from orgtenancy.testing.isolation.apps import AppSubject, AppUnderProof, FunctionsSubject, Plant
from orgtenancy.testing.isolation.catalogue import Leak, run
from orgtenancy.testing.isolation.leaks import LEAKS
from orgtenancy.testing.isolation.leaks.functions import FUNCTION_LEAKS
from orgtenancy.testing.isolation.leaks.requests import APP_LEAKS
from orgtenancy.testing.isolation.report import Finding, Report
from orgtenancy.testing.isolation.subject import Subject
from orgtenancy.testing.isolation.tenancy_subject import TenancySubject


def prove(
    subject: Tenancy | Subject,
    leaks: Sequence[Leak] = LEAKS,
    *,
    app: AppUnderProof | None = None,
    callables: Sequence[Callable[[Any], Any]] = (),
    plant: Plant | None = None,
    app_leaks: Sequence[Leak] = APP_LEAKS,
    callable_leaks: Sequence[Leak] = FUNCTION_LEAKS,
) -> Report:
    """Try to get something from one organization to another, in every way that is known.

    Two organizations are made for each part of it, and dropped afterwards.

    Args:
        subject: A tenancy with an `admin_url`, or another way to keep organizations apart.
        leaks: Which leaks of the library; `()` for none, where only the host's own code counts.
        app: The host's app. Its tenancy is `subject`, whose pools are made small meanwhile: it
            must serve nobody else.
        callables: The host's functions of a session, such as a repository's methods or a job:
            `function(session)`, or `async def` with an `AsyncSession`. What they return is
            looked at.
        plant: Writes what app and callables read: `plant(session, mark)`. Without it the
            organizations have nothing but a table of the kit's.
        app_leaks: Which leaks of the app.
        callable_leaks: Which leaks of the callables.

    Raises:
        ConfigurationError: If an app or callables are given, and no tenancy.
    """
    parts: list[tuple[Subject, Sequence[Leak]]] = []
    if leaks:
        parts.append((TenancySubject(subject) if isinstance(subject, Tenancy) else subject, leaks))
    if app is not None:
        parts.append((AppSubject(_tenancy(subject), app, plant=plant), app_leaks))
    if callables:
        functions = FunctionsSubject(_tenancy(subject), callables, plant=plant)
        parts.append((functions, callable_leaks))
    findings: list[Finding] = []
    for attacked, tried in parts:
        run_id = secrets.token_hex(6)
        report = run(attacked, tried, a=f"proof-{run_id}-a", b=f"proof-{run_id}-b")
        findings += report.findings
    name = "orgtenancy" if isinstance(subject, Tenancy) else subject.name
    return Report(name, tuple(findings))


def _tenancy(subject: Tenancy | Subject) -> Tenancy:
    if not isinstance(subject, Tenancy):
        raise ConfigurationError("an app and callables are proven with the Tenancy they work on")
    return subject
