"""What the services send: lists of each API, answers to probes, refusals, and headers. The oracle checks every verdict."""

from __future__ import annotations

import asyncio
import atexit
import gzip
import zlib
from collections.abc import Sequence
from functools import partial

from monitor.domain.errors import ProviderError, ProviderPayloadInvalid
from monitor.domain.providers import coded_names
from monitor.providers import payload, transport
from monitor.providers.rate_limit import LONGEST, SHORTEST, http_date, retry_after
from tests.answers import bulk, corpus, generator
from tests.answers.bulk import Tally, World
from tests.answers.case import SampleSource
from tests.answers.generator import Payload
from tests.answers.offline import Raw
from tests.contract.loopback import Request
from tests.fuzz.target import Target, must
from tests.support.factories import NOW

_LOOP = asyncio.new_event_loop()
atexit.register(_LOOP.close)
_WORLD = _LOOP.run_until_complete(World.begin())
_LONGEST_SEED = 6000


def _judge(kind: str, octets: bytes, *, probe: bool = False) -> None:
    """The body as one API's answer: nothing raises, and nothing follows that it does not justify."""
    answer = Payload(number=0, kind=kind, probe=probe, raw=Raw(body=octets))
    wrong = _LOOP.run_until_complete(bulk.look(answer, _WORLD, Tally()))
    must(not wrong, wrong)


def _refused(octets: bytes) -> None:
    """The body of an error: the first byte chooses the status."""
    statuses = (400, 401, 403, 404, 408, 418, 429, 500, 503, 302, 204, 206)
    status = statuses[octets[0] % len(statuses)] if octets else 500
    answer = Payload(number=0, kind="postbreeze", probe=False, raw=Raw(status=status, body=octets[1:]))
    wrong = _LOOP.run_until_complete(bulk.look(answer, _WORLD, Tally()))
    must(not wrong, wrong)


def _list_seeds(kind: str) -> Sequence[bytes]:
    """Return the flawless list, and what the hand-written cases send."""
    sample = SampleSource(kind=kind)
    seeds = [sample.text(generator.known(kind)), sample.text(generator.known(kind)[:1]), sample.text([])]
    request = Request(method="GET", target="/api/v1/x", headers={}, body=b"")
    for case in corpus.POLLS:
        if kind in case.kinds and case.part in ("body", "row", "date"):
            body = case.answer(sample, request).body
            seeds.append(_shortened(sample, body))
    return sorted({seed for seed in seeds if 0 < len(seed) <= _LONGEST_SEED}, key=len)


def _shortened(sample: SampleSource, body: bytes) -> bytes:
    """Without the forty-eight healthy rows, which are the same in every case."""
    start, end = body.find(b"," + _row_start(sample, 2)), body.rfind(b"}]")
    return body if start < 0 or end < 0 else body[:start] + body[end + 1 :]


def _row_start(sample: SampleSource, number: int) -> bytes:
    return f'{{"{sample.key}":"{sample.id_of(number)}"'.encode()


def _probe_seeds() -> Sequence[bytes]:
    request = Request(method="POST", target="/api/v1/test-connection/x", headers={}, body=b"")
    sample = SampleSource(kind="postpost")
    found = {case.answer(sample, request).body for case in corpus.PROBES}
    return sorted((seed for seed in found if 0 < len(seed) <= 2000), key=len)


def _refusal_seeds() -> Sequence[bytes]:
    request = Request(method="GET", target="/api/v1/x", headers={}, body=b"")
    sample = SampleSource(kind="postbreeze")
    found = {case.answer(sample, request).body for case in corpus.POLLS if case.row in ("N08", "N09", "N10")}
    return [bytes([number % 12]) + seed for number, seed in enumerate(sorted(found, key=len)) if len(seed) <= 2000]


def _pause(octets: bytes) -> None:
    """A header, a body and another header, one on each line."""
    lines = [*octets.decode("latin-1").split("\n"), "", ""][:3]
    headers = {"retry-after": lines[0], "x-ratelimit-reset": lines[1]}
    seconds = retry_after(headers, payload.error_fields(lines[2].encode("utf-8")), now=NOW)
    must(seconds is None or SHORTEST <= seconds <= LONGEST, seconds)
    only = retry_after({"retry-after": lines[0]}, None, now=NOW)
    must(only is None or lines[0].isascii(), lines[0])


def _date(octets: bytes) -> None:
    instant = http_date(octets.decode("latin-1"))
    must(instant is None or instant.utcoffset() is not None, instant)


def _pause_seeds() -> Sequence[bytes]:
    request = Request(method="GET", target="/api/v1/x", headers={}, body=b"")
    responses = [case.answer(SampleSource(kind="postpost"), request) for case in corpus.POLLS if case.row == "N08"]
    lines = [
        (answer.headers.get("retry-after", ""), answer.headers.get("x-ratelimit-reset", ""), answer.body.decode("latin-1"))
        for answer in responses
    ]
    return ["\n".join(each).encode("latin-1") for each in lines if len("".join(each)) < 500]


def _unpacked(octets: bytes) -> None:
    """The first byte chooses the encoding."""
    coding = (None, "gzip", "deflate", "identity", "br", "x-gzip")[octets[0] % 6] if octets else None
    raw, cap = octets[1:], 10_000
    try:
        found = transport.decode(raw, coding, cap=cap, inflation=100)
    except ProviderPayloadInvalid:
        return
    must(len(found) <= max(min(cap, len(raw) * 100), len(raw)), len(found))


def _unpacked_seeds() -> Sequence[bytes]:
    text = SampleSource(kind="postbreeze").text([])
    return [b"\x01" + gzip.compress(text), b"\x02" + zlib.compress(text), b"\x02" + zlib.compress(text)[2:-4], b"\x00" + text]


def _users(octets: bytes) -> None:
    """The list of managed users: a row whose id is in doubt costs the list."""
    try:
        listing = payload.read_list(octets, content_type=None, key="users", bare=True, guarded=("_id", "id"), max_rows=100)
    except ProviderError:
        return
    must(len(listing.rows) <= 100)


TARGETS = (
    *(
        Target(name=f"list-{kind}", one=partial(_judge, kind), seeds=partial(_list_seeds, kind), largest=_LONGEST_SEED)
        for kind in coded_names()
    ),
    Target(name="probe", one=partial(_judge, "postpost", probe=True), seeds=_probe_seeds, largest=2000),
    Target(name="refusal", one=_refused, seeds=_refusal_seeds, largest=2000),
    Target(name="users", one=_users, seeds=lambda: [b'{"users":[{"_id":"a","displayName":"A"}]}', b'[{"id":"a"}]']),
    Target(name="unpacking", one=_unpacked, seeds=_unpacked_seeds),
    Target(name="retry-after", one=_pause, seeds=_pause_seeds, largest=600),
    Target(
        name="http-date",
        one=_date,
        seeds=lambda: [b"Tue, 10 Mar 2026 12:05:00 GMT", b"Tuesday, 10-Mar-26 12:05:00 GMT", b"Tue Mar 10 12:05:00 2026"],
        largest=80,
    ),
)
