"""What a page says after a form was taken. Addresses carry only the word: nobody can put sentences on a page by a link."""

from __future__ import annotations

_NOTICES = {
    "acknowledged": "Acknowledged: quiet until it gets worse or recovers.",
    "unacknowledged": "No longer acknowledged: it is said again when there is something to say.",
    "silenced": "Silenced. What changes meanwhile is recorded, and said at the end.",
    "lifted": "The silence is removed: what changed meanwhile is said now.",
    "logged-out": "You are logged out.",
}


def text_of(word: str | None) -> str | None:
    """The sentence, None for a word that is none of ours."""
    return _NOTICES.get(word or "")
