"""Message templates of channels, rendered with Jinja2.

The values come from services and are untrusted: they are escaped for the channel last, after all that the template does with
them. Templates are limited by syntax, not by a timeout: they cannot assign, call or multiply, loops do not nest, and filters
neither take nor return long texts. So time and memory grow only with the length of the template, which is limited too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import wraps
from html import escape as escape_html
from typing import Any

from jinja2 import StrictUndefined, TemplateError, nodes
from jinja2.sandbox import SandboxedEnvironment

from monitor.config.templates import EVERY_EVENT, TemplatePair
from monitor.domain import RECOVERY_EVENTS, Alert, AlertEvent, Severity, Status, utc_text
from monitor.domain.errors import ConfigError
from monitor.domain.rules.alerting import AlertReason
from monitor.domain.text import clean, clean_id
from monitor.notify.messages import Dispatch, Item, Markup, compose
from monitor.notify.messages.fitting import body_of
from monitor.notify.messages.markup import PLAIN, style_of
from monitor.notify.messages.message import title_of

LONGEST_TEMPLATE = 10_000
"""The most characters of a template."""
LONGEST_TITLE = 250
LONGEST_BODY = 20_000

MEANINGS = {
    "title": "the built-in title",
    "body": "the built-in text, in the channel's format; only in a body",
    "event": "the event, such as `expired` or `source_failing`",
    "status": "the connection's status; for a recovery `recovered`; for all other events the event",
    "severity": "`info`, `warning` or `critical`",
    "subject": "the name of the connection or source, or the part of the monitor that has a problem",
    "name": "an alias of `subject`",
    "external_id": "the provider's id of the connection",
    "connection": "its full id, the CONNECTION argument of commands",
    "platform": "the platform, such as `linkedin`",
    "source": "the source's name",
    "provider": "the provider's name, such as PostPost",
    "scope": "the managed user or workspace, such as `workspace ws_1`",
    "client": "the client: the value of the label by which the channel's messages are grouped",
    "news": "the first sentence",
    "brief": "the state in a few words, such as `2 days left (Wed 2 Dec 04:43)`; empty unless it is about a connection",
    "cause": "the reason for the status",
    "why": "why the alert was sent, such as `Reminder 2: unchanged for 2 days.`",
    "reminder": "`reminder 2`; empty if it is not a reminder",
    "notes": "a list of notes: late, may be a repeat, status changes since the last message",
    "advice": "what to do about it",
    "link": "where to do it; the connection page if the source has `connection_links`",
    "link_until": "when the link to a connection page expires; empty for other links",
    "ack": "the command that acknowledges it",
    "ack_link": "the link that acknowledges it, which works without a login; with `web.public_url`, unless `actions = false`",
    "page": "the link to its page on the status page; with `web.public_url`",
    "expires": "the expiry, as a sentence",
    "left": "the time left, if the status is `expiring_soon`",
    "expires_at": "the expiry as an RFC 3339 time in UTC",
    "since": "when the status began, in the same format",
    "at": "when the alert was created, in the same format",
    "previous": "the status of the previous alert",
    "stage": "the stage that was reached, in days, such as `3d`",
    "incident": "the incident's id, which does not change from the first alert to the recovery",
    "alert": "the alert's id, the argument of `alerts explain`",
    "labels": "the labels of the connection, or of the source: `labels.client`, or a loop over `labels|dictsort`",
}
"""The variables of templates, in the order of the documentation. A value that is absent is an empty text."""

_LONGEST_VALUE = 2_000
_STATUSES = frozenset(Status)


class TemplateProblem(ConfigError):
    """A template cannot be used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """The texts that a template made; None where the built-in text is used."""

    title: str | None = None
    body: str | None = None


def pair_for(templates: Mapping[str, TemplatePair], event: AlertEvent) -> TemplatePair | None:
    """Return the template of an event, else the one for every event, else None."""
    return templates.get(event.value) or templates.get(EVERY_EVENT)


def render(pair: TemplatePair, item: Item, markup: Markup, *, title_has_markup: bool = False) -> Rendered:
    """Return the title and body for one item, in the channel's markup. Raises TemplateProblem with one sentence."""
    values = variables(item)
    # The link was checked to be plain https, and the others are made by this monitor; the escaping of chats would break them.
    in_tags = markup in (Markup.SLACK, Markup.HTML, Markup.MAIL)
    values["ack"] = _Escaped(style_of(markup).escape(values["ack"]))  # copied exactly
    for link in ("link", "ack_link", "page"):
        values[link] = _Escaped(escape_html(values[link]) if in_tags else values[link])
    title = body = None
    if pair.title is not None:
        filled = _fill(pair.title, values, markup if title_has_markup else Markup.TEXT, part="title", limit=LONGEST_TITLE)
        title = " ".join(filled.split())
    if pair.body is not None:
        values["body"] = _Escaped(body_of(item, markup))
        body = _fill(pair.body, values, markup, part="body", limit=LONGEST_BODY).strip("\n")
        if markup in (Markup.MAIL, Markup.HTML) and "<" not in pair.body:
            body = body.replace("\n", "<br>")
    return Rendered(title=title or None, body=body or None)


