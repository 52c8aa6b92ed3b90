"""Signatures by a secret key (HMAC-SHA256): each purpose has signatures that are valid for no other."""

from __future__ import annotations

import hashlib
import hmac


def sign(key: bytes, purpose: str, text: str) -> str:
    """Return the signature of a text for one purpose, as 64 hexadecimal digits."""
    return hmac.new(key, f"{purpose}\0{text}".encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()
