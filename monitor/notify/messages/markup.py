"""Message parts, channel limits, and escaping for each markup style."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from html import escape as escape_html


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
class ChannelLimits:
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
class ChannelProfile:
    """What a channel understands and can carry."""

    limits: ChannelLimits = field(default_factory=ChannelLimits)
    markup: Markup = Markup.TEXT
    marked_title: bool = False
    """Whether the title is read as markup too, because it is shown as the top of the body."""
    files: bool = False
    """Whether any file may be attached."""
    one_each: bool = False
    """The service keeps incidents of its own: one message for each of ours, never grouped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
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
    files: tuple[Attachment, ...] = ()
    incident: str = ""
    """Where the channel keeps incidents of its own: the stable id of ours."""
    resolves: bool = False
    """Where `incident` is set: whether that is over with this."""
    secrets: tuple[str, ...] = field(default=(), repr=False)
    """Addresses within it that open a connection page: of no use in any record of what a service answered."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Mail headers that keep an incident's messages in one thread. Other channels ignore them."""


def _as_it_is(text: str) -> str:
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """One way of writing. All functions are pure; `strong`, `code` and `link` take raw text and escape it themselves."""

    escape: Callable[[str], str] = _as_it_is
    strong: Callable[[str], str] = _as_it_is
    code: Callable[[str], str] = _as_it_is
    """For ids, to be copied exactly."""
    link: Callable[[str], str] = _as_it_is
    """For our own links (plain https, see `items`)."""
    newline: str = "\n"
    gap: str = "\n\n"
    """Between paragraphs."""
    indent: str = "  "
    """In front of the further lines of an entry in a list."""


# `.` and `-` mean something only in places where no stranger's text begins.
_MARKDOWN_POWERS = re.compile(r"([\\`*_~\[\]<>|#])")


def escape_markdown(text: str) -> str:
    """Literal text for Markdown in all its dialects: what could mean something is escaped by a backslash."""
    return _MARKDOWN_POWERS.sub(r"\\\1", text)


def _strong_markdown(text: str) -> str:
    return f"**{escape_markdown(text)}**"


def _code_markdown(text: str) -> str:
    # Within a code span a backslash is itself, so a backtick cannot be escaped there; harmless ids hold none.
    return f"`{text}`" if text and "`" not in text else escape_markdown(text)


def _link_in_angles(url: str) -> str:
    return f"<{url}>"


# Slack has no escape for its formatting, so its marks are replaced by signs that look the same and mean nothing.
_SLACK_LOOKALIKES = str.maketrans({"*": "\u2217", "~": "\u223c", "`": "'"})
_SLACK_EDGE_UNDERSCORE = re.compile(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")


def escape_slack(text: str) -> str:
    """Literal text for Slack's mrkdwn: its three control characters as entities, its formatting marks by lookalikes."""
    return _SLACK_EDGE_UNDERSCORE.sub("\u02cd", escape_html(text, quote=False).translate(_SLACK_LOOKALIKES))


def _strong_slack(text: str) -> str:
    return f"*{escape_slack(text)}*"


def _code_slack(text: str) -> str:
    return f"`{escape_html(text, quote=False)}`" if text and "`" not in text else escape_slack(text)


def _link_slack(url: str) -> str:
    return f"<{escape_html(url, quote=False)}>"


def _strong_html(text: str) -> str:
    return f"<b>{escape_html(text)}</b>"


def _code_html(text: str) -> str:
    return f"<code>{escape_html(text)}</code>"


def _link_html(url: str) -> str:
    return f'<a href="{escape_html(url)}">{escape_html(url)}</a>'


_STYLES = {
    Markup.TEXT: Style(),
    Markup.CHAT: Style(escape=escape_markdown, strong=_strong_markdown, code=_code_markdown, link=_link_in_angles),
    # Two spaces at its end keep a line a line of its own.
    Markup.MARKDOWN: Style(
        escape=escape_markdown, strong=_strong_markdown, code=_code_markdown, link=_link_in_angles, newline="  \n"
    ),
    Markup.SLACK: Style(escape=escape_slack, strong=_strong_slack, code=_code_slack, link=_link_slack),
    Markup.HTML: Style(
        escape=escape_html, strong=_strong_html, code=_code_html, link=_link_html, newline="<br>", indent="&nbsp; "
    ),
    Markup.MAIL: Style(escape=escape_html, strong=_strong_html, code=_code_html, link=_link_html, newline="<br>"),
}


def style_of(markup: Markup) -> Style:
    """How that is written."""
    return _STYLES[markup]
