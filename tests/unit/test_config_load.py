"""What a good file means: defaults, precedence, paths, and where the file is looked for."""

from __future__ import annotations

import os
import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from monitor.config import Config, find_config, load, show
from monitor.domain import AlertEvent, Policy, Severity
from monitor.domain.errors import ConfigError

FILES = Path(__file__).parent.parent / "data" / "config"
ENV = {
    "HOME": "/home/someone",
    "A_KEY": " sk_one\n",
    "B_KEY": "sk_two",
    "A_URL": "json://localhost/hook",
    "WEB_TOKEN": "open-sesame",
    "BEAT_URL": "https://hc-ping.com/abc",
}
SOURCE = '[[sources]]\nname = "a"\nprovider = "{}"\napi_key = {{ env = "A_KEY" }}\n'
CHANNEL = '[[channels]]\nname = "c"\nurl = { env = "A_URL" }\n'


def loaded(folder: Path, text: str, **env: str) -> Config:
    """The configuration of a text in a folder."""
    path = folder / "config.toml"
    path.write_text(text, "utf-8")
    return load(path, ENV | env).config


def problems(folder: Path, text: str, **env: str) -> list[str]:
    """The mistakes of a text in a folder, without the file's name."""
    with pytest.raises(ConfigError) as caught:
        loaded(folder, text, **env)
    return [problem.removeprefix(f"{folder / 'config.toml'}: ") for problem in caught.value.problems]


