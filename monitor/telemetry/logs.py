"""Logging setup: one pipeline for the monitor's events and those of libraries, on stderr, in UTC, without secrets.

Output is one JSON object per line, or text, with priorities for systemd. No value can start a new line or contain control
characters, and registered secrets are replaced everywhere, tracebacks included.
"""

from __future__ import annotations

import io
import json
import logging
import re
import sys
import threading
from collections.abc import Iterable, Mapping, MutableMapping
from typing import Any, ClassVar, Literal, TextIO
from urllib.parse import quote

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from monitor.telemetry.log_writer import LogWriter

REDACTED = "<secret>"

Level = Literal["debug", "info", "warning", "error"]
Format = Literal["console", "json", "journal"]
"""Text, JSON, or text for systemd's journal, which adds the time itself."""

_SHORTEST = 4  # shorter texts occur everywhere: replacing them would make the log unreadable
_LIMITED = (
    "apprise",
    "urllib3",
    "requests",
    "httpx",
    "httpcore",
    "aiohttp",
    "asyncio",
    "apscheduler",
    "procrastinate",
    "psycopg",
    "sqlalchemy",
    "alembic",
    "tzlocal",
)
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_BREAKS = re.compile("[\t\n]")


class _Secrets:
    """Texts to redact. Secrets are only added, because an old secret stays one."""

    def __init__(self) -> None:
        self._known: set[str] = set()
        self._pattern: re.Pattern[str] | None = None
        self._changing = threading.Lock()

    def add(self, texts: Iterable[str]) -> None:
        with self._changing:
            self._known |= {form for text in texts for form in _forms(text) if len(form) >= _SHORTEST}
            longest_first = sorted(self._known, key=len, reverse=True)
            self._pattern = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def hide(self, text: str) -> str:
        return text if self._pattern is None else self._pattern.sub(REDACTED, text)


_secrets = _Secrets()
_stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)


def register_secret(*texts: str) -> None:
    """Redact these texts from now on, also as quoted in a URL, in JSON or in a Python literal."""
    _secrets.add(texts)


def redact(text: str) -> str:
    """Return the text without any registered secret."""
    return _secrets.hide(text)