def render_sample(pair: TemplatePair, event: AlertEvent, *, markup: Markup = Markup.TEXT) -> str:
    """Return the title and body for sample data. Raises TemplateProblem with one sentence."""
    now = datetime.now(UTC)
    (item,) = compose([Dispatch(alert=sample_alert(event, now=now))], timezone="UTC", now=now).items
    rendered = render(pair, item, markup)
    return "\n".join(text for text in (rendered.title, rendered.body) if text)


def sample_alert(event: AlertEvent, *, now: datetime) -> Alert:
    """Return an alert of this kind with made-up data, clearly marked as a sample."""
    recovery = event in RECOVERY_EVENTS
    status = event.value if event.value in _STATUSES else "valid" if event is AlertEvent.RECOVERED else ""
    severity = (
        Severity.WARNING
        if event is AlertEvent.EXPIRING_SOON
        else Severity.INFO
        if event is AlertEvent.DRILL
        else Severity.CRITICAL
    )
    about_connection = bool(status)
    about_source = about_connection or event in (AlertEvent.SOURCE_FAILING, AlertEvent.SOURCE_RECOVERED)
    expires = {AlertEvent.EXPIRING_SOON: now + timedelta(days=3), AlertEvent.RECOVERED: now + timedelta(days=60)}
    return Alert(
        id=f"sample-{int(now.timestamp())}",
        incident=f"sample-{int(now.timestamp())}",
        event=event,
        reason=AlertReason.RECOVERED if recovery else AlertReason.FIRST,
        severity=severity,
        at=now,
        source="sample" if about_source else "",
        provider="postpost" if about_source else None,
        connection="sample/linkedin-SAMPLE" if about_connection else None,
        external_id="linkedin-SAMPLE" if about_connection else None,
        platform="linkedin" if about_connection else None,
        label="SAMPLE connection (a test, not real)" if about_connection else None,
        status=status or ("ok" if recovery else "failing" if event is AlertEvent.SOURCE_FAILING else ""),
        verdict_reason="sample",
        message="This is a sample, requested with: token-monitor test-alert. Nothing has happened.",
        since=now,
        opened_at=now - timedelta(hours=4) if recovery else now,
        expires_at=expires.get(event, now - timedelta(hours=2)) if about_connection else None,
        previous="expired" if event is AlertEvent.RECOVERED else None,
        link="https://app.postpost.dev" if about_source else None,
        labels={"client": "sample"} if about_source else {},
    )


def variables(item: Item) -> dict[str, Any]:
    """Return the values of all variables in MEANINGS except `body`. Texts are single lines that are safe to display."""
    alert = item.alert
    return {
        "title": title_of([item]),
        "event": item.event.value,
        "status": item.status,
        "severity": alert.severity.value,
        "subject": item.subject,
        "name": item.subject,
        "external_id": item.external_id or "",
        "connection": clean(alert.connection, limit=256),
        "platform": item.platform or "",
        "source": item.source,
        "provider": item.service,
        "scope": item.scope,
        "client": item.group,
        "news": item.opening,
        "brief": item.brief,
        "cause": item.cause,
        "why": item.why,
        "reminder": item.reminder,
        "notes": list(item.notes),
        "advice": item.advice,
        "link": item.link or "",
        "link_until": item.link_until,
        "ack": item.ack,
        "ack_link": item.acknowledge,
        "page": item.status_page,
        "expires": item.expiry,
        "left": item.left,
        "expires_at": utc_text(alert.expires_at) or "",
        "since": utc_text(alert.since) or "",
        "at": utc_text(alert.at) or "",
        "previous": clean(alert.previous),
        "stage": "" if alert.stage is None else f"{alert.stage.total_seconds() / 86400:g}d",
        "incident": item.incident,
        "alert": item.alert_id,
        "labels": _LabelValues({clean(key): clean(value) for key, value in item.alert.labels.items()}),
    }


class _Escaped(str):
    """A text that is already in the channel's markup; any operation on it gives an ordinary text."""

    __slots__ = ()


class _LabelValues(dict[str, str]):
    """Labels by name; one that is not set is an empty text, because sources have different labels."""

    def __missing__(self, key: str) -> str:
        return ""


# --- limits

