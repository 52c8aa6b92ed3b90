"""Types of values that keys can have, each with its validator and error text."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, Literal, get_args

from pydantic import PlainValidator
from pydantic.fields import FieldInfo

from monitor.config import templates, time_windows
from monitor.config.error_text import describe, describe_type, refuse, suggestion
from monitor.config.formatting import LONGEST, parse_duration
from monitor.config.secrets import REFERENCE_KINDS, SecretSource
from monitor.config.settings import WORK_QUEUES, HeartbeatKind
from monitor.config.time_windows import ReportPlan
from monitor.domain import AlertEvent, QuietHours, Severity
from monitor.domain.providers import provider_names
from monitor.domain.records import Record
from monitor.domain.rules.platforms import canonical

_NAME = re.compile(r"[a-z0-9_-]+")
_LONGEST_USER_NAME = 80
_ID = re.compile(r"[\x21-\x7e]{1,256}")
_PERCENT = re.compile(r"(\d{1,3}(?:\.\d{1,3})?) ?%", re.ASCII)
_ONE_SECOND = timedelta(seconds=1)
_REFERENCE_SYNTAX = 'text in quotes or one of { env = "…" }, { file = "…" }, { credential = "…" }'


class Kind(Record, frozen=True):
    """A key's type as documented, and how its value is written in an environment variable."""

    name: str
    json: Literal["never", "always", "braces"] = "never"
    """When an environment variable holds JSON instead of plain text; braces: only if it begins with {."""


def kind_in(field: FieldInfo) -> Kind | None:
    """Return the documented type of a key; None if the key is a table."""
    return _kind_among([*reversed(field.metadata), field.annotation])


def _kind_among(items: list[Any]) -> Kind | None:
    for item in items:
        inner = item if isinstance(item, Kind) else _kind_among([*getattr(item, "__metadata__", ()), *get_args(item)])
        if inner is not None:
            return inner
    return None


class DefaultText(Record, frozen=True):
    """Documentation of a default that is not a plain value."""

    text: str
    required: bool = False


def text(value: Any) -> str:
    """Return any text that is not empty."""
    if not isinstance(value, str):
        refuse(f"is {describe(value)}, but must be text in quotes.")
    if not value.strip():
        refuse("is empty.")
    return value


def boolean(value: Any) -> bool:
    """Return true or false, written without quotes."""
    if not isinstance(value, bool):
        refuse(f"is {describe(value)}, but must be true or false, without quotes.")
    return value


def whole_number(value: Any) -> int:
    """Return a whole number from 1 to 1,000,000."""
    if isinstance(value, bool) or not isinstance(value, int):
        refuse(f"is {describe(value)}, but must be a whole number.")
    if not 1 <= value <= 1_000_000:
        refuse(f"is {describe(value)}, but must be {'at least 1' if value < 1 else 'at most 1000000'}.")
    return value


def cluster_workers(value: Any) -> int:
    """Return a whole number from 0 to 64."""
    return 0 if value == 0 and not isinstance(value, bool) else _at_most(64, whole_number(value))


def cluster_connections(value: Any) -> int:
    """Return a whole number from 2 to 64."""
    number = _at_most(64, whole_number(value))
    if number < 2:
        refuse(f"is {number}, but must be at least 2.")
    return number


def _at_most(most: int, number: int) -> int:
    if number > most:
        refuse(f"is {number}, but must be at most {most}.")
    return number


def work_queues(value: Any) -> tuple[str, ...]:
    """Return names of work queues in their usual order, each once."""
    names = value if isinstance(value, list) else [value]
    for each in names:
        if each not in WORK_QUEUES:
            refuse(f"contains {describe(each)}, but must contain only {', '.join(WORK_QUEUES)}.")
    if not names:
        refuse(f"is empty, but must contain at least one of {', '.join(WORK_QUEUES)}.")
    return tuple(each for each in WORK_QUEUES if each in names)


def percentage(value: Any) -> float:
    """Return a percentage from 0 to 50 as a fraction; "off" is 0."""
    match = _PERCENT.fullmatch(value.strip()) if isinstance(value, str) else None
    if value == "off":
        return 0.0
    if match is None:
        refuse(f'is {describe(value)}, but must be a percentage in quotes, such as "10%".')
    if float(match.group(1)) > 50:
        refuse(f"is {describe(value)}, but must be at most 50%.")
    return round(float(match.group(1)) / 100, 6)


def any_text(value: Any) -> str:
    """Return a text, which may be empty."""
    if not isinstance(value, str):
        refuse(f"is {describe(value)}, but must be text in quotes.")
    return value


