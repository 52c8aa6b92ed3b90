"""Message parts, channel limits, and escaping for each markup style."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from html import escape as escape_html

from monitor.notify.messages.sizes import Size, characters

MOST_PARTS = 3
"""The most messages for one batch of alerts. (Services that manage incidents get separate messages for each.)"""


class Tone(StrEnum):
    """The colour of a message, where a channel has colours."""

    INFO = "info"
    SUCCESS = "success"
    WARNING = "warning"
    FAILURE = "failure"


class Markup(StrEnum):
    """The markup languages of channels."""

    TEXT = "text"
    """Plain text without any markup."""
    CHAT = "chat"
    """The Markdown of chats, which keeps line breaks (Discord, Mattermost, Zulip ...)."""
    MARKDOWN = "markdown"
    """CommonMark."""
    SLACK = "slack"
    """Slack's mrkdwn."""
    HTML = "html"
    """A few inline tags (Telegram, Matrix)."""
    MAIL = "mail"
    """A complete HTML mail."""


PLAIN = frozenset({Markup.TEXT, Markup.MAIL})
"""The markups that make no links of names, so that names can be copied unchanged (see `monitor.domain.text.defuse_plain`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelLimits:
    """The limits of a channel."""

    body: int = 32768
    """The largest body, in the unit of `size`."""
    size: Size = characters
    title: int = 250
    """The largest title; 0 where the channel has no titles: the title becomes the first line of the body."""
    title_size: Size = characters
    """The unit of `title`."""
    shared: bool = False
    """True if the title counts towards the limit of the body."""
    lines: int = 0
    """The most lines of a body, 0 for no limit."""
    parts: int = MOST_PARTS
    """The most messages for one batch of alerts."""

    @property
    def title_in_body(self) -> bool:
        """True if the title takes room in the body."""
        return self.shared or self.title == 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelProfile:
    """The capabilities of a channel."""

    limits: ChannelLimits = field(default_factory=ChannelLimits)
    markup: Markup = Markup.TEXT
    title_has_markup: bool = False
    """True if the title is read as markup too, because it is shown as the first line of the body."""
    files: bool = False
    """True if any file can be attached."""
    per_incident: bool = False
    """True if the service manages incidents: each incident gets separate messages, which are never grouped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """A file attached to a message."""

    name: str
    mimetype: str
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One message for a channel, and the alerts in it."""

    title: str
    body: str
    tone: Tone
    alert_ids: tuple[str, ...]
    """Every alert that is delivered once this part has arrived, including those merged into another one."""
    markup: Markup = Markup.TEXT
    files: tuple[Attachment, ...] = ()
    incident: str = ""
    """The incident's stable id, where the service manages incidents."""
    resolves: bool = False
    """True if this ends `incident`."""
    secrets: tuple[str, ...] = field(default=(), repr=False)
    """Addresses of connection pages and acknowledge links within it, which no record of the service's response may contain."""
    page: str = ""
    """The page of this monitor that shows what the message is about, for services that open an address on a click."""
    acknowledge: str = field(default="", repr=False)
    """The link that acknowledges its incident, for services with buttons; empty where there is none, or more than one."""
    tags: tuple[str, ...] = ()
    """Event, platform and source, for services with tags; each where it is the same for all alerts."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Mail headers: the thread of an incident, and where the mail comes from. Other channels ignore them."""


def _unchanged(text: str) -> str:
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """The functions that write one markup. All are pure; `strong`, `code` and `link` take raw text and escape it."""

    escape: Callable[[str], str] = _unchanged
    strong: Callable[[str], str] = _unchanged
    code: Callable[[str], str] = _unchanged
    """For ids that are copied exactly."""
    link: Callable[[str], str] = _unchanged
    """For links that were checked to be plain https (see `alert_text`)."""
    named_link: Callable[[str, str], str] = lambda text, _url: text
    """For a name, as raw text, that leads to such a link; only the name in formats without links."""
    newline: str = "\n"
    gap: str = "\n\n"
    """Between paragraphs."""
    indent: str = "  "
    """Before the second and later lines of a list entry."""


# `.` and `-` are special only at the beginning of a line, where no untrusted text stands.
_MARKDOWN_SPECIAL = re.compile(r"([\\`*_~\[\]<>|#])")


def escape_markdown(text: str) -> str:
    """Return literal text for all dialects of Markdown: special characters are escaped with a backslash."""
    return _MARKDOWN_SPECIAL.sub(r"\\\1", text)


def _strong_markdown(text: str) -> str:
    return f"**{escape_markdown(text)}**"


def _code_markdown(text: str) -> str:
    # A backtick cannot be escaped within a code span; plain ids contain none.
    return f"`{text}`" if text and "`" not in text else escape_markdown(text)


def _link_in_angles(url: str) -> str:
    return f"<{url}>"


def _named_link_markdown(text: str, url: str) -> str:
    return f"[{escape_markdown(text)}](<{url}>)"


# Slack has no escape for its formatting characters, so they are replaced by lookalikes without a meaning.
_SLACK_LOOKALIKES = str.maketrans({"*": "\u2217", "~": "\u223c", "`": "'"})
_SLACK_EDGE_UNDERSCORE = re.compile(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")


def escape_slack(text: str) -> str:
    """Return literal text for Slack's mrkdwn: control characters as entities, formatting characters as lookalikes."""
    return _SLACK_EDGE_UNDERSCORE.sub("\u02cd", escape_html(text, quote=False).translate(_SLACK_LOOKALIKES))


def _strong_slack(text: str) -> str:
    return f"*{escape_slack(text)}*"


def _code_slack(text: str) -> str:
    return f"`{escape_html(text, quote=False)}`" if text and "`" not in text else escape_slack(text)


def _link_slack(url: str) -> str:
    return f"<{escape_html(url, quote=False)}>"


def _named_link_slack(text: str, url: str) -> str:
    return f"<{escape_html(url, quote=False)}|{escape_slack(text)}>"


def _strong_html(text: str) -> str:
    return f"<b>{escape_html(text)}</b>"


def _code_html(text: str) -> str:
    return f"<code>{escape_html(text)}</code>"


def _link_html(url: str) -> str:
    return f'<a href="{escape_html(url)}">{escape_html(url)}</a>'


def _named_link_html(text: str, url: str) -> str:
    return f'<a href="{escape_html(url)}">{escape_html(text)}</a>'


_STYLES = {
    Markup.TEXT: Style(),
    Markup.CHAT: Style(
        escape=escape_markdown,
        strong=_strong_markdown,
        code=_code_markdown,
        link=_link_in_angles,
        named_link=_named_link_markdown,
    ),
    # Two spaces at the end of a line make a line break.
    Markup.MARKDOWN: Style(
        escape=escape_markdown,
        strong=_strong_markdown,
        code=_code_markdown,
        link=_link_in_angles,
        named_link=_named_link_markdown,
        newline="  \n",
    ),
    Markup.SLACK: Style(
        escape=escape_slack, strong=_strong_slack, code=_code_slack, link=_link_slack, named_link=_named_link_slack
    ),
    Markup.HTML: Style(
        escape=escape_html,
        strong=_strong_html,
        code=_code_html,
        link=_link_html,
        named_link=_named_link_html,
        newline="<br>",
        indent="&nbsp; ",
    ),
    Markup.MAIL: Style(
        escape=escape_html,
        strong=_strong_html,
        code=_code_html,
        link=_link_html,
        named_link=_named_link_html,
        newline="<br>",
    ),
}


def style_of(markup: Markup) -> Style:
    """Return the functions that write this markup."""
    return _STYLES[markup]
