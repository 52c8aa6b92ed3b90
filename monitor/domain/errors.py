"""What can go wrong on our side, as one small tree. Domain outcomes (an expired token) are values, never exceptions.

Every message may be shown to a user or written to a log as it is: it holds no secret, no URL with
credentials, and at most 256 characters of what somebody else's server said.
"""

from __future__ import annotations

from typing import ClassVar


class MonitorError(Exception):
    """The monitor could not do what was asked."""

    transient: ClassVar[bool] = False
    """Whether the same call may succeed later with nothing changed on our side."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").strip())


class ConfigError(MonitorError):
    """The configuration cannot be used. Holds every problem found, one sentence each."""

    def __init__(self, problems: list[str] | str) -> None:
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems))


class ProviderError(MonitorError):
    """A provider's API did not give a usable answer."""

    def __init__(self, message: str | None = None, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        """Seconds the provider asked us to wait, already clamped; None when it did not say."""


class ProviderUnreachable(ProviderError):
    """The API could not be reached, was too slow, or answered with a server error."""

    transient = True


class ProviderRateLimited(ProviderError):
    """The API asked us to slow down."""

    transient = True


class ProviderUnauthorized(ProviderError):
    """The API refused our own key (401 or 403)."""


class ProviderScopeRefused(ProviderError):
    """The API refused one managed user or workspace, and no more than that."""


class ProviderPayloadInvalid(ProviderError):
    """The API answered with something that is not what its documents describe."""

    transient = True


class StoreError(MonitorError):
    """The store could not be used."""


class StoreUnavailable(StoreError):
    """The database cannot be reached, is locked, full or read-only for now."""

    transient = True


class SchemaOutOfDate(StoreError):
    """The database's schema is not one that this version can use."""


class StoreHeld(StoreError):
    """Another daemon holds the database."""


class DeliveryError(MonitorError):
    """A channel did not take a message."""

    retry_after: float | None = None
    """Seconds the service asked us to wait, None when it did not say."""
    down = False
    """Nobody took the message, for certain: no connection came about, or the server said that it failed."""

    def __init__(self, message: str | None = None, *, reached: frozenset[str] = frozenset(), uncertain: bool = False) -> None:
        super().__init__(message)
        self.reached = reached
        """The keys of the channel's recipients that have the message all the same."""
        self.uncertain = uncertain
        """The message went out and no answer came: it may have arrived, so the next try may be a repeat."""


class ChannelUnreachable(DeliveryError):
    """The channel could not be reached or answered with a passing error."""

    transient = True

    def __init__(
        self,
        message: str | None = None,
        *,
        retry_after: float | None = None,
        reached: frozenset[str] = frozenset(),
        down: bool = False,
        uncertain: bool = False,
    ) -> None:
        super().__init__(message, reached=reached, uncertain=uncertain)
        self.retry_after = retry_after
        self.down = down


class ChannelRejected(DeliveryError):
    """The channel refused the message for good (gone, forbidden, wrong token)."""
