"""Cleaning of untrusted text from providers and platforms.

`sanitize` is for storage: it replaces what breaks a database, a log or a terminal, and keeps the rest unchanged.
`clean` is for display: it also removes invisible characters and stacked accents, and limits the length of a name.
`defuse` is for chats, after `clean`: it breaks mentions, links and formatting. `defuse_plain` is for formats that make no links
of names, so that names can be copied.
"""

from __future__ import annotations

import re
import unicodedata

MAX_TEXT = 256
"""Maximum length of a stored text, in characters."""

_BREAKS = re.compile(r"[\t-\r\x1c-\x1e\x85\u2028\u2029]+")
# Control characters (NUL too), lone surrogates, and marks that reorder the text around them. Joiners stay: emoji need them.
_UNFIT = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")

# No "@" before the path: a user name there can pose as the host.
_ADDRESS = re.compile(r"https?://[^\s/?#@\\]+(?:[/?#]\S*)?")


def sanitize(text: str) -> str:
    """Return a text for storage: one line, with U+FFFD for control characters, lone surrogates and bidi overrides.

    At most 256 characters, ending in "…" if it was cut. Invisible but harmless characters stay; see `clean` for display.
    """
    if len(text) > MAX_TEXT * 4:
        text = text[: MAX_TEXT * 4]
    if not text.isprintable():
        text = _UNFIT.sub("\ufffd", _BREAKS.sub(" ", text))
    text = text.strip()
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"


def sanitize_or_none(text: str | None) -> str | None:
    """Sanitize a text; None for None and for an empty result."""
    return (sanitize(text) or None) if text else None


def web_address(text: str | None) -> str | None:
    """Return the text if it is an http or https address that is safe to follow, else None (FAILURES S8)."""
    if not text or len(text) > MAX_TEXT or not text.isprintable():
        return None
    return text if _ADDRESS.fullmatch(text) else None


BREAK = "\u200b"
"""A zero-width space: invisible, and enough to stop a chat from recognising the text that it splits."""

NAME_LENGTH = 80
"""Maximum length of a displayed name, in characters."""

_ANSI = re.compile(r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|\x1b[@-Z\\-_]|\x1b")
_SPACE = re.compile(r"\s+")
_STACKED_MARKS = 3
_LONGEST_ID = 512  # source, managed user and the provider's own id
_DROPPED = ("Cc", "Cf", "Cn", "Co")
_JOINERS = "\u200c\u200d"
_BLANK = re.compile("[\\s\u115f\u1160\u2800\u3164\uffa0\ufe00-\ufe0f\u200c\u200d]*")
_PLAIN_ID = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._:~+=|-]|/(?!/))*")

# Applied in this order; no replacement creates a match for another pattern.
_MENTION = re.compile(r"([@\uff20\ufe6b])(?=[^\s\u200b])")
_GROUP_MENTION = re.compile(r"([@\uff20\ufe6b])(?=(?:everyone|here|channel|all|room)\b)", re.IGNORECASE)
_ANGLE = re.compile(r"<(?=[^\s\u200b])")
_SCHEME = re.compile(r":(?=//)|(?:(?<=mailto)|(?<=javascript)|(?<=data)):(?=[^\s\u200b])", re.IGNORECASE)
_DOMAIN = re.compile(r"(?<=\w)\.(?=[^\W\d_]{2})")
_LINK_JOINT = re.compile(r"\](?=[(\[])")
_DOUBLED = re.compile(r"([*_~|])(?=\1)")
_ALWAYS_BROKEN = ((_GROUP_MENTION, r"\1"), (_ANGLE, "<"), (_SCHEME, ":"), (_LINK_JOINT, "]"))
"""With what is kept of each match."""


def clean(text: str | None, *, limit: int = NAME_LENGTH, otherwise: str = "") -> str:
    """Return a text for display: one line of at most `limit` characters; `otherwise` if nothing visible is left.

    Removes ANSI sequences, control, bidi and invisible characters, and more than three combining marks in a row.
    """
    if text and text.isascii() and text.isprintable() and "  " not in text and text[0] != " " != text[-1]:
        return text if len(text) <= limit else _cut(text, limit)  # nearly every text: 20 times faster
    kept: list[str] = []
    marks = 0
    for character in _ANSI.sub("", text or ""):
        category = unicodedata.category(character)
        if category in ("Mn", "Me"):
            marks += 1
        elif category not in _DROPPED:  # a removed character does not separate marks
            marks = 0
        if marks > _STACKED_MARKS:
            continue
        if category in ("Zl", "Zp", "Zs") or character in "\t\n\r\v\f\x85":
            kept.append(" ")
        elif category == "Cs":
            kept.append("\ufffd")
        elif character in _JOINERS and kept and ord(kept[-1]) > 0x2FF:
            kept.append(character)  # emoji families and Persian words are made with these
        elif category not in _DROPPED:
            kept.append(character)
    line = _SPACE.sub(" ", "".join(kept)).strip()
    if _BLANK.fullmatch(line):
        return otherwise
    return line if len(line) <= limit else _cut(line, limit)


def _cut(line: str, limit: int) -> str:
    return line[: limit - 1].rstrip() + "\u2026"


def defuse(line: str, *, domains: bool = True) -> str:
    """Return a line that no chat interprets: mentions, links and formatting are broken by zero-width spaces.

    `domains` also breaks bare names such as example.com, which many chats turn into links.
    """
    line = line.replace("`", "'").replace("\\", "\uff3c")
    line = _MENTION.sub(r"\1" + BREAK, line)
    line = _ANGLE.sub("<" + BREAK, line)
    line = _SCHEME.sub(":" + BREAK, line)
    line = _LINK_JOINT.sub("]" + BREAK, line)
    line = _DOUBLED.sub(r"\1" + BREAK, line)
    return _DOMAIN.sub("." + BREAK, line) if domains else line


def defuse_plain(line: str) -> str:
    """Return a line for plain text and mail: breaks only mentions of a group, tags, and links with a scheme or a text.

    Names such as @acme and acme.example stay unchanged, so that they can be copied.
    """
    for pattern, kept in _ALWAYS_BROKEN:
        line = pattern.sub(kept + BREAK, line)
    return line


def name(text: str | None, *, otherwise: str, plain: bool = False) -> str:
    """Return an untrusted name, ready for a message; `plain` as in `defuse_plain`."""
    return _defused(clean(text, otherwise=otherwise), plain=plain)


def _defused(line: str, *, plain: bool) -> str:
    return defuse_plain(line) if plain else defuse(line)


def readable(word: str) -> str:
    """Return a machine word with spaces: `expiring_soon` as "expiring soon"."""
    return word.replace("_", " ")


def sentence(text: str | None, *, plain: bool = False) -> str:
    """Return an untrusted sentence, ready for a message and ending in a full stop; empty if nothing is left."""
    line = _defused(clean(text, limit=256), plain=plain)
    return line if not line or line[-1] in ".!?\u2026" else line + "."


def is_plain_id(text: str) -> bool:
    """Return True if an id is harmless in any message and, quoted, on a command line."""
    return _PLAIN_ID.fullmatch(text) is not None and len(text) <= _LONGEST_ID


def clean_id(text: str, *, limit: int = 256, plain: bool = False) -> str:
    """Return a harmless id unchanged, so that it can be searched for; else cleaned and defused; `plain` as in `defuse_plain`."""
    if _PLAIN_ID.fullmatch(text) and len(text) <= limit:
        return text
    return _defused(clean(text, limit=limit, otherwise="?"), plain=plain)
