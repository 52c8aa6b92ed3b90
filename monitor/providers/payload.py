"""Decoding of untrusted JSON, row by row: a faulty row costs that row only.

msgspec decodes regular input. Input that it rejects as a whole (lone surrogates, NaN, wrong charsets), and input in which
a guarded key occurs twice, goes through the standard library's lenient parser: FAILURES N16 to N21.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import lru_cache
from typing import Any, ClassVar, Generic, TypeVar

import msgspec

from monitor.domain import Unreadable, threads
from monitor.domain.errors import ProviderPayloadInvalid
from monitor.domain.records import Record
from monitor.domain.rules.platforms import is_usable_id
from monitor.domain.text import sanitize
from monitor.domain.threads import NoThread

T = TypeVar("T")
Date = str | int | float | None
"""Types in which a date may be written."""

_BOM = b"\xef\xbb\xbf"
_WHITE = b" \t\r\n"
_THREAD_MIN_BYTES = 256 * 1024
"""Minimum size for decoding in a thread: below it, the switch costs more than it saves."""

_ESCAPED_KEY = re.compile(rb'\\u00[2-7][0-9a-fA-F][^"]{0,64}"\s*:')
_LONGEST_INT = 18
_LONGEST_HEAD = 256
"""Bytes in which the array of a list response begins, if it is located without reading the whole response."""

_ROWS = msgspec.json.Decoder(list[msgspec.Raw])
_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ANY: msgspec.json.Decoder[Any] = msgspec.json.Decoder()


class _Contradiction(dict[str, Any]):
    """An object in which a key occurs twice with different values, so that its value is undefined."""

    names: frozenset[str] = frozenset()
    """The repeated keys."""


class _Rejected:
    """Placeholder for NaN, Infinity or an oversized number: of a type that no field accepts."""


class DecodedList(Record, frozen=True, kw_only=True):
    """A decoded list: its rows, not yet read, and the other fields of the surrounding object."""

    rows: list[Any]
    fields: Mapping[str, Any]
    cut: bool = False
    """True if rows beyond the maximum were left out."""


async def off_loop(function: Callable[[], T], *, size: int) -> T:
    """Return function(), called in a thread if decoding `size` bytes would block the event loop."""
    if size >= _THREAD_MIN_BYTES:
        with suppress(NoThread):  # blocking is better than not decoding
            return await threads.run(function, name="decode")
    return function()


def read_list(
    body: bytes, *, content_type: str | None, key: str | None, bare: bool, guarded: tuple[str, ...], max_rows: int
) -> DecodedList:
    """Return the rows of a list response: of a bare array if `bare` is true, or of the array under `key`.

    `guarded` are the row fields that must not occur twice. Raises ProviderPayloadInvalid for HTML, invalid JSON, an error
    object ({"success": false}, {"error": ...}) and a list that is missing or null: none of these is an empty list.
    """
    found, fields = find_array(body, content_type=content_type, key=key, bare=bare)
    rows = found if isinstance(found, list) else rows_of(bytes(found), guarded)
    return DecodedList(rows=rows[:max_rows], fields=fields, cut=len(rows) > max_rows)


def find_array(
    body: bytes, *, content_type: str | None, key: str | None, bare: bool
) -> tuple[memoryview | list[Any], Mapping[str, Any]]:
    """Return the array of a list response, undecoded if possible, and the other fields of the surrounding object.

    Raises like read_list.
    """
    body = json_text(body, content_type)
    if body[:1] == b"[":
        if not bare:
            raise ProviderPayloadInvalid("The API returned a bare array instead of the documented object.")
        return memoryview(body), {}
    fields = _object(body, key)
    refuse_error_object(fields)
    if key is None or not isinstance(fields.get(key), (list, msgspec.Raw)):
        raise ProviderPayloadInvalid(f"The API's response contains no list{f' {key!r}' if key else ''}.")
    found = fields.pop(key)
    return found if isinstance(found, list) else memoryview(found), fields


def locate_array(body: bytes, *, content_type: str | None, key: str) -> memoryview | None:
    """Return the text of the array under `key` without reading it, if it seems to be the last field of a list response.

    None if it is not, or if the fields before it need more care, such as those of an error object. If the object goes on
    behind the array, the text is not valid JSON. Raises ProviderPayloadInvalid for HTML and an empty body.
    """
    body = json_text(body, content_type)
    start = body.find(b"[", 0, _LONGEST_HEAD)
    end = len(body) - 1
    if start < 0 or body[end - 1 :] != b"]}":
        return None
    head = body[:start] + b"[]}"
    try:
        fields = _ANY.decode(head)
        if not isinstance(fields, dict) or fields.get(key) != [] or may_contradict(head, (key, "success")):
            return None
        refuse_error_object(fields)
    except (msgspec.DecodeError, ValueError, RecursionError, ProviderPayloadInvalid):
        return None
    return memoryview(body)[start:end]


def read_object(body: bytes, *, content_type: str | None, guarded: tuple[str, ...] = ()) -> Mapping[str, Any]:
    """Return the fields of an object response. Raises ProviderPayloadInvalid for anything else, error objects included.

    `guarded` are the fields that must not occur twice with different values.
    """
    text = json_text(body, content_type)
    fields = _lenient_object(text) if may_contradict(text, guarded) else _object(text, None)
    refuse_error_object(fields)
    return fields


def json_text(body: bytes, content_type: str | None) -> bytes:
    """Return the body without BOM and white space. Raises ProviderPayloadInvalid if it cannot be JSON."""
    reason = not_json(body, content_type)
    if reason:
        raise ProviderPayloadInvalid(f"The API's response is not JSON: {reason}.")
    return body.removeprefix(_BOM).strip(_WHITE)


def not_json(body: bytes, content_type: str | None) -> str:
    """Return why the body cannot be JSON (empty, a web page); "" if it may be."""
    start = body[:64].removeprefix(_BOM).lstrip(_WHITE)
    if not start:
        return "it is empty"
    if start.startswith(b"<") or ("html" in (content_type or "").lower() and start[:1] not in (b"{", b"[")):
        return "it is a web page, possibly of a proxy or a login form"
    return ""


def error_fields(body: bytes) -> Mapping[str, Any] | None:
    """Return the fields of an error response; None if it is not a JSON object. Never raises."""
    try:
        return _object(body.removeprefix(_BOM).strip(_WHITE), None)
    except ProviderPayloadInvalid:
        return None


def error_text(fields: Mapping[str, Any]) -> str:
    """Return the text of an error object in any documented form: {error} or {message}, optionally {code} and {requestId}."""
    detail = next((text for name in ("error", "message") if (text := _message_of(fields.get(name)))), "")
    code, request = fields.get("code"), fields.get("requestId")
    if isinstance(code, str) and code and code not in detail:
        detail = f"{detail} ({code})" if detail else code
    if isinstance(request, str) and request:
        detail = f"{detail[:180]} [request {request}]"
    return sanitize(detail)


def refuse_error_object(fields: Mapping[str, Any]) -> None:
    """Raise ProviderPayloadInvalid if the body of a 200 response is an error object."""
    if fields.get("success") is False or fields.get("error"):
        detail = error_text(fields)
        raise ProviderPayloadInvalid(f"The API returned HTTP 200 with an error{': ' + detail if detail else '.'}")


class Row(msgspec.Struct, rename="camel", gc=False):
    """Base of the rows that become snapshots."""

    field_ignored: ClassVar[bool] = False
    """True if a field of an unexpected type was ignored, so that it counts as null."""


class RowReader(Generic[T]):
    """Decodes rows into a msgspec Struct. Unknown fields are ignored; null equals absent for fields with a null default.

    A row that the typed decoder rejects is read a second time, field by field: only the deciding fields must be readable.
    """

    def __init__(
        self,
        row_type: type[T],
        *,
        id_field: str,
        guarded: Iterable[str] = (),
        deciding: Iterable[str] | None = None,
        lenient: Mapping[str, Callable[[Any], Any]] | None = None,
    ) -> None:
        """Prepare the decoder. A row that contains a `guarded` field twice with different values is unreadable.

        So is a row in which a `deciding` field (default: the guarded ones) has an unexpected type; any other such field is
        null. `lenient` gives, by field, a function that reads a value of an unexpected type; its None means: not readable.
        """
        self._type = row_type
        self._id_field = id_field
        self._guarded = frozenset(guarded)
        self._deciding = self._guarded if deciding is None else frozenset(deciding)
        self._lenient = lenient or {}
        self._decoder = msgspec.json.Decoder(row_type)
        struct: Any = row_type
        self._fields = msgspec.structs.fields(struct)
        self._partial: Any = msgspec.defstruct(
            f"Partial{row_type.__name__}",
            [("field_ignored", bool, True)],
            bases=(struct,),
            omit_defaults=False,  # its mark is a default, and must be encoded
        )

    def read(self, row: Any) -> T | Unreadable:
        """Return the row, or why it is unreadable, with its id if that is readable."""
        if isinstance(row, msgspec.Raw):
            try:
                return self._decoder.decode(row)
            except (msgspec.DecodeError, ValueError, RecursionError):  # the first includes wrong types
                try:
                    row = _lenient(bytes(row))
                except ProviderPayloadInvalid:
                    return Unreadable(external_id=None, why="The row is damaged.")
        if isinstance(row, _Contradiction) and not row.names.isdisjoint(self._guarded):
            return Unreadable(external_id=self._id_of(row), why="The row contains a field twice with different values.")
        try:
            return msgspec.convert(row, self._type)
        except (msgspec.ValidationError, ValueError, RecursionError) as exc:
            return self._read_by_field(row, exc) if isinstance(row, dict) else self._unreadable(row, str(exc))

    def _read_by_field(self, row: dict[str, Any], exc: Exception) -> T | Unreadable:
        values: dict[str, Any] = {}
        ignored = False
        for field in self._fields:
            name, value = field.encode_name, row.get(field.encode_name)
            if value is None:
                if field.required:
                    return self._unreadable(row, str(exc))
                continue
            try:
                found, problem = msgspec.convert(value, field.type), ""
            except (msgspec.ValidationError, ValueError, RecursionError) as error:
                found, problem = self._lenient[name](value) if name in self._lenient else None, str(error)
            if found is not None:
                values[field.name] = found
            elif name in self._deciding:
                return self._unreadable(row, f"{name}: {problem}")
            else:
                ignored = True
        made: T = (self._partial if ignored else self._type)(**values)
        return made

    def _unreadable(self, row: Any, problem: str) -> Unreadable:
        return Unreadable(external_id=self._id_of(row), why=sanitize(f"The row is not as documented: {problem}."))

    def _id_of(self, row: Any) -> str | None:
        if isinstance(row, _Contradiction) and self._id_field in row.names:
            return None  # either value may be the id
        found = row.get(self._id_field) if isinstance(row, dict) else None
        return found if is_usable_id(found) else None


def unreadable_date(_: object) -> Date:
    """Return a text that is not a date, in place of a date of an unexpected type: a date is stated, but unreadable."""
    return "unreadable"


def id_text(value: object) -> str | None:
    """Return an id that is written as a number as text; None for any other value."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None


