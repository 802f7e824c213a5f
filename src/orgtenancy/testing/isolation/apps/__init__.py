"""A host's app and functions under proof."""

from orgtenancy.testing.isolation.apps.asking import Ask, WebSocket
from orgtenancy.testing.isolation.apps.subjects import AppSubject, FunctionsSubject
from orgtenancy.testing.isolation.apps.under_proof import AppUnderProof, AsMember, Plant

__all__ = [
    "AppSubject",
    "AppUnderProof",
    "AsMember",
    "Ask",
    "FunctionsSubject",
    "Plant",
    "WebSocket",
]
