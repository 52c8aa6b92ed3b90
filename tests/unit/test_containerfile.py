"""The Containerfile, compared with the project. tests/system/test_container.py builds and runs the image."""

from __future__ import annotations

import ast
import json
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def instructions() -> list[tuple[str, str]]:
    """Each instruction with its argument, lines joined, comments gone."""
    text = (ROOT / "Containerfile").read_text("utf-8")
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("#")).replace("\\\n", " ")
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in lines.splitlines() if line.strip())]


def arguments(word: str) -> list[str]:
    return [rest for name, rest in instructions() if name == word]


def test_S24_every_image_is_named_by_a_digest_that_has_no_changing_default() -> None:
    """Without a digest the name ends with `@`, which is no image: the build is refused."""
    assert len(arguments("FROM")) == 2
    for image in arguments("FROM"):
        assert image.split()[0].endswith("@${PYTHON_DIGEST}"), image
    assert arguments("ARG") == ["PYTHON_DIGEST"]
    words = [word for word, _ in instructions()]
    assert words.index("ARG") < words.index("FROM"), "one value for both stages"


def test_S24_everything_that_is_installed_is_locked_by_hash_or_built_here() -> None:
    """pip's build isolation would fetch the newest build backend without a hash, and run it."""
    commands = [part.strip() for rest in arguments("RUN") for part in rest.split("&&")]
    fetching = [each for each in commands if re.search(r"\b(pip|uv|pipx|apt-get|apt|curl|wget|git)\b", each)]
    assert len(fetching) == 4
    for command in fetching:
        lock = re.fullmatch(r"\S+/pip install --no-cache-dir --require-hashes -r (requirements[a-z-]*\.txt)", command)
        local = re.fullmatch(r"\S+/pip (?:install|wheel) .*", command) and {"--no-index", "--no-deps"} <= set(command.split())
        assert lock or local, command
        assert lock is None or (ROOT / lock[1]).exists()
        if " wheel " in command or command.endswith(" ."):
            assert "--no-build-isolation" in command, command
    assert not arguments("ADD")


def test_the_base_image_names_no_registry_and_a_python_that_is_new_enough() -> None:
    for image in arguments("FROM"):
        name = image.split()[0].partition("@")[0]
        assert re.fullmatch(r"python:(\d+)\.(\d+)-slim", name), name
        version = tuple(int(part) for part in re.findall(r"\d+", name))
        assert version >= tuple(int(part) for part in re.findall(r"\d+", PROJECT["project"]["requires-python"]))
        assert f"Programming Language :: Python :: {version[0]}.{version[1]}" in PROJECT["project"]["classifiers"]


def test_everything_that_is_copied_is_there_and_nothing_that_the_build_needs_is_missing() -> None:
    copied = [source for rest in arguments("COPY") if not rest.startswith("--from") for source in rest.split()[:-1]]
    for source in copied:
        assert (ROOT / source).exists(), source
    wheel = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = [
        *wheel["packages"],
        *wheel["force-include"],
        *wheel["shared-data"],
        "pyproject.toml",
        "requirements.txt",
        "requirements-build.txt",
    ]
    needed += [PROJECT["project"]["readme"], *PROJECT["project"]["license-files"]]
    for path in needed:
        assert any(path == source or path.startswith(f"{source}/") for source in copied), path


def test_it_installs_what_is_locked() -> None:
    assert any("--require-hashes -r requirements.txt" in command for command in arguments("RUN"))


def test_it_runs_the_program_as_an_unprivileged_user() -> None:
    words = [word for word, _ in instructions()]
    (user,) = arguments("USER")
    assert user.split(":")[0].isdigit()
    assert int(user.split(":")[0]) > 0
    assert words.index("USER") < words.index("ENTRYPOINT")
    assert f"--uid {user.split(':')[0]} " in " ".join(arguments("RUN"))
    assert json.loads(arguments("ENTRYPOINT")[0]) == list(PROJECT["project"]["scripts"])
    assert json.loads(arguments("CMD")[0])[0] == "run"


def test_its_state_and_its_configuration_have_a_place() -> None:
    environment = " ".join(arguments("ENV"))
    assert f"STATE_DIRECTORY={arguments('VOLUME')[0]}" in environment
    assert "TOKEN_MONITOR_CONFIG=/etc/token-monitor/config.toml" in environment


def test_the_health_check_asks_the_status_pages_own_health_address() -> None:
    (check,) = arguments("HEALTHCHECK")
    command = json.loads(check[check.index("CMD") + 3 :])
    ast.parse(command[-1])
    assert "HEALTH_URL=http://127.0.0.1:8321/healthz" in arguments("ENV")
    assert "HEALTH_URL" in command[-1]
