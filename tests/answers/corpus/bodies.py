"""Bodies: pages, depth, numbers, keys stated twice, characters, charsets, empty lists, and ids that are nearly the same."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable

from tests.answers.case import (
    INVALID,
    OK,
    PARTIAL,
    POSTBREEZE,
    POSTPEER,
    READ,
    STATING,
    TWINS,
    Answerer,
    Book,
    SampleSource,
    body,
    framed,
    octets,
)

OBJECTS = (*TWINS, POSTPEER)
"""Those that answer with an object around the list."""


def _text(text: str | bytes, content_type: str = "application/json") -> Answerer:
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    return body(lambda _: data, headers={"content-type": content_type})


def _value(field: str, text: str | bytes) -> Answerer:
    """The first row with this text for the value of a field."""
    return body(lambda sample: sample.first_with(field, text))


def _shown(text: str | bytes) -> Answerer:
    return _value("displayName", text)


def _id(text: str) -> Answerer:
    return body(lambda sample: sample.first_with(sample.key, text))


def _id_and(text: str) -> Answerer:
    """The first row's id with this JSON text behind it."""
    return body(lambda sample: sample.first_with(sample.key, f'"{sample.id_of(0)}{text}"'))


def _expiry(text: str) -> Answerer:
    return body(lambda sample: sample.first_with(sample.expiry, text))


def _stated(text: str | bytes) -> Answerer:
    """The first row with this text for the service's word."""
    return body(lambda sample: sample.first_with(sample.word, text))


def _around(text: str) -> Answerer:
    """This text with the opposite rows wherever it has an @."""
    return body(lambda sample: text.replace("@", json.dumps(sample.other.rows())).encode())


def _total(text: bytes) -> Answerer:
    return body(lambda sample: sample.text(total="@@").replace(b'"@@"', text))


def _in(coding: str) -> Answerer:
    return body(lambda sample: sample.opposite().decode().encode(coding))


def _left(count: int) -> Answerer:
    return body(lambda sample: sample.text(sample.rows(count)))


# --- N11: a 200 with something else in it ---

page = Book(row="N11", part="body")
_PAGES = {
    "login": '<!doctype html><html><title>Sign in</title><form action="/login"></form></html>',
    "captive_portal": "<HTML><HEAD><META http-equiv=refresh content='0;url=http://portal/'></HEAD></HTML>",
    "xml": '<?xml version="1.0"?><connections/>',
    "soap": '<soap:Envelope xmlns:soap="x"><soap:Fault/></soap:Envelope>',
    "svg": "<svg onload=alert(1)>",
    "html_comment_with_json": '<!-- {"success":true,"connections":[]} -->',
    "blanks_before": "\n\n\t   <html></html>",
    "bom_before": "\ufeff<html></html>",
    "just_an_angle": "<",
}
for name, text in _PAGES.items():
    page.add(f"{name}_as_html", _text(text, "text/html; charset=utf-8"), outcome=INVALID, problem="web page")
    page.add(f"{name}_as_json", _text(text), outcome=INVALID, problem="web page")
for name, text in {
    "plain_words": "Service temporarily unavailable",
    "php_warning": "PHP Warning:  Undefined index in /var/www/list.php on line 7\n[]",
    "javascript": "var connections = [];",
    "jsonp": 'callback({"success":true,"connections":[]});',
    "xssi_prefix": ")]}',\n[]",
    "yaml": "success: true\nconnections: []\n",
    "csv": "platformId,tokenStatus\nlinkedin-000a,expired\n",
    "form": "success=true&connections=",
    "ndjson": '{"platformId":"a-1"}\n{"platformId":"a-2"}\n',
    "two_documents": "[][]",
    "event_stream": 'data: {"connections":[]}\n\n',
    "json_with_comment": "[] // that is all",
    "json5": "{success: true, connections: []}",
    "single_quotes": "{'success': True, 'connections': []}",
    "trailing_comma": '{"success":true,"connections":[],"integrations":[],}',
    "python_none": "None",
    "undefined": "undefined",
    "pdf": "%PDF-1.7",
    "zip": "PK\x03\x04",
    "png": "\x89PNG\r\n\x1a\n",
    "private_key": "-----BEGIN PRIVATE KEY-----",
}.items():
    page.add(f"text_{name}", _text(text), outcome=INVALID)
