"""Expressions over rows: the same answers as JMESPath where both exist, no exceptions, and bounds on what is compiled."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import jmespath  # type: ignore[import-untyped]  # it has no types
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.domain.rules.expressions import Evaluator, InvalidExpression, compile_expression, function_names, is_true

NOW = datetime(2026, 6, 1, tzinfo=UTC)
EVALUATOR = Evaluator(NOW)
ROW: dict[str, Any] = {
    "id": 7,
    "zero": 0,
    "name": "Casa Verde",
    "nothing": None,
    "off": False,
    "scope": "read, write,",
    "at": "2026-06-01T00:00:00Z",
    "error": {"code": 463, "message": "Session has expired"},
    "errors": [{"type": "auth"}, {"type": "sync"}],
    "accounts": {"x": {"handle": "acme"}, "tiktok": ""},
    "@odata.next": "https://service.example/2",
}


def value(text: str, row: Any = ROW) -> Any:
    """The value of an expression for a row."""
    return EVALUATOR.value(compile_expression(text), row)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name", "Casa Verde"),
        ("error.code", 463),
        ("error.code.deeper", None),
        ("name.deeper", None),
        ("missing.name || name", "Casa Verde"),
        ("zero || id", 0),
        ('"@odata.next"', "https://service.example/2"),
        ("errors[?type=='auth'] | count(@)", 1),
        ("count(nothing)", 0),
        ("count(errors[?type=='none']) == `0`", True),
        ("join('/', [name, id])", "Casa Verde/7"),
        ("join('/', [name, nothing])", None),
        ("join('/', nothing)", None),
        ("split(scope, ',')", ["read", "write"]),
        ("split(nothing, ',')", None),
        ("pairs(accounts)[?value != ''].key", ["x"]),
        ("pairs(nothing)", None),
        ("has(error.message, 'expired')", True),
        ("has(error.message, nothing)", False),
        ("has(['a', 'b'], 'b')", True),
        ("has([`1`], off)", False),
        ("has(nothing, 'x')", False),
        ("lower(name)", "casa verde"),
        ("epoch(at) == now(@)", True),
        ("epoch(name) > `0`", None),
        ("min([zero, id][?@ > `0`])", 7),
        ("min(nothing)", None),
        ("name > `3`", None),
        ("starts_with(name, 'Casa') && !off", True),
        ("to_number('12.5')", 12.5),
        ("to_number(name)", None),
        ("to_string(id)", "7"),
        ("errors[5].type", None),
        ("[error, errors][]", [ROW["error"], {"type": "auth"}, {"type": "sync"}]),
    ],
)
def test_the_value_for_a_row(text: str, expected: Any) -> None:
    assert value(text) == expected


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a..b", "column 3"),
        ("a[", "column 3"),
        ("", "not a valid JMESPath expression"),
        ("lower(a", "not a valid"),
        ("lowr(a)", "unknown function lowr()"),
        ("sort_by(a, &b)", "unknown function sort_by()|expression reference"),
        ("map(&a, b)", "unknown function map()|expression reference"),
        ("min(a, b)", "min() with 2 arguments, but it takes 1"),
        ("now()", "now() with 0 arguments"),
        ("[" * 400, "not a valid"),
        ("(" * 60 + "a" + ")" * 60 + " || " + "!" * 60 + "a", "nested more than 40"),
        ("a" * 1001, "at most 1,000"),
        ("[@,@][].[@,@][].[@,@][].[@,@][].[@,@][].[@,@][].[@,@]", "copies its input too often"),
    ],
)
def test_what_cannot_be_compiled(text: str, problem: str) -> None:
    with pytest.raises(InvalidExpression) as caught:
        compile_expression(text)
    assert any(part in str(caught.value) for part in problem.split("|"))


@pytest.mark.parametrize(("found", "expected"), [(0, True), ("0", True), (None, False), (False, False), ("", False), ([], False)])
def test_zero_is_true(found: Any, expected: bool) -> None:
    assert is_true(found) is expected


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["a", "b", "id", "x y"]), inner, max_size=4),
    max_leaves=12,
)
PATHS = st.lists(st.sampled_from(["a", "b", "id"]), min_size=1, max_size=4).map(".".join)
TWO = "has", "contains", "starts_with", "ends_with", "split", "join"
CALLS = st.sampled_from(
    [
        *(f"{name}(a)" for name in function_names() if name not in TWO),
        *(f"{name}(a, b)" for name in TWO),
        "a > b",
        "a[?b == `1`]",
        "a[*].id",
        "a[].b",
        "!a || b",
        "[a, b][]",
        "{x: a}.x",
        "a[0]",
        "a[-1:]",
    ]
)


@given(row=JSON, path=PATHS)
def test_a_dotted_name_has_the_value_that_jmespath_gives(row: Any, path: str) -> None:
    row = json.loads(json.dumps(row))
    assert value(path, row) == jmespath.search(path, row)


@given(row=JSON, text=CALLS)
def test_no_row_raises(row: Any, text: str) -> None:
    value(text, row)


def test_a_deeply_nested_row_has_no_value_but_raises_nothing() -> None:
    row: Any = {"a": 1}
    for _ in range(900):
        row = {"a": [row]}
    value("[a, a][].a[].a[].a", row)


def test_no_function_multiplies_the_size_of_a_text() -> None:
    row = {"a": "x" * 10_000, "b": ["y"] * 10_000}
    assert value("join(a, b)", row) is None
    assert value("to_string(a)", row) is None
