"""The organization in another process of a pool."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, ParamSpec, TypeVar

from orgtenancy.context import current_organization
from orgtenancy.errors import ConfigurationError
from orgtenancy.propagation.carried import Carried, working_for
from orgtenancy.schemas.fleet.each import find_object
from orgtenancy.tenancy import Tenancy

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class ProcessCall(Generic[P, R]):
    """A function of a module that works for an organization in whatever process calls it.

    It can be pickled: it holds names and values, and no connection.

    Attributes:
        function: What is called.
        tenancy: Where the called process finds its `Tenancy`: `package.module:name`.
        carried: For whom.
    """

    function: Callable[P, R]
    tenancy: str
    carried: Carried

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Look the organization up in the registry, bind it, and call the function."""
        with working_for(_tenancy_at(self.tenancy), self.carried, origin=self.carried.origin):
            return self.function(*args, **kwargs)


def for_process(fn: Callable[P, R], *, tenancy: str) -> ProcessCall[P, R]:
    """Return `fn` for a process pool: it runs for the current organization there.

    ```python
    pool.submit(for_process(render, tenancy="shop.database:tenancy"), 7)
    ```

    No context and no connection goes to another process. The organization's id does, and
    actor and origin; the process binds them with its own tenancy, after it has looked in
    the registry that the organization exists and is active.

    Args:
        fn: A function of a module, as every process pool needs it.
        tenancy: `package.module:name` of the tenancy in the other process.

    Raises:
        OrganizationContextMissing: If no organization is bound.
        TypeError: If it is a coroutine function or a generator function.
    """
    current_organization()
    kinds = (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction)
    if any(is_kind(fn) for is_kind in kinds):
        raise TypeError(f"{fn!r} would not run in the process that it is sent to")
    return ProcessCall(fn, tenancy, Carried.from_context())


def _tenancy_at(place: str) -> Tenancy:
    found: Any = find_object(place)
    if not isinstance(found, Tenancy):
        raise ConfigurationError(f"{place!r} is a {type(found).__name__}, no Tenancy")
    return found