def configure(level: Level = "info", format: Format = "console", *, stream: TextIO | None = None) -> None:  # noqa: A002 - the name of the configuration key
    """Set up logging; may be called again after a reload. `stream` defaults to stderr.

    Lines for stdout and stderr are written by a thread, so that logging never blocks; see flush().
    """
    out = stream or sys.stderr or io.StringIO()
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        _stamp,
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        _make_safe,
    ]
    handler = _handler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_rendering(format, out)],
        )
    )
    root = logging.getLogger()
    for old in [each for each in root.handlers if isinstance(each, _Handler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
    for name in _LIMITED:
        # Below WARNING these log URLs, headers and bodies.
        logging.getLogger(name).setLevel(logging.WARNING)
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


def flush() -> bool:
    """Wait up to a second until every line is written; return False if nothing reads them."""
    return all(writer.flush() for writer in list(_writers.values()))


def redirect_output_of_python() -> None:
    """Log what Python itself would print on stderr, where it would block: warnings and exceptions that nothing catches."""
    log = structlog.get_logger("python")
    logging.captureWarnings(capture=True)

    def report_thread(args: threading.ExceptHookArgs) -> None:
        if args.exc_value is not None:
            log.error("thread.failed", thread=getattr(args.thread, "name", None), exc_info=args.exc_value)

    def report_unraisable(args: sys.UnraisableHookArgs) -> None:
        log.error("python.ignored", what=args.err_msg, where=args.object, exc_info=args.exc_value)

    threading.excepthook, sys.unraisablehook = report_thread, report_unraisable


class _Handler(logging.StreamHandler[TextIO]):
    """Handler that writes lines. If the log target is full or closed, the line is lost, never the process (FAILURES P34)."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - name given by logging
        """Drop the line silently: there is nowhere to report it."""


class _QueueingHandler(_Handler):
    """Handler for a standard stream, which can block."""

    def __init__(self, out: TextIO, writer: LogWriter) -> None:
        super().__init__(out)
        self._writer = writer
        writer.describe_dropped = self.describe_dropped

    def emit(self, record: logging.LogRecord) -> None:
        """Queue the line."""
        try:
            self._writer.write(f"{self.format(record)}\n")
        except Exception:  # noqa: BLE001 - as logging's own handlers
            self.handleError(record)

    def describe_dropped(self, count: int) -> str:
        """Return the line that reports dropped lines."""
        event = {"level": "warning", "event": "log.dropped", "logger": __name__, "count": count}
        _stamp(None, "warning", event)
        # The last two mark an event of structlog.
        return f"{self.format(logging.makeLogRecord({'msg': event, '_logger': None, '_name': 'warning'}))}\n"


_STANDARD = (1, 2)
_writers: dict[int, LogWriter] = {}
"""One writer for each standard stream, kept when logging is configured again."""


def _handler(out: TextIO) -> _Handler:
    try:
        file = out.fileno()
    except OSError:  # a stream in memory, which cannot block
        return _Handler(out)
    if file not in _STANDARD:
        # Its number may name another file, a socket of the database, once the stream is closed.
        return _Handler(out)
    return _QueueingHandler(out, _writers.setdefault(file, LogWriter(file)))


def _rendering(format: Format, out: TextIO) -> list[Processor]:  # noqa: A002 - as above
    if format == "json":
        return [_in_order, structlog.processors.JSONRenderer(serializer=_json)]
    if format == "journal":
        return [_Journal()]
    colours = out.isatty()
    return [structlog.dev.ConsoleRenderer(colors=colours, pad_event_to=34, sort_keys=False)]


class _Journal:
    """Lines for systemd's journal: each begins with its priority (sd-daemon(3)), for filters such as `journalctl -p err`."""

    _PRIORITIES: ClassVar = {"critical": 2, "error": 3, "warning": 4, "info": 6, "debug": 7}

    def __init__(self) -> None:
        self._lines = structlog.dev.ConsoleRenderer(colors=False, pad_event_to=34, sort_keys=False)

    def __call__(self, logger: WrappedLogger, name: str, event: EventDict) -> str:
        event.pop("timestamp", None)  # the journal adds it
        priority = self._PRIORITIES.get(str(event.get("level")), 5)
        text = str(self._lines(logger, name, event))
        return "\n".join(f"<{priority}>{line}" for line in text.splitlines())


def _json(value: object, **_: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _in_order(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Move time, level and event to the front, for readability."""
    first = {key: event.pop(key) for key in ("timestamp", "level", "event", "logger") if key in event}
    return {**first, **event}


def _make_safe(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    traceback = event.pop("exception", None)
    safe: MutableMapping[str, Any] = {
        key: _safe(value) for key, value in event.items() if key not in ("_record", "_from_structlog")
    }
    if traceback is not None:
        # The only value with line breaks; its lines are made safe like any other value.
        safe["exception"] = _UNSAFE.sub(_escaped, redact(str(traceback)))
    return {**safe, **{key: event[key] for key in ("_record", "_from_structlog") if key in event}}


def _safe(value: object) -> object:
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, Mapping):
        return {str(_safe(key)): _safe(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_safe(inner) for inner in value]
    text = redact(value if isinstance(value, str) else str(value))
    return _BREAKS.sub(_escaped, _UNSAFE.sub(_escaped, text))


def _escaped(match: re.Match[str]) -> str:
    return match.group().encode("unicode_escape", "surrogatepass").decode("ascii")


def _forms(text: str) -> set[str]:
    """Return the forms in which a quoted secret may appear. Its parts are not redacted: a password may be an ordinary word."""
    text = text.strip()
    return {text, quote(text), quote(text, safe=""), json.dumps(text)[1:-1], repr(text)[1:-1]}
