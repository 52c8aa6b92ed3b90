"""HTTP itself: heads that are none, lengths that lie, chunks that do not fit, encodings, and answers that never end.

Where the framing is broken the body is a flawless list that says the opposite: whoever takes it is seen to do so.
"""

from __future__ import annotations

import gzip
import random
import zlib
from collections.abc import Callable
from functools import cache

from tests.answers.case import (
    INVALID,
    LOST,
    OK,
    READ,
    STATING,
    UNREACHABLE,
    Answerer,
    Book,
    SampleSource,
    body,
    chunked,
    framed,
    head,
    octets,
)

MIB = 1024 * 1024


def _opposite(*lines: str, status: str = "HTTP/1.1 200 OK") -> Answerer:
    return octets(lambda sample: framed(sample.opposite(), *lines, status=status))


def _healthy(*lines: str, status: str = "HTTP/1.1 200 OK") -> Answerer:
    return octets(lambda sample: framed(sample.text(), *lines, status=status))


def _raw(data: bytes) -> Answerer:
    return octets(lambda _: data)


def _around(before: bytes, after: bytes = b"") -> Answerer:
    return octets(lambda sample: before + sample.opposite() + after)


# --- N15: what is no HTTP ---

broken = Book(row="N15", part="framing")
for name, status in {
    "words": "what is this",
    "nothing": "",
    "only_http": "HTTP/1.1",
    "lower_case": "http/1.1 200 OK",
    "other_protocol": "ICY 200 OK",
    "ssh_banner": "SSH-2.0-OpenSSH_9.7",
    "smtp_banner": "220 mail.example ESMTP",
    "two_digits": "HTTP/1.1 20 OK",
    "four_digits": "HTTP/1.1 2000 OK",
    "negative": "HTTP/1.1 -200 OK",
    "letters": "HTTP/1.1 two OK",
    "fullwidth": "HTTP/1.1 \xb2\xb0\xb0 OK",
    "no_version": "HTTP/ 200 OK",
    "version_x": "HTTP/x.y 200 OK",
    "request": "GET /api/v1/platform-connections HTTP/1.1",
    "zero": "HTTP/1.1 000 OK",
    "json": '{"success":true,"connections":[]}',
}.items():
    broken.add(f"status_line_{name}", _opposite(status=status))
for name, line in {
    "no_colon": "this header has no colon",
    "nul_in_value": "x-evil: a\x00b",
    "nul_in_name": "x\x00evil: a",
    "bare_cr": "x-evil: a\rb",
    "empty_name": ": value",
    "blank_in_name": "x evil: a",
    "two_lengths": "content-length: 3",
    "negative_length": "content-length: -5",
    "length_with_plus": "content-length: +5",
    "length_in_hex": "content-length: 0x20",
    "length_of_words": "content-length: many",
    "giant": "x-big: " + "a" * 200_000,
    "giant_name": "x-" + "b" * 200_000 + ": 1",
    "length_and_chunked": "transfer-encoding: chunked",
    "unknown_transfer_coding": "transfer-encoding: brotli, chunked",
    "chunked_twice": "transfer-encoding: chunked, chunked",
}.items():
    broken.add(f"header_{name}", _opposite(line))
