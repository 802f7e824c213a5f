"""Settings, from arguments first, then from `ORGTENANCY_*` in the environment."""

from __future__ import annotations

from pydantic import Field, PositiveFloat, PositiveInt
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """What can be tuned without a line of code.

    Attributes:
        pool_size: Connections kept per process, engine and placement.
        max_overflow: Connections opened beyond `pool_size` under load, then closed.
        pool_timeout: Seconds to wait for a connection.
        connect_timeout: Seconds to wait for the server to accept a connection.
        organizations_per_connection: A connection that served more organizations than
            this is closed when it comes back: a backend keeps the catalog entries of
            every schema it touched, about 0.2 MB each, until it ends.
        prepared_statements: Server-side statements kept per connection.
        prepare_threshold: Executions after which a statement is prepared; None never
            prepares, as PgBouncer before 1.21 needs it.
        registry_max_age: Seconds that a look-up in the registry may be old.
        listen: Whether to hold one connection per process that hears of changes to the
            registry at once. Needs a server or a pooler that serves `LISTEN`.
        extensions_schema: A schema with extensions, in every organization's path.
        drop_batch_size: Tables dropped per transaction; each takes a dozen locks.
        max_attempts: How often `Tenancy.run` tries a function that PostgreSQL asks to retry.
    """

    model_config = SettingsConfigDict(env_prefix="ORGTENANCY_", frozen=True, extra="forbid")

    pool_size: PositiveInt = 5
    max_overflow: int = Field(default=10, ge=0)
    pool_timeout: PositiveFloat = 30.0
    connect_timeout: PositiveInt = 10
    organizations_per_connection: PositiveInt = 300
    prepared_statements: PositiveInt = 1000
    prepare_threshold: int | None = Field(default=5, ge=0)
    registry_max_age: PositiveFloat = 30.0
    listen: bool = True
    extensions_schema: str | None = None
    drop_batch_size: PositiveInt = 5
    max_attempts: PositiveInt = 5
