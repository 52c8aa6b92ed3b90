"""Secrets and the references that name them."""

from __future__ import annotations

import hmac
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, NoReturn, Self

from monitor.config.error_text import looks_like_secret

HIDDEN = "<secret>"


class Secret:
    """An API key, a token or a URL that may hold one.

    Only `reveal` gives the text. Printing, formatting, logging and JSON encoders that fall back to `str` or
    `repr` give `<secret>`; pickling is refused. Two secrets are equal when their texts are.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself: call it where the text is used, and keep the result in no variable that lives on."""
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
        raise TypeError("A secret is not to be written anywhere.")


UNREAD: Final = Secret("unread")
"""Stands for a secret that is taken to be there, where nothing is done that needs it."""


def _octets(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


Reference = Literal["literal", "env", "file", "credential"]
REFERENCES: tuple[Reference, ...] = ("env", "file", "credential")
_LARGEST = 65536
_FOLDER_ID = "token-monitor"
"""The id under which our unit loads the folder of credentials."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_EXPECTED_OPEN = ("/run/secrets/", "/var/run/secrets/")  # container engines mount secrets there, readable by design


class UnusableError(Exception):
    """A reference gave no usable secret; the message goes on after the key path."""


@dataclass(frozen=True, slots=True)
class SecretSource:
    """Where a secret is to be read from."""

    kind: Reference
    text: str = field(repr=False)
    """The secret itself where kind is literal, else the name of the variable, file or credential."""


@dataclass(frozen=True, slots=True)
class ResolveContext:
    """What references are resolved against."""

    env: Mapping[str, str] = field(repr=False)
    folder: Path
    """The configuration file's folder, absolute."""
    elsewhere: frozenset[Reference] = frozenset()
    """Kinds of references that may be readable only where the daemon runs: a secret that cannot be read is taken to be there."""

    def path(self, text: str) -> Path:
        """A path from the configuration, relative to its folder. Raises UnusableError where it cannot be one."""
        if text.startswith("~"):
            raise UnusableError("starts with ~, which is not expanded here: write the whole path.")
        if not text or "\0" in text:
            raise UnusableError("is no path to a file.")
        return self.folder / text


def read_secret(source: SecretSource, around: ResolveContext, *, strict: bool) -> Secret:
    """The secret, without blanks and line ends around it.

    With `strict` (API keys and tokens, which travel in a header) it must be printable ASCII without blanks;
    else (URLs) only control characters are refused. Raises UnusableError, whose text names the place and never the value.
    """
    text = _raw_text(source, around).strip()
    origin = _origin(source)
    if not text:
        raise UnusableError(f"is empty{origin}: a secret is needed.")
    if HIDDEN in text:
        raise UnusableError(f"holds the placeholder {HIDDEN}{origin}: put the real secret there.")
    if _CONTROL.search(text):
        raise UnusableError(f"holds a line break or another control character{origin}: it must be one line.")
    if strict and not text.isascii():
        raise UnusableError(f"holds a character that is not ASCII{origin}: copy it again.")
    if strict and any(character.isspace() for character in text):
        raise UnusableError(f"holds a blank inside{origin}: copy it again.")
    return Secret(text)


def is_exposed(source: SecretSource, around: ResolveContext) -> bool:
    """Whether a secret's own file can be read by everybody on this machine or by its group."""
    if source.kind != "file":
        return False
    path = around.folder / source.text
    return not str(path).startswith(_EXPECTED_OPEN) and readable_by_others(path)


def readable_by_others(path: Path) -> bool:
    """Whether group or others may read the file; False where that cannot be told."""
    try:
        return bool(path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH))
    except OSError:
        return False


def _raw_text(source: SecretSource, around: ResolveContext) -> str:
    match source.kind:
        case "literal":
            return source.text
        case "env":
            return _from_environment(source.text, around)
        case "file":
            return _from_file(around.path(source.text), f"the file {_shown(source.text)}")
        case "credential":
            return _from_credential(source.text, around)


def _from_environment(name: str, around: ResolveContext) -> str:
    value = around.env.get(name)
    if value is None:
        raise UnusableError(f"needs the environment variable {_shown(name)}, which is not set.")
    return value


def _from_credential(name: str, around: ResolveContext) -> str:
    folder = around.env.get("CREDENTIALS_DIRECTORY")
    if not folder:
        raise UnusableError(
            f"needs the systemd credential {_shown(name)}, but CREDENTIALS_DIRECTORY is not set: "
            "give the unit a LoadCredential= line for it."
        )
    if "/" in name or name in ("", ".", ".."):
        raise UnusableError("names a systemd credential by a path: give only its name.")
    path = Path(folder) / name
    given = path.with_name(f"{_FOLDER_ID}_{name}")  # LoadCredential= of a whole folder puts its own id in front
    if os.path.exists(given) and not os.path.exists(path):  # noqa: PTH110 - Path.exists raises where the folder is closed to us
        path = given
    return _from_file(path, f"the systemd credential {_shown(name)}")


def _from_file(path: Path, called: str) -> str:
    try:
        if not path.is_file():
            raise UnusableError(f"needs {called}, which {'is no file' if path.exists() else 'does not exist'}.")
        with path.open("rb") as stream:
            octets = stream.read(_LARGEST + 1)
    except OSError as exc:
        raise UnusableError(f"needs {called}, which cannot be read: {exc.strerror or type(exc).__name__}.") from None
    if len(octets) > _LARGEST:
        raise UnusableError(f"needs {called}, which is larger than 64 KiB and so no secret.")
    try:
        return octets.decode("utf-8-sig")
    except UnicodeDecodeError:
        pass
    raise UnusableError(f"needs {called}, which is not UTF-8 text.")


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
    """A name, unless it looks like the secret itself, written where its name belongs."""
    return "…" if looks_like_secret(name) or not name.isprintable() else name