broken.add("head_without_end", _raw(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2"))
broken.add("head_cut_in_status", _raw(b"HTTP/1.1 2"))
broken.add("nothing_sent", _raw(b""))
broken.add("only_line_breaks", _raw(b"\r\n" * 100))
broken.add("zeroes", _raw(bytes(4096)))
broken.add("tls_alert", _raw(b"\x15\x03\x01\x00\x02\x02\x28"))
broken.add("http2_preface", _raw(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"))
broken.add("http2_settings", _raw(b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"))
broken.add("just_json", _around(b""))
broken.add("utf16_head", octets(lambda sample: framed(sample.opposite()).decode("latin-1").encode("utf-16")))
broken.add("chunk_size_words", _around(head("HTTP/1.1 200 OK", "transfer-encoding: chunked") + b"zz\r\n"))
broken.add("chunk_size_negative", _around(head("HTTP/1.1 200 OK", "transfer-encoding: chunked") + b"-5\r\n"))
broken.add("chunk_size_huge", _around(head("HTTP/1.1 200 OK", "transfer-encoding: chunked") + b"f" * 40 + b"\r\n"))
broken.add("chunk_size_missing", _around(head("HTTP/1.1 200 OK", "transfer-encoding: chunked") + b"\r\n"))
broken.add("chunk_longer_than_said", _around(head("HTTP/1.1 200 OK", "transfer-encoding: chunked") + b"5\r\n", b"\r\n0\r\n\r\n"))
broken.add("chunk_without_break", octets(lambda s: chunked(s.opposite()).replace(b"\r\n0\r\n\r\n", b"0\r\n\r\n")))
broken.add("chunked_but_is_not", _around(head("HTTP/1.1 200 OK", "transfer-encoding: chunked")))
broken.add("gzip_that_is_none", octets(lambda s: framed(s.opposite(), "content-encoding: gzip")), outcome=INVALID)
broken.add(
    "gzip_of_nothing_but_header",
    _raw(framed(b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03", "content-encoding: gzip")),
    outcome=INVALID,
)
broken.add(
    "gzip_bad_checksum",
    octets(lambda s: framed(gzip.compress(s.opposite())[:-8] + b"\0" * 8, "content-encoding: gzip")),
    outcome=INVALID,
)
broken.add("gzip_cut", octets(lambda s: framed(gzip.compress(s.opposite())[:-9], "content-encoding: gzip")), outcome=INVALID)
broken.add(
    "gzip_damaged", octets(lambda s: framed(_damaged(gzip.compress(s.opposite())), "content-encoding: gzip")), outcome=INVALID
)
broken.add(
    "gzip_with_a_tail", octets(lambda s: framed(gzip.compress(s.opposite()) + b"tail", "content-encoding: gzip")), outcome=INVALID
)
broken.add(
    "gzip_of_twenty_parts", octets(lambda s: framed(_members(s.opposite(), 20), "content-encoding: gzip")), outcome=INVALID
)
broken.add("deflate_that_is_none", octets(lambda s: framed(s.opposite(), "content-encoding: deflate")), outcome=INVALID)
broken.add(
    "deflate_cut", octets(lambda s: framed(zlib.compress(s.opposite())[:-9], "content-encoding: deflate")), outcome=INVALID
)
broken.add(
    "deflate_with_a_dictionary",
    octets(lambda s: framed(_with_dictionary(s.opposite()), "content-encoding: deflate")),
    outcome=INVALID,
)
broken.add("bzip2_magic_as_gzip", _raw(framed(b"BZh91AY&SY", "content-encoding: gzip")), outcome=INVALID)
for coding in (
    "br",
    "zstd",
    "compress",
    "gzip, gzip",
    "gzip;q=1",
    "x-evil",
    "br, gzip",
    "identity, gzip",
    "GZIP\u00e9",
    "aes128gcm",
):
    name = "".join(letter if letter.isalnum() and letter.isascii() else "_" for letter in coding)
    broken.add(
        f"encoding_{name}_not_asked_for", body(SampleSource.opposite, headers={"content-encoding": coding}), outcome=INVALID
    )
broken.add("informational_for_ever", octets(lambda _: b"HTTP/1.1 100 Continue\r\n\r\n" * 400, pause=0.01, at_once=25), quick=True)
broken.add("early_hints_then_nothing", _raw(b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"))
broken.add("switching_protocols", _raw(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\nPRI"))
broken.add("head_drips", octets(lambda s: framed(s.opposite()), pause=0.03), quick=True)
broken.add(
    "body_drips",
    octets(lambda _: head("HTTP/1.1 200 OK", "content-length: 900000") + b" " * 900, pause=0.02, at_once=10),
    quick=True,
)
broken.add("chunks_drip", octets(lambda _: chunked(*[b" "] * 500, end=b""), pause=0.02, at_once=6), quick=True)
# Odd, but HTTP: read as ever.
broken.add("fine_no_reason", _healthy(status="HTTP/1.1 200"), outcome=OK)
broken.add("fine_reason_in_latin1", _healthy(status="HTTP/1.1 200 D\xe9j\xe0"), outcome=OK)
broken.add("fine_or_lost_rtsp", _healthy(status="RTSP/1.0 200 OK"), outcome=OK | LOST)
broken.add("fine_http_1_0", _healthy(status="HTTP/1.0 200 OK"), outcome=OK)
broken.add(
    "fine_same_length_in_zeroes",
    octets(lambda s: head("HTTP/1.1 200 OK", f"content-length: 0000{len(s.text())}") + s.text()),
    outcome=OK,
)
broken.add("fine_cookies", _healthy(*[f"set-cookie: a{n}=b; Path=/" for n in range(40)]), outcome=OK)
broken.add("fine_location_on_a_200", _healthy("location: http://other.invalid/"), outcome=OK)
broken.add("fine_chunked", octets(lambda s: chunked(s.text()[:7], s.text()[7:])), outcome=OK)
broken.add("fine_every_byte_a_chunk", octets(lambda s: chunked(*[bytes([octet]) for octet in s.text()])), outcome=OK)
broken.add(
    "fine_trailer_says_otherwise",
    octets(lambda s: chunked(s.text(), end=b"0\r\ncontent-type: text/html\r\nx: y\r\n\r\n")),
    outcome=OK,
)
broken.add("fine_continue_first", octets(lambda s: b"HTTP/1.1 100 Continue\r\n\r\n" + framed(s.text())), outcome=OK)
broken.add("fine_gzip_of_three_parts", octets(lambda s: framed(_members(s.text(), 3), "content-encoding: gzip")), outcome=OK)
broken.add("fine_x_gzip", octets(lambda s: framed(gzip.compress(s.text()), "content-encoding: X-GZip")), outcome=OK)
broken.add("fine_deflate", octets(lambda s: framed(zlib.compress(s.text()), "content-encoding: deflate")), outcome=OK)
for year in ("1970", "1999", "2003", "9999", "0001", "99999"):
    broken.add(f"fine_date_of_the_year_{year}", _healthy(f"date: Tue, 10 Mar {year} 12:00:00 GMT"), outcome=OK)
broken.add("fine_second_answer_behind_it", octets(lambda s: framed(s.text()) + framed(s.opposite())), outcome=READ | LOST)


def _damaged(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 0xFF]) + data[middle + 1 :]


def _members(data: bytes, count: int) -> bytes:
    size = len(data) // count + 1
    return b"".join(gzip.compress(data[start : start + size]) for start in range(0, len(data), size))


def _with_dictionary(data: bytes) -> bytes:
    packer = zlib.compressobj(zdict=b"platformIdtokenStatusvalid")
    return packer.compress(data) + packer.flush()


# --- N12: what is cut off. The opposite list, so that a part taken for the whole would show. ---

cut = Book(row="N12", part="framing")


def _announced(end: Callable[[bytes], int]) -> Answerer:
    return octets(lambda s: head("HTTP/1.1 200 OK", f"content-length: {len(s.opposite())}") + s.opposite()[: end(s.opposite())])


def _chunked(end: Callable[[bytes], int]) -> Answerer:
    return octets(lambda s: chunked(s.opposite()[: end(s.opposite())], end=b""))


def _closed(end: Callable[[bytes], int]) -> Answerer:
    return octets(lambda s: head("HTTP/1.0 200 OK") + s.opposite()[: end(s.opposite())])


_ENDS: dict[str, Callable[[bytes], int]] = {
    "before_the_first_byte": lambda _: 0,
    "after_the_first_bracket": lambda _: 1,
    "in_the_first_key": lambda _: 6,
    "in_the_middle": lambda text: len(text) // 2,
    "after_a_whole_row": lambda text: text.rfind(b"},{") + 1,
    "after_a_comma": lambda text: text.rfind(b"},{") + 2,
    "in_the_last_row": lambda text: len(text) - 20,
    "before_the_last_byte": lambda text: len(text) - 1,
}
for where, end in _ENDS.items():
    cut.add(f"content_length_{where}", _announced(end), outcome=UNREACHABLE, kinds=STATING)
    cut.add(f"chunked_{where}", _chunked(end), outcome=UNREACHABLE, kinds=STATING)
    cut.add(f"closed_{where}", _closed(end), outcome=INVALID, kinds=STATING)
for name, data in {
    "inside_an_escape": b'[{"id":"a","platformId":"x-1","username":"\\u00',
    "inside_a_character": b'[{"id":"a","platformId":"x-1","username":"\xe4\xbd',
    "inside_a_number": b'{"success":true,"total":5',
    "inside_true": b'{"success":tr',
    "inside_a_surrogate_pair": b'[{"platformId":"x-1","username":"\\ud83d',
    "after_success": b'{"success":true',
    "after_a_colon": b'{"success":true,"connections":',
    "a_quote": b'"',
    "a_backslash": b'"\\',
}.items():
    cut.add(f"closed_{name}", _raw(head("HTTP/1.0 200 OK") + data), outcome=INVALID)
cut.add(
    "206_partial_content",
    octets(lambda s: framed(s.opposite(), "content-range: bytes 0-99/200", status="HTTP/1.1 206 Partial")),
    outcome=INVALID,
)
cut.add("two_halves_swapped", body(lambda s: s.opposite()[40:] + s.opposite()[:40]), outcome=INVALID, kinds=STATING)
cut.add("the_end_alone", body(lambda s: s.opposite()[len(s.opposite()) // 2 :]), outcome=INVALID, kinds=STATING)
cut.add("one_byte_lost", body(lambda s: s.opposite().replace(b'":"', b'""', 1)), outcome=INVALID, kinds=STATING)
cut.add("zeroes_for_the_rest", body(lambda s: s.opposite()[:-40] + bytes(40)), outcome=INVALID, kinds=STATING)

# --- N13 and N14: too much ---

huge = Book(row="N13", part="framing")
huge.add(
    "announced_twelve_digits",
    _around(head("HTTP/1.1 200 OK", "content-length: 999999999999")),
    outcome=INVALID,
    problem="larger than",
)
huge.add("announced_fifteen_digits", _around(head("HTTP/1.1 200 OK", "content-length: 999999999999999")), outcome=INVALID)
huge.add(
    "announced_a_byte_too_much",
    _around(head("HTTP/1.1 200 OK", f"content-length: {64 * MIB + 1}")),
    outcome=INVALID,
    problem="64 MiB",
)
huge.add("announced_seventeen_digits", _around(head("HTTP/1.1 200 OK", "content-length: 99999999999999999")))
huge.add("announced_thirty_digits", _around(head("HTTP/1.1 200 OK", "content-length: " + "9" * 30)))
huge.add("announced_five_thousand_digits", _around(head("HTTP/1.1 200 OK", "content-length: " + "9" * 5000)))
huge.add(
    "never_ends_closed", _raw(head("HTTP/1.0 200 OK") + b" " * (3 * MIB)), outcome=INVALID, cap=MIB, problem="larger than 1 MiB"
)
huge.add(
    "never_ends_chunked",
    octets(lambda _: chunked(*[b" " * 65536] * 48, end=b"")),
    outcome=INVALID,
    cap=MIB,
    problem="larger than 1 MiB",
)
huge.add("just_too_long", octets(lambda s: framed(s.text().ljust(MIB + 1))), outcome=INVALID, cap=MIB)
huge.add("just_short_enough", octets(lambda s: framed(s.text().ljust(MIB))), outcome=OK, cap=MIB)
huge.add(
    "error_of_two_mebibytes",
    octets(lambda _: framed(b'{"error":"' + b"x" * (2 * MIB) + b'"}', status="HTTP/1.1 500 No")),
    outcome=UNREACHABLE,
)
huge.add("refusal_of_two_mebibytes", octets(lambda _: framed(b"<" + b"x" * (2 * MIB), status="HTTP/1.1 404 No")), outcome=INVALID)
huge.add("a_name_of_a_mebibyte", body(lambda s: s.first(displayName="n" * MIB)), outcome=OK)
huge.add("a_key_of_a_mebibyte", body(lambda s: s.first(**{"k" * MIB: 1})), outcome=OK)
huge.add("a_field_nobody_knows_of_a_mebibyte", body(lambda s: s.first(metadata=["x" * 1000] * 1000)), outcome=OK)
huge.add("a_row_with_ten_thousand_fields", body(lambda s: s.first(**{f"field{n}": n for n in range(10_000)})), outcome=OK)
huge.add("ten_thousand_headers", _healthy(*[f"x-{n}: {n}" for n in range(10_000)]), outcome=OK | LOST)
huge.add("more_rows_than_allowed", body(lambda s: s.text()), outcome=frozenset({*READ}), rows=20)

bomb = Book(row="N14", part="framing")


@cache
def _noise(size: int) -> bytes:
    """JSON that compresses to half its size, as no bomb does, packed."""
    return gzip.compress(b'["' + random.Random(1).randbytes(size // 2).hex().encode() + b'"]')


def _bomb(raw: bytes, coding: str = "gzip") -> Answerer:
    return octets(lambda _: framed(raw, f"content-encoding: {coding}"))


_SPACES = b" " * (8 * MIB)
bomb.add("gzip_of_spaces", _bomb(gzip.compress(_SPACES)), outcome=INVALID, problem="times its size")
bomb.add("gzip_of_zeroes", _bomb(gzip.compress(bytes(8 * MIB))), outcome=INVALID, problem="times its size")
bomb.add("gzip_of_brackets", _bomb(gzip.compress(b"[" * (4 * MIB))), outcome=INVALID)
bomb.add("gzip_of_empty_rows", _bomb(gzip.compress(b"[" + b"{}," * MIB + b"{}]")), outcome=INVALID)
bomb.add(
    "gzip_list_and_spaces",
    octets(lambda s: framed(gzip.compress(s.opposite() + _SPACES), "content-encoding: gzip")),
    outcome=INVALID,
)
bomb.add("gzip_of_gzip", _bomb(gzip.compress(gzip.compress(_SPACES))), outcome=INVALID)
bomb.add("many_parts", _bomb(b"".join([gzip.compress(b" " * 500_000)] * 16)), outcome=INVALID)
bomb.add("deflate_of_spaces", _bomb(zlib.compress(_SPACES, 9), "deflate"), outcome=INVALID)
bomb.add("bare_deflate_of_spaces", _bomb(zlib.compress(_SPACES, 9)[2:-4], "deflate"), outcome=INVALID)
bomb.add(
    "unpacks_beyond_the_cap",
    octets(lambda _: framed(_noise(2 * MIB), "content-encoding: gzip")),
    outcome=INVALID,
    cap=MIB,
)
bomb.add("chunked_gzip_of_spaces", octets(lambda _: chunked_gzip(gzip.compress(_SPACES))), outcome=INVALID)
bomb.add(
    "error_is_a_bomb",
    octets(lambda _: framed(gzip.compress(_SPACES), "content-encoding: gzip", status="HTTP/1.1 500 No")),
    outcome=UNREACHABLE,
)


def chunked_gzip(raw: bytes) -> bytes:
    """A compressed answer in two chunks."""
    return chunked(raw[:100], raw[100:]).replace(b"\r\n\r\n", b"\r\ncontent-encoding: gzip\r\n\r\n", 1)


CASES = [*broken.cases, *cut.cases, *huge.cases, *bomb.cases]