def split_words(value: object) -> list[str] | None:
    """Return the words of a text, separated by blanks or commas; None for any other value and for a text without words."""
    return (value.replace(",", " ").split() or None) if isinstance(value, str) else None


def any_error_text(value: object) -> str | None:
    """Return an error of any JSON type as text: the message of an object if it has one; None for an empty value."""
    if isinstance(value, Mapping) and (text := error_text(value)):
        return text
    try:
        return sanitize(json.dumps(value, ensure_ascii=False, default=str)) if value else None
    except (ValueError, RecursionError):
        return "unreadable"


def _message_of(value: object) -> str:
    if isinstance(value, Mapping):
        value = value.get("message")
    return value if isinstance(value, str) else ""


def raw_rows(array: bytes) -> list[Any]:
    """Return the rows of an array undecoded. Raises msgspec's errors if it rejects the array as a whole."""
    return _ROWS.decode(array)


def rows_of(array: bytes, guarded: tuple[str, ...]) -> list[Any]:
    """Return the rows of an array, undecoded or decoded. Raises ProviderPayloadInvalid if it is not an array."""
    try:
        rows = raw_rows(array)
    except (msgspec.DecodeError, ValueError, RecursionError):
        rows = None
    if rows is None or escapes_a_key(array) or any(states_twice(bytes(row), guarded) for row in rows):
        found = _lenient(array)
        if not isinstance(found, list):
            raise ProviderPayloadInvalid("The API's response contains another value instead of the documented list.")
        return found
    return rows


