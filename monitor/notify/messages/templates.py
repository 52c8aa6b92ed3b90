"""A channel's own wording: the home of Jinja2.

A template is text with places to fill. What fills them comes from strangers and is escaped for the channel at the last
moment, whatever the template does with it before. What a template may do is bounded by its form, not by a clock: there is no
way to assign, to call or to multiply, loops do not nest, and filters neither take nor give long texts. So rendering takes time
and memory in proportion to the template's length, which is bounded too.
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
from monitor.domain import Alert, AlertEvent, Severity, Status, utc_text
from monitor.domain.errors import ConfigError
from monitor.domain.rules.alerting import AlertReason
from monitor.domain.text import clean, clean_id
from monitor.notify.messages import Dispatch, Item, Markup, compose
from monitor.notify.messages.fitting import body_of
from monitor.notify.messages.markup import style_of
from monitor.notify.messages.message import title_of

LONGEST_TEMPLATE = 10_000
"""Characters of one template."""
LONGEST_TITLE = 250
LONGEST_BODY = 20_000

MEANINGS = {
    "title": "the built-in title",
    "body": "the built-in text, in the channel's own format; within a body only",
    "event": "what is said, such as `expired` or `source_failing`",
    "status": "the connection's status; `recovered` for a recovery; the event for everything else",
    "severity": "`info`, `warning` or `critical`",
    "subject": "who it is about: the connection's name, or the source's, or what the monitor itself has trouble with",
    "name": "the same",
    "external_id": "the service's own id of the connection",
    "connection": "its whole id, which the commands take",
    "platform": "such as `linkedin`",
    "source": "the source's name",
    "provider": "the service's name, such as PostPost",
    "scope": "the managed user or workspace, in words",
    "news": "the first sentence",
    "cause": "why the status is what it is",
    "why": "why this is said now: first notice, reminder 2, recovered after 4 hours of trouble",
    "notes": "a list: late by, may be a repeat, what happened meanwhile",
    "advice": "what to do about it",
    "link": "where to do it; a connection page where the source has `connection_links`",
    "link_until": "until when that connection page is good, in words; empty for an ordinary link",
    "ack": "the command that acknowledges it",
    "expires": "the expiry, as a sentence",
    "left": "the time left, while it is `expiring_soon`",
    "expires_at": "the expiry in UTC, RFC 3339",
    "since": "since when the status holds, likewise",
    "at": "when this was decided, likewise",
    "previous": "the status that was said before",
    "stage": "the stage that was crossed, in days, such as `3d`",
    "incident": "the incident's id, the same from the first notice to the recovery",
    "alert": "the alert's id, which `alerts explain` takes",
    "labels": "the source's labels as a table: `labels.client`, or a loop over `labels|dictsort`",
}
"""What a template can name, in the order of the documentation. What is absent is an empty text."""

_LONGEST_VALUE = 2_000
_STATUSES = frozenset(Status)


class TemplateProblem(ConfigError):
    """A template cannot be used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """What a template made of an item; None where the built-in wording stays."""

    title: str | None = None
    body: str | None = None


def pair_for(templates: Mapping[str, TemplatePair], event: AlertEvent) -> TemplatePair | None:
    """The template for an event: its own, else the one for any, else none."""
    return templates.get(event.value) or templates.get(EVERY_EVENT)


def render(pair: TemplatePair, item: Item, markup: Markup, *, marked_title: bool = False) -> Rendered:
    """Title and body for one item, in the channel's markup. Raises TemplateProblem with one sentence."""
    values = variables(item)
    # Our own link, and safe as it stands: a chat's escaping would break it.
    in_tags = markup in (Markup.SLACK, Markup.HTML, Markup.MAIL)
    values["ack"] = _Ready(style_of(markup).escape(values["ack"]))  # to be copied as it is
    values["link"] = _Ready(escape_html(values["link"]) if in_tags else values["link"])
    title = body = None
    if pair.title is not None:
        filled = _fill(pair.title, values, markup if marked_title else Markup.TEXT, part="title", limit=LONGEST_TITLE)
        title = " ".join(filled.split())
    if pair.body is not None:
        values["body"] = _Ready(body_of(item, markup))
        body = _fill(pair.body, values, markup, part="body", limit=LONGEST_BODY).strip("\n")
        if markup in (Markup.MAIL, Markup.HTML) and "<" not in pair.body:
            body = body.replace("\n", "<br>")
    return Rendered(title=title or None, body=body or None)


def render_sample(pair: TemplatePair, event: AlertEvent, *, markup: Markup = Markup.TEXT) -> str:
    """Title and body over sample data, to try a template out. Raises TemplateProblem with one sentence."""
    now = datetime.now(UTC)
    (item,) = compose([Dispatch(alert=sample_alert(event, now=now))], timezone="UTC", now=now).items
    made = render(pair, item, markup)
    return "\n".join(text for text in (made.title, made.body) if text)


