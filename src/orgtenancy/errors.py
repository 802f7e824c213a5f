"""Every error this library raises, on one page.

```
OrgTenancyError
├── InvalidOrganizationId (ValueError)    the id breaks a naming rule
├── ConfigurationError                    settings or rights that cannot work
├── InvalidCursor (ValueError)            a page cursor this list did not make
├── IsolationError                        stopped before a statement was sent
│   ├── OrganizationContextMissing        no organization is bound
│   ├── OrganizationMismatch              two organizations meet in one piece of work
│   ├── TransactionRequired               a statement outside a transaction
│   └── SessionStateRefused               it would leave something for the session
├── RegistryError
│   ├── OrganizationNotFound              the registry has no such organization
│   ├── OrganizationUnavailable           it exists, but is not open for work
│   ├── OrganizationExists                the id, or its schema, is another organization's
│   ├── OrganizationBusy                  others hold it, or still write in it
│   ├── TransitionRefused                 its status does not allow the operation
│   ├── PlacementNotFound (KeyError)      the tenancy names no such placement
│   └── PlacementUnavailable              it takes no organization now
├── SchemaError
│   ├── ProvisioningFailed
│   ├── DropRefused
│   ├── PurgeRefused                      its grace period is not over
│   ├── RevisionNotFound                  no file has this revision
│   ├── MoveFailed                        it is where it was
│   ├── JobLocked                         another runner works on the placement
│   ├── JobNotFound                       the journal has no such job
│   ├── JobFailed                         some organizations were not done; a resume goes on
│   ├── AdoptionRefused                   it cannot be done as things are; the findings say why
│   ├── AdoptionMismatch                  what was copied is not what the source has
│   └── AdoptionFailed                    some organizations were not adopted; run it again
├── BackupError                           nothing was restored, and nothing changed
│   ├── BackupForeign                     it is no backup of this library
│   ├── BackupDamaged                     it is not whole, or not as it was written
│   ├── BackupKeyRefused                  there is no key, or none that fits
│   └── BackupMismatch                    it is whole, and cannot be restored here
├── ErasureRefused                        the person's id would be left somewhere
├── IdentityError
│   ├── Unauthenticated                   no token, or one that proves nothing
│   ├── IdentityProviderUnavailable       a token cannot be checked now
│   ├── IdentityProviderRefused           its API does not let us in
│   ├── SyncRefused                       more would be archived than is allowed
│   └── AccessDenied                      proven, but not allowed in
│       └── InsufficientScope             let in, but without a scope the work needs
├── RequestError                          what HTTP itself refuses
│   ├── MethodNotAllowed                  the path has other methods
│   ├── WebhookRefused                    it is no event, or too old
│   │   └── WebhookForged                 its signature is not the key's
│   ├── PayloadTooLarge                   the body is larger than what is read
│   └── UnsupportedMediaType              the body is no JSON
├── DomainError                           rules of a module, as its API tells them
│   ├── NotFound                          absent, or invisible to the actor
│   ├── Forbidden                         visible, but not the actor's to change
│   ├── Conflict                          contradicts what is stored
│   └── Invalid                           breaks a rule of the input
└── EmbeddedServerError                   the embedded PostgreSQL cannot start or stop
```

Each class has a stable `code`, and the instances carry the organization, schema
and placement they are about, where there is one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import ClassVar, Literal, TypedDict, Unpack

from pydantic import BaseModel, ConfigDict, Field


class About(TypedDict, total=False):
    """What an error is about."""

    organization_id: str | None
    schema: str | None
    placement: str | None


class OrgTenancyError(Exception):
    """Base of all errors of this library.

    Attributes:
        code: A stable, machine-readable name of the error.
        organization_id: The organization the error is about, if any.
        schema: Its PostgreSQL schema, if known.
        placement: The server that holds it, if known.
    """

    code: ClassVar[str] = "error"

    def __init__(
        self,
        message: str,
        *,
        organization_id: str | None = None,
        schema: str | None = None,
        placement: str | None = None,
    ) -> None:
        super().__init__(message)
        self.organization_id = organization_id
        self.schema = schema
        self.placement = placement


class InvalidOrganizationId(OrgTenancyError, ValueError):
    """An organization id breaks a naming rule; the message names the rule."""

    code = "invalid_organization_id"


class ConfigurationError(OrgTenancyError):
    """Settings, rights or modules that cannot work together."""

    code = "configuration"


class InvalidCursor(OrgTenancyError, ValueError):
    """A page cursor that was not made by this list."""

    code = "invalid_cursor"


class IsolationError(OrgTenancyError):
    """Work was stopped before a statement reached the server."""

    code = "isolation"


class OrganizationContextMissing(IsolationError):
    """No organization is bound, and there is no default to fall back to."""

    code = "organization_context_missing"


class OrganizationMismatch(IsolationError):
    """Work of one organization met the session or context of another."""

    code = "organization_mismatch"


class TransactionRequired(IsolationError):
    """A statement would have run outside a transaction.

    The organization is set with `SET LOCAL`, which PostgreSQL ignores in autocommit.
    """

    code = "transaction_required"


class SessionStateRefused(IsolationError):
    """A statement would have left something for the session, beyond its transaction.

    Only where the settings say `refuse_session_state`.
    """

    code = "session_state_refused"


class RegistryError(OrgTenancyError):
    """Base of what the registry says about an organization."""

    code = "registry"


class OrganizationNotFound(RegistryError):
    """The registry has no such organization."""

    code = "organization_not_found"


class OrganizationUnavailable(RegistryError):
    """The organization exists, but its status does not allow the work.

    Attributes:
        status: The status that stands in the way, or None when PostgreSQL refused
            the organization's role although the registry calls it active.
        retry_after: Seconds after which a retry makes sense, or None.
    """

    code = "organization_unavailable"

    def __init__(
        self,
        message: str,
        *,
        status: str | None = None,
        retry_after: int | None = None,
        **about: Unpack[About],
    ) -> None:
        super().__init__(message, **about)
        self.status = status
        self.retry_after = retry_after


class OrganizationExists(RegistryError):
    """The id, or the schema that belongs to it, is another organization's."""

    code = "organization_exists"


