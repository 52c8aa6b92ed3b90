"""What people write: the configuration, its durations, hours and addresses; and what hides an address again."""

from __future__ import annotations

import atexit
import tempfile
import tomllib
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from monitor.config import database_urls, load, urls
from monitor.config.formatting import LONGEST, format_duration, parse_duration, toml_value
from monitor.config.secrets import UnusableError
from monitor.domain.errors import ConfigError
from monitor.notify.apprise.redaction import UrlRedactor
from tests.fuzz.target import Target, must

_EXAMPLES = Path(__file__).parent.parent / "data" / "config"
_ENV = {"HOME": "/nonexistent", "OPS_APPRISE_URL": "json://127.0.0.1/canary-of-the-environment", "POSTPOST_API_KEY": "sk_canary"}
_FOLDER = tempfile.TemporaryDirectory(prefix="token-monitor-fuzz-")
atexit.register(_FOLDER.cleanup)
_FILE = Path(_FOLDER.name) / "config.toml"


def _config(octets: bytes) -> None:
    """Any file is a configuration or refused in sentences; neither shows a secret of the environment."""
    _FILE.write_bytes(octets)
    try:
        loaded = load(_FILE, _ENV)
    except ConfigError as error:
        must(str(error) and "canary" not in str(error), error)
        return
    must("canary" not in repr(loaded), "a secret is shown")


def _durations(octets: bytes) -> None:
    text = octets.decode("utf-8", "surrogateescape")
    duration = parse_duration(text)
    if duration is not None:
        must(duration >= timedelta(0), duration)
        must(duration > LONGEST or parse_duration(format_duration(duration)) == duration, duration)


_READERS = (urls.web_url, urls.proxy_url, urls.channel_url)


def _addresses(octets: bytes) -> None:
    """Any text where an address is wanted: read or refused, and shown without what it may hide."""
    text = octets.decode("utf-8", "surrogateescape")
    for read in (*_READERS, lambda url: urls.base_url(url, list_path="/platform-connections"), urls.listen_address):
        try:
            read(text)
        except UnusableError as error:
            must(str(error), "refused without a word")
    urls.is_loopback(text)
    database_urls.holds_password(text)
    urls.channel_warnings(text)
    for shown in (urls.shown, urls.shown_channel):
        shown(text)


def _redaction(octets: bytes) -> None:
    """What an address holds is in no text that went through its hider."""
    secret = "".join(letter for letter in octets.decode("utf-8", "ignore") if letter.isascii() and letter.isalnum())[:60]
    if len(secret) < 8:
        return
    for address in (
        f"slack://{secret}/B/C",
        f"mailto://user:{secret}@example.com",
        f"json://example.com/path?token={secret}",
        f"https://user:{secret}@host.example/{secret}?q={secret}#{secret}",
    ):
        hidden = UrlRedactor(address, [secret]).redact_line(f"POST {address} failed: {secret} is bad, {secret.upper()} too")
        must(secret.casefold() not in hidden.casefold(), hidden)
        must(secret not in urls.shown_channel(address), urls.shown_channel(address))
    web = f"https://user:{secret}@host.example/{secret}?q={secret}#{secret}"
    must(secret not in urls.shown(web), urls.shown(web))
    must(secret not in database_urls.shown_database(f"postgresql://user:{secret}@host/name?password={secret}"))


def _toml_text(octets: bytes) -> None:
    """Whatever is written as TOML is read as what it was."""
    text = octets.decode("utf-8", "ignore")
    must(tomllib.loads(f"a = {toml_value(text)}")["a"] == text, text)


def _config_seeds() -> Sequence[bytes]:
    return [path.read_bytes() for path in sorted(_EXAMPLES.glob("*.toml"))]


TARGETS = (
    Target(name="config", one=_config, seeds=_config_seeds, largest=4000),
    Target(
        name="durations",
        one=_durations,
        seeds=lambda: [b"90s", b"15m", b"1d 12h", b"52w", b"1w1d1h1m1s", b"off", b"-1s"],
        largest=60,
    ),
    Target(
        name="addresses",
        one=_addresses,
        seeds=lambda: [
            b"https://api.example/v1",
            b"http://[::1]:8080/a?b#c",
            b"slack://a/b/c",
            b"mailto://u:p@h?verify=no&optional=yes",
            b"127.0.0.1:8321",
            b"[::1]:80",
            b"postgresql://u:p@h/d",
        ],
        largest=300,
    ),
    Target(
        name="redaction", one=_redaction, seeds=lambda: [b"T0KENtoken1234", b"xoxb-1234567890", b"0123456789abcdef"], largest=200
    ),
    Target(name="toml-text", one=_toml_text, seeds=lambda: [b'a"b\\c', b"\x7f\x00\x1f", "\u00e9\u2028".encode()], largest=200),
)
