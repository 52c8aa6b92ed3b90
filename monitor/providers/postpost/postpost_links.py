"""The connection pages of managed users (PROVIDERS 1.1, reconnect link): read only where the source asks for them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import msgspec

from monitor.domain import ConnectionLink
from monitor.domain.rules import dates

_LONGEST = 2048


class UserRow(msgspec.Struct):
    """One managed user in any documented shape. What is no readable page costs the page and not the user."""

    id_new: str | None = msgspec.field(default=None, name="_id")
    id_old: str | None = msgspec.field(default=None, name="id")
    page: Any = msgspec.field(default=None, name="connectionsPageUrl")
    page_until: Any = msgspec.field(default=None, name="connectionsPageTokenExpiresAt")

    @property
    def user(self) -> str | None:
        """The user's id, None where it has none."""
        return self.id_new or self.id_old


def links_of(rows: Iterable[UserRow], *, now: datetime) -> dict[str, ConnectionLink]:
    """The pages that are certainly still good, by user: over https, with an expiry that is stated and ahead."""
    found = {}
    for row in rows:
        until, flags = dates.parse_instant(row.page_until)
        if row.user and _is_page(row.page) and until is not None and dates.NAIVE not in flags and until > now:
            found[row.user] = ConnectionLink(url=row.page, good_until=until)
    return found


def _is_page(address: object) -> bool:
    if not isinstance(address, str) or len(address) > _LONGEST:
        return False
    return address.startswith("https://") and address.isascii() and address.isprintable() and " " not in address
