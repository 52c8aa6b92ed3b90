"""Expiry dates that are none, that lie at the ends of time, and that could mean something else: each must be read one way.

They stand in the first row, a LinkedIn connection: its date is trusted, so that a wrong reading moves its verdict.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.answers.case import OK, POSTBREEZE, READ, STATING, TWINS, Answerer, Book, body

NAIVE, EPOCH, UNPARSED, ANCIENT, FAR = "naive_date", "epoch_date", "unparsed_date", "ancient_date", "far_date"

UNUSUAL: Mapping[str, tuple[Any, str]] = {
    "naive": ("2026-06-01T00:00:00", NAIVE),
    "naive_with_a_blank": ("2026-06-01 00:00:00", NAIVE),
    "naive_to_the_minute": ("2026-06-01T00:00", NAIVE),
    "date_only": ("2026-06-01", NAIVE),
    "seconds": (1_780_000_000, EPOCH),
    "seconds_as_text": ("1780000000", EPOCH),
    "seconds_with_a_fraction": (1_780_000_000.5, EPOCH),
    "milliseconds": (1_780_000_000_000, EPOCH),
    "milliseconds_as_text": ("1780000000000", EPOCH),
    "microseconds": (1_780_000_000_000_000, UNPARSED),
    "nanoseconds_as_text": ("1780000000000000000", UNPARSED),
    "seconds_left": (3_456_000, ANCIENT),
    "seconds_left_as_text": ("3456000", UNPARSED),
    "days_left": (40, ANCIENT),
    "zero": (0, ANCIENT),
    "minus_one": (-1, ANCIENT),
    "negative_milliseconds": (-1_780_000_000_000, ANCIENT),
    "exponent_as_text": ("1.78e9", UNPARSED),
    "hexadecimal": ("0x6a1a3a00", UNPARSED),
    "american": ("06/01/2026", UNPARSED),
    "german": ("01.06.2026", UNPARSED),
    "compact": ("20260601T000000Z", UNPARSED),
    "eight_digits": ("20260601", UNPARSED),
    "week_date": ("2026-W23-1", UNPARSED),
    "ordinal_date": ("2026-152", UNPARSED),
    "year_only": ("2026", UNPARSED),
    "month_only": ("2026-06", UNPARSED),
    "javascript": ("Mon Jun 01 2026 00:00:00 GMT+0000 (Coordinated Universal Time)", UNPARSED),
    "dotnet": ("/Date(1780000000000)/", UNPARSED),
    "named_zone": ("2026-06-01T00:00:00 CEST", UNPARSED),
    "zone_in_brackets": ("2026-06-01T00:00:00+02:00[Europe/Berlin]", UNPARSED),
    "relative": ("in 40 days", UNPARSED),
    "never": ("never", UNPARSED),
    "null_as_text": ("null", UNPARSED),
    "infinity": ("infinity", UNPARSED),
    "blank": ("   ", UNPARSED),
    "arabic_digits": ("\u0662\u0660\u0662\u0666-06-01T00:00:00Z", UNPARSED),
    "fullwidth_digits": ("\uff12026-06-01T00:00:00Z", UNPARSED),
    "minus_sign": ("2026\u221206\u221201T00:00:00Z", UNPARSED),
    "true": (True, ""),
    "array": (["2026-06-01T00:00:00Z"], ""),
    "object": ({"$date": "2026-06-01T00:00:00Z"}, ""),
    "quoted": ('"2026-06-01T00:00:00Z"', UNPARSED),
    "with_a_nul": ("2026-06-01T00:00:00Z\x00", UNPARSED),
    "with_words_behind": ("2026-06-01T00:00:00Z expired", UNPARSED),
    "lone_surrogate": ("\ud800", UNPARSED),
    "date_and_lone_surrogate": ("2026-06-01T00:00:00Z\udfff", UNPARSED),
    "two_dates": ("2026-06-01T00:00:00Z/2027-06-01T00:00:00Z", UNPARSED),
    "a_megabyte": ("2" * 1_000_000, UNPARSED),
    "fine_lower_case": ("2026-06-01t00:00:00z", ""),
    "fine_offset": ("2026-06-01T00:00:00+05:30", ""),
    "fine_offset_without_colon": ("2026-06-01T00:00:00-0700", ""),
    "fine_nine_digits": ("2026-06-01T00:00:00.123456789Z", ""),
    "fine_comma": ("2026-06-01T00:00:00,5Z", ""),
    "fine_rfc_1123": ("Mon, 01 Jun 2026 00:00:00 GMT", ""),
    "fine_utc": ("2026-06-01T00:00:00 UTC", ""),
    "fine_blanks_around": ("  2026-06-01T00:00:00Z ", ""),
}
EXTREME: Mapping[str, tuple[Any, str]] = {
    "last_instant": ("9999-12-31T23:59:59.999999Z", FAR),
    "last_instant_west": ("9999-12-31T23:59:59-14:00", FAR),
    "last_instant_east": ("9999-12-31T23:59:59+14:00", FAR),
    "first_instant": ("0001-01-01T00:00:00Z", ANCIENT),
    "first_instant_east": ("0001-01-01T00:00:00+14:00", ANCIENT),
    "year_zero": ("0000-01-01T00:00:00Z", UNPARSED),
    "year_10000": ("10000-01-01T00:00:00Z", UNPARSED),
    "signed_year": ("+12026-06-01T00:00:00Z", UNPARSED),
    "before_christ": ("-0044-03-15T00:00:00Z", UNPARSED),
    "unix_epoch": ("1970-01-01T00:00:00Z", ANCIENT),
    "year_2014": ("2014-12-31T23:59:59Z", ANCIENT),
    "year_2038": ("2038-01-19T03:14:08Z", FAR),
    "thirty_one_years_ahead": ("2057-11-17T00:00:00Z", FAR),
    "two_to_the_31": (2**31, FAR),
    "two_to_the_32": (2**32, FAR),
    "two_to_the_53": (2**53, UNPARSED),
    "two_to_the_63": (2**63 - 1, UNPARSED),
    "minus_two_to_the_63": (-(2**63), UNPARSED),
    "ten_to_the_300": (1e300, UNPARSED),
    "smallest_fraction": (5e-324, ANCIENT),
    "just_below_milliseconds": (99_999_999_999, FAR),
    "fourteen_digits_as_text": ("99999999999999", FAR),
}
IMPOSSIBLE: Mapping[str, tuple[Any, str]] = {
    "leap_second": ("2026-06-30T23:59:60Z", UNPARSED),
    "hour_24": ("2026-06-01T24:00:00Z", UNPARSED),
    "hour_25": ("2026-06-01T25:00:00Z", UNPARSED),
    "minute_60": ("2026-06-01T00:60:00Z", UNPARSED),
    "february_30": ("2026-02-30T00:00:00Z", UNPARSED),
    "february_29_in_no_leap_year": ("2027-02-29T00:00:00Z", UNPARSED),
    "month_13": ("2026-13-01T00:00:00Z", UNPARSED),
    "month_zero": ("2026-00-01T00:00:00Z", UNPARSED),
    "day_zero": ("2026-06-00T00:00:00Z", UNPARSED),
    "day_32": ("2026-06-32T00:00:00Z", UNPARSED),
    "offset_99_hours": ("2026-06-01T00:00:00+99:00", UNPARSED),
    "offset_24_hours": ("2026-06-01T00:00:00+24:00", UNPARSED),
    "offset_of_words": ("2026-06-01T00:00:00+late", UNPARSED),
    "two_offsets": ("2026-06-01T00:00:00Z+00:00", UNPARSED),
    "ten_digits_of_a_second": ("2026-06-01T00:00:00.1234567890Z", UNPARSED),
    "no_digits_of_a_second": ("2026-06-01T00:00:00.Z", UNPARSED),
    "one_digit_month": ("2026-6-1T00:00:00Z", UNPARSED),
    "half_a_time": ("2026-06-01T00Z", UNPARSED),
    "only_a_time": ("T00:00:00Z", UNPARSED),
    "february_29_in_a_leap_year": ("2028-02-29T00:00:00Z", ""),
}


def _date(value: Any) -> Answerer:
    return body(lambda sample: sample.first(**{sample.expiry: value}))


def _beside(**over: Any) -> Answerer:
    return body(lambda sample: sample.first(**over))


def _old_shape(value: Any) -> Answerer:
    """No row says a word: then only dates speak, and this is the first one's."""
    kept = ("platformId", "username", "displayName", "accessTokenExpiresAt")

    def rows(sample: Any) -> bytes:
        bare = [{name: row[name] for name in kept} for row in sample.rows()]
        found: bytes = sample.text([{**bare[0], "accessTokenExpiresAt": value}, *bare[1:]])
        return found

    return body(rows)


