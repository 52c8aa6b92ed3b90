"""Secrets are read from where the file says, and seen nowhere."""

from __future__ import annotations

import copy
import json
import pickle
import re
import traceback
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.config import Secret, load, show
from monitor.domain.errors import ConfigError
from monitor.domain.records import Record, asdict
from tests.support import canary

CANARY = canary.POSTPOST_KEY
FILE = """
[database]
url = "postgresql://me:{0}@db.example/monitor?sslpassword={0}"
[[sources]]
name = "a"
provider = "postpost"
api_key = "{0}"
proxy = "http://me:{0}@proxy.example:3128"
[[channels]]
name = "c"
url = "slack://{0}/{0}/{0}?x={0}"
proxy = "socks5://me:{0}@socks.example:1080"
[web]
token = "{0}"
[heartbeat]
url = "https://me:{0}@hc-ping.com/{0}?x={0}"
"""
GOOD = '[[sources]]\nname = "a"\nprovider = "postpost"\napi_key = {}\n[[channels]]\nname = "c"\nurl = "json://localhost"\n'


def written(folder: Path, text: str) -> Path:
    """A configuration that only its owner can read."""
    path = folder / "config.toml"
    path.write_text(text, "utf-8")
    path.chmod(0o600)
    return path


def test_S01_a_secret_prints_as_hidden_and_is_not_pickled() -> None:
    secret = Secret(CANARY)
    shown = [
        str(secret),
        repr(secret),
        f"{secret}",
        f"{secret!r:>3}",
        json.dumps(secret, default=str),
        repr([secret]),
    ]
    assert not [text for text in shown if CANARY in text]
    assert json.dumps({"key": secret}, default=str) == '{"key": "<secret>"}'
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(secret)
    assert not hasattr(secret, "__dict__")


def test_secrets_compare_by_their_text() -> None:
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a"), Secret("ä")}) == 2
    assert copy.deepcopy(Secret("a")).reveal() == "a"


def _plain(value: object) -> object:
    return asdict(value) if isinstance(value, Record) else str(value)


def test_S01_no_secret_is_in_the_configurations_repr_dictionary_or_show(tmp_path: Path) -> None:
    loaded = load(written(tmp_path, FILE.format(CANARY)), {})
    shown = show(loaded.config)
    for text in (repr(loaded), str(loaded.config), json.dumps(asdict(loaded.config), default=_plain), shown, *loaded.warnings):
        assert CANARY not in text
    assert 'api_key = "<secret>"' in shown
    assert 'url = "postgresql://me@db.example/monitor"' in shown
    assert 'url = "slack://<secret>"' in shown
    assert 'proxy = "http://me@proxy.example:3128"' in shown
    assert 'proxy = "socks5://me@socks.example:1080"' in shown
    assert 'url = "https://me@hc-ping.com/<secret>"' in shown


def test_S01_the_settings_librarys_own_debug_log_shows_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PYDANTIC_SETTINGS_DEBUG", "1")
    caplog.set_level("DEBUG")
    caplog.set_level("DEBUG", logger="pydantic_settings")
    load(written(tmp_path, FILE.format(CANARY)), {"TOKEN_MONITOR_WEB__TOKEN": CANARY})
    assert CANARY not in caplog.text