def sample_alert(event: AlertEvent, *, now: datetime) -> Alert:
    """A made-up alert of this kind, clearly marked as a sample."""
    recovery = event in (AlertEvent.RECOVERED, AlertEvent.SOURCE_RECOVERED, AlertEvent.MONITOR_RECOVERED)
    status = event.value if event.value in _STATUSES else "valid" if event is AlertEvent.RECOVERED else ""
    severity = (
        Severity.WARNING
        if event is AlertEvent.EXPIRING_SOON
        else Severity.INFO
        if event is AlertEvent.DRILL
        else Severity.CRITICAL
    )
    about_connection = bool(status)
    expires = {AlertEvent.EXPIRING_SOON: now + timedelta(days=3), AlertEvent.RECOVERED: now + timedelta(days=60)}
    return Alert(
        id=f"sample-{int(now.timestamp())}",
        incident=f"sample-{int(now.timestamp())}",
        event=event,
        reason=AlertReason.RECOVERED if recovery else AlertReason.FIRST,
        severity=severity,
        at=now,
        source="" if event.value.startswith("monitor") else "sample",
        provider=None if event.value.startswith("monitor") else "postpost",
        connection="sample/linkedin-SAMPLE" if about_connection else None,
        external_id="linkedin-SAMPLE" if about_connection else None,
        platform="linkedin" if about_connection else None,
        label="SAMPLE connection (a test, not real)" if about_connection else None,
        status=status or ("ok" if recovery else "failing" if event is AlertEvent.SOURCE_FAILING else ""),
        verdict_reason="sample",
        message="This is a sample that somebody asked for with token-monitor test-alert. Nothing has happened.",
        since=now,
        opened_at=now - timedelta(hours=4) if recovery else now,
        expires_at=expires.get(event, now - timedelta(hours=2)) if about_connection else None,
        previous="expired" if event is AlertEvent.RECOVERED else None,
        link=None if event.value.startswith("monitor") else "https://app.postpost.dev",
        labels={"client": "sample"},
    )


def variables(item: Item) -> dict[str, Any]:
    """Everything that a template can name, but for `body`: see MEANINGS. Texts are harmless lines."""
    alert = item.alert
    return {
        "title": title_of([item]),
        "event": item.event.value,
        "status": item.word,
        "severity": alert.severity.value,
        "subject": item.subject,
        "name": item.subject,
        "external_id": item.external_id or "",
        "connection": clean(alert.connection, limit=256),
        "platform": item.platform or "",
        "source": item.source,
        "provider": item.service,
        "scope": item.scope,
        "news": item.opening,
        "cause": item.cause,
        "why": item.said_because,
        "notes": list(item.notes),
        "advice": item.advice,
        "link": item.link or "",
        "link_until": item.link_until,
        "ack": item.ack,
        "expires": item.expiry,
        "left": item.left,
        "expires_at": utc_text(alert.expires_at) or "",
        "since": utc_text(alert.since) or "",
        "at": utc_text(alert.at) or "",
        "previous": clean(alert.previous),
        "stage": "" if alert.stage is None else f"{alert.stage.total_seconds() / 86400:g}d",
        "incident": item.incident,
        "alert": item.alert_id,
        "labels": _Labels({clean(key): clean(value) for key, value in item.labels.items()}),
    }


class _Ready(str):
    """A text that is in the channel's markup already, as long as nothing is done with it."""

    __slots__ = ()


class _Labels(dict[str, str]):
    """Labels by name; one that is not set is an empty text, as sources differ in what they have."""

    def __missing__(self, key: str) -> str:
        return ""


# --- the bounds

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
_NAMES = {
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
        autoescape=False,  # the channel's own escaping is done by `finalize`, at the last moment and on everything
        undefined=StrictUndefined,
        keep_trailing_newline=False,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: value if isinstance(value, _Ready) else escape(_line(value)),
    )
    environment.globals.clear()
    environment.filters = {name: _bounded(environment.filters[name]) for name in _FILTERS}
    environment.tests = {name: environment.tests[name] for name in _TESTS}
    return environment


def _line(value: Any) -> str:
    """One clean line. None reads as a mistake in a message, so it is one."""
    if value is None:
        raise TemplateProblem("The template shows a value that is none.")
    # Cleaning takes out the marks that had made it harmless, and so does many a filter: it is made harmless anew.
    text = clean(str(value), limit=_LONGEST_VALUE)
    return clean_id(text, limit=_LONGEST_VALUE) if text else ""


def _fill(source: str, values: Mapping[str, Any], markup: Markup, *, part: str, limit: int) -> str:
    if len(source) > LONGEST_TEMPLATE:
        raise TemplateProblem(f"The {part} template is longer than {LONGEST_TEMPLATE:,} characters.")
    environment = _environment(markup)
    written: list[str] = []
    room = limit
    try:
        _require_allowed(environment.parse(source), part)
        for piece in environment.from_string(source).generate(values):
            written.append(piece)
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
    except Exception as error:  # a filter may raise anything at a value that it cannot take, and that is the template's fault
        raise TemplateProblem(f"The {part} template cannot be used: {clean(str(error), limit=200).rstrip('.')}.") from error
    if room < 0:
        raise TemplateProblem(f"The {part} template writes more than {limit:,} characters.")
    return "".join(written)


def _require_allowed(template: nodes.Template, part: str) -> None:
    """Refuse whatever could grow beyond the template's own length."""
    for node in template.find_all(nodes.Node):
        if not isinstance(node, _ALLOWED):
            does = _NAMES.get(type(node).__name__, f"use {type(node).__name__.lower()}")
            line = f" (line {node.lineno})" if getattr(node, "lineno", None) else ""
            raise TemplateProblem(f"The {part} template must not {does}{line}.")
        if isinstance(node, nodes.For):
            if next(node.find_all(nodes.For), None) is not None:
                raise TemplateProblem(f"The {part} template must not nest loops (line {node.lineno}).")
            if not isinstance(node.iter, (nodes.Name, nodes.Filter, nodes.Getattr)):
                raise TemplateProblem(f"The {part} template may only loop over notes and labels (line {node.lineno}).")
