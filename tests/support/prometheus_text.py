"""Strict reader of Prometheus's text format, with the checks of `promtool check metrics` and more.

A reading of its own, beside prometheus_client's, so that what we write is not checked by what wrote it.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field

NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
SUFFIXES = {"histogram": ("_bucket", "_sum", "_count"), "summary": ("", "_sum", "_count")}
UNITS = {
    "milliseconds": "seconds", "ms": "seconds", "minutes": "seconds", "hours": "seconds", "days": "seconds", "kilobytes": "bytes",
    "megabytes": "bytes", "percent": "ratio", "micros": "seconds", "sec": "seconds",
}  # fmt: skip
RESERVED = ("_total", "_sum", "_count", "_bucket", "_info", "_created")


@dataclass(slots=True)
class Read:
    """One family."""

    name: str
    kind: str
    help: str
    samples: list[tuple[str, dict[str, str], float]] = field(default_factory=list)


class BadTextError(AssertionError):
    """The text is no exposition, or one that a careful reader would not accept."""


def read(text: str) -> dict[str, Read]:
    """The families by name. Raises BadTextError."""
    if not text.endswith("\n"):
        raise BadTextError("the last line does not end")
    families: dict[str, Read] = {}
    now: Read | None = None
    helps: dict[str, str] = {}
    for number, line in enumerate(text[:-1].split("\n"), 1):
        if line.startswith("# HELP "):
            name, _, about = line[7:].partition(" ")
            _require(name not in helps, number, f"a second HELP of {name}")
            helps[name] = about
        elif line.startswith("# TYPE "):
            name, _, kind = line[7:].partition(" ")
            _require(name in helps, number, f"TYPE before HELP of {name}")
            _require(name not in families, number, f"a second TYPE of {name}, or its samples are torn apart")
            _require(kind in ("counter", "gauge", "histogram", "summary"), number, f"no such type: {kind}")
            families[name] = now = Read(name, kind, helps[name])
        else:
            _require(bool(line) and not line.startswith("#"), number, "neither a sample nor HELP nor TYPE")
            sample = _sample(line, number)
            _require(now is not None and _belongs(sample[0], now), number, f"{sample[0]} stands outside of its family")
            assert now is not None
            now.samples.append(sample)
    _require(helps.keys() == families.keys(), 0, "HELP without TYPE")
    return families


def lint(families: dict[str, Read], *, prefix: str) -> None:
    """Check the naming rules for our own families. Raises BadTextError."""
    for family in families.values():
        _lint_samples(family)
        if not family.name.startswith(prefix):
            continue
        name = family.name
        _require(bool(family.help.strip()), 0, f"{name} has no help")
        _require(name == name.lower() and "__" not in name, 0, f"{name} is not in snake case")
        _require(family.kind not in name.split("_"), 0, f"{name} repeats its type")
        _require((family.kind == "counter") == name.endswith("_total"), 0, f"{name}: counters, and only they, end in _total")
        if family.kind != "counter":
            _require(not name.endswith(tuple(each for each in RESERVED if each != "_info")), 0, f"{name} has a reserved ending")
        for word in name.split("_"):
            _require(word not in UNITS, 0, f"{name} is not in base units ({UNITS.get(word)})")


def _lint_samples(family: Read) -> None:
    seen: set[tuple[str, tuple[tuple[str, str], ...]]] = set()
    labels: set[frozenset[str]] = set()
    for name, values, number in family.samples:
        key = (name, tuple(sorted(values.items())))
        _require(key not in seen, 0, f"{name} twice with the same labels")
        seen.add(key)
        labels.add(frozenset(values) - {"le"})
        _require(not math.isnan(number), 0, f"{name} is no number")
        if family.kind == "counter" or name.endswith(("_count", "_bucket")):
            _require(number >= 0, 0, f"{name} is negative")
        if name.endswith("_timestamp_seconds"):
            _require(1e9 < number < 1e11, 0, f"{name} is no Unix time: {number}")
    _require(len(labels) <= 1, 0, f"{family.name} has samples with different labels")
    if family.kind == "histogram":
        _lint_histogram(family)


def _lint_histogram(family: Read) -> None:
    buckets = [(float(values["le"].replace("+Inf", "inf")), number) for name, values, number in family.samples if "le" in values]
    _require(buckets == sorted(buckets) and buckets[-1][0] == math.inf, 0, f"{family.name} has buckets out of order")
    counts = [number for _, number in buckets]
    _require(counts == sorted(counts), 0, f"{family.name} is not cumulative")
    [total] = [number for name, _, number in family.samples if name.endswith("_count")]
    _require(counts[-1] == total, 0, f"{family.name}: +Inf and _count differ")


def _belongs(name: str, family: Read) -> bool:
    return name in [family.name + suffix for suffix in SUFFIXES.get(family.kind, ("",))]


def _sample(line: str, number: int) -> tuple[str, dict[str, str], float]:
    match = NAME.match(line)
    _require(match is not None, number, "no metric name")
    assert match is not None
    rest = line[match.end() :]
    labels: dict[str, str] = {}
    if rest.startswith("{"):
        labels, rest = _labels(rest[1:], number)
    _require(rest.startswith(" "), number, "no space before the value")
    parts = rest[1:].split(" ")
    _require(len(parts) == 1, number, "more than a value: a timestamp of ours, or a broken-out label")
    try:
        return match.group(), labels, float(parts[0])
    except ValueError:
        raise BadTextError(f"line {number}: no number: {parts[0][:40]}") from None


def _labels(rest: str, number: int) -> tuple[dict[str, str], str]:
    found: dict[str, str] = {}
    while not rest.startswith("}"):
        match = LABEL.match(rest)
        _require(match is not None, number, "no label name")
        assert match is not None
        name, rest = match.group(), rest[match.end() :]
        _require(name not in found and not name.startswith("__"), number, f"label {name} twice, or reserved")
        _require(rest.startswith('="'), number, "a label without a value")
        found[name], rest = _quoted(rest[2:], number)
        if rest.startswith(","):
            rest = rest[1:]
        else:
            _require(rest.startswith("}"), number, "a label that does not end")
    return found, rest[1:]


def _quoted(rest: str, number: int) -> tuple[str, str]:
    value: list[str] = []
    at = 0
    while at < len(rest):
        character = rest[at]
        if character == '"':
            return "".join(value), rest[at + 1 :]
        if character == "\\":
            escaped = {"n": "\n", "\\": "\\", '"': '"'}.get(rest[at + 1 : at + 2])
            _require(escaped is not None, number, "an escape that there is not")
            value.append(escaped or "")
            at += 2
        else:
            value.append(character)
            at += 1
    raise BadTextError(f"line {number}: a value that does not end")


def _require(holds: bool, number: int, text: str) -> None:
    if not holds:
        raise BadTextError(f"line {number}: {text}" if number else text)
