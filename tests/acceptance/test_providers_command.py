"""`providers`, `init --provider`, `config show` and `config check --live` for sources with a definition."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from monitor.config import load, show, starter
from monitor.config.provider_catalogue import catalogue, source_lines
from monitor.domain.providers import provider_names
from tests.support.command_line import ROOT, token_monitor
from tests.support.json_service import JsonService, json_service

KEY = "kcanary-3f9a1c77d2b84e60"
IN_ROW = "tcanary-51d0aa9be37f4c22"

ACCOUNTS: list[dict[str, Any]] = [
    {"id": "a1", "net": "linkedin", "title": "Acme", "state": "active", "ends": "2027-06-01T00:00:00Z", "access_token": IN_ROW},
    {"id": "a2", "net": "ig", "title": "Bolt", "state": "sleeping", "ends": "01.06.2027", "meta": {"secret": IN_ROW, "n": 1}},
    {"id": "a3", "net": "linkedin", "title": "Cleo", "state": "gone", "ends": None},
    {"id": "a5", "net": "linkedin", "title": "Dune", "state": IN_ROW, "ends": None},
    {"net": "linkedin", "title": "no id", "state": "active"},
]

DEFINITION = """
[database]
url = "sqlite:///monitor.db"

[[sources]]
name     = "planner"
provider = "custom"
base_url = "{address}/v1"
api_key  = "{key}"

[sources.list]
get   = "/accounts"
items = "data"

[sources.row]
id       = "id"
platform = "net"
name     = "title"
expires  = {{ at = "ends" }}

[[sources.status]]
when = "state == 'active'"
is   = "valid"

[[sources.status]]
when = "state == 'gone'"
is   = "revoked"
because = "'removed by its owner'"
"""


@pytest.fixture
def service() -> Iterator[JsonService]:
    with json_service({"/v1/accounts": {"data": ACCOUNTS}}) as running:
        yield running


def configured(folder: Path, service: JsonService, text: str = DEFINITION) -> Path:
    path = folder / "config.toml"
    path.touch(mode=0o600)
    path.write_text(text.format(address=service.address, key=KEY), "utf-8")
    return path


# --- the list and the definitions


def test_every_provider_is_listed_without_a_configuration(tmp_path: Path) -> None:
    done = token_monitor("providers", "--json", folder=tmp_path)
    listed = {each["name"]: each for each in done.json["providers"]}
    assert (done.status, set(listed)) == (0, set(provider_names()))
    assert all(each["reports"] and each["needs"] and each["verified"] for each in listed.values())
    assert listed["bundle"]["reports"] == ["health", "expiry", "probe", "webhook"]
    plain = token_monitor("providers", folder=tmp_path)
    assert all(re.search(rf"^{name} ", plain.out, re.MULTILINE) for name in listed)


def test_a_definition_is_shown_as_its_file(tmp_path: Path) -> None:
    shown = token_monitor("providers", "show", "zernio", folder=tmp_path)
    assert tomllib.loads(shown.out)["list"] == {"get": "/accounts/health", "items": "accounts"}
    unknown = token_monitor("providers", "show", "zerno", folder=tmp_path)
    assert unknown.status == 1
    assert 'There is no provider "zerno". Did you mean zernio?' in unknown.err


@pytest.mark.parametrize("name", provider_names())
def test_the_lines_of_a_provider_are_valid_and_so_is_what_show_writes(tmp_path: Path, name: str) -> None:
    text = starter(source_lines(name))
    env = {"HOME": str(tmp_path), **dict.fromkeys(re.findall(r'env = "(\w+)"', text), KEY)}
    env["OPS_APPRISE_URL"] = "json://127.0.0.1:9"
    config = load(written(tmp_path / "a.toml", text), env).config
    assert [source.provider for source in config.sources] == [name]
    shown = show(config)
    assert KEY not in shown
    again = shown.replace('"<secret>"', f'"{KEY}"').replace("json://<secret>", "json://127.0.0.1:9")
    read = load(written(tmp_path / "b.toml", again), env).config
    assert show(read).partition("\n")[2] == shown.partition("\n")[2]
    assert read.sources[0].definition == config.sources[0].definition
    assert read.sources[0].dates == config.sources[0].dates


def written(path: Path, text: str) -> Path:
    path.touch(mode=0o600)
    path.write_text(text, "utf-8")
    return path


def test_init_writes_the_sources_of_the_named_providers(tmp_path: Path) -> None:
    done = token_monitor("init", "--provider", "github", "--provider", "dates", folder=tmp_path)
    assert done.status == 0
    found = tomllib.loads((tmp_path / "config.toml").read_text("utf-8"))
    assert [source["provider"] for source in found["sources"]] == ["github", "dates"]
    assert found["channels"][0]["name"] == "ops"
    wrong = token_monitor("init", "other.toml", "--provider", "gitbub", folder=tmp_path)
    assert wrong.status == 1
    assert "Did you mean github?" in wrong.err
    assert not (tmp_path / "other.toml").exists()


def test_every_entry_has_facts_of_its_own() -> None:
    entries = catalogue()
    assert len({entry.name for entry in entries}) == len(entries) == len(provider_names())


def test_a_definition_is_shown_without_its_secrets(tmp_path: Path) -> None:
    text = f"""
