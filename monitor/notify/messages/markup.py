"""What a message becomes on its way out: texts in a channel's own markup, files, and what a channel can carry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Tone(StrEnum):
    """How a message is to be coloured where a channel has colours."""

    INFO = "info"
    SUCCESS = "success"
    WARNING = "warning"
    FAILURE = "failure"


class Markup(StrEnum):
    """The languages that channels read."""

    TEXT = "text"
    """Plain text: nothing in it means anything."""
    CHAT = "chat"
    """Markdown as chats read it, line breaks kept (Discord, Mattermost, Zulip ...)."""
    MARKDOWN = "markdown"
    """CommonMark."""
    SLACK = "slack"
    """Slack's own mrkdwn."""
    HTML = "html"
    """A few inline tags (Telegram, Matrix)."""
    MAIL = "mail"
    """A whole HTML letter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a channel can carry, in characters."""

    body: int = 32768
    title: int = 250
    """0 where the channel has no titles and puts them on top of the body."""
    shared: bool = False
    """Whether the title counts against the body's limit."""
    lines: int = 0
    """The most lines a body may have, 0 for any number."""

    @property
    def on_top(self) -> bool:
        """Whether the title costs room in the body."""
        return self.shared or self.title == 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What a channel understands and can carry."""

    limits: Limits = field(default_factory=Limits)
    markup: Markup = Markup.TEXT
    marked_title: bool = False
    """Whether the title is read as markup too, because it is shown as the top of the body."""
    files: bool = False
    """Whether any file may be attached."""
    one_each: bool = False
    """The service keeps incidents of its own: one message for each of ours, never grouped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """Something to attach."""

    name: str
    mimetype: str
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One message to hand to a channel, and the alerts that it says."""

    title: str
    body: str
    tone: Tone
    alert_ids: tuple[str, ...]
    """Every alert that is settled once this part has arrived, those folded into another one included."""
    markup: Markup = Markup.TEXT
    files: tuple[File, ...] = ()
    incident: str = ""
    """Where the channel keeps incidents of its own: the stable id of ours."""
    resolves: bool = False
    """Where `incident` is set: whether that is over with this."""
    secrets: tuple[str, ...] = field(default=(), repr=False)
    """Addresses within it that open a connection page: of no use in any record of what a service answered."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Mail headers that keep an incident's messages in one thread. Other channels ignore them."""
