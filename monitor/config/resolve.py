"""Context for resolving a configuration: problems found, secrets, CA files, time zones."""

from __future__ import annotations

import zoneinfo
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from monitor.config import secrets
from monitor.config.error_text import found, nearest, path_text
from monitor.config.secrets import UNREAD, ResolveContext, Secret, SecretSource, UnusableError

Loc = tuple[str | int, ...]


@dataclass
class ConfigProblems:
    """What is wrong (errors) and what is doubtful (warnings), in the order found, without repeats."""

    label: str
    """The file's name as the user gave it."""
    document: Mapping[str, Any]
    """What was read, to name sources and channels beside their number."""
    origins: Mapping[Loc, str] = field(default_factory=dict)
    """Which paths an environment variable set, and which variable."""
    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def error(self, loc: Sequence[str | int], said: str) -> None:
        """Note a mistake: `said` goes on after the key path ("is …, but …")."""
        self._note(self.errors, loc, said)

    def warning(self, loc: Sequence[str | int], said: str) -> None:
        """Note what is allowed but probably not meant."""
        self._note(self.warnings, loc, said)

    def place(self, loc: Sequence[str | int]) -> str:
        """The key path in words, without the file."""
        return path_text(loc, self.document)

    def from_environment(self, loc: Sequence[str | int]) -> str | None:
        """The environment variable that set this path or something around it."""
        steps = tuple(loc)
        for length in range(len(steps), 0, -1):
            if steps[:length] in self.origins:
                return self.origins[steps[:length]]
        return None

    def _note(self, sentences: list[str], loc: Sequence[str | int], said: str) -> None:
        label = self.from_environment(loc) or self.label
        place = self.place(loc)
        sentence = f"{label}: {place} {said}" if place else f"{label}: {said}"
        if sentence not in sentences:
            sentences.append(sentence)


def _always(_: str) -> bool:
    return True


@dataclass
class Resolver:
    """One pass over one document."""

    findings: ConfigProblems
    around: ResolveContext
    broken: frozenset[Loc]
    """Places whose value was refused already: nothing more is said about them."""
    literals: list[Loc] = field(default_factory=list)
    """Where secrets stand in the file itself."""
    variables: set[str] = field(default_factory=set)
    """The environment variables that hold secrets."""

    def secret(
        self,
        loc: Loc,
        source: SecretSource | None,
        *,
        strict: bool = True,
        shape: Callable[[str], str] = str,
        hides: Callable[[str], bool] = _always,
        here: bool = False,
    ) -> Secret | None:
        """Read a secret and bring it into shape; None where there is none or it is unusable, which is then noted.

        `hides` tells whether a literal text really holds something secret; `here`, that it is needed whatever the
        surroundings take to be there.
        """
        if source is None:
            return None
        if source.kind == "env":
            self.variables.add(source.text)
        try:
            secret = secrets.read_secret(source, self.around, strict=strict)
            shaped = Secret(shape(secret.reveal()))
        except UnusableError as exc:
            if source.kind in self.around.elsewhere and not here:
                return UNREAD
            self.findings.error(loc, str(exc))
            return None
        if source.kind == "literal" and hides(secret.reveal()) and not self.findings.from_environment(loc):
            self.literals.append(loc)
        if secrets.is_exposed(source, self.around):
            self.findings.warning(loc, f"is read from {source.text}, which others on this machine can read: chmod 600 it.")
        return shaped

    def shaped(self, loc: Loc, shape: Callable[[str], str], text: str) -> str:
        """A plain text brought into shape; the text itself where that is refused, which is then noted."""
        try:
            return shape(text)
        except UnusableError as exc:
            self.findings.error(loc, str(exc))
            return text

    def needed(self, loc: Loc, value: object, *, hint: str) -> bool:
        """Whether a required key has a value; its absence is noted unless something else was said about it."""
        if value is None and not self.broken.intersection((loc, loc[:-1])):
            self.findings.error(loc, f"is missing: {hint}")
        return value is not None

    def certificates(self, loc: Loc, text: str | None) -> Path | None:
        """A PEM file of certificates; None where there is none or it is unusable, which is then noted."""
        if text is None:
            return None
        try:
            path = self.around.path(text)
            holds_some = "-----BEGIN " in path.read_text("ascii", errors="replace")
        except UnusableError as exc:
            self.findings.error(loc, str(exc))
            return None
        except OSError as exc:
            self.findings.error(loc, f"names {found(text)}, which cannot be read: {exc.strerror or type(exc).__name__}.")
            return None
        if not holds_some:
            self.findings.error(loc, f"names {found(text)}, which holds no PEM certificate.")
        return path


def timezone_problem(name: str) -> str | None:
    """Why this is no time zone that this machine knows, as the end of a sentence; None where it is one."""
    try:
        if name != "UTC":  # always known, even where the system has no time zone data
            zoneinfo.ZoneInfo(name)
    except (ValueError, OSError, zoneinfo.ZoneInfoNotFoundError):
        near = nearest(name, zoneinfo.available_timezones())
        end = f"; did you mean {near}?" if near else ', such as "Europe/Berlin" or "UTC".'
        return f"is {found(name)}, which is no IANA time zone{end}"
    return None


def checked_timezone(reading: Resolver, loc: Loc, name: str) -> str:
    """The name; a mistake in it is noted."""
    problem = timezone_problem(name)
    if problem is not None:
        reading.findings.error(loc, problem)
    return name