def _object(body: bytes, key: str | None) -> dict[str, Any]:
    """Return an object's fields decoded, except the array under `key`, which stays raw if possible."""
    try:
        if key is None and isinstance(fields := _ANY.decode(body), dict):
            return fields  # the common case: a probe's response
        raw = _OBJECT.decode(body)
        fields = {name: value if name == key else _ANY.decode(value) for name, value in raw.items()}
    except (msgspec.DecodeError, ValueError, RecursionError):
        return _lenient_object(body)
    if key is not None and not _states_each_once(body, raw) and may_contradict(body, (key, "success")):
        return _lenient_object(body)
    if key in fields and bytes(memoryview(fields[key])[:1]) != b"[":
        fields[key] = None
    return fields


def _lenient_object(body: bytes) -> dict[str, Any]:
    found = _lenient(body)
    if isinstance(found, _Contradiction):
        raise ProviderPayloadInvalid("The API's response contains a field twice with different values.")
    if not isinstance(found, dict):
        raise ProviderPayloadInvalid("The API's response is not a JSON object.")
    return found


def _states_each_once(body: bytes, raw: Mapping[str, msgspec.Raw]) -> bool:
    """Return True if the body is exactly as long as these fields without white space: then it contains nothing else."""
    return len(body) == 1 + sum(len(name.encode()) + len(memoryview(value)) + 4 for name, value in raw.items())


