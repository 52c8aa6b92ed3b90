"""Where managed users reconnect their accounts, as the provider told at the last poll.

Such a page opens for whoever has its address: the address is a secret. It lives in memory alone, from the poll that brought
it to the message that carries it; after a restart there is none until the next poll.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime

from monitor.domain import ConnectionLink


class ConnectionLinks:
    """The connection pages of all sources that asked for them, by source and managed user."""

    def __init__(self) -> None:
        self._known: dict[str, Mapping[str, ConnectionLink]] = {}

    def replace(self, source: str, links: Mapping[str, ConnectionLink]) -> None:
        """What a source told last is all that holds."""
        self._known[source] = dict(links)

    def keep_only(self, sources: Collection[str]) -> None:
        """Forget the pages of every other source: it left the configuration, or no longer wants them used."""
        self._known = {source: links for source, links in self._known.items() if source in sources}

    def find(self, source: str, scope: str | None, *, now: datetime) -> ConnectionLink | None:
        """The page of this managed user, None where there is none that is still good."""
        link = self._known.get(source, {}).get(scope) if scope is not None else None
        return link if link is not None and link.good_until > now else None
