"""The check of all channels' URLs, for `config check`, the start and a reload."""

from __future__ import annotations

from dataclasses import dataclass, field

from monitor.config import UNREAD, Config, Loaded
from monitor.domain.errors import ConfigError
from monitor.domain.records import replace


@dataclass(slots=True)
class ChannelFindings:
    """The findings about all channels' URLs, one sentence each, with the place in the configuration file."""

    misread: list[str] = field(default_factory=list)
    """URLs of which a part is lost or moved, or that name no recipient: alerts would go elsewhere, or nowhere."""
    unusable: list[str] = field(default_factory=list)
    """URLs that Apprise cannot use at all."""
    warnings: list[str] = field(default_factory=list)


def check(config: Config) -> ChannelFindings:
    """Return the findings about every channel whose URL was read. Sends nothing."""
    found = ChannelFindings()
    if not config.channels:
        return found
    from monitor.notify.apprise import Channel, MisreadUrl, UnusableNetwork

    for number, channel in enumerate(config.channels):
        if channel.url is UNREAD:
            continue
        table = f"{config.path}: channels[{number}] ({channel.name})"
        place = f"{table}.url"
        built = Channel.of(channel)
        try:
            built.verify()
        except MisreadUrl as error:
            found.misread.append(f"{place}: {error}")
        except UnusableNetwork as error:
            found.unusable.append(f"{table}.{error}")
        except ConfigError as error:
            found.unusable.append(f"{place}: {error}")
        else:
            found.warnings += [f"{place} {warning}" for warning in built.warnings]
    return found


def require_readable(loaded: Loaded) -> Loaded:
    """Return the configuration with the warnings about its channels. Raises ConfigError if Apprise misreads a URL.

    A URL that Apprise cannot use is a warning here: the other channels work, and they are notified of the broken one.
    """
    found = check(loaded.config)
    if found.misread:
        raise ConfigError(found.misread)
    return replace(loaded, warnings=(*loaded.warnings, *found.unusable, *found.warnings))
