"""The search for secrets finds them, in whatever form and wherever a test leaves them, and fails that test's run."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.support import canary
from tests.support.command_line import ROOT

FORMS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "in a URL": lambda text: quote(f"/{text}?", safe=""),
    "in JSON": lambda text: json.dumps({"key": f'"{text}\u00e9'}),
    "as Python writes it": lambda text: repr(f"'{text}\"\n"),
    "its first eight characters": lambda text: f"key {text[:8]}...",
    "its last eight characters": lambda text: f"key ...{text[-8:]}",
    "in capitals": str.upper,
    "in base64": lambda text: base64.b64encode(text.encode()).decode(),
    "in base64, one further": lambda text: base64.b64encode(f"u{text}:".encode()).decode(),
    "in base64, two further": lambda text: base64.urlsafe_b64encode(f"ab{text}".encode()).decode(),
    "in hexadecimal": lambda text: text.encode().hex(),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_every_form_of_a_secret_is_found(form: Callable[[str], str]) -> None:
    text = f"some words before {form(canary.MAIL_PASSWORD)} and after"
    assert canary.search(text, "here")
    assert canary.search(text.encode(), "here")
    assert not canary.search("some words before and after, a canary and a key", "here")


def test_each_place_has_a_secret_of_its_own_and_each_has_the_marks() -> None:
    secrets = {
        name: value for name, value in vars(canary).items() if name.isupper() and isinstance(value, str) and name[0] != "_"
    }
    assert len(secrets) == len(set(secrets.values())) >= 15
    for value in secrets.values():
        assert len(canary.search(value, "here")) == 2


def test_configurations_and_key_files_hold_secrets_rightly_and_nothing_else_does(tmp_path: Path) -> None:
    names = ("config.toml", "agency.key", "credentials/hook", "daemon.log", "deep/er/monitor.db-wal")
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(canary.POSTPOST_KEY, "utf-8")
    found = [each.where.removeprefix(f"{tmp_path.name}/") for each in canary.sweep(tmp_path)]
    shutil.rmtree(tmp_path)  # else this very test would be told of
    assert sorted(set(found)) == ["daemon.log", "deep/er/monitor.db-wal"]


PLANTED = """
import pathlib
import pytest
from tests.support import canary

KEY = canary.secret("planted")

def test_file(tmp_path):
    (tmp_path / "out.log").write_text("refused: " + KEY)

def test_printed():
    print("the key is", KEY)

def test_passing(tmp_path):
    canary.WATCH.look("a page with " + KEY, "GET /page")

def test_clean(tmp_path):
    (tmp_path / "config.toml").write_text(KEY)

@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    return tmp_path_factory.mktemp("common")

def test_shared(shared):
    (shared / "left.txt").write_text(KEY)
"""


@pytest.mark.slow
@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["one process", "two workers"])
def test_S01_a_planted_secret_fails_the_run_and_is_named(workers: tuple[str, ...], tmp_path: Path) -> None:
    """The sweep itself: each way of leaving a secret behind fails, the file and the test are named, and nothing else does."""
    (tmp_path / "test_planted.py").write_text(PLANTED, "utf-8")
    plain = (
        "-p",
        "tests.support.secret_sweep",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:randomly",
        "-p",
        "no:schemathesis",
        "-q",
        "--tb=short",
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *plain, *workers, "--rootdir", str(tmp_path), str(tmp_path)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_DEBUG_TEMPROOT": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
    )
    shutil.rmtree(tmp_path)  # else this very test would be told of
    failed = {line.split("::")[1].split()[0] for line in done.stdout.splitlines() if line.startswith("ERROR ")}
    assert done.returncode == 1, done.stderr[-2000:]
    assert failed == {"test_file", "test_printed", "test_passing"}
    for told in ("out.log: refused: ", "Captured stdout call: the key is", "GET /page: a page with", "left.txt: "):
        assert told in done.stdout, told
    assert "5 passed, 3 errors" in done.stdout
