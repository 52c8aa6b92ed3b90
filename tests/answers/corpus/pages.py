"""Pages that loop, repeat, contradict each other or are missing. Only PostPeer has pages."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tests.answers.case import INVALID, OK, PARTIAL, POSTPEER, READ, UNREACHABLE, Answerer, Book, SampleSource
from tests.contract.loopback import Request, Response, as_json

book = Book(row="N29", part="pages", kinds=(POSTPEER,))

PAGE = 100


def _many(sample: SampleSource, count: int = 250) -> list[dict[str, Any]]:
    """The connections, and more behind them."""
    return [sample.row(number) for number in range(count)]


def _pages(make: Callable[[SampleSource, int, int], Any]) -> Answerer:
    """By offset and by which request of its kind it is, the envelope; the key is good."""
    asked: dict[int, int] = {}

    def answer(sample: SampleSource, request: Request) -> Response:
        if request.path == "/health/auth":
            return as_json({"ok": True})
        offset = int(request.query.get("offset", "0"))
        if offset == 0:
            asked.clear()
        asked[offset] = asked.get(offset, 0) + 1
        made = make(sample, offset, asked[offset])
        return made if isinstance(made, Response) else as_json(made)

    return answer


def _page(rows: list[Any], offset: int, *, total: Any = ...) -> dict[str, Any]:
    count = len(rows) if total is ... else total
    return {"success": True, "total": count, "integrations": rows[offset : offset + PAGE]}


def _without_total(rows: list[Any], offset: int) -> dict[str, Any]:
    return {"success": True, "integrations": rows[offset : offset + PAGE]}


book.add("fine", _pages(lambda s, at, _: _page(_many(s), at)), outcome=OK)
book.add("fine_without_total", _pages(lambda s, at, _: _without_total(_many(s), at)), outcome=OK)
book.add("fine_exactly_two_full_pages", _pages(lambda s, at, _: _page(_many(s, 200), at)), outcome=OK)
book.add("always_the_first", _pages(lambda s, *_: _page(_many(s), 0)), outcome=PARTIAL)
book.add("always_the_first_without_total", _pages(lambda s, *_: _without_total(_many(s), 0)), outcome=PARTIAL)
book.add("the_second_is_the_first_again", _pages(lambda s, at, _: _page(_many(s), 0 if at == 100 else at)), outcome=PARTIAL)
book.add("overlapping", _pages(lambda s, at, _: _page(_many(s), max(at - 1, 0), total=250)), outcome=READ)
book.add("one_row_is_skipped", _pages(lambda s, at, _: _page(_many(s), at + (at > 0), total=250)), outcome=PARTIAL)
book.add("the_second_is_empty", _pages(lambda s, at, _: _page(_many(s) if at == 0 else [], at, total=250)), outcome=PARTIAL)
book.add("all_are_empty_and_the_total_is_not", _pages(lambda *_: _page([], 0, total=250)), outcome=PARTIAL)
book.add(
    "half_pages", _pages(lambda s, at, _: {"success": True, "total": 250, "integrations": _many(s)[at : at + 50]}), outcome=READ
)
book.add(
    "one_by_one", _pages(lambda s, at, _: {"success": True, "total": 50, "integrations": s.rows()[at : at + 1]}), outcome=READ
)
book.add(
    "more_than_was_asked_for",
    _pages(lambda s, at, _: _page(_many(s), at) if at else {"success": True, "total": 250, "integrations": _many(s)}),
    outcome=READ,
)
book.add("total_grows_with_each", _pages(lambda s, at, _: _page(_many(s), at, total=250 + at)), outcome=PARTIAL)
book.add("total_shrinks_with_each", _pages(lambda s, at, _: _page(_many(s), at, total=max(250 - at, 0))), outcome=PARTIAL)
book.add("total_too_small", _pages(lambda s, at, _: _page(_many(s), at, total=10)), outcome=PARTIAL)
book.add("total_too_large", _pages(lambda s, at, _: _page(s.rows(), at, total=10**9)), outcome=PARTIAL)
book.add("total_zero", _pages(lambda s, at, _: _page(s.rows(), at, total=0)), outcome=PARTIAL)
book.add("total_null", _pages(lambda s, at, _: _page(s.rows(), at, total=None)), outcome=OK)
book.add(
    "total_missing_later", _pages(lambda s, at, _: _page(_many(s), at) if at == 0 else _without_total(_many(s), at)), outcome=READ
)
for name, total in {
    "negative": -1,
    "fraction": 50.5,
    "whole_fraction": 50.0,
    "text": "50",
    "true": True,
    "array": [50],
    "object": {"value": 50},
    "words": "many",
    "ten_to_the_30": 10**30,
}.items():
    given: Any = total
    book.add(
        f"total_{name}",
        _pages(lambda s, at, _, given=given: _page(s.rows(), at, total=given)),  # type: ignore[misc]
        outcome=PARTIAL if name == "ten_to_the_30" else INVALID,
    )


def _second(response: Response) -> Answerer:
    """A good first page, and this for the second."""
    return _pages(lambda s, at, _: _page(_many(s), at) if at == 0 else response)


_HTML = Response(body=b"<html>", headers={"content-type": "text/html"})
book.add("the_second_is_html", _second(_HTML), outcome=INVALID)
book.add("the_second_is_nothing", _second(Response()), outcome=INVALID)
book.add(
    "the_second_is_cut", _second(Response(body=b'{"success":true,"total":250,"integrations":[{"id":"int_1')), outcome=INVALID
)
book.add("the_second_is_an_error", _second(as_json({"error": "Internal"}, status=500)), outcome=UNREACHABLE)
book.add("the_second_is_not_there", _second(as_json({"error": "Not found"}, status=404)), outcome=INVALID)
book.add("the_second_refuses_success", _second(as_json({"success": False, "message": "page too deep"})), outcome=INVALID)
book.add("the_second_is_another_list", _second(as_json({"success": True, "posts": []})), outcome=INVALID)


def _endless(sample: SampleSource, offset: int, _: int) -> Any:
    return {"success": True, "integrations": [sample.row(number) for number in range(offset, offset + PAGE)]}


def _walk_on(sample: SampleSource, offset: int, _: int) -> Any:
    """A page of one row for ever, with a new id each time."""
    return {"success": True, "integrations": [sample.row(offset)]}


book.add("endless", _pages(_endless), outcome=PARTIAL, rows=400)
book.add("endless_one_by_one", _pages(_walk_on), outcome=PARTIAL, rows=400)
book.add(
    "endless_of_rows_without_id",
    _pages(lambda *_: {"success": True, "integrations": [{}] * PAGE}),
    outcome=PARTIAL,
    rows=400,
)
book.add("endless_of_nulls", _pages(lambda *_: {"success": True, "integrations": [None] * PAGE}), outcome=PARTIAL, rows=400)


def _settles(sample: SampleSource, offset: int, turn: int) -> Any:
    del turn
    rows = _many(sample, 150)
    return _page(rows, offset)


book.add("fine_of_two", _pages(_settles), outcome=OK)


def _key(value: Any, *, status: int = 200) -> Answerer:
    """An empty list, and this answer about the key."""

    def answer(sample: SampleSource, request: Request) -> Response:
        if request.path == "/health/auth":
            return Response(status=status, body=json.dumps(value).encode(), headers={"content-type": "application/json"})
        return as_json(sample.envelope([]))

    return answer


book.add("empty_and_the_key_is_good", _key({"ok": True}), outcome=OK)
for name, value in {"false": False, "null": None, "one": 1, "text": "true", "array": [True]}.items():
    book.add(f"empty_and_ok_is_{name}", _key({"ok": value}), outcome=INVALID)
book.add("empty_and_nothing_is_said_of_the_key", _key({}), outcome=INVALID)
book.add("empty_and_an_array_about_the_key", _key([]), outcome=INVALID)
book.add("empty_and_no_such_call", _key({"error": "Not found"}, status=404), outcome=INVALID)
book.add("empty_and_the_call_fails", _key({"error": "no"}, status=500), outcome=UNREACHABLE)

CASES = book.cases
