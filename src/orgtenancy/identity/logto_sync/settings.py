"""How to reach Logto, and what to take over from it."""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

#: How far Logto's clock and ours may be apart.
CLOCK_SKEW = timedelta(seconds=60)


class LogtoSettings(BaseSettings):
    """Settings of Logto, from arguments first, then from `ORGTENANCY_LOGTO_*`.

    Attributes:
        endpoint: Logto's address, such as `https://auth.example.com`.
        webhook_key: The signing key of the webhook; several, separated by commas, while it
            is being changed.
        webhook_max_age: Seconds that a webhook may be old.
        client_id: The machine-to-machine app with the Management API's role.
        client_secret: Its secret.
        management_resource: The Management API's resource indicator; Logto Cloud has
            another one for each tenant.
        page_size: Entries asked for at once; Logto gives at most 100.
        requests_per_second: Requests to the Management API, at most.
        timeout: Seconds for one request.
        sync_every: Seconds between two reconciliations; 0 for none.
        sync_members: Whether they also read who is a member of which organization.
        max_archived: A reconciliation that would archive more organizations is refused
            before it changes anything: more likely, it was told something wrong.
    """

    model_config = SettingsConfigDict(
        env_prefix="ORGTENANCY_LOGTO_", env_parse_none_str="none", frozen=True, extra="forbid"
    )

    endpoint: str
    webhook_key: SecretStr | None = None
    webhook_max_age: PositiveFloat = 300.0
    client_id: str | None = None
    client_secret: SecretStr | None = None
    management_resource: str = "https://default.logto.app/api"
    page_size: PositiveInt = Field(default=100, le=100)
    requests_per_second: PositiveFloat = 10.0
    timeout: PositiveFloat = 10.0
    sync_every: float = Field(default=600.0, ge=0)
    sync_members: bool = False
    max_archived: NonNegativeInt = 10
