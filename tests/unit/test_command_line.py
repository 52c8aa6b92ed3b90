"""Arguments before the command, and tables at every width."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console, RenderableType
from rich.text import Text

from monitor.cli.output import blocks, coloured, fields, fits, table
from monitor.cli.startup import follows_plugin_convention, with_options_first
from tests.support import canary
from tests.support.canary import DATABASE_PASSWORD, HEARTBEAT_PATH, OTHER_KEY, PROXY_PASSWORD, WEB_TOKEN
from tests.support.command_line import ROOT, environment

ESCAPE = re.compile(r"\x1b\[[0-9;]*m")


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ([], []),
        (["status"], ["status"]),
        (["--config", "a.toml", "status"], ["--config", "a.toml", "status"]),
        (["status", "--config", "a.toml", "--json"], ["--config", "a.toml", "status", "--json"]),
        (["status", "--config=a.toml"], ["--config=a.toml", "status"]),
        (["status", "-c", "a.toml"], ["-c", "a.toml", "status"]),
        (["history", "--", "--config", "x"], ["history", "--", "--config", "x"]),
        (["status", "--config"], ["status", "--config"]),
    ],
)
def test_the_configuration_may_be_named_behind_the_command(typed: list[str], meant: list[str]) -> None:
    assert with_options_first(typed) == meant


@pytest.mark.parametrize(
    ("arguments", "follows"),
    [
        (["check"], True),
        (["--config", "check", "status"], False),
        (["--config=a", "check", "--json"], True),
        (["-c", "a", "status", "--exit-code"], True),
        (["status"], False),
        (["config", "check"], False),
        (["history", "check"], False),
        (["--version"], False),
        ([], False),
    ],
)
def test_only_check_and_status_exit_code_follow_the_plugin_convention(arguments: list[str], follows: bool) -> None:
    assert follows_plugin_convention(arguments) is follows


def drawn(item: RenderableType, *, width: int, terminal: bool = True) -> list[str]:
    out = io.StringIO()
    screen(out, width=width, terminal=terminal).print(item)
    return out.getvalue().splitlines()


def screen(out: io.StringIO | None = None, *, width: int, terminal: bool = True) -> Console:
    return Console(
        file=out or io.StringIO(), force_terminal=terminal, width=width, markup=False, color_system="standard", highlight=False
    )


HEADINGS = ("STATUS", "NAME", "WHY")
ROWS = [(coloured("expired"), "[bold red]Acme[/] :boom:", "The expiry date passed a while ago, says its provider.")]


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_nothing_is_wider_than_the_terminal(width: int) -> None:
    lines = drawn(blocks([(coloured("expired"), ["Acme " * 20, "x" * 300])], width=8), width=width)
    assert max(len(ESCAPE.sub("", line)) for line in lines) <= width
    assert sum(line.count("x") for line in lines) >= 300 if width > 30 else True


def test_on_a_narrow_screen_a_text_stands_below_its_word() -> None:
    text = "Acme on LinkedIn, agency/linkedin-123456789"
    assert drawn(blocks([("disconnected stale", [text, "more"])], width=24), width=40) == [
        "disconnected stale".ljust(len("disconnected stale")),
        "   Acme on LinkedIn,".ljust(40),
        "   agency/linkedin-123456789".ljust(40),
        "   \x1b[2mmore\x1b[0m".ljust(40 + len("\x1b[2m\x1b[0m")),
    ]
    assert [line.rstrip() for line in drawn(fields([("rule", text)]), width=59)][1] == f"   {text}"
    assert len(drawn(fields([("rule", text)]), width=60)) == 1


def test_S04_markup_in_a_name_stays_text() -> None:
    for item in (table(HEADINGS, ROWS, on=screen(width=120)), blocks([(Text("a"), [ROWS[0][1]])], width=3)):
        assert "[bold red]Acme[/] :boom:" in "\n".join(drawn(item, width=120))
    assert "[bold red]" in drawn(fields([("name", "[bold red]x[/]")]), width=80)[0]


def test_a_table_is_chosen_only_where_its_last_column_has_room() -> None:
    assert fits(HEADINGS, ROWS, on=screen(width=120))
    assert not fits(HEADINGS, ROWS, on=screen(width=60))
    assert fits(HEADINGS, ROWS, on=screen(width=60, terminal=False)), "without a terminal every row is one line"
    assert fits(("A", "B"), [("x", "y")], on=screen(width=10)), "a short last column needs no more than it has"


def test_wide_characters_count_as_two_columns() -> None:
    rows = [("表" * 20, "y" * 40)]
    assert fits(("A", "B"), rows, on=screen(width=74))
    assert not fits(("A", "B"), rows, on=screen(width=73))


KNOWN = """
import sys
from pathlib import Path
import click
from monitor.telemetry import logs
from monitor.cli import session
from monitor.cli.startup import Options

context = click.Context(click.Command("status"), obj=Options(config=Path(sys.argv[1])))
session.loaded(context)
print(*(logs.redact(text) for text in sys.stdin.read().splitlines()), sep="\\n")
"""


@pytest.mark.slow
def test_S01_every_secret_of_the_configuration_is_one_for_the_log(tmp_path: Path) -> None:
    """In a process of its own: what the log once knew as a secret it never forgets."""
    secrets = [
        OTHER_KEY,
        f"http://user:{PROXY_PASSWORD}@127.0.0.1:9",
        canary.channel_url("127.0.0.1:9"),
        WEB_TOKEN,
        f"https://hc.example/{HEARTBEAT_PATH}",
        f"postgresql://user:{DATABASE_PASSWORD}@localhost/monitor",
        *(canary.secret(f"definition-{place}") for place in ("token", "secret", "client", "hook", "push")),
    ]
    path = tmp_path / "config.toml"
    path.touch(mode=0o600)
    path.write_text(
        f"""
[database]
url = "{secrets[5]}"
[[sources]]
name = "agency"
provider = "postpost"
api_key = "{secrets[0]}"
proxy = "{secrets[1]}"
[[sources]]
name = "tokens"
provider = "meta"
tokens = [{{ id = "page", secret = "{secrets[6]}" }}]
secrets = {{ app = "{secrets[7]}" }}
[[sources]]
name = "apps"
provider = "entra"
auth = {{ token_url = "https://login.example/t", client_id = "c", client_secret = "{secrets[8]}" }}
[[sources]]
name = "posts"
provider = "zernio"
api_key = "{secrets[0]}"
hook = {{ secret = "{secrets[9]}" }}
[[sources]]
name = "pushed"
provider = "push"
token = "{secrets[10]}"
[[channels]]
name = "ops"
url = "{secrets[2]}"
[web]
token = "{secrets[3]}"
[heartbeat]
url = "{secrets[4]}"
""",
        encoding="utf-8",
    )
    command = [sys.executable, "-c", KNOWN, str(path)]
    said = "\n".join(f"It is {text}!" for text in secrets)
    done = subprocess.run(command, cwd=ROOT, env=environment(), input=said, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["It is <secret>!"] * len(secrets)