def may_contradict(text: bytes, keys: tuple[str, ...]) -> bool:
    """Return True if an object's text may contain one of `keys` twice."""
    return states_twice(text, keys) or escapes_a_key(text)


def states_twice(text: bytes, keys: tuple[str, ...]) -> bool:
    """Return True if one of `keys` occurs twice, written without escapes.

    Call it for one row at a time: in a list, a row without the key would hide a row that repeats it.
    """
    return any(text.count(written) > 1 for written in as_written(keys))


def escapes_a_key(text: bytes) -> bool:
    """Return True if a key may be written with escapes, which counting would miss."""
    return b"\\" in text and _ESCAPED_KEY.search(text) is not None


@lru_cache(maxsize=16)
def as_written(keys: tuple[str, ...]) -> tuple[bytes, ...]:
    """Return keys as written in a document, in quotes."""
    return tuple(b'"%b"' % key.encode() for key in keys)


def _lenient(body: bytes) -> Any:
    """Return the value as the standard library parses it: lone surrogates pass, NaN and oversized numbers become _Rejected."""
    text = body.decode("utf-8", "replace")
    problem = "it is damaged or cut off"
    try:
        return json.loads(
            text, strict=False, parse_constant=_reject, parse_float=_float, parse_int=_int, object_pairs_hook=_pairs
        )
    except RecursionError:
        problem = "it is nested too deeply"
    except ValueError:
        pass
    # Raised outside the handler: the parser's error would carry the whole document.
    raise ProviderPayloadInvalid(f"The API's response is not valid JSON: {problem}.")


def _reject(_: str) -> _Rejected:
    return _Rejected()


def _float(text: str) -> float | _Rejected:
    number = float(text)
    return number if math.isfinite(number) else _Rejected()


def _int(text: str) -> int | _Rejected:
    return int(text) if len(text) <= _LONGEST_INT else _Rejected()


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    # null does not count: a value after it is no contradiction
    names = frozenset(name for name, value in pairs if value is not None and found[name] != value)
    if not names:
        return found
    contradiction = _Contradiction(found)
    contradiction.names = names
    return contradiction


def read_any(body: bytes, *, content_type: str | None) -> Any:
    """Return a JSON document of any form. Raises ProviderPayloadInvalid for HTML, an empty body and invalid JSON."""
    return _lenient(json_text(body, content_type))


def contradicts(row: Mapping[str, Any]) -> bool:
    """Return True if a row contains a field twice with different values, so that it is undefined."""
    return isinstance(row, _Contradiction)


def extended(row: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row with further fields. A row that contradicts itself still does."""
    if not isinstance(row, _Contradiction):
        return {**row, **more}
    copy = _Contradiction({**row, **more})
    copy.names = row.names
    return copy
