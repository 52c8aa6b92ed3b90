"""Every mistake gets one clear sentence: the table of wrong files in tests/data/config, one mistake each."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from monitor.config import load
from monitor.domain.errors import ConfigError

FILES = Path(__file__).parent.parent / "data" / "config"
ENV = {
    "HOME": "/home/someone",
    "A_KEY": "sk_one",
    "B_KEY": "sk_two",
    "A_URL": "json://localhost/hook",
    "EMPTY_KEY": " \n",
    "UNVERIFIED_URL": "jsons://example.com/?verify=no",
    "OPTIONAL_URL": "json://localhost/?optional=yes",
}


def placed(name: str, folder: Path) -> tuple[Path, str]:
    """A copy of the file beside the key files it names, readable by all, and the sentence of its first line."""
    for key_file in FILES.glob("*.key"):
        shutil.copyfile(key_file, folder / key_file.name)
        (folder / key_file.name).chmod(0o600)
    path = folder / "config.toml"
    shutil.copyfile(FILES / name, path)
    path.chmod(0o644)
    first = path.read_text("utf-8").splitlines()[0]
    return path, first.split(": ", 1)[1].replace("<file>", str(path))


@pytest.mark.parametrize("name", sorted(path.name for path in FILES.glob("invalid-*.toml")))
def test_a_wrong_file_gets_exactly_its_sentence(name: str, tmp_path: Path) -> None:
    path, expected = placed(name, tmp_path)
    with pytest.raises(ConfigError) as caught:
        load(path, ENV)
    assert caught.value.problems == [expected]


@pytest.mark.parametrize("name", sorted(path.name for path in FILES.glob("doubtful-*.toml")))
def test_a_doubtful_file_loads_with_exactly_its_warning(name: str, tmp_path: Path) -> None:
    path, expected = placed(name, tmp_path)
    assert load(path, ENV).warnings == (expected,)


def test_there_are_enough_wrong_files() -> None:
    assert len(list(FILES.glob("invalid-*.toml"))) >= 45


def test_all_mistakes_are_reported_together(tmp_path: Path) -> None:
    """A mistake of shape, one of meaning, a missing secret and one of the environment, in one go."""
    path = tmp_path / "config.toml"
    path.write_text(
        '[schedule]\npoll_every = 5\n[[sources]]\nname = "a"\nprovider = "postbreeze"\napi_key = { env = "GONE" }\n'
        'requests_per_minute = 61\nusers = "all"\n[[sources]]\nname = "a"\n[[channels]]\nname = "b"\nurl = "nope"\n'
        'events = ["x"]\n',
        "utf-8",
    )
    with pytest.raises(ConfigError) as caught:
        load(path, {"HOME": "/", "TOKEN_MONITOR_WEB__LISTN": "off"})
    said = [problem.replace(f"{path}: ", "") for problem in caught.value.problems]
    assert [sentence.split(" ")[0] for sentence in said] == [
        "TOKEN_MONITOR_WEB__LISTN",
        "schedule.poll_every",
        "channels[0]",
        "sources[0]",
        "sources[0]",
        "sources[0]",
        "sources[1]",
        "sources[1]",
        "sources[1]",
        "channels[0]",
    ]
    assert len(said) == len(set(said))
    assert all(sentence.endswith((".", "?")) and "\n" not in sentence for sentence in said)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'timezone = "\xff"', "config.toml: line 1 is not valid UTF-8 text."),
        (b"a = " + b"[" * 200_000, "config.toml: line 1 is nested too deeply: at most 32 levels are allowed."),
        (b"#" * (8 * 1024 * 1024 + 1), "config.toml is larger than 8 MiB, too large for a configuration."),
    ],
)
def test_what_is_no_toml_at_all_is_named_with_its_file(
    content: bytes, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("config.toml").write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load(None, ENV)
    assert caught.value.problems == [said]


def test_a_byte_order_mark_and_windows_line_ends_are_read(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    text = (FILES / "good-minimal.toml").read_text("utf-8")
    path.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    assert load(path, ENV).config.sources[0].name == "agency"
