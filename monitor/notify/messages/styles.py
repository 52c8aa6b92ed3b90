"""How each kind of channel writes: what must be escaped there, and what its own bold, code and links look like.

Everything that is laid out passes `escape` first, ours and strangers' alike, so that nobody has to know which is which.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from html import escape as escape_html

from monitor.notify.messages.markup import Markup


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
