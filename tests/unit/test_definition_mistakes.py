"""Mistakes in a definition: each is reported with its place, and with the nearest right name where there is one."""

from __future__ import annotations

from pathlib import Path

import pytest

from monitor.config import load
from monitor.domain.errors import ConfigError

RIGHT = """
[[sources]]
name = "planner"
provider = "custom"
base_url = "https://api.planner.example/v1"
api_key = "a-key-of-the-planner"

[sources.list]
get = "/accounts"
items = "data"

[sources.row]
id = "id"

[[sources.status]]
when = "state == 'active'"
is = "valid"
"""


def mistakes(folder: Path, text: str) -> list[str]:
    path = folder / "config.toml"
    path.touch(mode=0o600)
    path.write_text(text, "utf-8")
    with pytest.raises(ConfigError) as caught:
        load(path, {"HOME": str(folder)})
    place = f"{path}: sources[0] (planner)."
    assert all(each.startswith(place) for each in caught.value.problems), caught.value.problems
    return [each.removeprefix(place) for each in caught.value.problems]


def test_the_definition_without_a_mistake_loads(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(RIGHT, "utf-8")
    assert load(path, {"HOME": str(tmp_path)}).config.sources[0].definition is not None


@pytest.mark.parametrize(
    "form", ["%d.%m.%Y", "%Y-%m", "%y%m%d", "%Y-%m-%dT%H:%M:%S.%f%z", "%a, %d %b %Y %I:%M %p %Z", "%G-W%V-%u"]
)
def test_a_format_that_reads_dates_loads(tmp_path: Path, form: str) -> None:
    path = tmp_path / "config.toml"
    path.write_text(RIGHT.replace('id = "id"', f'id = "id"\nexpires = {{ at = "x", as = "{form}" }}'), "utf-8")
    definition = load(path, {"HOME": str(tmp_path)}).config.sources[0].definition
    assert definition is not None
    assert definition.row.expires is not None
    assert definition.row.expires.form == form


@pytest.mark.parametrize(
    ("right", "wrong", "expected"),
    [
        ('provider = "custom"', 'provider = "costum"', 'provider is "costum", which is not a provider; did you mean custom?'),
        ("items =", "itmes =", "list.itmes is not a known key; did you mean items?"),
        ('"data"', '"data["', 'list.items is "data[", which is not a valid JMESPath expression: see column 6.'),
        ("state ==", "state =", "which is not a valid JMESPath expression: see column 7."),
        ('"id"', '"jion(a, b)"', "Did you mean join()?"),
        ('"id"', '"join(a)"', "which calls join() with 1 argument, but it takes 2."),
        ("id =", "name =", "row.id is missing: name the field that identifies a row."),
        ('id = "id"', 'id = "id"\nplatfrom = "net"', "row.platfrom is not a known key; did you mean platform?"),
        ('"valid"', '"vaild"', 'status[0].is is "vaild", which is not a status; did you mean valid?'),
        (
            '"/accounts"',
            '"accounts"',
            'list.get is "accounts", but must be a path that begins with /; write parameters as query.',
        ),
        ('"/accounts"', '"/accounts?all=1"', "must be a path that begins with /; write parameters as query."),
        ('"/accounts"', '"/{scop.id}"', 'list.get contains "{scop.id}", but the placeholders here are none.'),
        ('get = "/accounts"', "", "list needs either get or post, with the path below base_url."),
        ('"/accounts"', '"/accounts"\nanswers = [500]', "a response can be judged with status 200, 201 or 400 to 499 only."),
        (
            '"/accounts"',
            '"/a"\npaging = { kind = "curser" }',
            'list.paging.kind is "curser", which is not a kind of paging; did you mean cursor?',
        ),
        (
            '"/accounts"',
            '"/a"\npaging = { kind = "cursor", param = "c" }',
            "list.paging.next is missing: cursor needs the expression",
        ),
        (
            'id = "id"',
            'id = "id"\nexpires = { at = "x", as = "epoch" }',
            'row.expires.as is "epoch", but must be auto, date, seconds_left',
        ),
        (
            'id = "id"',
            'id = "id"\nexpires = { at = "x", as = "%Q" }',
            'row.expires.as is "%Q", but must be auto, date, seconds_left, days_left or a format of ',
        ),
        ('id = "id"', 'id = "id"\nexpires = { at = "x", as = "%m/%d" }', 'row.expires.as is "%m/%d", but must be auto, date, '),
        ('id = "id"', 'id = "id"\nexpires = { as = "date" }', "row.expires.at is missing: name the field of the date."),
        ("[sources.list]", '[sources.auth]\nkind = "basic"\n[sources.list]', "auth.user is missing: basic needs it."),
        ("[sources.list]", '[[sources.tokens]]\nid = "a"\n[sources.list]', "tokens[0].secret is missing"),
        (
            "[[sources.status]]",
            '[sources.test]\nget = "/a/{di}"\nstatus = [{ is = "ok" }]\n[[sources.status]]',
            'test.get contains "{di}", but the placeholders here are {id}, {platform}',
        ),
    ],
)
def test_a_mistake_is_named_with_its_place(tmp_path: Path, right: str, wrong: str, expected: str) -> None:
    assert right in RIGHT
    assert any(expected in each for each in mistakes(tmp_path, RIGHT.replace(right, wrong, 1)))