for name, text in {
    "null": "null",
    "true": "true",
    "number": "42",
    "text": '"no connections"',
    "empty_object": "{}",
    "success_false": '{"success":false,"message":"maintenance"}',
    "success_false_with_list": '{"success":false,"connections":[],"integrations":[],"total":0}',
    "error": '{"error":"maintenance"}',
    "error_with_list": '{"error":"partial outage","success":true,"connections":[],"integrations":[],"total":0}',
    "error_is_an_object": '{"error":{"message":"maintenance"},"connections":[],"integrations":[]}',
    "list_is_null": '{"success":true,"connections":null,"integrations":null}',
    "list_is_an_object": '{"success":true,"connections":{},"integrations":{}}',
    "list_is_text": '{"success":true,"connections":"[]","integrations":"[]"}',
    "list_is_zero": '{"success":true,"connections":0,"integrations":0}',
    "list_is_false": '{"success":true,"connections":false,"integrations":false}',
    "list_is_elsewhere": '{"success":true,"data":{"connections":[],"integrations":[]}}',
    "list_in_capitals": '{"success":true,"Connections":[],"Integrations":[]}',
    "list_with_a_blank": '{"success":true,"connections ":[],"integrations ":[]}',
    "graphql_errors": '{"data":null,"errors":[{"message":"x"}]}',
    "list_of_another_thing": '{"success":true,"posts":[]}',
    "object_of_objects": '{"linkedin-000a":{"tokenStatus":"expired"}}',
}.items():
    page.add(f"json_{name}", _text(text), outcome=INVALID)
page.add("an_array_where_an_object_is_documented", _text("[]"), kinds=(POSTPEER,), outcome=INVALID)
page.add(
    "an_object_where_an_array_is_documented",
    body(lambda s: json.dumps({"data": s.other.rows()}).encode()),
    kinds=(POSTBREEZE,),
    outcome=INVALID,
)
page.add("the_list_as_json_in_json", body(lambda s: json.dumps(s.opposite().decode()).encode()), outcome=INVALID)
page.add("success_is_the_text_false", body(lambda s: s.text(success="false")), kinds=OBJECTS, outcome=READ)
page.add("success_is_null", body(lambda s: s.text(success=None)), kinds=OBJECTS, outcome=OK)
page.add("error_is_empty", body(lambda s: s.text(error="")), kinds=OBJECTS, outcome=OK)
page.add("error_is_an_empty_list", body(lambda s: s.text(error=[])), kinds=OBJECTS, outcome=OK)
page.add("a_list_called_html", body(lambda s: s.text(), headers={"content-type": "text/html"}), outcome=OK)
page.add("a_list_called_a_picture", body(lambda s: s.text(), headers={"content-type": "image/png"}), outcome=OK)
page.add("a_list_called_nothing", octets(lambda s: framed(s.text())), outcome=OK)

# --- N16: depth ---

deep = Book(row="N16", part="body")
# The depth at which the decoder gives up depends on the version of Python; a readable array is no row.
for depth in (600, 5_000, 100_000):
    deep.add(f"arrays_{depth}", _text(b"[" * depth + b"]" * depth), outcome=INVALID if depth > 5_000 else INVALID | READ)
    deep.add(f"objects_{depth}", _text(b'{"a":' * depth + b"1" + b"}" * depth), outcome=INVALID)
    deep.add(f"arrays_{depth}_open", _text(b"[" * depth), outcome=INVALID)
    deep.add(f"in_a_row_{depth}", _value("nobodyKnows", b"[" * depth + b"]" * depth), outcome=INVALID | READ)
deep.add("in_a_text", _shown(json.dumps("[" * 100_000)), outcome=OK)
deep.add("mixed", _text((b'{"a":[' * 50_000) + b"1" + b"]}" * 50_000), outcome=INVALID)
deep.add(
    "in_the_fields_around",
    body(lambda s: s.text(meta="@@").replace(b'"@@"', b"[" * 100_000 + b"]" * 100_000)),
    kinds=OBJECTS,
    outcome=INVALID,
)
deep.add("in_last_error", _value("lastError", b'{"message":' * 2000 + b"1" + b"}" * 2000), kinds=TWINS, outcome=INVALID | READ)

# --- N17: numbers ---

