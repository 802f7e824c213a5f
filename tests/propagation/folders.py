"""Kombu's broker that is a folder, with messages that appear there whole.

Kombu writes a message in the place that it is read from: under load, a worker meets half of
one, and ends.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any
from uuid import uuid4

from kombu.transport import filesystem
from kombu.utils.json import dumps


def put(channel: Any, queue: str, payload: Any, **options: Any) -> None:
    """Write a message beside the others, and rename it to what a worker looks for."""
    folder = Path(channel.data_folder_out)
    half = folder / f"{uuid4()}.half"
    half.write_text(dumps(payload))
    half.rename(folder / f"{time.monotonic_ns():020}_{uuid4()}.{queue}.msg")


def use_whole_messages() -> None:
    """Make the processes that call it write whole messages."""
    channel: Any = filesystem.Channel
    channel._put = put
