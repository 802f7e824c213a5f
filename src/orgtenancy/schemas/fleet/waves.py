"""Who goes first."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence

from orgtenancy.errors import ConfigurationError
from orgtenancy.schemas.fleet.jobs import Wave
from orgtenancy.schemas.fleet.targets import Target


def assign_waves(targets: Sequence[Target], waves: Sequence[Wave]) -> list[int]:
    """Return the wave of each target, from 0; who is in none goes with the last.

    Spares go first: nobody uses them, so they find a broken revision for free.

    Raises:
        ConfigurationError: If a wave is empty, and so would try nothing out.
    """
    organizations = [target for target in targets if target.organization_id is not None]
    members = [_members(organizations, wave) for wave in waves]
    if targets:
        for number, (wave, found) in enumerate(zip(waves, members, strict=True), 1):
            if not found:
                raise ConfigurationError(f"nobody is in wave {number}: {_told(wave)}")
    numbers = [_first(target, members) for target in targets]
    used = {number: place for place, number in enumerate(sorted(set(numbers)))}
    return [used[number] for number in numbers]


def _members(organizations: Iterable[Target], wave: Wave) -> set[str]:
    if wave.organizations:
        wanted = set(wave.organizations)
        return {target.role_name for target in organizations if target.organization_id in wanted}
    if wave.attributes:
        return {
            target.role_name
            for target in organizations
            if all(target.attributes.get(k) == v for k, v in wave.attributes.items())
        }
    shuffled = sorted(organizations, key=lambda target: _digest(target.organization_id or ""))
    number = math.ceil(len(shuffled) * (wave.percent or 0) / 100)
    return {target.role_name for target in shuffled[:number]}


def _digest(organization_id: str) -> bytes:
    # In every release the same organizations, and no more those of one customer than another.
    return hashlib.blake2b(organization_id.encode(), digest_size=8).digest()


def _first(target: Target, members: Sequence[set[str]]) -> int:
    if target.organization_id is None:
        return 0
    return next(
        (number for number, found in enumerate(members) if target.role_name in found),
        len(members),
    )


def _told(wave: Wave) -> str:
    return wave.model_dump_json(exclude_defaults=True)
