"""Deep, huge and endless configurations: refused within a second, with the file and the place."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from monitor.config import load
from monitor.domain.errors import ConfigError

GOOD = '[[sources]]\nname = "a"\nprovider = "postpost"\napi_key = "sk_one"\n[[channels]]\nname = "c"\nurl = "json://h"\n'
DEPTHS = (40, 500, 900, 3000, 100_000)
"""Depths around the recursion limit of Python and of its parsers, and far beyond it."""
QUICK = 5.0
"""Seconds, on a loaded machine; the time was quadratic."""


def problems(folder: Path, text: str, **env: str) -> list[str]:
    """Return the mistakes, without the path of the file, once it is known that finding them took no time."""
    path = folder / "config.toml"
    path.write_text(text, "utf-8")
    path.chmod(0o600)
    begun = time.process_time()  # what other processes take does not count
    with pytest.raises(ConfigError) as caught:
        load(path, {"HOME": "/", **{f"TOKEN_MONITOR_{name}": value for name, value in env.items()}})
    assert time.process_time() - begun < QUICK
    return [problem.removeprefix(f"{path}: ") for problem in caught.value.problems]


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize(
    "text",
    [
        "\n[{dotted}]\nx = 1\n",
        "\n{dotted} = 1\n",
        "\n{quoted} = 1\n",
        "\nx = {{ {dotted} = 1 }}\n",
        "\nx = {lists}\n",
        "\nx = {tables}\n",
        "\n[[{dotted}]]\n",
    ],
)
def test_P44_what_is_nested_too_deeply_is_refused_with_its_line(text: str, depth: int, tmp_path: Path) -> None:
    filled = text.format(
        dotted=".".join("a" * depth),
        quoted=" . ".join(['"a b"'] * depth),
        lists="[" * depth + "]" * depth,
        tables="{a = " * depth + "1" + "}" * depth,
    )
    [problem] = problems(tmp_path, f"{filled}{GOOD}")
    assert problem == "line 2 is nested too deeply: at most 32 levels are allowed."


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("name", ["SOURCES", "CHANNELS", "POLICY__STAGES", "CHANNELS "])
def test_P44_json_in_the_environment_is_refused_at_any_depth(name: str, depth: int, tmp_path: Path) -> None:
    text = "[" * depth + "]" * depth if not name.endswith(" ") else '[{"labels":' + '{"a":' * depth + "1" + "}" * depth + "}]"
    [problem] = problems(tmp_path, GOOD, **{name.strip(): text})
    assert problem.startswith(f"TOKEN_MONITOR_{name.strip()}")
    assert "nested too deeply" in problem or "must be a list of durations" in problem


def test_P44_a_template_with_dots_and_brackets_is_not_nested(tmp_path: Path) -> None:
    body = "a.b.c.d. " * 20 + "[" * 100
    path = tmp_path / "config.toml"
    path.write_text(f"{GOOD}template = {{ body = '''\n{body}''' }}\n", "utf-8")
    assert load(path, {"HOME": "/"}).config.channels[0].templates


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("9" * 5000, "line 2 contains a number or date that is out of range."),
        ("9" * 4200, "policy.confirm_failures is a number with too many digits, but must be at most 1000000."),
        ("-" + "9" * 4200, "policy.confirm_failures is a number with too many digits, but must be at least 1."),
        ("0x" + "f" * 100_000, "policy.confirm_failures is a number with too many digits, but must be at most 1000000."),
    ],
)
def test_P44_a_huge_number_is_refused_without_its_digits(value: str, expected: str, tmp_path: Path) -> None:
    assert problems(tmp_path, f"[policy]\nconfirm_failures = {value}\n{GOOD}") == [expected]


def test_P44_a_huge_number_in_place_of_a_duration_is_refused_without_its_digits(tmp_path: Path) -> None:
    [problem] = problems(tmp_path, f"[schedule]\npoll_every = 0x{'f' * 100_000}\n{GOOD}")
    assert problem.startswith("schedule.poll_every is a number with too many digits, but must be a duration")


@pytest.mark.parametrize("header", ["", "[schedule]\n", "[x]\n", "[policy.platforms.tiktok]\n"])
def test_P44_twenty_thousand_unknown_keys_are_counted(header: str, tmp_path: Path) -> None:
    keys = "".join(f"pol_every{number} = 1\n" for number in range(20_000))
    found = problems(tmp_path, f"{header}{keys}{GOOD}")
    if header == "[x]\n":
        assert len(found) == 1
        return
    assert len(found) == 101
    assert found[100] == "19,900 more errors."
    assert sum("did you mean" in problem or "the known keys" in problem for problem in found) == 20


@pytest.mark.parametrize(("table", "left"), [("[[sources]]\nfoo = 1\n", 19_904), ("[[channels]]\nsources = ['zz']\n", 14_900)])
def test_P44_five_thousand_wrong_tables_are_counted(table: str, left: int, tmp_path: Path) -> None:
    found = problems(tmp_path, GOOD + table * 5000)
    assert len(found) == 101
    assert found[100].endswith(" more errors.")
    assert left * 0.9 < int(found[100].split()[0].replace(",", "")) < left * 1.1


def test_P44_twenty_thousand_unknown_variables_are_counted(tmp_path: Path) -> None:
    found = problems(tmp_path, GOOD, **{f"SCHEDULE__POL_EVERY{number}": "1" for number in range(20_000)})
    assert (len(found), found[100]) == (101, "19,900 more errors.")


def test_P44_a_file_of_ten_megabytes_is_not_read(tmp_path: Path) -> None:
    [problem] = problems(tmp_path, GOOD + "# x\n" * 2_600_000)
    assert problem.endswith("is larger than 8 MiB, too large for a configuration.")