def test_the_smallest_file_gets_every_default_of_the_interface(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    shutil.copyfile(FILES / "good-minimal.toml", path)
    result = load(path, ENV)
    config = result.config
    assert result.warnings == ()
    assert result.path == config.path == path
    assert config.timezone == "UTC"
    assert config.database.url.reveal() == "sqlite:////home/someone/.local/state/token-monitor/monitor.db"
    assert config.schedule.poll_every == timedelta(minutes=15)
    assert config.schedule.probe_every == timedelta(hours=6)
    assert config.schedule.jitter == 0.1
    assert config.schedule.requests_per_minute is None
    assert config.policy == Policy()
    assert config.heartbeat is None
    assert (config.web.listen, config.web.token, config.web.connection_metrics) == ("127.0.0.1:8321", None, "auto")
    assert (config.logging.level, config.logging.format) == ("info", "console")
    assert (config.retention.history, config.retention.polls) == (timedelta(days=400), timedelta(days=30))
    [source] = config.sources
    assert source.api_key.reveal() == "sk_one"
    assert source.base_url == "https://api.postpost.dev/api/v1"
    assert (source.users, source.workspaces, source.probe, source.labels) == ("none", None, True, {})
    assert (source.requests_per_minute, source.proxy, source.ca_file) == (600, None, None)
    [channel] = config.channels
    assert (channel.events, channel.sources, channel.platforms, channel.labels) == (None, None, None, {})
    assert (channel.severity, channel.group_wait) == (Severity.INFO, timedelta(seconds=10))


def test_a_file_with_every_key_is_read_as_written() -> None:
    config = load(FILES / "good-everything.toml", ENV).config
    agency, studio = config.sources
    assert config.timezone == "Europe/Berlin"
    assert config.database.url.reveal() == "postgresql://monitor@db.example/monitor"
    assert (agency.base_url, agency.users) == ("http://127.0.0.1:8080/api/v1", ("64fe01", "64fe02"))
    assert (agency.probe, agency.jitter, agency.requests_per_minute) == (False, 0.025, 30)
    assert (agency.poll_every, studio.poll_every) == (timedelta(hours=36), timedelta(minutes=10))
    assert (studio.probe, studio.probe_every, studio.workspaces) == (False, None, ("ws_1", "ws_2"))
    assert studio.requests_per_minute == 60, "a wider [schedule] is narrowed to what Postbreeze allows"
    assert studio.proxy is not None
    assert studio.proxy.reveal() == "http://proxy.example:3128"
    ops = config.channels[0]
    assert ops.events == frozenset({AlertEvent.EXPIRED, AlertEvent.RECOVERED})
    assert ops.severity is Severity.CRITICAL
    assert ops.platforms == ("twitter", "facebook")
    assert ops.group_wait == timedelta(0)
    assert config.heartbeat is not None
    assert config.heartbeat.every == timedelta(seconds=90)
    assert (config.retention.history, config.retention.polls) == (None, timedelta(days=7))
    assert config.web.listen == "0.0.0.0:80"


def test_policies_are_merged_key_by_key_the_closest_first() -> None:
    """Source and platform, source, platform, policy: good-everything.toml sets something at each."""
    config = load(FILES / "good-everything.toml", ENV).config
    agency, studio = config.sources
    stages = (timedelta(days=5), timedelta(days=3), timedelta(days=1))
    assert config.policy.stages == stages, "sorted, widest first, each once"
    twitter = agency.policy_for("x")
    assert twitter.expiring_within == timedelta(days=14), "the source's beats the platform's"
    assert twitter.stages == (timedelta(days=1),), "source and platform"
    assert twitter.confirm_missing == 5, "the platform's, where the source says nothing"
    assert twitter.confirm_failures == 3, "the policy's"
    assert twitter.remind_every == timedelta(hours=6)
    assert (twitter.learn_renewals, agency.policy.learn_renewals) == (False, True), "the platform's"
    assert agency.policy_for("twitter") == agency.policy_for("X") == twitter
    assert agency.policy_for("linkedin") == agency.policy
    assert studio.policy_for("tiktok").expiring_within == timedelta(days=30)
    assert studio.policy_for("tiktok_business") == studio.policy_for("tiktok")
    assert studio.policy_for("youtube") == config.policy


def test_only_a_window_that_a_person_set_counts_as_explicit(tmp_path: Path) -> None:
    plain = SOURCE.format("postpost") + CHANNEL
    assert not loaded(tmp_path, plain).sources[0].policy.expiring_within_explicit
    on_platform = loaded(tmp_path, '[policy.platforms.tiktok]\nexpiring_within = "7d"\n' + plain).sources[0]
    assert on_platform.policy_for("tiktok").expiring_within_explicit
    assert not on_platform.policy_for("linkedin").expiring_within_explicit
    by_environment = loaded(tmp_path, plain, TOKEN_MONITOR_POLICY__EXPIRING_WITHIN="7d").sources[0]
    assert by_environment.policy.expiring_within_explicit


@pytest.mark.parametrize(
    ("provider", "base_url", "budget", "probes"),
    [
        ("postpost", "https://api.postpost.dev/api/v1", 600, True),
        ("publora", "https://api.publora.com/api/v1", 60, True),
        ("postbreeze", "https://api.postbreeze.ai/api/v1", 60, False),
        ("postpeer", "https://api.postpeer.dev/v1", 600, False),
    ],
)
def test_each_service_has_its_own_defaults(provider: str, base_url: str, budget: int, probes: bool, tmp_path: Path) -> None:
    [source] = loaded(tmp_path, SOURCE.format(provider) + CHANNEL).sources
    assert source.provider == provider
    assert (source.base_url, source.requests_per_minute, source.probe) == (base_url, budget, probes)
    assert source.dashboard_url.startswith("https://app.")


def test_relative_paths_start_at_the_files_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "a.key").write_text("sk_file\n")
    (tmp_path / "etc" / "ca.pem").write_text("-----BEGIN CERTIFICATE-----\n")
    text = SOURCE.format("postpost").replace('env = "A_KEY"', 'file = "a.key"') + 'ca_file = "ca.pem"\n' + CHANNEL
    text += '\nca_file = "ca.pem"\n'
    (tmp_path / "etc" / "config.toml").write_text('[database]\nurl = "sqlite:///data/m.db"\n' + text)
    monkeypatch.chdir(tmp_path)
    config = load(Path("etc/config.toml"), ENV).config
    assert config.database.url.reveal() == f"sqlite:///{tmp_path}/etc/data/m.db"
    assert config.sources[0].api_key.reveal() == "sk_file"
    assert config.sources[0].ca_file == config.channels[0].ca_file == tmp_path / "etc" / "ca.pem"
    assert show(config).count(f'ca_file = "{tmp_path}/etc/ca.pem"') == 2


