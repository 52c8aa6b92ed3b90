"""Environment variables override the file, value by value; the two lists whole, as JSON."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.config import Loaded, format_duration, load
from monitor.domain.errors import ConfigError

FILES = Path(__file__).parent.parent / "data" / "config"
ENV = {"HOME": "/home/someone", "A_KEY": "sk_one", "A_URL": "json://localhost/hook"}


def loaded(**env: str) -> Loaded:
    """The smallest file under an environment."""
    return load(FILES / "good-minimal.toml", ENV | {f"TOKEN_MONITOR_{key}": value for key, value in env.items()})


def problems(**env: str) -> list[str]:
    """The mistakes of an environment."""
    with pytest.raises(ConfigError) as caught:
        loaded(**env)
    return caught.value.problems


@pytest.mark.parametrize(
    ("name", "value", "path", "expected"),
    [
        ("TIMEZONE", "Asia/Tokyo", "timezone", "Asia/Tokyo"),
        ("SCHEDULE__POLL_EVERY", "5m", "schedule.poll_every", timedelta(minutes=5)),
        ("SCHEDULE__PROBE_EVERY", "off", "schedule.probe_every", None),
        ("SCHEDULE__JITTER", "20%", "schedule.jitter", 0.2),
        ("SCHEDULE__REQUESTS_PER_MINUTE", "30", "schedule.requests_per_minute", 30),
        ("POLICY__STAGES", '["1d", "2d"]', "policy.stages", (timedelta(days=2), timedelta(days=1))),
        ("POLICY__CONFIRM_MISSING", "4", "policy.confirm_missing", 4),
        ("WEB__LISTEN", "off", "web.listen", None),
        ("WEB__CONNECTION_METRICS", "on", "web.connection_metrics", "on"),
        ("LOGGING__FORMAT", "json", "logging.format", "json"),
        ("RETENTION__POLLS", "off", "retention.polls", None),
    ],
)
def test_a_variable_overrides_one_value(name: str, value: str, path: str, expected: object) -> None:
    found: Any = loaded(**{name: value}).config
    for step in path.split("."):
        found = getattr(found, step)
    assert found == expected


def test_a_platforms_threshold_can_be_overridden() -> None:
    [source] = loaded(POLICY__PLATFORMS__TIKTOK__EXPIRING_WITHIN="30d").config.sources
    assert source.policy_for("tiktok").expiring_within == timedelta(days=30)


def test_a_secret_is_text_or_a_reference_and_a_number_stays_text() -> None:
    token = loaded(WEB__TOKEN="123456").config.web.token
    assert token is not None
    assert token.reveal() == "123456"
    by_reference = load(FILES / "good-minimal.toml", ENV | {"TOKEN_MONITOR_WEB__TOKEN": '{"env": "OTHER"}', "OTHER": "x"})
    assert by_reference.config.web.token is not None
    assert by_reference.config.web.token.reveal() == "x"


def test_a_table_that_the_file_lacks_can_come_from_the_environment() -> None:
    heartbeat = loaded(HEARTBEAT__URL="https://hc-ping.com/abc").config.heartbeat
    assert heartbeat is not None
    assert heartbeat.every == timedelta(minutes=1)


def test_the_lists_are_replaced_whole() -> None:
    sources = [{"name": "b", "provider": "postpeer", "api_key": {"env": "A_KEY"}, "proxy": None, "labels": {"x": "y"}}]
    config = loaded(SOURCES=json.dumps(sources), CHANNELS="[]").config
    assert [source.name for source in config.sources] == ["b"]
    assert config.sources[0].proxy is None, "null means the same as leaving the key out"
    assert config.channels == ()


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        (
            "SCHEDULE__POL_EVERY",
            "5m",
            "TOKEN_MONITOR_SCHEDULE__POL_EVERY is not a known setting; did you mean TOKEN_MONITOR_SCHEDULE__POLL_EVERY?",
        ),
        ("ZZZ__ZZZ", "1", "TOKEN_MONITOR_ZZZ__ZZZ is not a known setting."),
        (
            "SOURCES__0__NAME",
            "a",
            "TOKEN_MONITOR_SOURCES__0__NAME is not a known setting: replace all sources by a JSON list in ",
        ),
        ("SOURCES", "[{]", "TOKEN_MONITOR_SOURCES is not valid JSON: "),
        ("SOURCES", "[" * 200_000, "TOKEN_MONITOR_SOURCES is nested too deeply."),
        ("SOURCES", "9" * 5000, "TOKEN_MONITOR_SOURCES contains a number that is out of range."),
        ("SOURCES", "'[]'", "TOKEN_MONITOR_SOURCES is in quotes, which an env file keeps: write it without quotes."),
        ("WEB__TOKEN", '"hunter2"', "TOKEN_MONITOR_WEB__TOKEN: web.token is in quotes: write it without quotes."),
        ("CHANNELS", "{}", "TOKEN_MONITOR_CHANNELS must be a JSON list of objects."),
        ("SOURCES", "[1]", "TOKEN_MONITOR_SOURCES: sources[0] is a number, but must be a table."),
        (
            "SCHEDULE",
            "{}",
            "TOKEN_MONITOR_SCHEDULE names a whole table: set its keys individually, such as TOKEN_MONITOR_SCHEDULE__POLL_EVERY.",
        ),
        (
            "SCHEDULE__POLL_EVERY",
            "soon",
            'TOKEN_MONITOR_SCHEDULE__POLL_EVERY: schedule.poll_every is "soon", but must be a duration, such as ',
        ),
        (
            "SCHEDULE__REQUESTS_PER_MINUTE",
            "many",
            'TOKEN_MONITOR_SCHEDULE__REQUESTS_PER_MINUTE: schedule.requests_per_minute is "many", but must be a whole number.',
        ),
        ("DATABASE__URL", "mysql://me:hunter2@x/y", "TOKEN_MONITOR_DATABASE__URL: database.url must start with "),
    ],
)
def test_a_mistake_in_the_environment_names_the_variable(name: str, value: str, said: str) -> None:
    [problem] = problems(**{name: value})
    assert problem.startswith(said)
    assert "hunter2" not in problem


@pytest.mark.parametrize(
    ("name", "meant"),
    [("DATABASE_URL", "DATABASE__URL"), ("SOURCE", "SOURCES"), ("SCHEDULE_POLL_EVERY", "SCHEDULE__POLL_EVERY")],
)
def test_a_variable_that_just_misses_a_known_one_is_a_warning(name: str, meant: str) -> None:
    expected = f"TOKEN_MONITOR_{name} has no effect; did you mean TOKEN_MONITOR_{meant}?"
    assert loaded(**{name: "x"}).warnings == (expected,)


def test_a_variable_that_a_secret_is_read_from_is_no_mistake() -> None:
    assert loaded(WEB_TOKEN="x", WEB__TOKEN='{"env": "TOKEN_MONITOR_WEB_TOKEN"}').warnings == ()


def test_a_mistake_in_the_file_is_reported_even_where_a_variable_overrides_it(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("schedule = 5\n" + (FILES / "good-minimal.toml").read_text("utf-8"), "utf-8")
    with pytest.raises(ConfigError) as caught:
        load(path, ENV | {"TOKEN_MONITOR_SCHEDULE__POLL_EVERY": "5m"})
    assert caught.value.problems == [f"{path}: schedule is a number, but must be a table."]


def test_a_variable_changes_one_key_of_a_table_and_leaves_the_files_others(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    text = (FILES / "good-minimal.toml").read_text("utf-8")
    path.write_text('[schedule]\npoll_every = "7m"\nprobe_every = "3h"\n' + text, "utf-8")
    schedule = load(path, ENV | {"TOKEN_MONITOR_SCHEDULE__POLL_EVERY": "5m"}).config.schedule
    assert (schedule.poll_every, schedule.probe_every) == (timedelta(minutes=5), timedelta(hours=3))


def test_a_reference_replaces_the_files_whole(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text('[web]\ntoken = { file = "gone" }\n' + (FILES / "good-minimal.toml").read_text("utf-8"), "utf-8")
    token = load(path, ENV | {"TOKEN_MONITOR_WEB__TOKEN": '{"env": "A_KEY"}'}).config.web.token
    assert token is not None
    assert token.reveal() == "sk_one"


def test_only_the_given_environment_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN_MONITOR_TIMEZONE", "Asia/Tokyo")
    monkeypatch.setenv("TOKEN_MONITOR_ZZZ__ZZZ", "1")
    assert loaded().config.timezone == "UTC"


def test_other_variables_are_none_of_our_business() -> None:
    assert loaded(CONFIG="/elsewhere", ANYTHING="x").warnings == ()


@settings(max_examples=50, deadline=None)
@given(st.integers(min_value=1, max_value=36525 * 86400).map(lambda seconds: timedelta(seconds=seconds)))
def test_the_environment_takes_precedence(every: timedelta) -> None:
    config = loaded(SCHEDULE__POLL_EVERY=format_duration(every), SCHEDULE__PROBE_EVERY=format_duration(every)).config
    assert config.schedule.poll_every == config.schedule.probe_every == every
    assert config.sources[0].poll_every == every