number = Book(row="N17", part="row")
_NUMBERS = {
    "nan": "NaN",
    "infinity": "Infinity",
    "minus_infinity": "-Infinity",
    "overflowing": "1e999",
    "minus_overflowing": "-1e999",
    "five_thousand_digits": "9" * 5000,
    "fifty_thousand_digits": "1" + "0" * 50_000,
    "minus_zero": "-0",
    "tiny": "1e-400",
    "two_to_the_64": str(2**64),
    "minus_two_to_the_63_less_one": str(-(2**63) - 1),
    "long_fraction": "0." + "3" * 5000,
    "long_exponent": "1e" + "9" * 5000,
}
for name, text in _NUMBERS.items():
    number.add(f"name_{name}", _shown(text), outcome=READ, flag="field_ignored")
    number.add(f"id_{name}", _id(text), outcome=PARTIAL)
    number.add(f"expiry_{name}", _expiry(text), kinds=STATING, outcome=READ)
    number.add(f"unknown_field_{name}", _value("brandNew", text), outcome=READ)
for name, text in {
    "leading_zero": "007",
    "plus": "+7",
    "hexadecimal": "0x7",
    "bare_dot": ".7",
    "dot_at_the_end": "7.",
    "underscore": "1_000",
    "comma": "1,5",
    "nan_in_lower_case": "nan",
    "inf": "inf",
}.items():
    number.add(f"no_json_{name}", _shown(text), outcome=INVALID)
number.add("total_nan", _total(b"NaN"), kinds=(POSTPEER,), outcome=INVALID)
number.add("total_overflowing", _total(b"1e999"), kinds=(POSTPEER,), outcome=INVALID)

# --- N18: keys stated twice ---

twice = Book(row="N18", part="row", kinds=STATING)


def _twice(*texts: Callable[[SampleSource], str]) -> Answerer:
    """The first row with further members behind it."""
    return body(lambda s: s.first_as(s.first_row_text() + "," + ",".join(text(s) for text in texts) + "}"))


def _member(name: Callable[[SampleSource], str], value: Callable[[SampleSource], object]) -> Callable[[SampleSource], str]:
    return lambda sample: f'"{name(sample)}":{json.dumps(value(sample))}'


def _word(sample: SampleSource) -> str:
    return sample.word


def _escaped(sample: SampleSource) -> str:
    return sample.word[:-1] + f"\\u{ord(sample.word[-1]):04x}"


def _all_escaped(sample: SampleSource) -> str:
    return "".join(f"\\u{ord(letter):04X}" for letter in sample.word)


def _otherwise(sample: SampleSource) -> str:
    return sample.broken if sample.well else sample.healthy


twice.add("word_then_its_opposite", _twice(_member(_word, _otherwise)), outcome=READ, flag="unreadable")
twice.add("word_escaped_then_its_opposite", _twice(_member(_escaped, _otherwise)), outcome=READ, flag="unreadable")
twice.add("word_all_escaped_then_its_opposite", _twice(_member(_all_escaped, _otherwise)), outcome=READ, flag="unreadable")
twice.add("word_then_null", _twice(_member(_word, lambda _: None)), outcome=READ, flag="unreadable")
twice.add("word_then_empty", _twice(_member(_word, lambda _: "")), outcome=READ, flag="unreadable")
twice.add("word_then_a_new_one", _twice(_member(_word, lambda _: "brand_new")), outcome=READ, flag="unreadable")
twice.add(
    "word_three_times", _twice(_member(_word, _otherwise), _member(_word, lambda s: s.healthy)), outcome=READ, flag="unreadable"
)
twice.add("word_twice_the_same", _twice(_member(_word, lambda s: s.healthy if s.well else s.broken)), outcome=OK)
twice.add("word_in_capitals_is_another_key", _twice(_member(lambda s: s.word.upper(), _otherwise)), outcome=OK)
twice.add("word_with_a_blank_is_another_key", _twice(_member(lambda s: s.word + " ", _otherwise)), outcome=OK)
twice.add("word_inside_another_object", _twice(_member(lambda _: "meta", lambda s: {s.word: _otherwise(s)})), outcome=OK)
twice.add("word_as_a_text", body(lambda s: s.first(username=s.word, displayName=f'"{s.word}"', handle=s.word)), outcome=OK)
twice.add(
    "expiry_then_another", _twice(_member(lambda s: s.expiry, lambda _: "2020-01-01T00:00:00Z")), outcome=READ, flag="unreadable"
)
twice.add("expiry_then_null", _twice(_member(lambda s: s.expiry, lambda _: None)), outcome=READ, flag="unreadable")
twice.add("id_then_anothers", _twice(_member(lambda s: s.key, lambda s: s.id_of(1))), outcome=PARTIAL)
twice.add("id_then_a_new_one", _twice(_member(lambda s: s.key, lambda _: "linkedin-new")), outcome=PARTIAL)
twice.add("word_null_then_stated", body(lambda s: s.first_as(f'{{"{s.word}":null,' + s.first_row_text()[1:] + "}")), outcome=OK)
twice.add("name_twice", _twice(_member(lambda _: "displayName", lambda _: "Other")), outcome=READ)
twice.add("empty_key_twice", _twice(_member(lambda _: "", lambda _: 1), _member(lambda _: "", lambda _: 2)), outcome=READ)