class OrganizationBusy(RegistryError):
    """Others hold the organization, or still write in it.

    Attributes:
        operation: What was to be done.
        retry_after: Seconds after which a retry makes sense.
    """

    code = "organization_busy"

    def __init__(
        self, message: str, *, operation: str, retry_after: int = 1, **about: Unpack[About]
    ) -> None:
        super().__init__(message, **about)
        self.operation = operation
        self.retry_after = retry_after


class TransitionRefused(RegistryError):
    """An organization's status does not allow the operation; nothing was changed.

    Attributes:
        operation: What was to be done.
        status: The status that stands in the way.
    """

    code = "transition_refused"

    def __init__(
        self, message: str, *, operation: str, status: str, **about: Unpack[About]
    ) -> None:
        super().__init__(message, **about)
        self.operation = operation
        self.status = status


class PlacementNotFound(RegistryError, KeyError):
    """This tenancy names no such placement, whether the registry knows it or not."""

    code = "placement_not_found"

    def __str__(self) -> str:
        return Exception.__str__(self)  # a KeyError shows its argument as code


class PlacementUnavailable(RegistryError):
    """A placement takes no organization now: it is not added, drained, full, or down."""

    code = "placement_unavailable"


class SchemaError(OrgTenancyError):
    """Base of what goes wrong while a schema is made, changed or dropped."""

    code = "schema"


class ProvisioningFailed(SchemaError):
    """An organization's schema could not be made; nothing of it remains."""

    code = "provisioning_failed"


class DropRefused(SchemaError):
    """An organization was not dropped, because a safeguard forbids it."""

    code = "drop_refused"


