"""Pages where managed users reconnect their accounts, as the providers returned them at the last poll.

Anyone who has the address of such a page can open it, so it is a secret and kept in memory only: from the poll that returned
it to the message that contains it. After a restart there is none until the next poll.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime

from monitor.domain import ConnectionLink


class ConnectionLinks:
    """The connection pages of all sources that use them, by source and managed user."""

    def __init__(self) -> None:
        self._known: dict[str, Mapping[str, ConnectionLink]] = {}

    def replace(self, source: str, links: Mapping[str, ConnectionLink]) -> None:
        """Replace the pages of a source."""
        self._known[source] = dict(links)

    def keep_only(self, sources: Collection[str]) -> None:
        """Remove the pages of all other sources, which left the configuration or no longer use them."""
        self._known = {source: links for source, links in self._known.items() if source in sources}

    def find(self, source: str, scope: str | None, *, now: datetime) -> ConnectionLink | None:
        """Return the page of this managed user, or None if there is none that is still valid."""
        link = self._known.get(source, {}).get(scope) if scope is not None else None
        return link if link is not None and link.good_until > now else None
