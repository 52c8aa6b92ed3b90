"""The tests' made-up secrets, one for every kind of place that holds one, and the search for them where none may be.

Each begins and ends with marks that occur nowhere else, so a piece of eight characters from either end is found as well
as the whole, and so are its forms in base64, in hexadecimal and in capitals. Quoting for URLs, JSON or Python leaves the
marks as they are.
"""

from __future__ import annotations

import base64
import re
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

_HEAD, _TAIL = "cnry7x2q", "q2x7yrnc"
_DEMO = "demo-key-"
"""How the keys of the simulated world begin where a test gives none."""


def secret(place: str) -> str:
    """A secret for a place; the same one each time."""
    return f"{_HEAD}-{place}-{sha256(place.encode()).hexdigest()[:12]}-{_TAIL}"


def filled(text: str) -> str:
    """The text with a secret in place of each `<canary:NAME>`: test data holds none, as copies would be findings."""
    return re.sub(r"<canary:([a-z0-9-]+)>", rf"{_HEAD}-\1-{_TAIL}", text)


POSTPOST_KEY, PUBLORA_KEY = secret("postpost-key"), secret("publora-key")
POSTBREEZE_KEY, POSTPEER_KEY = secret("postbreeze-key"), secret("postpeer-key")
OTHER_KEY = secret("other-key")
CHANNEL_USER, CHANNEL_PASSWORD = secret("channel-user"), secret("channel-password")
CHANNEL_PATH, CHANNEL_QUERY, CHANNEL_HEADER = secret("channel-path"), secret("channel-query"), secret("channel-header")
MAIL_PASSWORD = secret("mail-password")
WEB_TOKEN = secret("web-token")
DATABASE_PASSWORD = secret("database-password")
HEARTBEAT_PATH = secret("heartbeat-path")
PROXY_PASSWORD = secret("proxy-password")
LINK_TOKEN = secret("link-token")


def channel_url(address: str) -> str:
    """An Apprise URL that holds a secret wherever one may be: user, password, path, header and query."""
    tail = f"{CHANNEL_PATH}?+X-Channel-Key={CHANNEL_HEADER}&-token={CHANNEL_QUERY}"
    return f"json://{CHANNEL_USER}:{CHANNEL_PASSWORD}@{address}/{tail}"


@dataclass(frozen=True, slots=True)
class Finding:
    """A secret where none may be."""

    where: str
    around: str
    """What stands there, with the secret in it."""

    def __str__(self) -> str:
        return f"{self.where}: {self.around}"


def _in_base64(mark: str) -> Iterator[bytes]:
    """What base64 makes of a mark, wherever in the text it begins: the characters that its neighbours do not touch."""
    for before in range(3):
        whole = base64.b64encode(b"\0" * before + mark.encode())
        first = -(-before * 8 // 6)
        last = (before + len(mark)) * 8 // 6
        yield whole[first:last]


_FORMS: tuple[bytes, ...] = tuple(
    dict.fromkeys(
        [
            *(mark.encode() for mark in (_HEAD, _TAIL, _DEMO)),
            _HEAD.upper().encode(),
            _HEAD.encode().hex().encode(),
            *_in_base64(_HEAD),
        ]
    )
)


def search(data: bytes | str, where: str) -> list[Finding]:
    """Every form of a secret that is in there, once each."""
    octets = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
    places = ((form, octets.find(form)) for form in _FORMS)
    return [
        Finding(where, octets[max(place - 60, 0) : place + 90].decode("utf-8", "replace").replace("\n", "\\n"))
        for _, place in places
        if place >= 0
    ]


def assert_absent(data: bytes | str, where: str) -> None:
    """Fails where a secret is in there."""
    found = search(data, where)
    assert not found, f"a secret was shown: {'; '.join(map(str, found))}"


# --- what a run of tests leaves behind

_RIGHTLY = (".toml", "key", ".py", ".pyc")
"""How the names of files end that hold secrets rightly: configurations, key files, and copies of these very lines."""
_FOLDERS = frozenset({"credentials", "creds"})


@dataclass(slots=True)
class Watch:
    """What was found so far by those who look at things as they pass: pages, messages, databases, output of commands."""

    _found: list[Finding] = field(default_factory=list)
    _changing: threading.Lock = field(default_factory=threading.Lock)

    def look(self, data: bytes | str, where: str) -> None:
        """Search this. Any thread may call it; the running test fails at its end."""
        found = search(data, where)
        if found:
            with self._changing:
                self._found += found

    def take(self) -> list[Finding]:
        """What was found since the last call."""
        with self._changing:
            found, self._found = self._found, []
        return found


WATCH = Watch()


def sweep(folder: Path, *, but: Iterable[Path] = ()) -> list[Finding]:
    """Search every file below a folder, but configurations, key files and the folders in `but`."""
    left_out = set(but)
    return [each for path in _files(folder, left_out) for each in _search_file(path, folder)]


def _files(folder: Path, left_out: set[Path]) -> Iterator[Path]:
    try:
        entries = sorted(folder.iterdir())
    except OSError:  # gone meanwhile, or not ours to read
        return
    for entry in entries:
        if entry.is_symlink() or entry in left_out or entry.name in _FOLDERS:
            continue
        if entry.is_dir():
            yield from _files(entry, left_out)
        elif entry.is_file() and not entry.name.endswith(_RIGHTLY):
            yield entry


def _search_file(path: Path, folder: Path) -> list[Finding]:
    try:
        return search(path.read_bytes(), str(path.relative_to(folder.parent)))
    except OSError:
        return []