class PurgeRefused(SchemaError):
    """An organization was not purged: its grace period is not over, or its id was not repeated.

    Attributes:
        purge_after: From when on it may be, or None if that is not the reason.
    """

    code = "purge_refused"

    def __init__(
        self, message: str, *, purge_after: datetime | None = None, **about: Unpack[About]
    ) -> None:
        super().__init__(message, **about)
        self.purge_after = purge_after


class RevisionNotFound(SchemaError):
    """No file of a module has this revision."""

    code = "revision_not_found"


class MoveFailed(SchemaError):
    """An organization was not moved to another placement: it is where it was."""

    code = "move_failed"


class JobLocked(SchemaError):
    """Another runner works on the placement; the message tells who."""

    code = "job_locked"


class JobNotFound(SchemaError):
    """The journal has no such job."""

    code = "job_not_found"


class JobFailed(SchemaError):
    """A job ended with organizations that were not done.

    What was done stays done, and the journal knows the rest.

    Attributes:
        job_id: The job, which can be resumed.
    """

    code = "job_failed"

    def __init__(self, message: str, *, job_id: int | None = None, **about: Unpack[About]) -> None:
        super().__init__(message, **about)
        self.job_id = job_id


class BackupError(OrgTenancyError):
    """Base of what is wrong with a backup; nothing was changed by it."""

    code = "backup"


class BackupForeign(BackupError):
    """A file, folder or stream is no backup of this library."""

    code = "backup_foreign"


class BackupDamaged(BackupError):
    """A backup was cut off, or is not what was written, or contradicts itself."""

    code = "backup_damaged"


class BackupKeyRefused(BackupError):
    """A backup is encrypted and no key was given, or a key does not fit or is none."""

    code = "backup_key_refused"


class BackupMismatch(BackupError):
    """A backup is whole, and cannot be restored here.

    A newer release wrote it, or its tables are not those that the modules make, or what was
    restored is not what was backed up.
    """

    code = "backup_mismatch"


class ErasureRefused(OrgTenancyError):
    """A person was not erased: the id would have been left somewhere. Nothing was changed.

    Attributes:
        columns: Where it would have been left, as `table.column`.
    """

    code = "erasure_refused"

    def __init__(
        self, message: str, *, columns: Iterable[str] = (), **about: Unpack[About]
    ) -> None:
        super().__init__(message, **about)
        self.columns = tuple(columns)


class AdoptionRefused(SchemaError):
    """An adoption, or a step of it, cannot be done as things are; nothing was changed.

    Attributes:
        findings: What stands in the way, one line each.
    """

    code = "adoption_refused"

    def __init__(
        self, message: str, *, findings: Iterable[str] = (), **about: Unpack[About]
    ) -> None:
        super().__init__(message, **about)
        self.findings = tuple(findings)


class AdoptionMismatch(SchemaError):
    """The rows of an organization here are not those of the source; nothing was changed.

    Attributes:
        tables: The tables that differ.
    """

    code = "adoption_mismatch"

    def __init__(self, message: str, *, tables: Iterable[str] = (), **about: Unpack[About]) -> None:
        super().__init__(message, **about)
        self.tables = tuple(tables)


class AdoptionFailed(SchemaError):
    """Some organizations were not adopted. The others were; running it again goes on.

    Attributes:
        failed: Why, by the organizations' ids.
    """

    code = "adoption_failed"

    def __init__(
        self, message: str, *, failed: Mapping[str, str] | None = None, **about: Unpack[About]
    ) -> None:
        super().__init__(message, **about)
        self.failed = dict(failed or {})


class IdentityError(OrgTenancyError):
    """Base of what goes wrong between a request and its organization."""

    code = "identity"


class Unauthenticated(IdentityError):
    """No credentials, or credentials that prove nothing."""

    code = "unauthenticated"