def count(value: Any) -> int:
    """Return a whole number from 0 to 1,000,000."""
    return 0 if value == 0 and not isinstance(value, bool) else whole_number(value)


def name(value: Any) -> str:
    """Return a name of lowercase letters, digits, _ and -."""
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        refuse(f"is {describe(value)}, but a name may contain only lowercase letters, digits, _ and -.")
    return value


def _duration(value: Any) -> timedelta:
    duration = parse_duration(value) if isinstance(value, str) else None
    if duration is None:
        refuse(f'is {describe(value)}, but must be a duration, such as "90s", "15m", "6h", "7d" or "1d 12h".')
    if duration > LONGEST:
        refuse(f"is {describe(value)}, but must be at most 100 years (36525d).")
    return duration


def _duration_from(least: timedelta, least_text: str) -> Callable[[Any], timedelta]:
    def parse(value: Any) -> timedelta:
        if value == "off":
            instead = f"set a duration of at least {least_text}" if least else f'write "{least_text}"'
            refuse(f'is "off", but cannot be turned off: {instead}.')
        duration = _duration(value)
        if duration < least:
            refuse(f"is {describe(value)}, but must be at least {least_text}.")
        return duration

    return parse


def _or_off(parse: Callable[[Any], timedelta]) -> Callable[[Any], timedelta | None]:
    def parse_or_off(value: Any) -> timedelta | None:
        return None if value == "off" else parse(value)

    return parse_or_off


def _stages(value: Any) -> tuple[timedelta, ...]:
    if not isinstance(value, list):
        refuse(f'is {describe(value)}, but must be a list of durations, such as ["7d", "3d", "1d"].')
    invalid = [item for item in value if not isinstance(item, str) or not parse_duration(item)]
    if invalid:
        refuse(f'contains {describe(invalid[0])}, but each stage must be a duration such as "3d".')
    return tuple(sorted({_duration(item) for item in value}, reverse=True))


def one_of(words: Sequence[str], noun: str) -> Callable[[Any], str]:
    """Return a validator that accepts exactly these words."""

    def parse(value: Any) -> str:
        if not isinstance(value, str):
            refuse(f"is {describe(value)}, which is not a {noun}; use one of {', '.join(words)}.")
        if value not in words:
            refuse(f"is {describe(value)}, which is not a {noun}{suggestion(value, words, otherwise='use one of')}")
        return value

    return parse


def _member(enum: type[StrEnum], noun: str) -> Callable[[Any], Any]:
    parse = one_of([member.value for member in enum], noun)
    return lambda value: enum(parse(value))


def _provider(value: Any) -> Any:
    return one_of(provider_names(), "provider")(value)


def _texts(value: Any, *, noun: str) -> list[str]:
    if not isinstance(value, list):
        refuse(f"is {describe(value)}, but must be a list of {noun}.")
    if not value:
        refuse("is an empty list, which would match nothing: omit the key to match everything.")
    for item in value:
        if not isinstance(item, str) or not item.strip():
            refuse(f"contains {describe(item)}, but each entry must be text in quotes.")
    return value


def _events(value: Any) -> frozenset[AlertEvent]:
    words = [event.value for event in AlertEvent]
    for item in _texts(value, noun="events"):
        if item not in words:
            refuse(f"contains {describe(item)}, which is not an event{suggestion(item, words, otherwise='use')}")
    return frozenset(AlertEvent(item) for item in value)


def _ids(value: Any) -> tuple[str, ...]:
    for item in _texts(value, noun="ids"):
        if not _ID.fullmatch(item):
            refuse(f"contains {describe(item)}, but an id must be printable ASCII without spaces.")
    return tuple(dict.fromkeys(value))


def _hosts(value: Any) -> tuple[str, ...]:
    if value == []:
        refuse("is an empty list: omit the key instead.")
    for item in _texts(value, noun="names or addresses"):
        if not _ID.fullmatch(item):
            refuse(f"contains {describe(item)}, but a name or address must be printable ASCII without spaces.")
    return tuple(dict.fromkeys(value))


def _users(value: Any) -> str | tuple[str, ...]:
    if value in ("none", "all"):
        return str(value)
    if not isinstance(value, list):
        refuse(f'is {describe(value)}, but must be "none", "all" or a list of ids.')
    if not value:
        refuse('is an empty list: write "none" for the owner\'s own connections only.')
    return _ids(value)


def _names(value: Any) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_texts(value, noun="names")))


