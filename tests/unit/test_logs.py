"""The log: two formats, one pipeline, no secret, no line that a value could forge."""

from __future__ import annotations

import io
import json
import logging
from pathlib import Path
from typing import Any

import pytest
import structlog

from monitor.telemetry import logs


def written(format: logs.Format = "json", level: logs.Level = "info") -> io.StringIO:  # noqa: A002 - the configuration's own word
    stream = io.StringIO()
    logs.configure(level, format, stream=stream)
    return stream


def fail_with(error: Exception) -> None:
    raise error


def entries(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_json_has_one_object_a_line_with_time_level_event_and_fields() -> None:
    stream = written()
    structlog.get_logger("monitor.engine.poller").warning(
        "poll.failed", source="agency", problem="no answer", seconds=1.5, ids=["a"]
    )
    (entry,) = entries(stream)
    assert list(entry)[:4] == ["timestamp", "level", "event", "logger"]
    assert entry["timestamp"].endswith("Z")
    del entry["timestamp"]
    assert entry == {
        "level": "warning",
        "event": "poll.failed",
        "logger": "monitor.engine.poller",
        "source": "agency",
        "problem": "no answer",
        "seconds": 1.5,
        "ids": ["a"],
    }


def test_console_lines_are_plain_where_there_is_no_terminal() -> None:
    stream = written("console")
    structlog.get_logger("monitor.engine.poller").info("poll.done", source="agency")
    (line,) = stream.getvalue().splitlines()
    assert "poll.done" in line
    assert "source=agency" in line
    assert "\x1b" not in line


def test_libraries_log_through_the_same_pipeline() -> None:
    stream = written()
    logging.getLogger("somelib").warning("disk %s is %d%% full", "a", 95)
    (entry,) = entries(stream)
    assert entry["event"] == "disk a is 95% full"
    assert entry["level"] == "warning"
    assert entry["logger"] == "somelib"


def test_the_level_is_obeyed_and_noisy_libraries_stay_at_warning() -> None:
    stream = written(level="debug")
    structlog.get_logger("monitor").debug("ours")
    for name in ("apprise", "urllib3.connectionpool", "httpx", "httpcore.http11", "requests"):
        logging.getLogger(name).info("POST https://hooks.example/SECRET")
        logging.getLogger(name).debug("Authorization: SECRET")
    assert [entry["event"] for entry in entries(stream)] == ["ours"]
    stream = written(level="error")
    structlog.get_logger("monitor").warning("quiet")
    assert stream.getvalue() == ""


def test_configuring_again_replaces_the_old_stream() -> None:
    first, second = written(), written()
    structlog.get_logger("monitor").info("once")
    assert first.getvalue() == ""
    assert len(entries(second)) == 1


@pytest.mark.parametrize("format_", ["json", "console"])
def test_S01_a_registered_secret_shows_nowhere(format_: logs.Format) -> None:
    stream = written(format_)
    canary = 'sk_hunter2/with "quotes"+é'
    logs.register_secret(canary, "", "abc")
    log = structlog.get_logger("monitor")
    log.info(canary, direct=canary, inside=f"x{canary}y", nested={"a": [canary]}, keyed={canary: 1}, quoted=repr(canary))
    log.info("url", url="https://x/?k=sk_hunter2%2Fwith%20%22quotes%22%2B%C3%A9", error=ValueError(canary), short="abc")
    logging.getLogger("lib").error("refused %s", canary)
    try:
        fail_with(RuntimeError(f"failed with {canary}"))
    except RuntimeError:
        log.exception("oops")
        logging.getLogger("lib").exception("lib oops")
    text = stream.getvalue()
    assert "hunter2" not in text
    assert "<secret>" in text
    assert "abc" in text, "what is too short to be a secret is left alone"
    assert "RuntimeError: failed with <secret>" in text.replace("\\n", "\n")


@pytest.mark.parametrize("format_", ["json", "console"])
@pytest.mark.parametrize("forged", ["a\nb", "a\r\nb", "\x1b[31mred", "a\u202eb", "a\x00b", "a\u2028b", "\x9b1m"])
def test_S04_no_value_can_forge_a_line_or_colour_a_terminal(format_: logs.Format, forged: str) -> None:
    stream = written(format_)
    structlog.get_logger("monitor").info("renamed", name=forged, nested=[forged])
    logging.getLogger("lib").warning("renamed %s", forged)
    text = stream.getvalue()
    assert text.count("\n") == 2
    assert len(text.splitlines()) == 2
    for unsafe in "\x1b\u202e\x00\u2028\x9b\r":
        assert unsafe not in text


def test_N19_half_a_character_does_not_break_the_line() -> None:
    stream = written()
    structlog.get_logger("monitor").info("renamed", name="a\ud800b")
    assert entries(stream)[0]["name"] == "a\\ud800b"


def test_a_traceback_keeps_its_lines_but_not_their_tricks() -> None:
    stream = written("json")
    try:
        fail_with(ValueError("red \x1b[31m alert"))
    except ValueError:
        structlog.get_logger("monitor").exception("oops")
    (entry,) = entries(stream)
    assert "Traceback" in entry["exception"]
    assert "\x1b" not in entry["exception"]
    assert "\n" in entry["exception"]


def test_P34_a_log_target_that_is_gone_costs_the_line_only(capsys: pytest.CaptureFixture[str]) -> None:
    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError(32, "Broken pipe")

    logs.configure("info", "json", stream=Closed())
    structlog.get_logger("monitor").info("still alive")
    assert capsys.readouterr().err == ""


def test_redact_serves_texts_that_go_elsewhere() -> None:
    logs.register_secret("hunter2-hunter2")
    assert logs.redact("key=hunter2-hunter2!") == "key=<secret>!"


def test_the_journals_lines_begin_with_their_priority_and_leave_the_time_to_it() -> None:
    stream = written("journal", "debug")
    log = structlog.get_logger("monitor.daemon.app")
    for say in (log.debug, log.info, log.warning, log.error):
        say("something.happened", source="agency")
    lines = stream.getvalue().splitlines()
    assert [line[:3] for line in lines] == ["<7>", "<6>", "<4>", "<3>"]
    assert all("something.happened" in line and "source=agency" in line for line in lines)
    assert not any(line[3:7].isdigit() for line in lines)


def test_every_line_of_a_traceback_has_the_priority_of_its_event() -> None:
    """The journal takes line by line: what is not marked would be told as plain information."""
    stream = written("journal")
    try:
        fail_with(ValueError("broken"))
    except ValueError:
        structlog.get_logger("monitor.daemon.app").exception("work.failed")
    lines = stream.getvalue().splitlines()
    assert len(lines) > 3
    assert all(line.startswith("<3>") for line in lines)


@pytest.mark.parametrize("format_", ["json", "console", "journal"])
def test_P34_dropped_lines_are_reported_in_the_format_of_the_log(format_: logs.Format) -> None:
    with open(2, "w", encoding="utf-8", closefd=False) as stream:
        logs.configure("error", format_, stream=stream)
        (handler,) = (each for each in logging.getLogger().handlers if isinstance(each, logs._QueueingHandler))
        line = handler.describe_dropped(7)
    assert line.endswith("\n")
    if format_ == "json":
        assert {key: value for key, value in json.loads(line).items() if key != "timestamp"} == {
            "level": "warning",
            "event": "log.dropped",
            "logger": "monitor.telemetry.logs",
            "count": 7,
        }
    else:
        assert "log.dropped" in line
        assert "count=7" in line
    assert line.startswith("<4>") is (format_ == "journal")


def test_a_closed_log_file_leaves_the_next_file_with_its_number_alone(tmp_path: Path) -> None:
    """Lines of the log once reached the socket of a database, which ended the connection."""
    with (tmp_path / "log").open("w", encoding="utf-8") as stream:
        logs.configure("info", "json", stream=stream)
        structlog.get_logger("monitor").info("first")
        number = stream.fileno()
    with (tmp_path / "other").open("w", encoding="utf-8") as other:
        assert other.fileno() == number
        structlog.get_logger("monitor").info("second")
        assert logs.flush()
    assert "first" in (tmp_path / "log").read_text("utf-8")
    assert (tmp_path / "other").read_text("utf-8") == ""