def _hidden(sample: SampleSource) -> bytes:
    """The word stated twice in the first row and not at all in the second: as often as there are rows."""
    text = sample.first_as(sample.first_row_text() + f',"{sample.word}":{json.dumps(_otherwise(sample))}}}')
    second = {name: value for name, value in sample.row(1).items() if name != sample.word}
    return text.replace(
        json.dumps(sample.row(1), separators=(",", ":")).encode(), json.dumps(second, separators=(",", ":")).encode(), 1
    )


twice.add("word_twice_here_and_missing_there", body(_hidden), outcome=READ, flag="unreadable")
for name, text in {
    "full_then_empty": '{"success":true,"connections":@,"integrations":@,"connections":[],"integrations":[]}',
    "empty_then_full": '{"success":true,"connections":[],"integrations":[],"connections":@,"integrations":@}',
    "success_then_failure": '{"success":true,"success":false,"connections":@,"integrations":@}',
    "failure_then_success": '{"success":false,"success":true,"connections":@,"integrations":@}',
    "list_then_null": '{"success":true,"connections":@,"integrations":@,"connections":null,"integrations":null}',
}.items():
    twice.add(
        f"around_the_list_{name}",
        _around(text),
        kinds=OBJECTS,
        outcome=INVALID,
    )
twice.add("total_twice", body(lambda s: s.text()[:-1] + b',"total":0}'), kinds=(POSTPEER,), outcome=READ | INVALID)

# --- N19: characters ---

char = Book(row="N19", part="row")
for name, escape in {
    "lone_high_surrogate": "\\ud800",
    "lone_low_surrogate": "\\udc00",
    "surrogates_swapped": "\\udc00\\ud800",
    "nul": "\\u0000",
    "escape": "\\u001b[31m",
    "bell_and_delete": "\\u0007\\u007f",
    "next_line": "\\u0085",
    "line_separator": "\\u2028\\u2029",
    "right_to_left": "\\u202eexe.\\u202c",
    "isolates": "\\u2066\\u2069",
    "byte_order_mark": "\\ufeff",
    "noncharacter": "\\uffff\\ufffe",
    "astral": "\\ud83d\\ude00",
    "private_use": "\\ue000",
    "tag_characters": "\\udb40\\udc41",
    "zalgo": "Z" + "\\u0335" * 300,
    "a_thousand_joiners": "\\u200d" * 1000,
    "only_blanks": " \\t\\n\\u3000",
    "hangul_filler": "\\u3164",
}.items():
    char.add(f"name_{name}", _shown(f'"{escape}"'), outcome=OK)
    char.add(f"id_{name}", _id_and(escape), outcome=READ)
    char.add(f"word_{name}", _stated(f'"{escape}"'), kinds=STATING, outcome=OK)
for name, raw in {
    "nul": b'"a\x00b"',
    "line_break": b'"a\nb"',
    "escape": b'"\x1b[31m"',
    "utf8_surrogate": b'"\xed\xa0\x80"',
    "overlong_slash": b'"\xc0\xaf"',
    "overlong_nul": b'"\xc0\x80"',
    "latin1": b'"Zo\xeb"',
    "lone_continuation": b'"\x80\x81"',
    "five_bytes": b'"\xf8\x88\x80\x80\x80"',
    "beyond_unicode": b'"\xf4\x90\x80\x80"',
    "utf16_in_the_middle": b'"\xff\xfeZ\x00"',
}.items():
    char.add(f"raw_{name}", _shown(raw), outcome=READ)
    char.add(f"raw_word_{name}", _stated(raw), kinds=STATING, outcome=READ)