[[sources]]
name = "meta"
provider = "meta"
secrets = {{ app = "{KEY}-app" }}
tokens = [{{ id = "page", secret = "{KEY}-token" }}]

[[sources]]
name = "entra"
provider = "entra"
auth = {{ token_url = "https://login.example/t", client_id = "c", client_secret = "{KEY}-client" }}
"""
    shown = token_monitor("config", "show", config=written(tmp_path / "config.toml", text))
    assert (shown.status, KEY in shown.out + shown.err) == (0, False)
    meta, entra = tomllib.loads(shown.out)["sources"]
    assert meta["secrets"] == {"app": "<secret>"}
    assert meta["tokens"] == [{"id": "page", "secret": "<secret>"}]
    assert entra["auth"]["client_secret"] == "<secret>"
    assert meta["list"]["get"] == "/debug_token"


# --- providers try


def test_a_trial_judges_each_row_and_names_what_the_definition_leaves_open(tmp_path: Path, service: JsonService) -> None:
    done = token_monitor("providers", "try", "planner", "--json", config=configured(tmp_path, service))
    result = done.json
    rows = {row["external_id"]: row for row in result["connections"]}
    assert done.status == 1  # one row cannot be read
    assert (rows["a1"]["status"], rows["a1"]["expires_at"]) == ("valid", "2027-06-01T00:00:00Z")
    assert (rows["a3"]["status"], rows["a3"]["message"]) == (
        "revoked",
        "The provider reports that access was revoked: removed by its owner.",
    )
    assert rows["a2"]["status"] == "unknown"
    assert result["without_rule"] == ["a2", "a5"]
    assert result["words_without_rule"] == {"state": ["sleeping"]}
    assert result["not_dates"] == {"a2": '"99.99.9999"'}
    assert result["unused_fields"] == ["access_token", "meta.n", "meta.secret"]
    assert [each["why"] for each in result["unreadable"]] == ["bad_id: the id is missing or malformed."]
    assert result["first_row"] == {
        "id": "text",
        "net": "text",
        "title": "text",
        "state": "text",
        "ends": "date",
        "access_token": "text",
    }


def test_a_trial_stores_nothing_and_shows_no_value_of_an_unmapped_field(tmp_path: Path, service: JsonService) -> None:
    path = configured(tmp_path, service)
    plain = token_monitor("providers", "try", "planner", config=path)
    as_json = token_monitor("providers", "try", "planner", "--json", config=path)
    for output in (plain.out, plain.err, as_json.out, as_json.err):
        assert IN_ROW not in output
        assert KEY not in output
    assert [each.name for each in tmp_path.iterdir()] == ["config.toml"]
    for expected in (
        "planner (custom) lists 4 connections. Nothing was stored.",
        "Rows to which no [[sources.status]] rule applies (2): a2, a5",
        "  state: sleeping",
        '  a2: "99.99.9999"',
        "Fields that the definition does not use: access_token, meta.n, meta.secret",
        "  ends: date",
    ):
        assert expected in plain.out.splitlines(), plain.out


def test_every_key_of_a_provider_and_of_a_trial_is_documented(tmp_path: Path, service: JsonService) -> None:
    trial = token_monitor("providers", "try", "planner", "--json", config=configured(tmp_path, service)).json
    listed = token_monitor("providers", "--json", folder=tmp_path).json["providers"][0]
    text = (ROOT / "docs" / "commands.md").read_text("utf-8")
    for heading, keys in (("A provider", set(listed)), ("A trial", set(trial) - {"generated_at"})):
        section = text.split(f"### {heading}\n")[1].split("\n### ")[0]
        rows = re.findall(r"^\| (`.+?) \|(.*)\|$", section, re.MULTILINE)
        assert {name for first, _ in rows for name in re.findall(r"`(\w+)`", first)} == keys
    within = next(rest for first, rest in rows if first == "`connections`")
    assert set(re.findall(r"`(\w+)`", within)) == set(trial["connections"][0])


def test_a_sample_is_judged_without_a_request(tmp_path: Path, service: JsonService) -> None:
    body = tmp_path / "body.json"
    body.write_text(json.dumps({"data": ACCOUNTS[:1]}), "utf-8")
    done = token_monitor("providers", "try", "planner", "--sample", str(body), "--json", config=configured(tmp_path, service))
    assert (done.status, [row["status"] for row in done.json["connections"]]) == (0, ["valid"])
    assert service.requests == []


@pytest.mark.parametrize(
    ("head", "status", "expires_at"),
    [
        ("HTTP/2 200\r\ngithub-authentication-token-expiration: 2027-12-04 08:15:54 UTC", "valid", "2027-12-04T08:15:54Z"),
        ("HTTP/1.1 401 Unauthorized\r\nContent-Type: application/json", "revoked", None),
    ],
)
def test_a_sample_with_the_headers_of_curl_needs_no_secret(
    tmp_path: Path, head: str, status: str, expires_at: str | None
) -> None:
    body = {"login": "ci-bot"} if status == "valid" else {"message": "Bad credentials"}
    (tmp_path / "answer").write_bytes(f"{head}\r\n\r\n{json.dumps(body)}".encode())
    path = written(tmp_path / "config.toml", starter(source_lines("github")))
    done = token_monitor("providers", "try", "github", "--sample", str(tmp_path / "answer"), "--json", config=path)
    row = done.json["connections"][0]
    assert (row["external_id"], row["status"], row["expires_at"]) == ("first", status, expires_at)


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ((401, {}, {"error": "bad key"}), "The API rejected the key (HTTP 401)"),
        ({"data": None}, "The API's response contains no list at 'data' instead of the list."),
        ({"items": []}, "The API's response contains no list at 'data' instead of the list."),
    ],
)
def test_a_trial_that_fails_states_why(tmp_path: Path, service: JsonService, answer: Any, problem: str) -> None:
    service.answers["/v1/accounts"] = answer
    done = token_monitor("providers", "try", "planner", config=configured(tmp_path, service))
    assert done.status == 1
    assert problem in done.out


def test_an_unknown_source_is_an_error_with_the_nearest_name(tmp_path: Path, service: JsonService) -> None:
    done = token_monitor("providers", "try", "planer", config=configured(tmp_path, service))
    assert (done.status, "did you mean planner?" in done.err) == (1, True)


CUSTOM = ROOT / "tests" / "data" / "custom"
HEALTH = {"account_id": 7, "can_post": True, "needs_reconnection": False, "token": {"expired": False}, "reasons": []}


@pytest.mark.parametrize(
    ("health", "finding", "message"),
    [
        ({"status": "healthy"}, "ok", None),
        ({"status": "broken", "needs_reconnection": True, "reasons": ["Access was revoked"]}, "revoked", "Access was revoked"),
        ({"status": "broken", "token": {"expired": True}, "reasons": ["Token expired"]}, "expired", "Token expired"),
        ({"status": "broken", "can_post": False, "reasons": ["Page unpublished"]}, "failing", "Page unpublished"),
        ({"status": "odd"}, "transient", "HTTP 200, and no [[sources.test.status]] rule applies to the response."),
    ],
)
def test_a_trial_tests_the_first_connections(tmp_path: Path, health: dict[str, Any], finding: str, message: str | None) -> None:
    """A definition that was written by the tutorial alone, for a service whose list states no health."""
    rows = [{"id": 7, "platform": "x", "username": "acme", "display_name": "Acme"}]
    with json_service({"/accounts": {"data": rows}, "/accounts/7/health": HEALTH | health}) as service:
        text = (CUSTOM / "posteverywhere.toml").read_text("utf-8")
        path = written(tmp_path / "config.toml", re.sub(r'base_url  = ".*"', f'base_url  = "{service.address}"', text))
        done = token_monitor("providers", "try", "posteverywhere", "--json", config=path, env={"POSTEVERYWHERE_API_KEY": KEY})
    assert done.status == 0
    assert [(row["external_id"], row["platform"]) for row in done.json["connections"]] == [("7", "twitter")]
    assert done.json["tests"] == [{"external_id": "7", "finding": finding, "message": message}]


def test_a_service_that_states_no_health_is_read_with_the_key_in_its_own_header(tmp_path: Path) -> None:
    """A second definition that was written by the tutorial alone."""
    rows = [{"id": "98", "platform": "tiktok", "username": "acme", "fullname": "Acme"}]
    with json_service({"/users/me/accounts": {"items": rows}}) as service:
        text = (CUSTOM / "blotato.toml").read_text("utf-8")
        path = written(tmp_path / "config.toml", re.sub(r'base_url = ".*"', f'base_url = "{service.address}"', text))
        done = token_monitor("providers", "try", "blotato", "--json", config=path, env={"BLOTATO_API_KEY": KEY})
    (row,) = done.json["connections"]
    assert (row["external_id"], row["status"], row["reason"]) == ("98", "unknown", "no_health_reported")
    assert service.requests[0][2]["blotato-api-key"] == KEY


# --- config check --live


def live(folder: Path, service: JsonService, rows: list[dict[str, Any]]) -> str:
    service.answers["/v1/accounts"] = {"data": rows}
    return token_monitor("config", "check", "--live", config=configured(folder, service)).out


def test_a_list_without_dates_raises_the_question_about_expires_at(tmp_path: Path, service: JsonService) -> None:
    rows = [{"id": f"r{number}", "net": "linkedin", "state": "active"} for number in range(42)]
    assert "0 of 42 rows have a date: is expires.at right?" in live(tmp_path, service, rows)


def test_dates_of_access_tokens_raise_the_question_about_trust(tmp_path: Path, service: JsonService) -> None:
    soon = (datetime.now(UTC) + timedelta(hours=5)).isoformat()
    rows = [{"id": f"r{n}", "net": "linkedin", "state": "active", "ends": soon if n < 12 else "2027-09-01"} for n in range(40)]
    out = live(tmp_path, service, rows)
    assert "12 of 40 dates end within two days: are these access tokens that the service renews? Then set trusted = false." in out
    assert "have a date" not in out


def test_unknown_platforms_and_rows_without_a_rule_are_named(tmp_path: Path, service: JsonService) -> None:
    rows = [{"id": str(n), "net": "instagram_biz", "state": "sleeping", "ends": "2027-09-01"} for n in range(3)]
    out = live(tmp_path, service, rows)
    assert "3 of 3 rows match no [[sources.status]] rule" in out
    assert "Platforms that the monitor does not know: instagram_biz (3)." in out
    assert 'platforms = { instagram_biz = "instagram" }' in out


def test_rows_without_a_platform_are_counted_and_not_taken_for_a_name(tmp_path: Path, service: JsonService) -> None:
    out = live(tmp_path, service, [{"id": str(n), "state": "active", "ends": "2027-09-01"} for n in range(3)])
    assert "3 of 3 rows have no platform: set row.platform to its field, or platform for all rows." in out
    assert "does not know" not in out
