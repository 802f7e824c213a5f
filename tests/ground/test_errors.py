"""The tree of errors, as its page draws it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from orgtenancy import errors
from orgtenancy.errors import OrganizationUnavailable, OrgTenancyError

CLASSES: dict[str, type[OrgTenancyError]] = {
    name: value
    for name, value in vars(errors).items()
    if inspect.isclass(value) and issubclass(value, OrgTenancyError)
}

# Hosts and clients store and compare these: a change of one is a breaking change.
CODES = {
    "OrgTenancyError": "error",
    "InvalidOrganizationId": "invalid_organization_id",
    "ConfigurationError": "configuration",
    "InvalidCursor": "invalid_cursor",
    "IsolationError": "isolation",
    "OrganizationContextMissing": "organization_context_missing",
    "OrganizationMismatch": "organization_mismatch",
    "TransactionRequired": "transaction_required",
    "SessionStateRefused": "session_state_refused",
    "RegistryError": "registry",
    "OrganizationNotFound": "organization_not_found",
    "OrganizationUnavailable": "organization_unavailable",
    "OrganizationExists": "organization_exists",
    "OrganizationBusy": "organization_busy",
    "TransitionRefused": "transition_refused",
    "PlacementNotFound": "placement_not_found",
    "PlacementUnavailable": "placement_unavailable",
    "SchemaError": "schema",
    "ProvisioningFailed": "provisioning_failed",
    "DropRefused": "drop_refused",
    "PurgeRefused": "purge_refused",
    "RevisionNotFound": "revision_not_found",
    "MoveFailed": "move_failed",
    "JobLocked": "job_locked",
    "JobNotFound": "job_not_found",
    "JobFailed": "job_failed",
    "BackupError": "backup",
    "BackupForeign": "backup_foreign",
    "BackupDamaged": "backup_damaged",
    "BackupKeyRefused": "backup_key_refused",
    "BackupMismatch": "backup_mismatch",
    "ErasureRefused": "erasure_refused",
    "AdoptionRefused": "adoption_refused",
    "AdoptionMismatch": "adoption_mismatch",
    "AdoptionFailed": "adoption_failed",
    "IdentityError": "identity",
    "Unauthenticated": "unauthenticated",
    "AccessDenied": "access_denied",
    "IdentityProviderUnavailable": "identity_provider_unavailable",
    "IdentityProviderRefused": "identity_provider_refused",
    "SyncRefused": "sync_refused",
    "InsufficientScope": "insufficient_scope",
    "RequestError": "request",
    "MethodNotAllowed": "method_not_allowed",
    "WebhookRefused": "webhook_refused",
    "WebhookForged": "webhook_forged",
    "PayloadTooLarge": "payload_too_large",
    "UnsupportedMediaType": "unsupported_media_type",
    "DomainError": "domain",
    "NotFound": "not_found",
    "Forbidden": "forbidden",
    "Conflict": "conflict",
    "Invalid": "invalid",
    "EmbeddedServerError": "embedded_server",
}

# What some of them cannot be made without.
NEEDED: dict[str, dict[str, Any]] = {
    "OrganizationBusy": {"operation": "fence"},
    "TransitionRefused": {"operation": "fence", "status": "archived"},
    "IdentityProviderRefused": {"http_status": 403},
}


def drawn_tree() -> dict[str, tuple[str | None, str | None]]:
    """Return each drawn class with its drawn base and the other base in brackets."""
    assert errors.__doc__
    drawing = errors.__doc__.split("```")[1].strip("\n").splitlines()
    path: list[str] = []
    tree: dict[str, tuple[str | None, str | None]] = {}
    for line in drawing:
        found = re.fullmatch(r"([│├└─ ]*)(\w+)(?: \((\w+)\))?(?:\s{2,}.*)?", line)
        assert found, line
        depth = len(found[1]) // 4
        path[depth:] = [found[2]]
        tree[found[2]] = (path[depth - 1] if depth else None, found[3])
    return tree


def test_every_error_stands_in_the_drawn_tree_under_its_base() -> None:
    tree = drawn_tree()
    assert set(tree) == set(CLASSES)
    for name, (base, other) in tree.items():
        bases = [b for b in (base or "Exception", other) if b]
        assert [b.__name__ for b in CLASSES[name].__bases__] == bases, name


def test_every_code_is_written_down_and_unlike_the_others() -> None:
    assert {name: error.code for name, error in CLASSES.items()} == CODES
    assert all("code" in vars(error) for error in CLASSES.values())
    assert len(set(CODES.values())) == len(CODES)
    assert all(re.fullmatch(r"[a-z_]+", code) for code in CODES.values())


@pytest.mark.parametrize("name", CLASSES)
def test_every_error_carries_what_it_is_about(name: str) -> None:
    make: Callable[..., OrgTenancyError] = partial(CLASSES[name], **NEEDED.get(name, {}))
    error = make("why", organization_id="acme", schema="org_acme", placement="eu")
    assert str(error) == "why"
    assert (error.organization_id, error.schema, error.placement) == ("acme", "org_acme", "eu")
    bare = make("why")
    assert (bare.organization_id, bare.schema, bare.placement) == (None, None, None)


def test_an_unavailable_organization_says_which_status_and_when_to_retry() -> None:
    error = OrganizationUnavailable("why", status="provisioning", retry_after=1)
    assert (error.status, error.retry_after) == ("provisioning", 1)
    assert (OrganizationUnavailable("why").status, OrganizationUnavailable("why").retry_after) == (
        None,
        None,
    )