_ALLOWED = (
    nodes.Template,
    nodes.Output,
    nodes.TemplateData,
    nodes.Name,
    nodes.Const,
    nodes.Getattr,
    nodes.Getitem,
    nodes.If,
    nodes.CondExpr,
    nodes.For,
    nodes.Filter,
    nodes.Test,
    nodes.Compare,
    nodes.Operand,
    nodes.And,
    nodes.Or,
    nodes.Not,
    nodes.Concat,
    nodes.Tuple,
    nodes.List,
    nodes.Slice,
    nodes.Keyword,
)
_FORBIDDEN = {
    "Call": "call functions",
    "Assign": "assign variables",
    "AssignBlock": "assign variables",
    "Include": "include other templates",
    "Import": "import other templates",
    "FromImport": "import other templates",
    "Extends": "extend other templates",
    "Macro": "define macros",
    "Mul": "multiply",
    "Pow": "multiply",
    "Mod": "format by %",
}
_FILTERS = (
    "abs",
    "capitalize",
    "count",
    "d",
    "default",
    "dictsort",
    "first",
    "int",
    "items",
    "last",
    "length",
    "lower",
    "replace",
    "sort",
    "string",
    "title",
    "trim",
    "truncate",
    "upper",
)
_TESTS = ("defined", "undefined", "none", "string", "in", "eq", "equalto", "ne", "lt", "le", "gt", "ge", "true", "false")


def _bounded(filter_: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(filter_)
    def short(*values: Any, **options: Any) -> Any:
        for value in (*values, *options.values()):
            _require_short(value)
        return _require_short(filter_(*values, **options))

    return short


def _require_short(value: Any) -> Any:
    if isinstance(value, str) and len(value) > _LONGEST_VALUE:
        raise TemplateProblem(f"A value in the template is longer than {_LONGEST_VALUE:,} characters.")
    return value


def _environment(markup: Markup) -> SandboxedEnvironment:
    escape = style_of(markup).escape
    environment = SandboxedEnvironment(
        autoescape=False,  # `finalize` escapes every value for the channel
        undefined=StrictUndefined,
        keep_trailing_newline=False,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: value if isinstance(value, _Escaped) else escape(_line(value, plain=markup in PLAIN)),
    )
    environment.globals.clear()
    environment.filters = {name: _bounded(environment.filters[name]) for name in _FILTERS}
    environment.tests = {name: environment.tests[name] for name in _TESTS}
    return environment


def _line(value: Any, *, plain: bool) -> str:
    """Return one clean line. Raises TemplateProblem for None, which would be shown as a word."""
    if value is None:
        raise TemplateProblem("The template shows a value that is None.")
    # Cleaning, and many filters, remove the characters that make a text safe to display, so it is made safe again.
    text = clean(str(value), limit=_LONGEST_VALUE)
    return clean_id(text, limit=_LONGEST_VALUE, plain=plain) if text else ""


def _fill(source: str, values: Mapping[str, Any], markup: Markup, *, part: str, limit: int) -> str:
    if len(source) > LONGEST_TEMPLATE:
        raise TemplateProblem(f"The {part} template is longer than {LONGEST_TEMPLATE:,} characters.")
    environment = _environment(markup)
    pieces: list[str] = []
    room = limit
    try:
        _require_allowed(environment.parse(source), part)
        for piece in environment.from_string(source).generate(values):
            pieces.append(piece)
            room -= len(piece)
            if room < 0:
                break
    except TemplateProblem:
        raise
    except TemplateError as error:
        line = getattr(error, "lineno", None)
        where = f" in line {line}" if line else ""
        why = clean(error.message, limit=200).rstrip(".")
        raise TemplateProblem(f"The {part} template cannot be used{where}: {why}.") from error
    except Exception as error:  # a filter may raise anything for a value that it does not support
        raise TemplateProblem(f"The {part} template cannot be used: {clean(str(error), limit=200).rstrip('.')}.") from error
    if room < 0:
        raise TemplateProblem(f"The {part} template renders more than {limit:,} characters.")
    return "".join(pieces)


def _require_allowed(template: nodes.Template, part: str) -> None:
    """Raise TemplateProblem for all that could grow beyond the length of the template."""
    for node in template.find_all(nodes.Node):
        if not isinstance(node, _ALLOWED):
            action = _FORBIDDEN.get(type(node).__name__, f"use {type(node).__name__.lower()}")
            line = f" (line {node.lineno})" if getattr(node, "lineno", None) else ""
            raise TemplateProblem(f"The {part} template must not {action}{line}.")
        if isinstance(node, nodes.For):
            if next(node.find_all(nodes.For), None) is not None:
                raise TemplateProblem(f"The {part} template must not nest loops (line {node.lineno}).")
            if not isinstance(node.iter, (nodes.Name, nodes.Filter, nodes.Getattr)):
                raise TemplateProblem(f"The {part} template can only loop over notes and labels (line {node.lineno}).")
