"""How long to wait: Retry-After and its relatives, as numbers, as dates, and as nonsense. Each answer is a 429."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

from tests.answers.case import LIMITED, POSTBREEZE, POSTPOST, Answerer, Book, body

DATE = "Tue, 10 Mar 2026 12:00:00 GMT"

_HEADERS: Mapping[str, tuple[str, float | Literal["default"]]] = {
    "seconds": ("45", 45.0),
    "zero": ("0", 1.0),
    "zeroes": ("0000", 1.0),
    "leading_zeroes": ("000045", 45.0),
    "an_hour": ("3600", 3600.0),
    "an_hour_and_a_second": ("3601", 3600.0),
    "a_year": ("31536000", 3600.0),
    "sixteen_digits": ("9999999999999999", 3600.0),
    "five_thousand_digits": ("9" * 5000, 3600.0),
    "blanks_around": ("  45 ", 45.0),
    "negative": ("-45", "default"),
    "plus": ("+45", "default"),
    "fraction": ("45.5", "default"),
    "comma": ("45,5", "default"),
    "thousands": ("1_000", "default"),
    "exponent": ("1e20", "default"),
    "small_exponent": ("1e1", "default"),
    "hexadecimal": ("0x2d", "default"),
    "nan": ("NaN", "default"),
    "infinity": ("Infinity", "default"),
    "inf": ("inf", "default"),
    "unit": ("45s", "default"),
    "words": ("in a minute", "default"),
    "two_numbers": ("45, 90", "default"),
    "semicolon": ("45; wait", "default"),
    "quoted": ('"45"', "default"),
    "iso_duration": ("PT45S", "default"),
    "clock_time": ("12:00:45", "default"),
    "empty": ("", "default"),
    "boolean": ("true", "default"),
    "null": ("null", "default"),
    "percent_encoded": ("%34%35", "default"),
    "http_date": ("Tue, 10 Mar 2026 12:05:00 GMT", 300.0),
    "http_date_past": ("Tue, 10 Mar 2026 11:00:00 GMT", 1.0),
    "http_date_of_1999": ("Fri, 31 Dec 1999 23:59:59 GMT", 1.0),
    "http_date_next_year": ("Wed, 10 Mar 2027 12:00:00 GMT", 3600.0),
    "http_date_year_9999": ("Fri, 31 Dec 9999 23:59:59 GMT", 3600.0),
    "http_date_year_99999": ("Fri, 31 Dec 99999 23:59:59 GMT", "default"),
    "http_date_year_0_is_2000": ("Sat, 01 Jan 0000 00:00:00 GMT", 1.0),
    "http_date_rfc850": ("Tuesday, 10-Mar-26 12:05:00 GMT", 300.0),
    "http_date_asctime": ("Tue Mar 10 12:05:00 2026", 300.0),
    "http_date_wrong_weekday": ("Mon, 10 Mar 2026 12:05:00 GMT", 300.0),
    "http_date_31_february": ("Tue, 31 Feb 2026 12:00:00 GMT", "default"),
    "http_date_no_such_month": ("Tue, 10 Foo 2026 12:05:00 GMT", "default"),
    "http_date_hour_25": ("Tue, 10 Mar 2026 25:00:00 GMT", "default"),
    "http_date_leap_second": ("Tue, 10 Mar 2026 12:04:60 GMT", "default"),
    "http_date_other_zone": ("Tue, 10 Mar 2026 12:05:00 +0200", "default"),
    "http_date_no_zone": ("Tue, 10 Mar 2026 12:05:00", "default"),
    "http_date_local_zone": ("Tue, 10 Mar 2026 12:05:00 PST", "default"),
    "http_date_lower_case": ("tue, 10 mar 2026 12:05:00 gmt", "default"),
    "http_date_one_digit_day": ("Tue, 1 Mar 2026 12:05:00 GMT", "default"),
    "iso_date": ("2026-03-10T12:05:00Z", "default"),
    "iso_date_only": ("2026-03-10", "default"),
    "unix_instant": ("1773144300", 3600.0),
    "unix_milliseconds": ("1773144300000", 3600.0),
}
"""By name: the header, and the seconds that it means."""

_BYTES: Mapping[str, bytes] = {
    "arabic_digits": "\u0664\u0665".encode(),
    "fullwidth_digits": "\uff14\uff15".encode(),
    "superscript": "4\u00b2".encode("latin-1"),
    "nbsp": b"45\xa0",
    "not_utf8": b"\xff\xfe45",
    "escape": b"\x1b[31m45",
}
"""Headers that are no ASCII."""

_BODIES: Mapping[str, tuple[Any, float | Literal["default"]]] = {
    "seconds": ({"retryAfter": 45}, 45.0),
    "seconds_as_text": ({"retryAfter": "45"}, 45.0),
    "fraction": ({"retryAfter": 2.5}, 2.5),
    "zero": ({"retryAfter": 0}, 1.0),
    "negative": ({"retryAfter": -45}, "default"),
    "true": ({"retryAfter": True}, "default"),
    "null": ({"retryAfter": None}, "default"),
    "list": ({"retryAfter": [45]}, "default"),
    "object": ({"retryAfter": {"seconds": 45}}, "default"),
    "huge": ({"retryAfter": 10**30}, 3600.0),
    "tiny": ({"retryAfter": 1e-300}, 1.0),
    "milliseconds": ({"retryAfterMs": 45_000}, 45.0),
    "milliseconds_as_text": ({"retryAfterMs": "45000"}, 45.0),
    "milliseconds_huge": ({"retryAfterMs": 10**300}, 3600.0),
    "seconds_before_milliseconds": ({"retryAfter": 45, "retryAfterMs": 1}, 45.0),
    "bad_seconds_and_milliseconds": ({"retryAfter": "soon", "retryAfterMs": 45_000}, 45.0),
    "fullwidth": ({"retryAfter": "\uff14\uff15"}, "default"),
    "words": ({"retryAfter": "a while"}, "default"),
    "array_around": ([{"retryAfter": 45}], "default"),
}

_RAW_BODIES: Mapping[str, tuple[bytes, float | Literal["default"]]] = {
    "nan": (b'{"retryAfter": NaN}', "default"),
    "infinity": (b'{"retryAfter": Infinity}', "default"),
    "overflowing": (b'{"retryAfter": 1e999}', "default"),
    "five_thousand_digits": (b'{"retryAfter": ' + b"9" * 5000 + b"}", "default"),
    "not_json": (b"Too many requests", "default"),
    "cut": (b'{"retryAfter": 45', "default"),
    "twice": (b'{"retryAfter": 45, "retryAfter": 45}', 45.0),
}

_RESETS: Mapping[str, tuple[str, float | Literal["default"]]] = {
    "seconds": ("1773144300", 300.0),
    "milliseconds": ("1773144300000", 300.0),
    "past": ("1773140000", 1.0),
    "small": ("45", "default"),
    "negative": ("-1773144300", "default"),
    "date": ("Tue, 10 Mar 2026 12:05:00 GMT", "default"),
    "nonsense": ("soon", "default"),
    "far": ("99999999999999", 3600.0),
}


def _slow_down(text: str | bytes | None, what: object = None, **headers: str) -> Answerer:
    named = {"date": DATE, **{name.replace("_", "-"): value for name, value in headers.items()}}
    if text is not None:
        # The server writes headers as latin-1, so any bytes can stand in one.
        named["retry-after"] = text if isinstance(text, str) else text.decode("latin-1")
    octets = what if isinstance(what, bytes) else json.dumps(what or {"error": "Slow down"}).encode()
    return body(lambda _: octets, status=429, headers=named)


book = Book(row="N08", part="headers", kinds=(POSTPOST, POSTBREEZE))
for name, (text, waits) in _HEADERS.items():
    book.add(f"header_{name}", _slow_down(text), outcome=LIMITED, waits=waits)
for name, raw in _BYTES.items():
    book.add(f"header_{name}", _slow_down(raw), outcome=LIMITED, waits="default")
for name, (what, waits) in _BODIES.items():
    book.add(f"body_{name}", _slow_down(None, what), outcome=LIMITED, waits=waits, part="body")
for name, (raw, waits) in _RAW_BODIES.items():
    book.add(f"body_{name}", _slow_down(None, raw), outcome=LIMITED, waits=waits, part="body")
for name, (text, waits) in _RESETS.items():
    book.add(f"reset_{name}", _slow_down(None, x_ratelimit_reset=text), outcome=LIMITED, waits=waits)
book.add("header_before_body", _slow_down("45", {"retryAfter": 1}), outcome=LIMITED, waits=45.0)
book.add("bad_header_and_body", _slow_down("NaN", {"retryAfter": 45}), outcome=LIMITED, waits=45.0)
book.add(
    "bad_header_bad_body_reset",
    _slow_down("-1", {"retryAfter": -1}, x_ratelimit_reset="1773144300"),
    outcome=LIMITED,
    waits=300.0,
)
book.add("nothing_at_all", _slow_down(None, b""), outcome=LIMITED, waits="default")

CASES = book.cases
