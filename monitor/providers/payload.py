"""Decoding JSON from strangers, row by row: a fault in one row costs that row, never the process.

The quick way is msgspec. What it refuses as a whole (lone surrogates, NaN, wrong charsets) goes through the
standard library's lenient parser, and so does a body in which a key that matters occurs twice: FAILURES N16 to N21.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Generic, TypeVar

import msgspec

from monitor.domain import Unreadable
from monitor.domain.errors import ProviderPayloadInvalid
from monitor.domain.rules.platforms import is_usable_id
from monitor.domain.text import sanitize

T = TypeVar("T")
Date = str | int | float | None
"""What a date may be written as."""

_BOM = b"\xef\xbb\xbf"
_WHITE = b" \t\r\n"
_THREAD_FROM = 256 * 1024
"""Bytes from which decoding leaves the event loop: below, the hop costs more than it saves."""

_ESCAPED_KEY = re.compile(rb'\\u00[2-7][0-9a-fA-F][^"]{0,64}"\s*:')
_LONGEST_INT = 18

_ROWS = msgspec.json.Decoder(list[msgspec.Raw])
_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ANY: msgspec.json.Decoder[Any] = msgspec.json.Decoder()


class _Contradiction(dict[str, Any]):
    """An object in which a key occurs twice with different values: which one holds cannot be known."""

    names: frozenset[str] = frozenset()
    """Those keys."""


class _Rejected:
    """Stands where NaN, Infinity or an absurd number was: of no type that any field takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodedList:
    """A decoded list: its rows (each still to be read), and the other fields of the object around it."""

    rows: list[Any]
    fields: Mapping[str, Any]
    cut: bool = False
    """Whether rows beyond the cap were left out."""


async def off_loop(function: Callable[[], T], *, size: int) -> T:
    """function(), in a thread where `size` bytes of decoding would hold up the event loop."""
    return await asyncio.to_thread(function) if size >= _THREAD_FROM else function()


def read_list(
    body: bytes, *, content_type: str | None, key: str | None, bare: bool, guarded: tuple[str, ...], most: int
) -> DecodedList:
    """The rows of a list answer: a bare array where `bare`, or the array under `key`.

    `guarded` are the row fields that must not be stated twice. Raises ProviderPayloadInvalid for HTML, for what
    is no JSON, for an error object ({"success": false}, {"error": ...}) and for a list that is missing or null:
    none of these is an empty list.
    """
    found, fields = find_array(body, content_type=content_type, key=key, bare=bare)
    rows = found if isinstance(found, list) else rows_of(bytes(found), guarded)
    return DecodedList(rows=rows[:most], fields=fields, cut=len(rows) > most)


def find_array(
    body: bytes, *, content_type: str | None, key: str | None, bare: bool
) -> tuple[memoryview | list[Any], Mapping[str, Any]]:
    """Where the array of a list answer is, as text, or decoded where that is the only way; and the fields around it.

    Raises as read_list does.
    """
    body = json_text(body, content_type)
    if body[:1] == b"[":
        if not bare:
            raise ProviderPayloadInvalid("The API answered with a bare array, where an object is documented.")
        return memoryview(body), {}
    fields = _object(body, key)
    refuse_error_object(fields)
    if key is None or not isinstance(fields.get(key), (list, msgspec.Raw)):
        raise ProviderPayloadInvalid(f"The API's answer holds no list{f' {key!r}' if key else ''}.")
    found = fields.pop(key)
    return found if isinstance(found, list) else memoryview(found), fields


def read_object(body: bytes, *, content_type: str | None, guarded: tuple[str, ...] = ()) -> Mapping[str, Any]:
    """The fields of an object answer. Raises ProviderPayloadInvalid for anything else, error objects included.

    `guarded` are the fields that must not be stated twice, differently.
    """
    text = json_text(body, content_type)
    fields = _lenient_object(text) if may_contradict(text, guarded) else _object(text, None)
    refuse_error_object(fields)
    return fields


def json_text(body: bytes, content_type: str | None) -> bytes:
    """The body without BOM and white space. Raises ProviderPayloadInvalid where it cannot be JSON."""
    reason = not_json(body, content_type)
    if reason:
        raise ProviderPayloadInvalid(f"The API's answer is not JSON: {reason}.")
    return body.removeprefix(_BOM).strip(_WHITE)


def not_json(body: bytes, content_type: str | None) -> str:
    """Why the body cannot be JSON (empty, a web page), "" where it may be."""
    start = body[:64].removeprefix(_BOM).lstrip(_WHITE)
    if not start:
        return "it is empty"
    if start.startswith(b"<") or ("html" in (content_type or "").lower() and start[:1] not in (b"{", b"[")):
        return "it is a web page, perhaps of a proxy or a login in between"
    return ""


def error_fields(body: bytes) -> Mapping[str, Any] | None:
    """The fields of an error answer, None where it is no JSON object. Never raises."""
    try:
        return _object(body.removeprefix(_BOM).strip(_WHITE), None)
    except ProviderPayloadInvalid:
        return None


def error_text(fields: Mapping[str, Any]) -> str:
    """What an error object says, in any of the documented shapes: {error}, {message}, maybe {code} and {requestId}."""
    said = next((text for name in ("error", "message") if (text := _words(fields.get(name)))), "")
    code, request = fields.get("code"), fields.get("requestId")
    if isinstance(code, str) and code and code not in said:
        said = f"{said} ({code})" if said else code
    if isinstance(request, str) and request:
        said = f"{said[:180]} [request {request}]"
    return sanitize(said)


