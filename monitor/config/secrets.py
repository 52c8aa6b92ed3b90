"""Secrets, and reading them from the file, the environment, other files or systemd credentials."""

from __future__ import annotations

import hmac
import os
import re
import secrets
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, NoReturn, Self

from monitor.config.error_text import looks_like_secret

HIDDEN = "<secret>"


class Secret:
    """An API key, a token or a URL that may contain one.

    Only `reveal` returns the text. Printing, formatting, logging, and JSON encoders that fall back to `str` or
    `repr` produce `<secret>`; pickling raises TypeError. Two secrets are equal if their texts are.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text. Call this where the text is used, and do not keep the result in a long-lived variable."""
        return self._text

    def __str__(self) -> str:
        return HIDDEN

    def __repr__(self) -> str:
        return HIDDEN

    def __format__(self, spec: str) -> str:
        return format(HIDDEN, spec)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(_octets(self._text), _octets(other._text))

    def __hash__(self) -> int:
        return hash((Secret, self._text))

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("A secret cannot be pickled.")


SHORTEST_TOKEN = 22
"""Characters of a token that other machines may try to guess: 128 random bits in base64 have 22."""


def suggested_token() -> str:
    """Return a new random token, of digits and letters that no message format changes."""
    return secrets.token_hex(16)


UNREAD: Final = Secret("unread")
"""Placeholder for a secret that could not be read, in a configuration for commands that do not need it."""


def _octets(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


SecretKind = Literal["literal", "env", "file", "credential"]
REFERENCE_KINDS: tuple[SecretKind, ...] = ("env", "file", "credential")
_LARGEST = 65536
_FOLDER_ID = "token-monitor"
"""The id under which the systemd unit loads the folder of credentials."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_EXPECTED_OPEN = ("/run/secrets/", "/var/run/secrets/")  # container engines mount secrets there, readable by design


class UnusableError(Exception):
    """A value is unusable; the message continues after the key path."""


@dataclass(frozen=True, slots=True)
class SecretSource:
    """Origin of a secret."""

    kind: SecretKind
    text: str = field(repr=False)
    """The secret itself if kind is literal, else the name of the variable, file or credential."""


@dataclass(frozen=True, slots=True)
class ResolveContext:
    """The environment and folder against which references are resolved."""

    env: Mapping[str, str] = field(repr=False)
    folder: Path
    """The configuration file's folder, absolute."""
    unread_kinds: frozenset[SecretKind] = frozenset()
    """Kinds of secrets that may be readable by the daemon alone: an unreadable one becomes UNREAD, not an error."""

    def path(self, text: str) -> Path:
        """Return a path from the configuration, relative to its folder. Raises UnusableError if it is not usable."""
        if text.startswith("~"):
            raise UnusableError("starts with ~, which is not expanded: write the full path.")
        if not text or "\0" in text:
            raise UnusableError("is not a path to a file.")
        return self.folder / text


def read_secret(source: SecretSource, context: ResolveContext, *, strict: bool) -> Secret:
    """Return the secret without surrounding white space.

    With `strict` (API keys and tokens, which are sent in a header) it must be printable ASCII without spaces; otherwise
    (URLs) only control characters are rejected. A value in quotes is always rejected: no service issues such a key, and no
    URL begins with a quote, but an env file may keep the quotes of a shell. Raises UnusableError, which names the origin
    and never the value.
    """
    text = _raw_text(source, context).strip()
    origin = _origin(source)
    if not text:
        raise UnusableError(f"is empty{origin}: a secret is needed.")
    if is_quoted(text):
        kept = ", which an env file keeps" if source.kind == "env" else ""
        raise UnusableError(f"is in quotes{origin}{kept}: write it without quotes.")
    if HIDDEN in text:
        raise UnusableError(f"contains the placeholder {HIDDEN}{origin}: insert the real secret.")
    if _CONTROL.search(text):
        raise UnusableError(f"contains a line break or another control character{origin}: it must be one line.")
    if strict and not text.isascii():
        raise UnusableError(f"contains a character that is not ASCII{origin}: copy it again.")
    if strict and any(character.isspace() for character in text):
        raise UnusableError(f"contains a space{origin}: copy it again.")
    return Secret(text)


def is_quoted(text: str) -> bool:
    """Return True if a text begins and ends with the same quotation mark."""
    return len(text) > 1 and text[0] == text[-1] and text[0] in "\"'`"


def is_exposed(source: SecretSource, context: ResolveContext) -> bool:
    """Return True if a secret's own file can be read by its group or by every user of this machine."""
    if source.kind != "file":
        return False
    path = context.folder / source.text
    return not str(path).startswith(_EXPECTED_OPEN) and readable_by_others(path)


def readable_by_others(path: Path) -> bool:
    """Return True if group or others may read the file; False if that cannot be determined."""
    try:
        return bool(path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH))
    except OSError:
        return False


def _raw_text(source: SecretSource, context: ResolveContext) -> str:
    match source.kind:
        case "literal":
            return source.text
        case "env":
            return _from_environment(source.text, context)
        case "file":
            return _from_file(context.path(source.text), f"the file {_shown(source.text)}")
        case "credential":
            return _from_credential(source.text, context)


def _from_environment(name: str, context: ResolveContext) -> str:
    value = context.env.get(name)
    if value is None:
        raise UnusableError(f"needs the environment variable {_shown(name)}, which is not set.")
    return value


def _from_credential(name: str, context: ResolveContext) -> str:
    folder = context.env.get("CREDENTIALS_DIRECTORY")
    if not folder:
        raise UnusableError(
            f"needs the systemd credential {_shown(name)}, but CREDENTIALS_DIRECTORY is not set: "
            "add a LoadCredential= line to the unit."
        )
    if "/" in name or name in ("", ".", ".."):
        raise UnusableError("names a systemd credential by a path: write only its name.")
    path = Path(folder) / name
    given = path.with_name(f"{_FOLDER_ID}_{name}")  # LoadCredential= of a whole folder puts its own id in front
    if os.path.exists(given) and not os.path.exists(path):  # noqa: PTH110 - Path.exists raises where the folder is closed to us
        path = given
    return _from_file(path, f"the systemd credential {_shown(name)}")


def _from_file(path: Path, label: str) -> str:
    try:
        if not path.is_file():
            raise UnusableError(f"needs {label}, which {'is not a file' if path.exists() else 'does not exist'}.")
        with path.open("rb") as stream:
            octets = stream.read(_LARGEST + 1)
    except OSError as exc:
        raise UnusableError(f"needs {label}, which cannot be read: {exc.strerror or type(exc).__name__}.") from None
    if len(octets) > _LARGEST:
        raise UnusableError(f"needs {label}, which is larger than 64 KiB, too large for a secret.")
    try:
        return octets.decode("utf-8-sig")
    except UnicodeDecodeError:
        pass
    raise UnusableError(f"needs {label}, which is not UTF-8 text.")


def _origin(source: SecretSource) -> str:
    match source.kind:
        case "literal":
            return ""
        case "env":
            return f" (environment variable {_shown(source.text)})"
        case "file":
            return f" (file {_shown(source.text)})"
        case "credential":
            return f" (systemd credential {_shown(source.text)})"


def _shown(name: str) -> str:
    """Return a name, or "…" if it looks like the secret itself, written in place of its name."""
    return "…" if looks_like_secret(name) or not name.isprintable() else name
