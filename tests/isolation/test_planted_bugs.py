"""The kit finds a planted bug of each class, and says by what."""

from __future__ import annotations