CASES = []
for number, table in (("N23", UNUSUAL), ("N24", EXTREME), ("N25", IMPOSSIBLE)):
    book = Book(row=number, part="date", kinds=STATING)
    for name, (value, flag) in table.items():
        book.add(f"expiry_{name}", _date(value), kinds=TWINS, outcome=READ, flag=flag)
        # Postbreeze means by no date: does not expire. So an active row whose date is none cannot be read.
        lost = flag in (UNPARSED, ANCIENT)
        book.add(f"token_expiry_{name}", _date(value), kinds=(POSTBREEZE,), outcome=READ, flag="unreadable" if lost else flag)
        book.add(f"expiry_{name}_and_no_word", _old_shape(value), kinds=TWINS, outcome=READ, only_well=True)
        error = {"message": "no", "occurredAt": value} if isinstance(value, str) else None
        book.add(f"beside_{name}", _beside(lastSuccessfulPost=value, lastError=error), kinds=TWINS, outcome=READ, only_well=True)
    CASES += book.cases

# What a date may rightly change.
book = Book(row="N23", part="date", kinds=STATING)
book.add("expiry_naive_and_past", _date("2026-03-01T00:00:00"), outcome=OK, well="expired", flag=NAIVE)
book.add("expiry_milliseconds_in_the_past", _date(1_770_000_000_000), outcome=OK, well="expired", flag=EPOCH)
book.add("expiry_in_two_days", _date("2026-03-12T12:00:00Z"), outcome=OK, well="expiring_soon")
book.add("expiry_in_two_days_at_the_other_end_of_the_world", _date("2026-03-13T02:00:00+14:00"), outcome=OK, well="expiring_soon")
CASES += book.cases