@pytest.mark.parametrize(
    ("env", "folder"),
    [
        ({"STATE_DIRECTORY": "/var/lib/token-monitor:/var/lib/other"}, "/var/lib/token-monitor"),
        ({"XDG_STATE_HOME": "/state"}, "/state/token-monitor"),
        ({"XDG_STATE_HOME": "not/absolute"}, "/home/someone/.local/state/token-monitor"),
    ],
)
def test_the_database_lies_in_the_state_folder_by_default(env: dict[str, str], folder: str, tmp_path: Path) -> None:
    config = loaded(tmp_path, SOURCE.format("postpost") + CHANNEL, **env)
    assert config.database.url.reveal() == f"sqlite:///{folder}/monitor.db"


def test_without_any_state_folder_the_database_must_be_named(tmp_path: Path) -> None:
    assert problems(tmp_path, SOURCE.format("postpost") + CHANNEL, HOME="") == [
        "database.url has no default, because STATE_DIRECTORY, XDG_STATE_HOME and HOME are unset: set it."
    ]


@pytest.mark.parametrize(
    ("listen", "allowed"),
    [
        ("127.0.0.1:1", True),
        ("127.9.9.9:1", True),
        ("localhost:1", True),
        ("[::1]:1", True),
        ("off", True),
        ("0.0.0.0:1", False),
        ("[::]:1", False),
        ("192.168.0.1:1", False),
        ("monitor.example:1", False),
    ],
)
def test_S11_only_loopback_may_do_without_a_token(listen: str, allowed: bool, tmp_path: Path) -> None:
    text = f'[web]\nlisten = "{listen}"\n' + SOURCE.format("postpost") + CHANNEL
    if allowed:
        assert loaded(tmp_path, text).web.listen == (None if listen == "off" else listen)
    else:
        [problem] = problems(tmp_path, text)
        assert problem.startswith("web.listen is ")
    web = loaded(tmp_path, text, TOKEN_MONITOR_WEB__TOKEN="t").web
    assert web.token is not None
    assert web.served_at == (web.listen if allowed else None), "a token that short can be guessed"
    web = loaded(tmp_path, text, TOKEN_MONITOR_WEB__TOKEN="t" * 22).web
    assert web.served_at == web.listen


@pytest.mark.parametrize("length", [4, 21, 22])
def test_S21_a_short_token_is_no_error_and_comes_with_a_better_one(length: int, tmp_path: Path) -> None:
    """Version 0.1 accepted any token: monitoring continues after an upgrade."""
    file = tmp_path / "config.toml"
    file.write_text('[web]\nlisten = "0.0.0.0:8321"\n' + SOURCE.format("postpost") + CHANNEL, encoding="utf-8")
    file.chmod(0o600)
    token = ("Sommer2026!" * 2)[:length]
    first, second = (load(file, {**ENV, "TOKEN_MONITOR_WEB__TOKEN": token}).warnings for _ in range(2))
    if length >= 22:
        assert first == ()
        return
    [text] = first
    assert "web.token is shorter than 22 characters" in text
    assert "Monitoring continues." in text
    assert token not in text
    suggested = text.rsplit(" ", 1)[-1]
    assert len(suggested) >= 22
    assert suggested not in second[0], "random each time"


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("https://api.example.com", True),
        ("https://api.example.com:8443/v1/", True),
        ("http://localhost:9", True),
        ("http://127.0.0.1:9/api/v1", True),
        ("http://[::1]:9", True),
        ("http://10.0.0.1", False),
        ("http://127.0.0.1.example.com", False),
        ("http://localhost.example.com", False),
        ("https://me@api.example.com", False),
        ("ftp://api.example.com", False),
        ("https://", False),
        ("https://api.example.com:http", False),
        ("https://api.example.com/a b", False),
    ],
)
def test_S10_keys_travel_encrypted_or_stay_on_this_machine(url: str, allowed: bool, tmp_path: Path) -> None:
    text = SOURCE.format("postpost") + f'base_url = "{url}"\n' + CHANNEL
    if allowed:
        assert loaded(tmp_path, text).sources[0].base_url == url.rstrip("/")
    else:
        assert len(problems(tmp_path, text)) == 1


