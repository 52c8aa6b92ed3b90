"""`config check --live`: rules and filters that match nothing, and the database."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from monitor.demo.server import ThreadedWorld
from monitor.demo.world import World
from tests.support import canary
from tests.support.command_line import token_monitor, write_config
from tests.support.poll_cycle import config_text


@pytest.fixture
def sources() -> Iterator[str]:
    """The sources of a world: an agency with two clients, and an account of its own."""
    world = World()
    world.add_source("agency", "postpost")
    casa = world.add_user("agency", display_name="Casa Verde").id
    brava = world.add_user("agency", display_name="Brava").id
    world.connect("agency", "mastodon", account="0", username="@own", display_name="Our own")
    world.connect("agency", "linkedin", account="1", username="@casa", display_name="Casa Verde Living", scope=casa)
    world.connect("agency", "twitter", account="2", username="@brava", display_name="Brava Films", scope=brava)
    with ThreadedWorld(world) as server:
        yield config_text(world, server, per_source={"agency": 'users = "all"\nlabels = { region = "eu" }'})


def live(folder: Path, text: str) -> tuple[int, list[str], str]:
    """Return the exit status, the warnings after the file's name, and the whole output."""
    path = folder / "config.toml"
    path.touch(mode=0o600)
    path.write_text(f'{text}\n[database]\nurl = "sqlite:///monitor.db"\n', "utf-8")
    done = token_monitor("config", "check", "--live", config=path)
    lines = [line for line in done.out.splitlines() if line.startswith("warning: config.toml: ")]
    return done.status, [line.removeprefix("warning: config.toml: ") for line in lines], done.out


CHANNEL = '[[channels]]\nname = "ops"\nurl = "json://127.0.0.1:9/hook"\n'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            'match = { scope = "Casa Vrede" }',
            'labels[0].match = { scope = "Casa Vrede" } matches no connection; did you mean "Casa Verde"?',
        ),
        (
            'match = { scope = ["Other*", "Some*"] }',
            'labels[0].match = { scope = ["Other*", "Some*"] } matches no connection; there are ',
        ),
        (
            'match = { source = "agency", platform = "linkdin" }',
            'labels[0].match = { source = "agency", platform = "linkdin" } matches no connection; did you mean "linkedin"?',
        ),
        (
            'match = { connection = "@cassa" }',
            'labels[0].match = { connection = "@cassa" } matches no connection; did you mean "@casa"?',
        ),
        (
            'match = { scope = "Brava", platform = "linkedin" }',
            'labels[0].match = { scope = "Brava", platform = "linkedin" } matches no connection: each condition matches conn',
        ),
    ],
)
def test_a_rule_that_matches_nothing_is_named_with_the_nearest_name(
    sources: str, tmp_path: Path, text: str, expected: str
) -> None:
    status, [warning], _ = live(tmp_path, f"{sources}{CHANNEL}[[labels]]\n{text}\nset = {{ team = 'red' }}")
    assert status == 0
    assert warning.startswith(expected)
    if expected.endswith("there are "):
        assert '"Brava"' in warning
        assert '"Casa Verde"' in warning


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('platforms = ["tiktok", "link*", "x"]', []),
        ('platforms = ["tiktok"]', ["platforms matches no connection; there are"]),
        ('labels = { client = "Casa Vrede" }', ['labels.client matches no connection; did you mean "Casa Verde"?']),
        ('labels = { client = ["Brav*", "none"], region = "EU" }', []),
    ],
)
def test_a_filter_of_a_channel_that_matches_nothing_is_named(
    sources: str, tmp_path: Path, text: str, expected: list[str]
) -> None:
    status, warnings, _ = live(tmp_path, f"{sources}{CHANNEL}{text}")
    assert status == 0
    assert len(warnings) == len(expected)
    for warning, beginning in zip(warnings, expected, strict=True):
        assert warning.startswith(f"channels[0] (ops).{beginning}")


def test_rules_and_filters_that_match_cause_no_warning(sources: str, tmp_path: Path) -> None:
    rules = """
[[labels]]
match = { scope = "casa*" }
set = { team = "red" }
[[labels]]
match = { platform = "x", connection = "Brava Films" }
set = { team = "blue" }
"""
    status, warnings, out = live(tmp_path, f'{sources}{CHANNEL}labels = {{ team = ["red", "green"] }}\n{rules}')
    assert (status, warnings) == (0, [])
    assert f"ok      database {tmp_path / 'monitor.db'}: it has no tables yet; the first start creates them\n" in out
    assert not (tmp_path / "monitor.db").exists()


def test_a_source_that_cannot_be_read_causes_no_such_warning(tmp_path: Path) -> None:
    sources = (
        '[[sources]]\nname = "agency"\nprovider = "postpost"\napi_key = "a-key"\nbase_url = "http://127.0.0.1:9/api/v1"\n'
        'users = "all"\n[[labels]]\nmatch = { scope = "Casa" }\nset = { team = "red" }\n'
    )
    status, warnings, _ = live(tmp_path, f'{sources}{CHANNEL}labels = {{ client = "Casa" }}')
    assert (status, warnings) == (1, [])


def test_the_database_is_tried(sources: str, tmp_path: Path) -> None:
    path = tmp_path / "monitor.db"
    live(tmp_path, sources)
    assert token_monitor("db", "upgrade", config=tmp_path / "config.toml").status == 0
    assert f"ok      database {path}: its schema is current\n" in live(tmp_path, sources)[2]
    with sqlite3.connect(path) as raw:
        raw.execute("UPDATE alembic_version SET version_num = '0006'")
    assert f"ok      database {path}: the next start migrates its schema\n" in live(tmp_path, sources)[2]
    with sqlite3.connect(path) as raw:
        raw.execute("UPDATE alembic_version SET version_num = '9999'")
    raw.close()
    status, _, out = live(tmp_path, sources)
    assert (status, f"FAILED  database {path}: The database is at revision 9999, " in out) == (1, True)


def test_a_database_server_that_does_not_answer_fails_without_its_password(tmp_path: Path) -> None:
    url = f"postgresql://monitor:{canary.DATABASE_PASSWORD}@127.0.0.1:9/monitor"
    done = token_monitor("config", "check", "--live", config=write_config(tmp_path, url=url))
    assert done.status == 1
    assert "FAILED  database monitor on 127.0.0.1" in done.out


def test_two_sources_with_one_key_fail_where_a_start_would(sources: str, tmp_path: Path) -> None:
    status, _, out = live(tmp_path, sources + sources.replace('"agency"', '"twice"'))
    assert status == 1
    assert f"FAILED  database {tmp_path / 'monitor.db'}: The sources agency and twice have the same API key" in out