class IdentityProviderUnavailable(IdentityError):
    """The identity provider cannot be asked now: for the keys of a token, or by its API.

    The token may well be good: this is no `Unauthenticated`.

    Attributes:
        retry_after: Seconds after which it is asked again.
    """

    code = "identity_provider_unavailable"

    def __init__(self, message: str, *, retry_after: int = 1, **about: Unpack[About]) -> None:
        super().__init__(message, **about)
        self.retry_after = retry_after


class IdentityProviderRefused(IdentityError):
    """The identity provider's API refused a call: its credentials or rights are wrong.

    Attributes:
        http_status: What it answered.
    """

    code = "identity_provider_refused"

    def __init__(self, message: str, *, http_status: int, **about: Unpack[About]) -> None:
        super().__init__(message, **about)
        self.http_status = http_status


class SyncRefused(IdentityError):
    """A reconciliation was not begun: it would archive more organizations than is allowed.

    Attributes:
        would_archive: Their ids.
    """

    code = "sync_refused"

    def __init__(
        self, message: str, *, would_archive: Iterable[str] = (), **about: Unpack[About]
    ) -> None:
        super().__init__(message, **about)
        self.would_archive = tuple(would_archive)


class AccessDenied(IdentityError):
    """The actor is known, but is no member or lacks a scope."""

    code = "access_denied"


class InsufficientScope(AccessDenied):
    """The actor is let in, but was not granted a scope that the work needs.

    Attributes:
        scopes: What is needed.
    """

    code = "insufficient_scope"

    def __init__(self, message: str, *, scopes: Iterable[str] = (), **about: Unpack[About]) -> None:
        super().__init__(message, **about)
        self.scopes = frozenset(scopes)


class RequestError(OrgTenancyError):
    """Base of what is wrong with a request before anyone looks at what it asks for."""

    code = "request"


class MethodNotAllowed(RequestError):
    """The path exists, and does not have this method.

    Attributes:
        allowed: The methods that it has.
    """

    code = "method_not_allowed"

    def __init__(
        self, message: str, *, allowed: Iterable[str] = (), **about: Unpack[About]
    ) -> None:
        super().__init__(message, **about)
        self.allowed = frozenset(allowed)


class WebhookRefused(RequestError):
    """What was posted is no event of the identity provider, or too old to be believed."""

    code = "webhook_refused"


class WebhookForged(WebhookRefused):
    """What was posted is not signed with the webhook's key."""

    code = "webhook_forged"


class PayloadTooLarge(RequestError):
    """The body of the request is larger than what is read."""

    code = "payload_too_large"


class UnsupportedMediaType(RequestError):
    """The body of the request is of a type that is not read."""

    code = "unsupported_media_type"


class DomainError(OrgTenancyError):
    """Base of the rules of a module, as its API tells them."""

    code = "domain"


class NotFound(DomainError):
    """The thing does not exist, or the actor may not know that it does."""

    code = "not_found"


class Forbidden(DomainError):
    """The actor sees the thing, but may not do this to it."""

    code = "forbidden"


class Conflict(DomainError):
    """The change contradicts what is stored."""

    code = "conflict"


class InputError(BaseModel):
    """One thing that is wrong with an input.

    Attributes:
        place: The part of the request, which JSON calls `in`.
        field: The field in it, like `media.0.url`; empty for the part as a whole.
        message: What is wrong, for people.
    """

    model_config = ConfigDict(frozen=True)

    place: Literal["path", "query", "body"] = Field(serialization_alias="in")
    field: str
    message: str


class Invalid(DomainError):
    """The input breaks a rule.

    Attributes:
        errors: What is wrong with which field, where that is known.
    """

    code = "invalid"

    def __init__(
        self, message: str, *, errors: Iterable[InputError] = (), **about: Unpack[About]
    ) -> None:
        super().__init__(message, **about)
        self.errors = tuple(errors)


class EmbeddedServerError(OrgTenancyError):
    """The embedded PostgreSQL cannot be found, started or stopped."""

    code = "embedded_server"
