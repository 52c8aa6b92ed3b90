"""Signatures of deliveries, in the schemes that services use (SOURCES.md, section 4). All are of the raw body, with SHA-256."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from monitor.config.definition import Hook

WINDOW = timedelta(minutes=5)
"""Largest difference between the time of a delivery and now."""
_MILLISECONDS_FROM = 1e11
_STANDARD_SECRET = "whsec_"  # noqa: S105 - the prefix of every such secret


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One delivery as it arrived."""

    headers: Mapping[str, str]
    """By case-insensitive name."""
    body: bytes
    at: datetime


def is_signed(delivery: Delivery, hook: Hook, secrets: Sequence[str]) -> bool:
    """Return True if any of the secrets has signed the delivery, and its time, if it has one, is within WINDOW.

    Takes the same time for every secret and signature of one length.
    """
    given = delivery.headers.get(hook.header, "")
    if not given.startswith(hook.prefix):
        given = ""
    matches = [
        _SCHEMES[hook.scheme](delivery, hook, given.removeprefix(hook.prefix).strip(), secret) for secret in secrets if secret
    ]
    return any(matches)


def _hex(delivery: Delivery, hook: Hook, given: str, secret: str) -> bool:
    signed = hmac.new(secret.encode(), delivery.body, "sha256").hexdigest()
    return _equal(given.lower(), signed) and _is_recent_if_stated(delivery, hook)


def _base64(delivery: Delivery, hook: Hook, given: str, secret: str) -> bool:
    return _equal(given, _b64(secret.encode(), delivery.body)) and _is_recent_if_stated(delivery, hook)


def _timestamped(delivery: Delivery, _: Hook, given: str, secret: str) -> bool:
    """Verify `t=<seconds>,v1=<hex>`, where several v1 may follow while the service rotates its secret."""
    parts = [part.strip().partition("=")[::2] for part in given.split(",")]
    at = next((value for key, value in parts if key == "t"), "")
    signed = hmac.new(secret.encode(), f"{at}.".encode() + delivery.body, "sha256").hexdigest()
    return _any_equal((value.lower() for key, value in parts if key == "v1"), signed) and _is_recent(delivery, at)


def _standard(delivery: Delivery, _: Hook, given: str, secret: str) -> bool:
    """Verify a delivery of Standard Webhooks, which may have several signatures."""
    key, at = delivery.headers.get("webhook-id", ""), delivery.headers.get("webhook-timestamp", "")
    signed = _b64(_standard_key(secret), f"{key}.{at}.".encode() + delivery.body)
    signatures = (each.removeprefix("v1,") for each in given.split() if each.startswith("v1,"))
    return _any_equal(signatures, signed) and _is_recent(delivery, at)


def _shared(delivery: Delivery, hook: Hook, given: str, secret: str) -> bool:
    return _equal(given, secret) and _is_recent_if_stated(delivery, hook)


_SCHEMES: dict[str, Callable[[Delivery, Hook, str, str], bool]] = {
    "hmac-sha256-hex": _hex,
    "hmac-sha256-base64": _base64,
    "timestamped-hmac-sha256-hex": _timestamped,
    "standard-webhooks": _standard,
    "shared-secret": _shared,
}


def _standard_key(secret: str) -> bytes:
    if not secret.startswith(_STANDARD_SECRET):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix(_STANDARD_SECRET), validate=True)
    except binascii.Error:
        return secret.encode()


def _b64(key: bytes, message: bytes) -> str:
    return base64.b64encode(hmac.digest(key, message, "sha256")).decode()


def _equal(given: str, right: str) -> bool:
    # Digests have one length, so that not even the length of a secret can be measured.
    sides = (hmac.digest(b"hook", text.encode("utf-8", "surrogatepass"), "sha256") for text in (given, right))
    return hmac.compare_digest(*sides)


def _any_equal(given: Iterable[str], right: str) -> bool:
    matches = [_equal(each, right) for each in given]
    return any(matches)


def _is_recent_if_stated(delivery: Delivery, hook: Hook) -> bool:
    return not hook.timestamp or _is_recent(delivery, delivery.headers.get(hook.timestamp, ""))


def _is_recent(delivery: Delivery, text: str) -> bool:
    if not text.isascii() or not text.isdigit() or len(text) > 15:
        return False
    seconds = int(text) / 1000 if int(text) > _MILLISECONDS_FROM else int(text)
    return abs(delivery.at.timestamp() - seconds) <= WINDOW.total_seconds()
