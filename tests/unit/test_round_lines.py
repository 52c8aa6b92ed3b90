"""The lines of `config check` on each source's request budget."""

from __future__ import annotations

from pathlib import Path

from monitor.cli.config import MOST, round_lines
from monitor.config import Config, load


def config_of(folder: Path, *, sources: int = 1, provider: str = "postpost", more: str = "") -> Config:
    path = folder / "config.toml"
    path.touch(mode=0o600)
    path.write_text(
        "".join(
            f'[[sources]]\nname = "s{number}"\nprovider = "{provider}"\napi_key = "sk_canary"\n{more}\n'
            for number in range(sources)
        ),
        encoding="utf-8",
    )
    return load(path, {"HOME": str(folder)}).config


def test_before_the_first_poll_the_capacity_is_printed(tmp_path: Path) -> None:
    assert list(round_lines(config_of(tmp_path), {}, {})) == [
        "s0: 600 requests a minute, enough to probe 216,000 connections every 6 hours."
    ]
    assert list(round_lines(config_of(tmp_path, provider="postbreeze"), {}, {})) == ["s0: 60 requests a minute."]


def test_the_listed_count_decides_how_long_a_full_round_takes(tmp_path: Path) -> None:
    """300 managed users are 300 requests for one poll."""
    lines = list(round_lines(config_of(tmp_path), {"s0": 12_000}, {"s0": 300}))
    assert lines == ["s0: 600 requests a minute; polling and probing its 12,000 connections takes 20 minutes, every 6 hours."]
    lines = list(round_lines(config_of(tmp_path, provider="postpeer"), {"s0": 100_000}, {"s0": 1}))
    assert lines == ["s0: 600 requests a minute; a poll of its 100,000 connections takes 1 minute."]
    lines = list(round_lines(config_of(tmp_path, more='probe_every = "off"'), {"s0": 1}, {"s0": 1}))
    assert lines == ["s0: 600 requests a minute; a poll of its 1 connection takes 1 second."]


def test_a_budget_that_is_too_small_is_reported_also_among_many_sources(tmp_path: Path) -> None:
    config = config_of(tmp_path, sources=MOST + 1)
    assert list(round_lines(config, {}, {})) == []
    (line,) = round_lines(config, {"s3": 300_000}, {})
    assert line.startswith("s3: 600 requests a minute; polling and probing its 300,000 connections takes 8 hours 20 minutes,")
    assert line.endswith("This exceeds probe_every: raise requests_per_minute, or probe less often.")
