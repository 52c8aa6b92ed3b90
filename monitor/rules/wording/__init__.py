"""What an alert says: a neutral message first, then its rendering in one format (plain text for now)."""

from __future__ import annotations

from monitor.rules.wording.message import Dispatch, Item, Message, Section, Tone, compose, compose_test
from monitor.rules.wording.names import clean, clean_id, defuse
from monitor.rules.wording.text import Limits, Part, fit, render

__all__ = [
    "Dispatch",
    "Item",
    "Limits",
    "Message",
    "Part",
    "Section",
    "Tone",
    "clean",
    "clean_id",
    "compose",
    "compose_test",
    "defuse",
    "fit",
    "render",
]
