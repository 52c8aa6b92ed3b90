"""The configuration file: search order, reading, and the starter text."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic_settings import TomlConfigSettingsSource

from monitor.config.error_text import MOST_LEVELS, is_too_deep
from monitor.config.schema import Document
from monitor.config.secrets import is_quoted
from monitor.domain.errors import ConfigError

SEARCHED = (Path("config.toml"), Path("/etc/token-monitor/config.toml"))
_NEXT_SECTION = "# ── Channels"
_LARGEST = 8 * 1024 * 1024
_PART = r"""(?:[A-Za-z0-9_-]++|"[^"\n]*+"|'[^'\n]*+')"""


def _key_of(parts: int) -> re.Pattern[str]:
    """Return the pattern of a key with more than this many parts."""
    return re.compile(rf"(?:^|[\[{{,])[ \t]*+(?:{_PART}[ \t]*+\.[ \t]*+){{{parts}}}", re.MULTILINE)


_ENDLESS_KEY = _key_of(1000)
"""The parser takes minutes, and all memory, for a key of a hundred thousand parts."""
_LONG_NUMBER = re.compile(r"[0-9_]{4300}")
_BRACKET = re.compile(r"[\[\]{}]")
_PLACE = re.compile(r" ?\(at (?:line (\d+), column (\d+)|end of document)\)$")


def find_config(explicit: Path | None, env: Mapping[str, str]) -> Path:
    """Return the configuration file: the explicit one, else $TOKEN_MONITOR_CONFIG, else ./config.toml, else the one in /etc.

    Raises ConfigError with the searched places if there is none.
    """
    named = env.get("TOKEN_MONITOR_CONFIG", "").strip()
    if explicit is not None:
        return _existing(explicit, "")
    if named:
        return _existing(Path(named), " (TOKEN_MONITOR_CONFIG names it)")
    for candidate in SEARCHED:
        if _is_there(candidate):
            return candidate
    raise ConfigError(
        f"No configuration found: searched for {SEARCHED[0]} in {Path.cwd()} and for {SEARCHED[1]}. "
        "Create one with `token-monitor init`, or name an existing one with --config or TOKEN_MONITOR_CONFIG."
    )


def starter(sources: str = "") -> str:
    """Return the text that `token-monitor init` writes: sources, one channel, and the most used keys as comments.

    `sources` are tables that replace the one of the example. The text is valid once the environment variables that it names
    are set.
    """
    text = resources.files("monitor.config").joinpath("starter.toml").read_text("utf-8")
    before, mark, rest = text.partition("[[sources]]\n")
    if not sources or not mark:
        return text
    return f"{before}{sources}\n{rest[rest.index(_NEXT_SECTION) :]}"


class TomlFile(TomlConfigSettingsSource):
    """Content of the file. A path that is not a regular file is read or rejected; the library would silently skip it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        super().__init__(Document, path)

    def _read_files(self, *_: Any, **__: Any) -> dict[str, Any]:
        return _read_document(self._path)


def _read_document(path: Path) -> dict[str, Any]:
    """Return the file's content. Raises ConfigError with file, line and column if it is not valid TOML."""
    text = _read_text(path)
    try:
        if not _ENDLESS_KEY.search(text) and not is_too_deep(content := tomllib.loads(text)):
            return content
        problem = _depth_problem(text)
    except tomllib.TOMLDecodeError as exc:
        problem = _syntax_problem(str(exc), text)
    except RecursionError:
        problem = _depth_problem(text)
    except ValueError:
        long_number = _LONG_NUMBER.search(text)
        place = f"line {text.count(chr(10), 0, long_number.start()) + 1} " if long_number else ""
        problem = f"{place}contains a number or date that is out of range."
    raise ConfigError(f"{path}: {problem}")  # outside the handlers: the cause would carry the text with its secrets


def _existing(path: Path, why: str) -> Path:
    if not _is_there(path):
        if is_quoted(str(path)):
            raise ConfigError(
                f"{path} does not exist{why}: its name is in quotes, which an env file keeps: write it without quotes."
            )
        raise ConfigError(f"{path} does not exist{why}: create a configuration with `token-monitor init`.")
    return path


def _is_there(path: Path) -> bool:
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError):
        return True  # reading it will report the problem
    return True


def _read_text(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            octets = stream.read(_LARGEST + 1)
    except IsADirectoryError:
        raise ConfigError(f"{path} is a folder, not a file.") from None
    except (OSError, ValueError) as exc:
        raise ConfigError(f"{path} cannot be read: {getattr(exc, 'strerror', None) or type(exc).__name__}.") from None
    if len(octets) > _LARGEST:
        raise ConfigError(f"{path} is larger than 8 MiB, too large for a configuration.")
    try:
        return octets.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as exc:
        line = octets.count(b"\n", 0, exc.start) + 1
    raise ConfigError(f"{path}: line {line} is not valid UTF-8 text.")


def _depth_problem(text: str) -> str:
    """Return the sentence with the first line on which a key has too many parts, or too many brackets are open."""
    long_key = _key_of(MOST_LEVELS).search(text)
    line = text.count("\n", 0, long_key.end()) + 1 if long_key else _first_deep_line(text)
    return f"{f'line {line} ' if line else ''}is nested too deeply: at most {MOST_LEVELS} levels are allowed."


def _first_deep_line(text: str) -> int | None:
    depth = 0
    for number, line in enumerate(text.split("\n"), 1):
        for bracket in _BRACKET.findall(line):
            depth += 1 if bracket in "[{" else -1
            if depth > MOST_LEVELS:
                return number
    return None


def _syntax_problem(message: str, text: str) -> str:
    match = _PLACE.search(message)
    what = message[: match.start()] if match else message
    if match and match.group(1):
        line, column = match.group(1), match.group(2)
    else:
        lines = text.split("\n")
        line, column = str(len(lines)), str(len(lines[-1]) + 1)
    return f"line {line}, column {column}: this is not valid TOML: {what[:1].lower()}{what[1:]}."
