"""docs/deployment/compose.yaml as Docker Compose reads it, with the file .env that a user fills in."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]

DEPLOYMENT = Path(__file__).parent.parent.parent / "docs" / "deployment"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("docker-compose") is None, reason="NOT PROVEN, compose.yaml: docker-compose is missing"),
]
VALUES = {
    "POSTPOST_API_KEY": "sk_live_A+b/c=",
    "OPS_APPRISE_URL": "mailtos://smtp.example.com:587?user=a%40example.com&pass=pa%23s%24s&to=b%40example.com",
    "TOKEN_MONITOR_WEB_TOKEN": "a-token-of-22-or-more-characters",
    "PGPASSWORD": "0123456789abcdef",
}


def read_by_compose(folder: Path, values: dict[str, str], *, file: str = "compose.yaml") -> subprocess.CompletedProcess[str]:
    """Copy the files as the page does, fill in .env, and let Compose print what it understood."""
    shutil.copy(DEPLOYMENT / file, folder / "compose.yaml")
    shutil.copy(DEPLOYMENT / "config.toml", folder)
    lines = (DEPLOYMENT / "example.env").read_text("utf-8").splitlines()
    filled = [f"{line}{values.get(line.removesuffix('='), '')}" for line in lines]
    (folder / ".env").write_text("\n".join(filled) + "\n", "utf-8")
    command = ["docker-compose", "--file", "compose.yaml", "config"]
    env = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=60)


def test_compose_passes_every_value_unchanged(tmp_path: Path) -> None:
    done = read_by_compose(tmp_path, VALUES)
    assert done.returncode == 0, done.stderr
    services = yaml.safe_load(done.stdout)["services"]
    given = services["token-monitor"]["environment"]
    assert given == {**VALUES, "TOKEN_MONITOR_DATABASE__URL": "postgresql://monitor@db:5432/monitor"}
    assert services["db"]["environment"]["POSTGRES_PASSWORD"] == VALUES["PGPASSWORD"]


def test_compose_refuses_an_empty_database_password(tmp_path: Path) -> None:
    done = read_by_compose(tmp_path, {**VALUES, "PGPASSWORD": ""})
    assert done.returncode != 0
    assert "set PGPASSWORD in .env" in done.stderr + done.stdout


def test_compose_starts_two_daemons_with_the_same_database_and_secrets(tmp_path: Path) -> None:
    done = read_by_compose(tmp_path, VALUES, file="compose-cluster.yaml")
    assert done.returncode == 0, done.stderr
    services = yaml.safe_load(done.stdout)["services"]
    expected = {
        **VALUES,
        "TOKEN_MONITOR_DATABASE__URL": "postgresql://monitor@db:5432/monitor",
        "TOKEN_MONITOR_CLUSTER__WORKERS": "4",
    }
    assert [services[f"token-monitor-{number}"]["environment"] for number in (1, 2)] == [expected, expected]
