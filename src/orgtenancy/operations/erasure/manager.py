"""Erasures: people who are to be forgotten."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from orgtenancy.database.engines import Database
from orgtenancy.modules import OrganizationModule
from orgtenancy.naming import validate_organization_id
from orgtenancy.operations.erasure.erasing import ACTION, OPERATION, Erasure, erase, find
from orgtenancy.operations.erasure.searching import Occurrence
from orgtenancy.operations.twins import in_thread
from orgtenancy.registry import audit
from orgtenancy.registry.locations import Locations
from orgtenancy.schemas.waiting import patiently


class Erasures:
    """Finds people in organizations, and erases them. It works as the owner, by `admin_url`.

    The person's id appears in no statement and in no log, neither here nor on the server; what
    a module's own `erase` does is the module's. The methods that end in `_async` do the same in
    a thread.

    Args:
        locations: Which placement an organization is on.
        modules: What is in every organization; they say which columns hold people's ids.
        on_change: Called in this process with the id of an organization that changed.
    """

    def __init__(
        self,
        locations: Locations,
        modules: Sequence[OrganizationModule],
        *,
        on_change: Callable[[str], None] = lambda organization_id: None,
    ) -> None:
        self._locations = locations
        self._modules = tuple(modules)
        self._on_change = on_change

    def find(self, organization_id: str, person_id: str) -> Sequence[Occurrence]:
        """Return the columns in which a person's id stands, in tables and in the registry.

        All texts, arrays and JSON are searched for it as a word, as it is written here. What is
        encrypted, hashed or in `bytea` cannot be seen.

        Args:
            organization_id: In which organization.
            person_id: The id.

        Raises:
            InvalidOrganizationId: If the organization's id breaks a naming rule.
            OrganizationNotFound: If the registry does not have it.
            OrganizationUnavailable: If it has no rows, as it is being provisioned or was purged.
            OrganizationBusy: If others hold it for too long.
        """
        _check(organization_id, person_id)

        def found(database: Database) -> Sequence[Occurrence]:
            others = self._locations.others(database)
            return patiently(
                organization_id,
                "find in",
                lambda: find(database, others, self._modules, organization_id, person_id),
            )

        return self._locations.at(organization_id, found)

    def erase(
        self,
        organization_id: str,
        person_id: str,
        *,
        replace_in: Collection[str] = (),
        ignoring: Collection[str] = (),
    ) -> Erasure:
        """Erase a person from an organization, for good.

        The id is replaced by a random pseudonym, the same one in all tables and in the
        registry, so that what was said still reads well; modules empty what else is personal.
        It is one transaction, during which nobody writes in the organization. At its end all
        texts are searched, and if the id is left anywhere, nothing is changed.

        Call it when the person cannot act any more: what is written later has the id again.
        Backups that were written before still have it.

        Args:
            organization_id: In which organization.
            person_id: The id.
            replace_in: Columns, as `table.column`, in which the id is a word of longer texts
                and is replaced there as well.
            ignoring: Columns in which what looks like the id is something else.

        Raises:
            InvalidOrganizationId: If the organization's id breaks a naming rule.
            OrganizationNotFound: If the registry does not have it.
            OrganizationUnavailable: If it has no rows, as it is being provisioned or was purged.
            OrganizationBusy: If others hold it, or write in it, for too long, or if it is about
                to be on another placement.
            ErasureRefused: If the id would be left in another column, or a column is too short
                for what would be in it; it tells which.
            ConfigurationError: If a column that is named does not exist.
        """
        _check(organization_id, person_id)

        def erased(database: Database) -> Erasure:
            others = self._locations.others(database)
            with audit.told_if_not_done(database, ACTION, organization_id):
                return patiently(
                    organization_id,
                    OPERATION,
                    lambda: erase(
                        database,
                        others,
                        self._modules,
                        organization_id,
                        person_id,
                        replace_in=replace_in,
                        ignoring=ignoring,
                    ),
                )

        erasure = self._locations.at(organization_id, erased)
        self._on_change(organization_id)
        return erasure

    find_async = in_thread(find)
    erase_async = in_thread(erase)


def _check(organization_id: str, person_id: str) -> None:
    validate_organization_id(organization_id)
    if not person_id or "\0" in person_id:
        raise ValueError("a person's id is a text, and not an empty one")