@pytest.mark.parametrize("value", [f'[{{"api_key": "{CANARY}"', f'{{"api_key": "{CANARY}"}}', f'["{CANARY}"]'])
def test_S01_no_error_shows_a_secret_of_a_list_in_the_environment(value: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(written(tmp_path, FILE.format(CANARY)), {"TOKEN_MONITOR_SOURCES": value, "TOKEN_MONITOR_WEB__TOKEN": f"{{{CANARY}"})
    assert CANARY not in "".join(traceback.format_exception(caught.value))
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    "replacement",
    [
        (f'api_key = "{CANARY}"', f'api_key = "{CANARY} {CANARY}"'),
        (f'api_key = "{CANARY}"', f'api_key = ["{CANARY}"]'),
        (f'api_key = "{CANARY}"', f'api_key = {{ value = "{CANARY}" }}'),
        (f'api_key = "{CANARY}"', f'api_key = {{ env = "{CANARY}" }}'),
        (f'api_key = "{CANARY}"', f'api_key = {{ file = "{CANARY}" }}'),
        (f'api_key = "{CANARY}"', f'api_key = {{ credential = "{CANARY}" }}'),
        (f'api_key = "{CANARY}"', f'api_ky = "{CANARY}"'),
        (f'api_key = "{CANARY}"', f'"{CANARY}" = 1'),
        (f'api_key = "{CANARY}"', f'api_key = "{CANARY}'),
        (f'api_key = "{CANARY}"', f"api_key = {CANARY}"),
        ('name = "a"', f'name = "{CANARY}!"'),
        ('provider = "postpost"', f'provider = "{CANARY}"'),
        ("[web]", f'[web]\nlisten = "{CANARY}"'),
        ("[web]", f"[web]\n{CANARY} = 1"),
        ("postgresql://", "mysql://"),
        ("http://me", "socks5://me"),
        ("slack://", "slack:"),
        ("https://me", "gopher://me"),
        ("[heartbeat]\nurl", "[heartbet]\nurl"),
        (f'token = "{CANARY}"', f'token = "{CANARY}\\n{CANARY}"'),
        (f'[web]\ntoken = "{CANARY}"', f'[logging]\nlevel = "{CANARY}"'),
        ('name = "c"', f'name = "c"\nevents = ["{CANARY}"]\nsources = ["{CANARY}"]\nplatforms = ["{CANARY} x"]'),
        ("[web]", f'[policy]\nstages = ["{CANARY}"]\nexpiring_within = "{CANARY}"\n[web]'),
    ],
)
def test_S01_no_error_shows_a_secret_wherever_it_was_pasted(replacement: tuple[str, str], tmp_path: Path) -> None:
    text = FILE.format(CANARY)
    assert replacement[0] in text
    with pytest.raises(ConfigError) as caught:
        load(written(tmp_path, text.replace(*replacement)), {})
    whole = "".join(traceback.format_exception(caught.value)) + repr(caught.value.problems)
    assert CANARY not in whole
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None, "a cause would carry the text that was read"


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=12))
def test_S01_a_key_is_taken_whole_or_refused_without_being_shown(tail: str) -> None:
    """Any text in the environment: what is accepted is printable ASCII without blanks, what is not stays unseen."""
    key = f"Zq9x{tail}Zq9x"
    path = Path(__file__).parent.parent / "data" / "config" / "good-minimal.toml"
    env = {"HOME": "/", "A_KEY": f" {key}\n", "A_URL": "json://localhost"}
    if re.fullmatch(r"[\x21-\x7e]+", key) and "<secret>" not in key:
        assert load(path, env).config.sources[0].api_key.reveal() == key
        return
    with pytest.raises(ConfigError) as caught:
        load(path, env)
    assert "Zq9x" not in str(caught.value)


@pytest.mark.parametrize("kind", ["env", "file", "credential"])
def test_a_reference_gives_the_secret_without_line_end(kind: str, tmp_path: Path) -> None:
    (tmp_path / "creds").mkdir()
    for path in (tmp_path / "the-key", tmp_path / "creds" / "the-key"):
        path.write_text(f"{CANARY}\r\n")
        path.chmod(0o600)
    env = {"HOME": "/", "the-key": f"{CANARY}\n", "CREDENTIALS_DIRECTORY": str(tmp_path / "creds")}
    loaded = load(written(tmp_path, GOOD.format(f'{{ {kind} = "the-key" }}')), env)
    assert loaded.config.sources[0].api_key.reveal() == CANARY
    assert loaded.warnings == ()


QUOTED = [f'"{CANARY}"', f"'{CANARY}'", f"`{CANARY}`", f' "{CANARY}"\n']
ORIGINS = {
    "env": " (environment variable the-key), which an env file keeps: write it without quotes.",
    "file": " (file the-key): write it without quotes.",
    "credential": " (systemd credential the-key): write it without quotes.",
}


