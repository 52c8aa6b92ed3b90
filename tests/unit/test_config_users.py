"""Users of the status page in the configuration."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from monitor.config import Loaded, load, show
from monitor.domain.errors import ConfigError

CONFIG = """
[[sources]]
name = "agency"
provider = "postpost"
api_key = "k"
users = "all"
labels = { region = "eu" }
[[labels]]
match = { scope = "u1" }
set = { client = "acme" }
[web]
"""
LONG = "0123456789abcdef0123456789abcdef"
ANNA = f'[[web.users]]\nname = "anna"\ntoken = "{LONG}"\n'


def _load(folder: Path, text: str, **env: str) -> Loaded:
    file = folder / "config.toml"
    file.write_text(CONFIG + text, encoding="utf-8")
    file.chmod(0o600)
    return load(file, {"HOME": str(folder), **env})


def test_a_user_is_a_viewer_of_everything_by_default(tmp_path: Path) -> None:
    config = _load(tmp_path, ANNA).config
    [anna] = config.web.users
    assert (anna.name, anna.role, anna.labels, anna.token.reveal()) == ("anna", "viewer", {}, LONG)
    assert config.web.guarded
    assert not _load(tmp_path, "").config.web.guarded
    assert LONG not in show(config)


@pytest.mark.parametrize("labels", ['{ client = "acme" }', '{ region = "eu" }', '{ region = "eu", client = "acme" }'])
def test_a_user_is_bound_to_labels_that_the_configuration_sets(tmp_path: Path, labels: str) -> None:
    [anna] = _load(tmp_path, f'{ANNA}role = "operator"\nlabels = {labels}\n').config.web.users
    assert anna.role == "operator"
    assert set(anna.labels) <= {"client", "region"}


@pytest.mark.parametrize(
    ("text", "key", "problem"),
    [
        ('[[web.users]]\nname = "anna"', "web.users[0] (anna).token", "is missing"),
        (f'[[web.users]]\ntoken = "{LONG}"', "web.users[0].name", "is missing"),
        ('[[web.users]]\nname = "anna"\ntoken = ""', "web.users[0] (anna).token", "empty"),
        (f'[[web.users]]\nname = " anna"\ntoken = "{LONG}"', "web.users[0].name", "surrounding white space"),
        (f'[[web.users]]\nname = "token"\ntoken = "{LONG}"', "web.users[0] (token).name", "with web.token has already"),
        (f'{ANNA}{ANNA.replace("0123", "9123")}', "web.users[1] (anna).name", "web.users[0] has already"),
        (f'{ANNA}{ANNA.replace("anna", "ben")}', "web.users[1] (ben).token", "equal to web.users[0].token"),
        (f'token = "{LONG}"\n{ANNA}', "web.users[0] (anna).token", "equal to web.token"),
        (f'{ANNA}role = "admin"', "web.users[0] (anna).role", "not a role; use one of viewer, operator"),
        (f'{ANNA}labels = {{ client = "Casa Verde" }}', "web.users[0] (anna).labels", "Add a rule: [[labels]] match"),
        (f'{ANNA}labels = {{ client = "ac*" }}', "web.users[0] (anna).labels", "no [[labels]] rule sets"),
        (f'{ANNA}labels = {{ client = "ACME" }}', "web.users[0] (anna).labels", "no [[labels]] rule sets"),
        (f'{ANNA}labels = {{ client = "acme", team = "red" }}', "web.users[0] (anna).labels", '"team" = "red"'),
    ],
)  # fmt: skip
def test_an_unusable_user_is_an_error(tmp_path: Path, text: str, key: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        _load(tmp_path, text)
    assert f"{key} " in str(caught.value)
    assert problem in str(caught.value)
    assert LONG not in str(caught.value)


def test_the_environment_replaces_all_users(tmp_path: Path) -> None:
    users = [{"name": "ben", "token": {"env": "BEN_TOKEN"}, "labels": {"client": "acme"}}]
    found = _load(tmp_path, ANNA, TOKEN_MONITOR_WEB__USERS=json.dumps(users), BEN_TOKEN=LONG).config.web.users
    assert [(user.name, user.token.reveal(), user.labels) for user in found] == [("ben", LONG, {"client": "acme"})]
    assert _load(tmp_path, ANNA, TOKEN_MONITOR_WEB__USERS="[]").config.web.users == ()
    for name, value in (("TOKEN_MONITOR_WEB__USERS__0__NAME", "x"), ("TOKEN_MONITOR_WEB__USERS", "anna")):
        with pytest.raises(ConfigError, match=r"TOKEN_MONITOR_WEB__USERS.*JSON"):
            _load(tmp_path, ANNA, **{name: value})


def test_users_open_a_page_beyond_loopback_only_with_long_tokens(tmp_path: Path) -> None:
    public = 'listen = "0.0.0.0:8321"\n'
    assert _load(tmp_path, public + ANNA).config.web.served_at == "0.0.0.0:8321"
    short = _load(tmp_path, public + ANNA.replace(LONG, "short-token"))
    assert short.config.web.served_at is None
    assert any("web.users[0] (anna).token is shorter than 22 characters" in warning for warning in short.warnings)
    assert _load(tmp_path, ANNA.replace(LONG, "short-token")).config.web.served_at is not None
