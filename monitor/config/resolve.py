"""State of one resolution: the mistakes found, and readers of secrets, certificate files and time zones."""

from __future__ import annotations

import zoneinfo
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from monitor.config import secrets
from monitor.config.error_text import describe, nearest, path_text
from monitor.config.secrets import UNREAD, ResolveContext, Secret, SecretSource, UnusableError
from monitor.domain.records import Record, field

Loc = tuple[str | int, ...]


class ConfigProblems(Record):
    """Errors and warnings in the order found, without repeats."""

    label: str
    """The file's name as given by the user."""
    document: Mapping[str, Any]
    """The content read, to show the names of sources and channels beside their numbers."""
    origins: Mapping[Loc, str] = field(default_factory=dict)
    """The environment variable that set each overridden path."""
    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    _recorded: set[str] = field(default_factory=set)

    def error(self, loc: Sequence[str | int], sentence: str) -> None:
        """Record a mistake; `sentence` continues after the key path ("is …, but must be …")."""
        self._record(self.errors, loc, sentence)

    def warning(self, loc: Sequence[str | int], sentence: str) -> None:
        """Record what is allowed but probably unintended."""
        self._record(self.warnings, loc, sentence)

    def path_of(self, loc: Sequence[str | int]) -> str:
        """Return the key path as text, without the file."""
        return path_text(loc, self.document)

    def from_environment(self, loc: Sequence[str | int]) -> str | None:
        """Return the environment variable that set this path or a table around it, or None."""
        steps = tuple(loc)
        for length in range(len(steps), 0, -1):
            if steps[:length] in self.origins:
                return self.origins[steps[:length]]
        return None

    def _record(self, sentences: list[str], loc: Sequence[str | int], sentence: str) -> None:
        label = self.from_environment(loc) or self.label
        path = self.path_of(loc)
        whole = f"{label}: {path} {sentence}" if path else f"{label}: {sentence}"
        if whole not in self._recorded:
            self._recorded.add(whole)
            sentences.append(whole)


def _always(_: str) -> bool:
    return True


class Resolver(Record):
    """One resolution of one document."""

    problems: ConfigProblems
    context: ResolveContext
    rejected: frozenset[Loc]
    """Paths whose value was rejected already: no further mistake is recorded for them."""
    literals: list[Loc] = field(default_factory=list)
    """Paths of secrets written in the file itself."""
    variables: set[str] = field(default_factory=set)
    """Environment variables that hold secrets."""

    def secret(
        self,
        loc: Loc,
        source: SecretSource | None,
        *,
        strict: bool = True,
        shape: Callable[[str], str] = str,
        hides: Callable[[str], bool] = _always,
        always_required: bool = False,
    ) -> Secret | None:
        """Return a secret after `shape` has validated it; None if there is none or it is unusable, which is recorded.

        `hides` returns True if a literal text really contains a secret. With `always_required` the secret must be
        readable whatever its kind.
        """
        if source is None:
            return None
        if source.kind == "env":
            self.variables.add(source.text)
        try:
            secret = secrets.read_secret(source, self.context, strict=strict)
            checked_text = Secret(shape(secret.reveal()))
        except UnusableError as exc:
            if source.kind in self.context.unread_kinds and not always_required:
                return UNREAD
            self.problems.error(loc, str(exc))
            return None
        if source.kind == "literal" and hides(secret.reveal()) and not self.problems.from_environment(loc):
            self.literals.append(loc)
        if secrets.is_exposed(source, self.context):
            self.problems.warning(loc, f"is read from {source.text}, which other users can read: chmod 600 it.")
        return checked_text

    def checked_text(self, loc: Loc, shape: Callable[[str], str], text: str) -> str:
        """Return a text after `shape` has validated it; the text itself if that fails, which is recorded."""
        try:
            return shape(text)
        except UnusableError as exc:
            self.problems.error(loc, str(exc))
            return text

    def required_value(self, loc: Loc, value: object, *, hint: str) -> bool:
        """Return True if a required key has a value; record its absence unless its value was rejected already."""
        if value is None and not self.rejected.intersection((loc, loc[:-1])):
            self.problems.error(loc, f"is missing: {hint}")
        return value is not None

    def certificate_file(self, loc: Loc, text: str | None) -> Path | None:
        """Return the path of a PEM file; None if there is none or it is unusable, which is recorded."""
        if text is None:
            return None
        try:
            path = self.context.path(text)
            has_certificate = "-----BEGIN " in path.read_text("ascii", errors="replace")
        except UnusableError as exc:
            self.problems.error(loc, str(exc))
            return None
        except OSError as exc:
            self.problems.error(loc, f"names {describe(text)}, which cannot be read: {exc.strerror or type(exc).__name__}.")
            return None
        if not has_certificate:
            self.problems.error(loc, f"names {describe(text)}, which contains no PEM certificate.")
        return path


def timezone_problem(name: str) -> str | None:
    """Return why the name is not a time zone known to this machine, as the end of a sentence; None if it is one."""
    try:
        if name != "UTC":  # always known, even if the system has no time zone data
            zoneinfo.ZoneInfo(name)
    except (ValueError, OSError, zoneinfo.ZoneInfoNotFoundError):
        near = nearest(name, zoneinfo.available_timezones())
        end = f"; did you mean {near}?" if near else ', such as "Europe/Berlin" or "UTC".'
        return f"is {describe(name)}, which is not an IANA time zone{end}"
    return None


def checked_timezone(resolver: Resolver, loc: Loc, name: str) -> str:
    """Return the name; record a mistake in it."""
    problem = timezone_problem(name)
    if problem is not None:
        resolver.problems.error(loc, problem)
    return name