for name, raw in {
    "bad_escape": b'"\\x41"',
    "short_escape": b'"\\u12"',
    "backslash_at_the_end": b'"\\"',
    "octal": b'"\\101"',
    "unclosed": b'"a',
}.items():
    char.add(f"no_json_{name}", _shown(raw), outcome=INVALID)

# --- N20: charsets, marks, nothing ---

charset = Book(row="N20", part="body")
charset.add("empty", _text(b""), outcome=INVALID, problem="empty")
charset.add("blanks", _text(b" \r\n\t "), outcome=INVALID, problem="empty")
charset.add("only_a_mark", _text(b"\xef\xbb\xbf"), outcome=INVALID, problem="empty")
charset.add("204", octets(lambda _: b"HTTP/1.1 204 No Content\r\n\r\n"), outcome=INVALID)
charset.add("200_of_length_zero", octets(lambda _: b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"), outcome=INVALID)
charset.add("mark", body(lambda s: b"\xef\xbb\xbf" + s.text()), outcome=OK)
charset.add("mark_and_blanks", body(lambda s: b"\xef\xbb\xbf \r\n" + s.text() + b"\r\n"), outcome=OK)
charset.add("blanks_and_mark", body(lambda s: b" \xef\xbb\xbf" + s.text()), outcome=INVALID)
charset.add("two_marks", body(lambda s: b"\xef\xbb\xbf\xef\xbb\xbf" + s.text()), outcome=INVALID)
charset.add("no_break_space_before", body(lambda s: "\u00a0".encode() + s.text()), outcome=INVALID)
charset.add("nul_before", body(lambda s: b"\x00" + s.opposite()), outcome=INVALID)
charset.add("nul_behind", body(lambda s: s.opposite() + b"\x00"), kinds=STATING, outcome=INVALID)
charset.add("form_feed_behind", body(lambda s: s.opposite() + b"\x0c"), kinds=STATING, outcome=INVALID)
for coding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp500"):
    charset.add(f"in_{coding.replace('-', '_')}", _in(coding), kinds=STATING, outcome=INVALID)
for label in ("utf-16", "latin-1", "utf-7", "nonsense", '"utf-8', "cp037"):
    name = "".join(letter for letter in label if letter.isalnum())
    charset.add(
        f"labelled_{name}", body(lambda s: s.text(), headers={"content-type": f"application/json; charset={label}"}), outcome=OK
    )

# --- N27: an empty list, or nearly ---

empty = Book(row="N27", part="body")
empty.add("empty", body(lambda s: s.text([])), outcome=READ | INVALID)
empty.add("empty_with_blanks", body(lambda s: s.text([]).replace(b"[]", b"[ \n ]")), outcome=READ | INVALID)
empty.add("empty_with_mark", body(lambda s: b"\xef\xbb\xbf" + s.text([])), outcome=READ | INVALID)
for left in (1, 2, 12, 24):
    empty.add(f"{left}_of_50_left", _left(left), outcome=OK)
empty.add("half_left", body(lambda s: s.text(s.rows(25))), outcome=OK)
empty.add("one_missing", body(lambda s: s.text(s.rows()[1:])), outcome=OK)
empty.add("all_new_ids", body(lambda s: s.text([{**row, s.key: f"{row[s.key]}-new"} for row in s.rows()])), outcome=OK)
empty.add("all_rows_null", body(lambda s: s.text([None] * 50)), outcome=READ)
empty.add("all_rows_empty", body(lambda s: s.text([{}] * 50)), outcome=READ)
empty.add("all_rows_arrays", body(lambda s: s.text([[]] * 50)), outcome=READ)
empty.add("all_rows_texts", body(lambda s: s.text([row[s.key] for row in s.rows()])), outcome=READ)
empty.add(
    "all_rows_without_id",
    body(lambda s: s.text([{k: v for k, v in row.items() if k != s.key} for row in s.rows()])),
    outcome=READ,
)
empty.add(
    "all_in_another_workspace",
    body(lambda s: s.text([{**row, "id": f"{row['id']}x", "workspaceId": "ws_2"} for row in s.rows()])),
    kinds=(POSTBREEZE,),
    outcome=OK,
)
empty.add("empty_but_the_total_says_fifty", body(lambda s: s.text([], total=50)), kinds=(POSTPEER,), outcome=READ | INVALID)
empty.add("a_tenth_of_the_cast_twice_over", body(lambda s: s.text(s.rows(5) * 10)), outcome=READ)

# --- N28: the same id twice, or nearly the same ---

same = Book(row="N28", part="row")
same.add("the_same_row_twice", body(lambda s: s.text([s.row(0), *s.rows()])), outcome=READ)
same.add("first_and_last", body(lambda s: s.text([*s.rows(), s.row(0)])), outcome=READ)
same.add(
    "good_and_bad",
    body(lambda s: s.text([*SampleSource(kind=s.kind).rows(1), *s.rows()[1:], *SampleSource(kind=s.kind, well=False).rows(1)])),
    kinds=STATING,
    outcome=OK,
    well="expired",
    flag="duplicate_id",
)
same.add(
    "bad_and_good",
    body(lambda s: s.text([*SampleSource(kind=s.kind, well=False).rows(1), *s.rows()[1:], *SampleSource(kind=s.kind).rows(1)])),
    kinds=STATING,
    outcome=OK,
    well="expired",
    flag="duplicate_id",
)
same.add(
    "good_and_unreadable",
    body(lambda s: s.text([*SampleSource(kind=s.kind).rows(1), *s.rows()[1:], {**s.row(0), s.word: 7}])),
    kinds=STATING,
    outcome=READ,
    flag="unreadable",
)
same.add(
    "unreadable_and_good",
    body(lambda s: s.text([{**s.row(0), s.word: 7}, *s.rows()[1:], *SampleSource(kind=s.kind).rows(1)])),
    kinds=STATING,
    outcome=READ,
    flag="unreadable",
)
same.add(
    "good_and_odd",
    body(lambda s: s.text([*SampleSource(kind=s.kind).rows(1), *s.rows()[1:], {**s.row(0), "displayName": 7}])),
    kinds=STATING,
    outcome=READ,
    flag="duplicate_id",
)
same.add(
    "odd_and_good",
    body(lambda s: s.text([{**s.row(0), "displayName": 7}, *s.rows()[1:], *SampleSource(kind=s.kind).rows(1)])),
    kinds=STATING,
    outcome=READ,
    flag="duplicate_id",
)
same.add("a_hundred_times", body(lambda s: s.text([*s.rows(), *[s.row(0)] * 49])), outcome=READ)


def _spelt(name: str, spell: Callable[[str], str]) -> None:
    """The first row's id in another spelling: another connection, and the first one is not seen this time."""
    same.add(f"spelt_{name}", body(lambda s: s.first(**{s.key: spell(s.id_of(0))})), outcome=READ)
    same.add(f"spelt_{name}_beside", body(lambda s: s.text([*s.rows(), {**s.row(0), s.key: spell(s.id_of(0))}])), outcome=READ)


_spelt("in_capitals", str.upper)
_spelt("with_an_accent_composed", lambda text: unicodedata.normalize("NFC", text + "e\u0301"))
_spelt("with_an_accent_apart", lambda text: unicodedata.normalize("NFD", text + "\u00e9"))
_spelt("in_fullwidth", lambda text: text[:-1] + "\uff41")
_spelt("in_cyrillic", lambda text: text[:-1] + "\u0430")
_spelt("with_a_blank_behind", lambda text: text + " ")
_spelt("with_a_blank_before", lambda text: " " + text)
_spelt("with_a_zero_width_space", lambda text: text + "\u200b")
_spelt("percent_encoded", lambda text: text.replace("0", "%30"))
_spelt("with_another_dash", lambda text: text.replace("-", "\u2010").replace("_", "\u2010"))
_spelt("with_a_slash", lambda text: text + "/")
_spelt("with_dots", lambda text: text + "/../x")
_spelt("with_a_query", lambda text: text + "?a=b#c")
_spelt("very_long", lambda text: text + "0" * 250)
_spelt("longer_than_allowed", lambda text: text + "0" * 300)
_spelt("doubled_dash", lambda text: text.replace("-", "--").replace("_", "__"))
_spelt("with_a_nul", lambda text: text + "\x00")
_spelt("with_a_line_break", lambda text: text + "\n")

CASES = [*page.cases, *deep.cases, *number.cases, *twice.cases, *char.cases, *charset.cases, *empty.cases, *same.cases]
