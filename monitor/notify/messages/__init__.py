"""Messages: composed independently of any format, then rendered in a channel's markup and fitted into its limits."""

from __future__ import annotations

from monitor.domain.text import clean, clean_id, defuse
from monitor.notify.messages.alert_text import Dispatch, Item
from monitor.notify.messages.fitting import fit, render
from monitor.notify.messages.markup import MOST_PARTS, Attachment, ChannelLimits, ChannelProfile, Markup, Part, Tone
from monitor.notify.messages.message import Message, Section, compose, compose_each, compose_test, message_of

__all__ = [
    "MOST_PARTS",
    "Attachment",
    "ChannelLimits",
    "ChannelProfile",
    "Dispatch",
    "Item",
    "Markup",
    "Message",
    "Part",
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
