"""The exceptions of the monitor, as one small tree. Domain outcomes (an expired token) are values, never exceptions.

Every message may be shown to a user or logged unchanged: it holds no secret, no URL with credentials, and at most 256
characters of a server's response.
"""

from __future__ import annotations

from typing import ClassVar


class MonitorError(Exception):
    """The monitor could not complete the operation."""

    transient: ClassVar[bool] = False
    """True if the same call may succeed later without a change on this side."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").strip())


class ConfigError(MonitorError):
    """The configuration cannot be used. It holds every problem found, one sentence each."""

    def __init__(self, problems: list[str] | str) -> None:
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems))


class ProviderError(MonitorError):
    """A provider's API did not return a usable response."""

    def __init__(self, message: str | None = None, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        """Seconds to wait as requested by the provider, already clamped; None without such a request."""


class ProviderUnreachable(ProviderError):
    """The API could not be reached, was too slow, or returned a server error."""

    transient = True


class ProviderRateLimited(ProviderError):
    """The API returned a rate limit."""

    transient = True


class ProviderUnauthorized(ProviderError):
    """The API rejected the API key (401 or 403)."""


class ProviderScopeRefused(ProviderError):
    """The API rejected one managed user or workspace, but not the key."""


class ProviderPayloadInvalid(ProviderError):
    """The API returned a response that does not match its documentation."""

    transient = True


class LeaseLost(MonitorError):
    """Another daemon of the cluster has taken over this work, or this daemon cannot renew its lease."""

    transient = True


class StoreError(MonitorError):
    """The store could not be used."""


class StoreUnavailable(StoreError):
    """The database cannot be reached, or is temporarily locked, full or read-only."""

    transient = True


class StoreRefused(StoreUnavailable):
    """The database is unavailable until an operator changes something, such as a password, a permission or a missing database.

    A daemon that is running keeps trying; one that starts exits.
    """


class SchemaOutOfDate(StoreError):
    """This version cannot use the schema of the database."""


class DatabaseUnsuitable(StoreError):
    """The database cannot be used as it is set up: its encoding, or a pooler in front of it, is unsuitable."""


class StoreHeld(StoreError):
    """Another daemon holds the database."""


class DeliveryError(MonitorError):
    """A channel did not accept a message."""

    retry_after: float | None = None
    """Seconds to wait as requested by the service; None without such a request."""
    down = False
    """True if certainly no recipient got the message: no connection was made, or the server reported a failure."""
    maybe_too_large = False
    """True if the size of the message may be the cause, so a shorter one may be accepted."""

    def __init__(self, message: str | None = None, *, reached: frozenset[str] = frozenset(), uncertain: bool = False) -> None:
        super().__init__(message)
        self.reached = reached
        """The keys of the channel's recipients that did get the message."""
        self.uncertain = uncertain
        """True if the message was sent without a response: it may have arrived, so a retry may be a repeat."""


class ChannelUnreachable(DeliveryError):
    """The channel could not be reached or returned a temporary error."""

    transient = True

    def __init__(
        self,
        message: str | None = None,
        *,
        retry_after: float | None = None,
        reached: frozenset[str] = frozenset(),
        down: bool = False,
        uncertain: bool = False,
        maybe_too_large: bool = False,
    ) -> None:
        super().__init__(message, reached=reached, uncertain=uncertain)
        self.retry_after = retry_after
        self.down = down
        self.maybe_too_large = maybe_too_large


class ChannelRejected(DeliveryError):
    """The channel rejected the message permanently (gone, forbidden, wrong token)."""