@pytest.mark.parametrize(
    ("env", "proxy"),
    [
        ({"HTTPS_PROXY": "http://p.example:1"}, "http://p.example:1"),
        ({"HTTPS_PROXY": "p.example:1"}, "http://p.example:1"),
        ({"HTTPS_PROXY": "http://p.example:1", "https_proxy": "http://q.example:2"}, "http://q.example:2"),
        ({"HTTPS_PROXY": "http://p.example:1", "NO_PROXY": "localhost,postpost.dev"}, None),
        ({"HTTP_PROXY": "http://p.example:1"}, None),
    ],
)
def test_the_environments_proxy_is_used_unless_the_host_is_spared(env: dict[str, str], proxy: str | None, tmp_path: Path) -> None:
    [source] = loaded(tmp_path, SOURCE.format("postpost") + CHANNEL, **env).sources
    assert (source.proxy.reveal() if source.proxy else None) == proxy


def test_a_source_on_loopback_and_one_with_its_own_proxy_ignore_the_environments(tmp_path: Path) -> None:
    proxy = "http://p.example:1"
    local = SOURCE.format("postpost") + 'base_url = "http://127.0.0.1:9"\n' + CHANNEL
    assert loaded(tmp_path, local, HTTPS_PROXY=proxy).sources[0].proxy is None
    own = SOURCE.format("postpost") + 'proxy = "http://own.example:2"\n' + CHANNEL
    found = loaded(tmp_path, own, HTTPS_PROXY=proxy).sources[0].proxy
    assert found is not None
    assert found.reveal() == "http://own.example:2"


def test_the_file_is_searched_in_the_order_of_the_interface(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    named, here, explicit = tmp_path / "named.toml", Path("config.toml"), tmp_path / "explicit.toml"
    for path in (named, here, explicit):
        path.write_text("")
    env = {"TOKEN_MONITOR_CONFIG": str(named)}
    assert find_config(explicit, env) == explicit
    assert find_config(None, env) == named
    assert find_config(None, {}) == here
    assert find_config(None, {"TOKEN_MONITOR_CONFIG": ""}) == here


def test_a_missing_file_is_an_error_that_lists_the_searched_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"nowhere\.toml does not exist: create a configuration"):
        find_config(Path("nowhere.toml"), {})
    with pytest.raises(ConfigError, match=r"nowhere\.toml does not exist \(TOKEN_MONITOR_CONFIG names it\)"):
        find_config(None, {"TOKEN_MONITOR_CONFIG": "nowhere.toml"})
    monkeypatch.setattr("monitor.config.file.SEARCHED", (Path("config.toml"), tmp_path / "etc" / "config.toml"))
    with pytest.raises(ConfigError) as caught:
        find_config(None, {})
    assert str(tmp_path) in str(caught.value)
    assert str(tmp_path / "etc" / "config.toml") in str(caught.value)
    with pytest.raises(ConfigError, match="is a folder"):
        load(tmp_path, {})


def test_keys_are_case_sensitive_as_toml_is(tmp_path: Path) -> None:
    text = 'Timezone = "UTC"\n' + SOURCE.format("postpost") + CHANNEL
    assert problems(tmp_path, text) == ["Timezone is not a known key; did you mean timezone?"]


def test_a_pipe_can_be_the_file() -> None:
    """What `--config <(…)` gives: no regular file, and readable only once."""
    reading, writing = os.pipe()
    os.write(writing, (SOURCE.format("postpost") + CHANNEL).encode())
    os.close(writing)
    try:
        assert load(Path(f"/dev/fd/{reading}"), ENV).config.sources[0].name == "a"
    finally:
        os.close(reading)


def test_reading_again_sees_new_secrets(tmp_path: Path) -> None:
    """What SIGHUP relies on: nothing is remembered between two loads."""
    text = SOURCE.format("postpost").replace('env = "A_KEY"', 'file = "a.key"') + CHANNEL
    (tmp_path / "a.key").write_text("old")
    assert loaded(tmp_path, text).sources[0].api_key.reveal() == "old"
    (tmp_path / "a.key").write_text("new")
    assert loaded(tmp_path, text).sources[0].api_key.reveal() == "new"
