"""A function for every organization, whenever a scheduler says so."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from orgtenancy.context import acting
from orgtenancy.errors import JobLocked
from orgtenancy.schemas.fleet import JobOptions

if TYPE_CHECKING:
    from orgtenancy.schemas.fleet.each import TransactionFunction
    from orgtenancy.schemas.fleet.jobs import Job
    from orgtenancy.tenancy import Tenancy

logger = logging.getLogger("orgtenancy.schedules")


class FleetSchedule:
    """What a scheduler calls to have a function run for every active organization.

    ```python
    nightly = FleetSchedule(tenancy, send_digest)
    scheduler.add_job(nightly, "cron", hour=3)
    ```

    Each call is a job of the fleet: workers, limits and journal are the same, and what failed
    can be resumed. Nobody acts in it, even where the scheduler calls it in the context of the
    request that woke it up.

    Args:
        tenancy: Whose organizations; it needs an `admin_url`.
        function: A function of a module, called with a session of each organization.
        organizations: Only these.
        options: Workers and limits.
    """

    def __init__(
        self,
        tenancy: Tenancy,
        function: TransactionFunction,
        *,
        organizations: Sequence[str] | None = None,
        options: JobOptions | None = None,
    ) -> None:
        self._tenancy = tenancy
        self._function = function
        self._organizations = organizations
        self._options = JobOptions() if options is None else options
        self.name = f"{function.__module__}:{function.__qualname__}"

    def __call__(self) -> Job | None:
        """Run the job, and return it, or None if there was nothing to do.

        A run is left out, with a warning, while another runner works on the placement: an
        earlier run, the same schedule of another process, or a migration.

        Raises:
            JobFailed: If it failed for some organizations; the others were done.
        """
        with acting(None, f"schedule:{self.name}"):
            try:
                return self._tenancy.schemas.fleet.each(
                    self._function, organizations=self._organizations, options=self._options
                )
            except JobLocked as error:
                logger.warning("%s is left out: %s", self.name, error)
                return None