@pytest.mark.parametrize("kind", list(ORIGINS))
@pytest.mark.parametrize("text", QUOTED)
@pytest.mark.parametrize(
    ("before", "key"),
    [
        ("", "sources[0] (a).api_key"),
        ("", "channels[0] (c).url"),
        ("[database]", "database.url"),
        ("[web]", "web.token"),
        ("[heartbeat]", "heartbeat.url"),
    ],
)
def test_S19_a_secret_in_quotes_is_refused_wherever_it_comes_from(
    before: str, key: str, text: str, kind: str, tmp_path: Path
) -> None:
    """An env file of a container engine keeps the quotes, and the provider would then refuse a key that looks right."""
    for folder in (tmp_path, tmp_path / "creds"):
        folder.mkdir(exist_ok=True)
        (folder / "the-key").write_text(text, "utf-8")
        (folder / "the-key").chmod(0o600)
    reference = f'{{ {kind} = "the-key" }}'
    whole = GOOD.format(reference if key.startswith("sources") else '"sk_one"')
    if key.startswith("channels"):
        whole = whole.replace('"json://localhost"', reference)
    if before:
        whole = f"{before}\n{key.rpartition('.')[2]} = {reference}\n{whole}"
    path = written(tmp_path, whole)
    with pytest.raises(ConfigError) as caught:
        load(path, {"HOME": "/", "the-key": text, "CREDENTIALS_DIRECTORY": str(tmp_path / "creds")})
    assert caught.value.problems == [f"{path}: {key} is in quotes{ORIGINS[kind]}"]


def test_S19_a_literal_in_further_quotes_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, GOOD.format(f"'\"{CANARY}\"'"))
    with pytest.raises(ConfigError) as caught:
        load(path, {"HOME": "/"})
    assert caught.value.problems == [f"{path}: sources[0] (a).api_key is in quotes: write it without quotes."]


def test_S19_a_file_whose_name_is_in_quotes_is_refused_with_the_cause(tmp_path: Path) -> None:
    path = written(tmp_path, GOOD.format('"sk_one"'))
    with pytest.raises(ConfigError) as caught:
        load(None, {"HOME": "/", "TOKEN_MONITOR_CONFIG": f'"{path}"'})
    assert str(caught.value).endswith("its name is in quotes, which an env file keeps: write it without quotes.")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("gone", "needs the systemd credential gone, which does not exist."),
        ("../the-key", "names a systemd credential by a path: write only its name."),
    ],
)
def test_a_credential_that_is_not_there_is_named(name: str, said: str, tmp_path: Path) -> None:
    path = written(tmp_path, GOOD.format(f'{{ credential = "{name}" }}'))
    with pytest.raises(ConfigError) as caught:
        load(path, {"HOME": "/", "CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert caught.value.problems == [f"{path}: sources[0] (a).api_key {said}"]


def test_S14_a_secret_file_that_others_can_read_is_a_warning(tmp_path: Path) -> None:
    key_file = tmp_path / "a.key"
    key_file.write_text(CANARY)
    path = written(tmp_path, GOOD.format('{ file = "a.key" }'))
    key_file.chmod(0o640)
    assert load(path, {"HOME": "/"}).warnings == (
        f"{path}: sources[0] (a).api_key is read from a.key, which other users can read: chmod 600 it.",
    )
    key_file.chmod(0o600)
    assert load(path, {"HOME": "/"}).warnings == ()


@pytest.mark.parametrize(("mode", "warns"), [(0o600, False), (0o640, True), (0o604, True), (0o644, True)])
def test_S14_a_literal_secret_in_a_file_that_others_can_read_is_a_warning(mode: int, warns: bool, tmp_path: Path) -> None:
    path = written(tmp_path, GOOD.format(f'"{CANARY}"'))
    path.chmod(mode)
    assert bool(load(path, {"HOME": "/"}).warnings) is warns


def test_S14_addresses_without_a_password_are_no_secrets(tmp_path: Path) -> None:
    text = GOOD.format('{ env = "K" }').replace('"json://localhost"', '{ env = "U" }')
    text = '[database]\nurl = "sqlite:///m.db"\n' + text.replace("[[channels]]", 'proxy = "http://p.example:1"\n[[channels]]')
    path = written(tmp_path, text)
    path.chmod(0o644)
    assert load(path, {"K": "k", "U": "json://localhost"}).warnings == ()


@pytest.mark.parametrize("url", ["jsons://h/?verify=no", "jsons://h/?a=b&VERIFY=False", "mailtos://u:p@h?verify=0"])
def test_S13_a_channel_that_does_not_verify_certificates_is_a_warning(url: str, tmp_path: Path) -> None:
    text = GOOD.format('{ env = "K" }').replace('"json://localhost"', '{ env = "U" }')
    [warning] = load(written(tmp_path, text), {"HOME": "/", "K": "k", "U": url}).warnings
    assert "verify=no" in warning
