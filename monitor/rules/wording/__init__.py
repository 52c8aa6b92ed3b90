"""What an alert says: a neutral message first, then its rendering in a channel's own markup, fit to what that can carry."""

from __future__ import annotations

from monitor.rules.wording.fitting import MOST_PARTS, fit, render
from monitor.rules.wording.items import Dispatch, Item
from monitor.rules.wording.message import Message, Section, compose, compose_each, compose_test, message_of
from monitor.rules.wording.names import clean, clean_id, defuse
from monitor.rules.wording.parts import File, Limits, Markup, Part, Profile, Tone

__all__ = [
    "MOST_PARTS",
    "Dispatch",
    "File",
    "Item",
    "Limits",
    "Markup",
    "Message",
    "Part",
    "Profile",
    "Section",
    "Tone",
    "clean",
    "clean_id",
    "compose",
    "compose_each",
    "compose_test",
    "defuse",
    "fit",
    "message_of",
    "render",
]
