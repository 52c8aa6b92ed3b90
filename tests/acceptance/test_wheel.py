"""The wheel carries all that the program needs: it is installed into an empty environment and run from elsewhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from monitor.config.shipped_definitions import shipped_names
from monitor.demo.server import ThreadedWorld
from monitor.demo.world import World

ROOT = Path(__file__).parent.parent.parent
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", out], cwd=ROOT, check=True, capture_output=True
    )
    return next(out.glob("*.whl"))


def test_the_wheel_holds_the_migrations_and_definitions_and_no_tests(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert "monitor/migrations/env.py" in names
    assert any(name.startswith("monitor/migrations/versions/0001") for name in names)
    definitions = {name for name in names if name.startswith("monitor/providers/definitions/")}
    assert definitions == {f"monitor/providers/definitions/{name}.toml" for name in shipped_names()}
    assert not [name for name in names if name.startswith(("tests/", "benchmarks/"))]


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty environment with the wheel and what its own metadata asks for, at the locked versions."""
    home = tmp_path_factory.mktemp("installed")
    venv.create(home)
    python, constraints = str(home / "bin" / "python"), str(ROOT / "requirements.txt")
    install = ["uv", "pip", "install", "--quiet", "--python", python, "--constraint", constraints, str(wheel)]
    subprocess.run([sys.executable, "-m", *install], check=True, cwd=home)
    return home


def test_the_installed_program_runs_a_cycle_outside_the_checkout(installed: Path, tmp_path: Path) -> None:
    world = World()
    world.add_source("agency", "postpost")
    world.connect("agency", "mastodon", account="1", username="@fern", display_name="Fern & Fable")
    with ThreadedWorld(world) as server:
        config = tmp_path / "config.toml"
        config.write_text(
            f"""
[database]
url = "sqlite:///state/monitor.db"
[[sources]]
name = "agency"
provider = "postpost"
api_key = {{ env = "KEY" }}
base_url = "{server.base_url("postpost")}"
""",
            encoding="utf-8",
        )
        environment = {"PATH": os.environ["PATH"], "KEY": world.sources["agency"].key, "HOME": str(tmp_path)}
        done = subprocess.run(
            [installed / "bin" / "token-monitor", "--config", config, "check", "--json"],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert [(row["id"], row["status"]) for row in answer["connections"]] == [("agency/mastodon-1", "valid")]
    assert (tmp_path / "state" / "monitor.db").exists()