def refuse_error_object(fields: Mapping[str, Any]) -> None:
    """Raises ProviderPayloadInvalid for a 200 answer that is an error all the same."""
    if fields.get("success") is False or fields.get("error"):
        said = error_text(fields)
        raise ProviderPayloadInvalid(f"The API answered HTTP 200 with an error{': ' + said if said else '.'}")


class RowReader(Generic[T]):
    """Reads rows into a msgspec Struct. Unknown fields are ignored; null and absent are equal where a default is null."""

    def __init__(self, row_type: type[T], *, id_field: str, guarded: Iterable[str] = ()) -> None:
        """`guarded` are the fields that a row must not state twice, differently: such a row cannot be read."""
        self._type = row_type
        self._id_field = id_field
        self._guarded = frozenset(guarded)
        self._decoder = msgspec.json.Decoder(row_type)

    def read(self, row: Any) -> T | Unreadable:
        """The row, or why it cannot be read, with its id where at least that can."""
        if isinstance(row, msgspec.Raw):
            try:
                return self._decoder.decode(row)
            except msgspec.ValidationError as exc:
                return self._unreadable(row, exc)
            except (msgspec.DecodeError, ValueError, RecursionError):
                try:
                    row = _lenient(bytes(row))
                except ProviderPayloadInvalid:
                    return Unreadable(external_id=None, why="The row is damaged.")
        if isinstance(row, _Contradiction) and not row.names.isdisjoint(self._guarded):
            return Unreadable(external_id=self._id_of(row), why="The row states a field twice, differently.")
        try:
            return msgspec.convert(row, self._type)
        except (msgspec.ValidationError, ValueError, RecursionError) as exc:
            return self._unreadable(row, exc)

    def _unreadable(self, row: Any, exc: Exception) -> Unreadable:
        return Unreadable(external_id=self._id_of(row), why=sanitize(f"The row is not as documented: {exc}."))

    def _id_of(self, row: Any) -> str | None:
        if isinstance(row, msgspec.Raw):
            try:
                row = _lenient(bytes(row))
            except ProviderPayloadInvalid:
                return None
        if isinstance(row, _Contradiction) and self._id_field in row.names:
            return None  # it may be the row of either
        found = row.get(self._id_field) if isinstance(row, dict) else None
        return found if is_usable_id(found) else None


def _words(value: object) -> str:
    if isinstance(value, Mapping):
        value = value.get("message")
    return value if isinstance(value, str) else ""


def raw_rows(array: bytes) -> list[Any]:
    """The rows of an array as texts. Raises what msgspec raises where it refuses the array as a whole."""
    return _ROWS.decode(array)


def rows_of(array: bytes, guarded: tuple[str, ...]) -> list[Any]:
    """The rows of an array, as texts or decoded. Raises ProviderPayloadInvalid for what is no array."""
    try:
        rows = raw_rows(array)
    except (msgspec.DecodeError, ValueError, RecursionError):
        rows = None
    if rows is None or escapes_a_key(array) or any(states_twice(bytes(row), guarded) for row in rows):
        found = _lenient(array)
        if not isinstance(found, list):
            raise ProviderPayloadInvalid("The API's answer holds something else where a list is documented.")
        return found
    return rows


def _object(body: bytes, key: str | None) -> dict[str, Any]:
    """An object's fields: those but `key` decoded, the array under `key` raw, or decoded where that is not possible."""
    try:
        if key is None and isinstance(fields := _ANY.decode(body), dict):
            return fields  # a probe's answer, mostly: read in one go
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
        raise ProviderPayloadInvalid("The API's answer states a field twice, differently.")
    if not isinstance(found, dict):
        raise ProviderPayloadInvalid("The API's answer is no JSON object.")
    return found


def _states_each_once(body: bytes, raw: Mapping[str, msgspec.Raw]) -> bool:
    """Whether the body is just as long as these fields, written without white space: then nothing else is in it."""
    return len(body) == 1 + sum(len(name.encode()) + len(memoryview(value)) + 4 for name, value in raw.items())


def may_contradict(text: bytes, keys: tuple[str, ...]) -> bool:
    """Whether an object, as text, may state one of `keys` twice."""
    return states_twice(text, keys) or escapes_a_key(text)


def states_twice(text: bytes, keys: tuple[str, ...]) -> bool:
    """The same, of keys without escapes. Lists are counted row by row: a row that lacks one hides a row that repeats it."""
    return any(text.count(written) > 1 for written in as_written(keys))


def escapes_a_key(text: bytes) -> bool:
    """Whether a key may be written with escapes, so that counting does not find it."""
    return _ESCAPED_KEY.search(text) is not None


@lru_cache(maxsize=16)
def as_written(keys: tuple[str, ...]) -> tuple[bytes, ...]:
    """Keys as a document has them, in their quotes."""
    return tuple(b'"%b"' % key.encode() for key in keys)


def _lenient(body: bytes) -> Any:
    """The standard library's reading: lone surrogates pass, NaN and absurd numbers become _Rejected."""
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
    # Raised here, outside the handler: the parser's error carries the whole document.
    raise ProviderPayloadInvalid(f"The API's answer cannot be read as JSON: {problem}.")


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
    # null states nothing: what follows it is no contradiction
    names = frozenset(name for name, value in pairs if value is not None and found[name] != value)
    if not names:
        return found
    contradiction = _Contradiction(found)
    contradiction.names = names
    return contradiction