def _labels(value: Any) -> dict[str, str]:
    if not isinstance(value, Mapping):
        refuse(f'is {describe(value)}, but must be a table of texts, such as {{ client = "acme" }}.')
    for key, item in value.items():
        if not isinstance(item, str):
            refuse(f"contains {describe(item)} for {describe(key)}, but each label must be text in quotes.")
        if not key.isprintable() or not key.strip() or not item.isprintable():
            refuse("contains a label that is empty or has a control character.")
    return dict(value)


def _user_name(value: Any) -> str:
    found = text(value)
    if not found.isprintable() or found != found.strip() or not 0 < len(found) <= _LONGEST_USER_NAME:
        refuse(f"must be printable text of 1 to {_LONGEST_USER_NAME} characters without surrounding white space.")
    return found


def _patterns(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        if not value.strip():
            refuse("is an empty text, which matches nothing: omit the key to match everything.")
        value = [value]
    return tuple(dict.fromkeys(_texts(value, noun="patterns")))


def _label_filter(value: Any) -> dict[str, tuple[str, ...]]:
    if not isinstance(value, Mapping):
        refuse(f'is {describe(value)}, but must be a table of texts or lists, such as {{ client = "acme" }}.')
    for key, item in value.items():
        if not isinstance(item, str | list):
            refuse(f"contains {describe(item)} for {describe(key)}, but each label must be text in quotes or a list of texts.")
        if not key.isprintable() or not key.strip():
            refuse("contains a label that is empty or has a control character.")
    return {key: _patterns(item) for key, item in value.items()}


_REPORT_KEYS = ("at", "days", "labels", "sources", "platforms")
LONGEST_REPORT = 366
"""The most days that a report may look back on."""


def _report(value: Any) -> ReportPlan | None:
    """Return a report's plan from a day and time, or from a table with `at` and the report's own filters; None for "off"."""
    if not isinstance(value, Mapping):
        at = time_windows.weekly_time(value)
        return None if at is None else ReportPlan(at=at)
    for key in value:
        if key not in _REPORT_KEYS:
            refuse(f"has the unknown key {describe(key)}{suggestion(str(key), _REPORT_KEYS, otherwise='the known keys are')}")
    at = time_windows.weekly_time(value.get("at"))
    days = value.get("days", 7)
    if at is None:
        refuse('has at = "off": write report = "off".')
    if isinstance(days, bool) or not isinstance(days, int) or not 1 <= days <= LONGEST_REPORT:
        refuse(f"has days = {describe(days)}, but the period must be 1 to {LONGEST_REPORT} days.")
    return ReportPlan(
        at=at,
        days=days,
        sources=_names(value["sources"]) if "sources" in value else None,
        platforms=tuple(map(canonical, _names(value["platforms"]))) if "platforms" in value else None,
        labels=_label_filter(value.get("labels", {})),
    )


def secret(value: Any) -> SecretSource:
    """Return where a secret comes from."""
    if isinstance(value, str):
        return SecretSource("literal", value)
    if not isinstance(value, Mapping):
        refuse(f"is {describe_type(value)}, but must be {_REFERENCE_SYNTAX}.")
    for key in value:
        if key not in REFERENCE_KINDS:
            refuse(f"has the unknown key {describe(key)}{suggestion(str(key), REFERENCE_KINDS, otherwise='the known keys are')}")
    if len(value) != 1:
        refuse(f"must have exactly one of env, file and credential, but has {len(value)}.")
    [(kind, target)] = value.items()
    if not isinstance(target, str) or not target.strip():
        what = "an empty text" if isinstance(target, str) else describe_type(target)
        refuse(f"has {what} for {kind}, but needs a name in quotes.")
    return SecretSource(kind, target)


def _date_or_instant(value: Any) -> date:
    """Return a date, or an instant with a time zone; both may be TOML values or ISO 8601 texts."""
    found = value
    if isinstance(value, str):
        try:
            found = date.fromisoformat(value) if len(value) == 10 else datetime.fromisoformat(value)
        except ValueError:
            found = None
    if not isinstance(found, date):
        refuse(f"is {describe(value)}, but must be a date such as 2027-03-01, or a time such as 2027-03-01T12:00:00Z.")
    if isinstance(found, datetime) and found.tzinfo is None:
        refuse("is a time without a time zone: add Z or an offset such as +02:00.")
    if found.year < 2015:
        refuse(f"is {found:%Y-%m-%d}, which is before 2015.")
    return found


def _secrets(value: Any) -> tuple[SecretSource, ...]:
    """Return where each of several secrets comes from; one need not be in a list."""
    if isinstance(value, list) and value:
        return tuple(secret(item) for item in value)
    return (secret(value),)


_INTERVAL = _duration_from(_ONE_SECOND, "1s")

Text = Annotated[str, PlainValidator(text), Kind("text")]
Boolean = Annotated[bool, PlainValidator(boolean), Kind("true or false", json="always")]
WholeNumber = Annotated[int, PlainValidator(whole_number), Kind("whole number", json="always")]
Percentage = Annotated[float, PlainValidator(percentage), Kind("percentage")]
Name = Annotated[str, PlainValidator(name), Kind("name")]
Interval = Annotated[timedelta, PlainValidator(_INTERVAL), Kind("duration, at least 1s")]
IntervalOrOff = Annotated[timedelta | None, PlainValidator(_or_off(_INTERVAL)), Kind('duration, at least 1s, or "off"')]
RetentionOrOff = Annotated[
    timedelta | None, PlainValidator(_or_off(_INTERVAL)), Kind('duration, at least 1s, or "off" (kept forever)')
]
Duration = Annotated[timedelta, PlainValidator(_duration_from(timedelta(0), "0s")), Kind("duration")]
Stages = Annotated[tuple[timedelta, ...], PlainValidator(_stages), Kind("list of durations", json="always")]
Events = Annotated[frozenset[AlertEvent], PlainValidator(_events), Kind("list of events", json="always")]
Ids = Annotated[tuple[str, ...], PlainValidator(_ids), Kind("list of ids", json="always")]
Hosts = Annotated[tuple[str, ...], PlainValidator(_hosts), Kind("list of names or addresses", json="always")]
Users = Annotated[Any, PlainValidator(_users), Kind('"none", "all" or a list of ids', json="always")]
Names = Annotated[tuple[str, ...], PlainValidator(_names), Kind("list of names", json="always")]
UserName = Annotated[str, PlainValidator(_user_name), Kind("text")]
Role = Annotated[
    Literal["viewer", "operator"], PlainValidator(one_of(("viewer", "operator"), "role")), Kind("viewer or operator")
]
Labels = Annotated[dict[str, str], PlainValidator(_labels), Kind("table of texts", json="always")]
Patterns = Annotated[tuple[str, ...], PlainValidator(_patterns), Kind("pattern, or list of patterns", json="always")]
LabelFilter = Annotated[
    dict[str, tuple[str, ...]], PlainValidator(_label_filter), Kind("table of patterns or lists of them", json="always")
]
SecretText = Annotated[SecretSource, PlainValidator(secret), Kind("secret", json="braces")]
DateOrInstant = Annotated[Any, PlainValidator(_date_or_instant), Kind("date or time")]
SecretTexts = Annotated[tuple[SecretSource, ...], PlainValidator(_secrets), Kind("secret, or list of secrets", json="always")]
Provider = Annotated[str, PlainValidator(_provider), Kind(", ".join(provider_names()))]
SeverityName = Annotated[Severity, PlainValidator(_member(Severity, "severity")), Kind(", ".join(Severity))]
QuietHoursList = Annotated[
    tuple[QuietHours, ...],
    PlainValidator(time_windows.quiet_hours),
    Kind("list of windows, each with from and to, optionally days, except and timezone", json="always"),
]
Report = Annotated[
    ReportPlan | None,
    PlainValidator(_report),
    Kind('day and time, table of at, days, labels, sources and platforms, or "off"', json="braces"),
]
Template = Annotated[
    templates.RawTemplate,
    PlainValidator(templates.template),
    Kind("table of title, body or both", json="always"),
]
Templates = Annotated[
    Mapping[str, templates.RawTemplate],
    PlainValidator(templates.templates),
    Kind("table by event, each as `template`", json="always"),
]
Switch = Annotated[
    Literal["on", "off", "auto"], PlainValidator(one_of(("on", "off", "auto"), "valid value")), Kind('"on", "off" or "auto"')
]
ClusterWorkers = Annotated[int, PlainValidator(cluster_workers), Kind("whole number from 0", json="always")]
ClusterConnections = Annotated[int, PlainValidator(cluster_connections), Kind("whole number from 2", json="always")]
WorkQueues = Annotated[tuple[str, ...], PlainValidator(work_queues), Kind("list of polls, probes and deliveries", json="always")]
LogLevel = Annotated[
    Literal["debug", "info", "warning", "error"],
    PlainValidator(one_of(("debug", "info", "warning", "error"), "log level")),
    Kind("debug, info, warning or error"),
]
LogFormat = Annotated[
    Literal["console", "json", "journal"],
    PlainValidator(one_of(("console", "json", "journal"), "log format")),
    Kind("console, json or journal"),
]
HeartbeatService = Annotated[
    HeartbeatKind, PlainValidator(one_of(get_args(HeartbeatKind), "kind of heartbeat")), Kind(", ".join(get_args(HeartbeatKind)))
]
