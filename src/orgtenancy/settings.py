"""Settings, from arguments first, then from `ORGTENANCY_*` in the environment."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from typing import Self

from pydantic import Field, PositiveFloat, PositiveInt, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class IsolationLevel(StrEnum):
    """How PostgreSQL keeps organizations apart. See `docs/explanation/isolation.md`."""

    ROLE = "role"
    """One pool; each transaction takes the organization's role. The default."""

    LOGIN = "login"
    """A login and a pool per organization, for hosts that run SQL they do not trust."""

    SEARCH_PATH = "search_path"
    """One pool, no roles: for servers where none can be made. PostgreSQL refuses nothing."""


class ModuleSettings(BaseSettings):
    """Base of a module's settings; a module adds its own.

    A subclass names its own prefix for the environment:

    ```python
    class BillingSettings(ModuleSettings):
        model_config = SettingsConfigDict(env_prefix="BILLING_")
        currency: str = "EUR"
    ```

    Attributes:
        scopes: Which scopes an endpoint of the module asks for, by the endpoint's name,
            where that is not what the endpoint itself says.
    """

    model_config = SettingsConfigDict(env_parse_none_str="none", frozen=True, extra="forbid")

    scopes: Mapping[str, tuple[str, ...]] = Field(default_factory=dict)

    def scopes_of(self, endpoint: str, declared: tuple[str, ...]) -> tuple[str, ...]:
        """Return which scopes an endpoint asks for.

        Args:
            endpoint: Its name.
            declared: What the endpoint itself says.
        """
        return self.scopes.get(endpoint, declared)


class Settings(BaseSettings):
    """What can be tuned without a line of code.

    In the environment, `none` stands for None.

    Attributes:
        isolation: How PostgreSQL keeps organizations apart.
        login_secret: From which the passwords of level `login` are derived, at least 32
            characters; the same in every process, and never changed.
        login_pools: Organizations of level `login` whose pools are kept open per process;
            the one not used for longest is closed first.
        login_pool_size: Connections per pool of level `login`.
        pool_size: Connections kept per process, engine and placement.
        max_overflow: Connections opened beyond `pool_size` under load, then closed.
        pool_timeout: Seconds to wait for a connection.
        connect_timeout: Seconds to wait for the server to accept a connection.
        organizations_per_connection: A connection that served more organizations than
            this is closed when it comes back: a backend keeps the catalog entries of
            every schema it touched, 0.2 to 0.4 MB each, until it ends.
        prepared_statements: Server-side statements kept per connection.
        prepare_threshold: Executions after which a statement is prepared; None never
            prepares, as PgBouncer before 1.22 needs it.
        one_flush: Whether `BEGIN`, the scope and the first statement are sent together,
            which saves a round trip.
        refuse_session_state: Whether a statement that leaves something for the session, such as
            `SET` without `LOCAL`, is refused. Otherwise its connection is closed when it comes
            back, which behind a pooler in transaction mode does not end the session.
        hide_parameters: Whether what SQLAlchemy logs of a statement, and says in its errors, goes
            without the values: those of one organization, in everybody's logs.
        registry_max_age: Seconds that a look-up in the registry may be old.
        listen: Whether to hold one connection per process that hears of changes to the
            registry at once. Needs a server or a pooler that serves `LISTEN`.
        extensions_schema: A schema with extensions, in every organization's path.
        drop_batch_size: Objects dropped per transaction; a table takes a dozen locks.
        archive_grace: How long an archived organization can be restored before it may be purged.
        lifecycle_lock_timeout: Seconds that a change of an organization's status waits for
            whoever holds its row, such as the end of a migration.
        fence_timeout: Seconds that `fence` waits for the writes that are under way.
        membership_max_age: Seconds for which a process that does not hear of changes may
            remember who is a member.
        inbox_retention: How long events of the identity provider are kept after their work
            was done; what comes late or twice is told by them.
        max_attempts: How often `Tenancy.run` tries a function that PostgreSQL asks to retry.
    """

    model_config = SettingsConfigDict(
        env_prefix="ORGTENANCY_", env_parse_none_str="none", frozen=True, extra="forbid"
    )

    isolation: IsolationLevel = IsolationLevel.ROLE
    login_secret: SecretStr | None = Field(default=None, min_length=32)
    login_pools: PositiveInt = 20
    login_pool_size: PositiveInt = 2
    pool_size: PositiveInt = 5
    max_overflow: int = Field(default=10, ge=0)
    pool_timeout: PositiveFloat = 30.0
    connect_timeout: PositiveInt = 10
    organizations_per_connection: PositiveInt = 300
    prepared_statements: PositiveInt = 1000
    prepare_threshold: int | None = Field(default=5, ge=0)
    one_flush: bool = True
    refuse_session_state: bool = False
    hide_parameters: bool = True
    registry_max_age: PositiveFloat = 30.0
    listen: bool = True
    extensions_schema: str | None = None
    drop_batch_size: PositiveInt = 5
    archive_grace: timedelta = timedelta(days=30)
    lifecycle_lock_timeout: PositiveFloat = 10.0
    fence_timeout: PositiveFloat = 10.0
    membership_max_age: PositiveFloat = 30.0
    inbox_retention: timedelta = timedelta(days=7)
    max_attempts: PositiveInt = 5

    @model_validator(mode="after")
    def _check_secret(self) -> Self:
        if self.isolation is IsolationLevel.LOGIN and self.login_secret is None:
            raise ValueError("isolation 'login' needs a login_secret")
        return self
