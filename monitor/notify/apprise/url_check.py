"""Comparison of a channel's URL with the service that Apprise built from it.

Apprise drops what it does not recognise and may then publish elsewhere: on another host, on a public server, or nowhere. A URL
of which a part is lost or moved, or that names no recipient, is refused; no text here contains a part of the URL.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from monitor.config import urls
from monitor.config.error_text import nearest
from monitor.domain.errors import ConfigError
from monitor.notify.apprise.services import kind_of
from monitor.notify.apprise.url_text import Fault, Piece, WrittenUrl

# Attributes of a service that are all empty if it has no recipient, although its length is 1 (Apprise 2.2, `send` of each
# plugin: "There are no … to notify"). Services that use a default recipient (a webhook's own channel) are not listed.
_RECIPIENTS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(
        (
            "africas_talking",
            "aprs",
            "brevo",
            "bulkvs",
            "burstsms",
            "clickatell",
            "cliq",
            "cm",
            "eight00com",
            "email",
            "exotel",
            "fortysixelks",
            "goalert",
            "gorush",
            "gupshup",
            "httpsms",
            "infobip",
            "kaleyra",
            "mailersend",
            "mailgun",
            "messagebird",
            "mobilemessage",
            "msg91",
            "nextcloudtalk",
            "notifyre",
            "pingram",
            "plivo",
            "postmark",
            "revolt",
            "sendgrid",
            "ses",
            "seven",
            "signalgrid",
            "smsc",
            "smstunnel",
            "smtp2go",
            "sparkpost",
            "telesign",
            "telnyx",
            "threema",
            "viber",
            "voipms",
            "whapi",
            "whatsapp",
            "zalo",
        ),
        ("targets",),
    ),
    "irc": ("channels", "users"),
    "mqtt": ("topics",),
    "nextcloud": ("targets", "groups"),
    "ntfy": ("topics",),
    "onebot": ("users", "groups"),
    "pushover": ("devices", "groups"),
    "serwersms": ("target_phones", "target_groups"),
    "smpp": ("targets",),
    "wechat": ("users", "departments", "tag_ids"),
    "wxpusher": ("_users", "_topics"),
}
_SEND_WITHOUT_LENGTH = frozenset({"reddit"})  # its length is 0 where it posts to the user's own page
# The same in the mode "bot"; a webhook has its own channel.
_BOT_RECIPIENTS = {"kook": ("channels", "dm_users"), "mattermost": ("targets",), "webexteams": ("targets",)}

# The plugin's `send` cannot fail once the message left this machine or was passed to the local system: syslog(3) returns
# nothing, UDP and the APRS and IRC networks do not answer, and a desktop confirms nothing if no user is logged in.
_UNCONFIRMED = frozenset({"aprs", "blink1", "dbus", "glib", "gnome", "irc", "macosx", "rsyslog", "syslog", "windows"})

_INTERNAL = frozenset({"asset", "logger", "_NotifyBase__store"})
_COPIED = frozenset({"host", "port", "user", "password", "fullpath"})  # of every URL; `url()` shows if the service uses them
_REPLACE_LOGIN = frozenset({"auth", "pass", "password", "secret", "token", "user"})  # parameters
_OPTIONAL = frozenset(
    {
        ("bluesky", "user"),  # name.server, which the plugin separates
        ("aprs", "path"),  # call signs, without their suffix
        ("dapnet", "path"),
        ("github", "path"),  # the address of a page, of which the plugin needs the beginning
        ("kodi", "path"),
        ("office365", "password"),  # a part of the sender's address
        ("telegram", "user"),  # the bot's name
    }
)
_NAMES = {"path": "part of the path"}
_NUMBER = re.compile(r"(?:\w:)?[+\d\s().-]+")  # services rewrite phone numbers
_HOST_LIKE = re.compile(r"(?i)\.|^localhost$|:")
_MARKS = "#@+!*^%$&"
_SPLIT = re.compile(r"[,;<>]")
_DEEPEST = 6


class MisreadUrl(ConfigError):
    """Apprise would misread a channel's URL: a part of it is lost or moved, or it names no recipient."""


def is_unconfirmed(service: Any) -> bool:
    """Return True if the service never reports that a message was lost."""
    return kind_of(service) in _UNCONFIRMED or (kind_of(service) == "mqtt" and not service.qos)


def text_problem(url: str) -> str | None:
    """Return the reason in the text of a URL that Apprise cannot use, as the end of a sentence; None if there is none."""
    written = WrittenUrl(url)
    plain = (fault for fault in written.faults() if fault.host_meant is None or ":" in written.authority)
    return next((str(fault) for fault in plain), None)


def problem(url: str, service: Any) -> str | None:
    """Return the first difference between the URL and the service, as the end of a sentence; None if there is none."""
    return next(_problems(WrittenUrl(url), service), None)


def _problems(written: WrittenUrl, service: Any) -> Iterator[str]:
    for fault in written.faults():
        if _counts(fault, written, service):
            yield str(fault)
    if _is_on_public_server(written, service):
        yield (
            f"names a server, but {service.service_name} would publish on its public server: write the topic or token after the "
            "server's name, with its special characters escaped"
        )
    yield from _lost(written, service)
    if not _has_recipient(service):
        yield f"names no recipient, so {service.service_name} would send nothing: add the topic, channel, number or address"


def warnings(url: str, service: Any) -> Iterator[str]:
    """Yield what is unsafe about a service that is usable, as ends of sentences."""
    written = WrittenUrl(url)
    if secure := _secure_schema(written, service):
        yield (
            f"sends a password or token unencrypted to another host ({written.schema}://): "
            f"use {secure}:// if the server supports TLS."
        )
    if is_unconfirmed(service):
        yield (
            f"belongs to a service that never confirms a message ({service.service_name}): alerts count as sent although "
            "they may be lost. Add a second channel."
        )
    for name, at in _unknown_parameters(written, service):
        # Behind an unescaped & the name may be a part of a secret: it is shown only if it is a misspelled parameter.
        if re.fullmatch(r"[a-z_]+", name) and nearest(name, service.template_args):
            yield f"has the parameter {name}, which {service.service_name} does not have: it is ignored."
        else:
            yield (
                f"has a parameter at character {at} that {service.service_name} does not have: it is ignored. If it is part "
                "of a password or token, escape the special characters of that secret."
            )
    dropped = sum(len(getattr(service, name, ())) for name in ("invalid_targets", "_invalid_targets"))
    if dropped:
        recipients = "1 recipient" if dropped == 1 else f"{dropped} recipients"
        yield f"has {recipients} that {service.service_name} cannot use: no message is sent to them."


def host_of(url: str, service: Any) -> str | None:
    """Return the server that the URL names and the service sends to; None for a service with a fixed one, or without any."""
    written = WrittenUrl(url)
    if kind_of(service) == "email":
        return str(service.smtp_host or service.host)
    fixed = not all("{host}" in template for template in service.templates)  # one of them names a token, not a server
    token = fixed and not written.names_server and str(getattr(service, "mode", "")) != "private"
    return None if token or not _uses_host(written, service) else written.host


def _counts(fault: Fault, written: WrittenUrl, service: Any) -> bool:
    """Return False for a fault that this service resolves: its plugin reads the text in its own way (rocket://web/token@host)."""
    if fault.prefix is not None:
        return fault.prefix not in {each.get("prefix") for each in service.template_kwargs.values()}
    if fault.host_meant is None:
        return True
    if str(service.host).strip("[]").casefold() == fault.host_meant.casefold():
        return False
    templates = service.templates
    if not _has_host(service) and any("@" in template for template in templates):
        return not _HOST_LIKE.search(fault.host_meant)  # an e-mail address in the path is a recipient
    if not _HOST_LIKE.search(fault.host_meant) and ":" not in written.authority:
        return False
    with_host = any("@{host}" in template for template in templates)
    return ":" in written.authority or (with_host and not any("{from_addr}" in template for template in templates))


def _is_on_public_server(written: WrittenUrl, service: Any) -> bool:
    """Return True if the URL names a server, and the service publishes on the vendor's public server."""
    if written.is_native or any(name.casefold() == "mode" for name, _, _ in written.parameters):
        return False
    if kind_of(service) == "ntfy" and str(service.mode) == "cloud":
        # Apprise's parse_url of ntfy: a text that is not a host name, or has no topic after it, goes to ntfy.sh.
        one_word = not (written.at_sign or written.path.strip("/") or ":" in written.netloc or written.names_server)
        return not one_word and written.host.casefold() != "ntfy.sh"
    used = _uses_host(written, service) or _is_own_host(written, service)
    return written.names_server and _has_host(service) and not used


def _lost(written: WrittenUrl, service: Any) -> Iterator[str]:
    """Yield the parts of the URL that the service does not have."""
    if written.is_native:
        return
    fields = {key: value for key, value in vars(service).items() if key not in _INTERNAL}
    used = [*_texts({key: value for key, value in fields.items() if key not in _COPIED}), unquote(service.url())]
    stated = {name.casefold() for name, _, _ in written.parameters}
    with_port = any("{port}" in template for template in service.templates)  # `url()` omits a port that is the default
    for piece in written.pieces():
        if _is_exempt(piece, kind_of(service), stated):
            continue
        kept = [*used, *_texts(fields)] if piece.kind == "host" or (piece.kind == "port" and with_port) else used
        if not _holds(kept, piece):
            yield (
                f"has a {_NAMES.get(piece.kind, piece.kind)} at character {piece.at} that {service.service_name} does not use as "
                "written: correct it, or escape its special characters"
            )
    yield from _changed_parameters(written, used)


def _changed_parameters(written: WrittenUrl, used: list[str]) -> Iterator[str]:
    """Yield the parameters of which a plugin's own parser cuts off the end, or reads a `+` as a space."""
    for name, value, at in written.parameters:
        whole, begin = unquote(value or ""), at + len(name) + 1
        if value is None or any(whole in text for text in used):
            continue
        if inner := re.search(r"(?<=[^,\s])#", value):
            yield str(Fault("#", begin + inner.start(), "ends the parameter"))
        elif "+" in value and any(unquote(value.replace("+", " ")) in text for text in used):
            yield str(Fault("+", begin + value.index("+"), "is read as a space"))


def _is_exempt(piece: Piece, kind: str, stated: set[str]) -> bool:
    """Return True for a part that a service may replace or rewrite."""
    if piece.kind in ("user", "password"):
        return bool(stated & _REPLACE_LOGIN) or (kind, piece.kind) in _OPTIONAL
    return piece.kind == "path" and (bool(_NUMBER.fullmatch(piece.text)) or (kind, piece.kind) in _OPTIONAL)


def _holds(kept: list[str], piece: Piece) -> bool:
    """Return True if the service has this text. Case and leading marks may differ, but not in a password."""
    if piece.kind in ("user", "password"):
        whole = re.compile(
            rf"(?<![A-Za-z0-9]){re.escape(piece.text)}(?![A-Za-z0-9])", re.IGNORECASE if piece.kind == "user" else 0
        )
        return any(whole.search(text) for text in kept)
    folded = [text.casefold() for text in kept]
    return all(any(part.strip().casefold().lstrip(_MARKS) in text for text in folded) for part in _SPLIT.split(piece.text))


def _has_recipient(service: Any) -> bool:
    kind = kind_of(service)
    if kind == "notifiarr":
        return bool(service.targets["channels"])
    names = _RECIPIENTS.get(kind, ())
    if kind in _BOT_RECIPIENTS and str(getattr(service, "mode", "")) == "bot":
        names = _BOT_RECIPIENTS[kind]
    found = [getattr(service, name) for name in names if hasattr(service, name)]
    if found:
        return any(found)
    return len(service) > 0 or kind in _SEND_WITHOUT_LENGTH


def _secure_schema(written: WrittenUrl, service: Any) -> str | None:
    """Return the schema with TLS if a password or token goes unencrypted to another host; None if not, or if there is none."""
    plain, secure = _words(type(service).protocol), _words(type(service).secure_protocol)
    host = host_of(written.url, service)
    if service.secure or not secure or host is None or urls.is_loopback(host):
        return None
    if written.schema not in (*plain, "http"):
        return None
    private = [name for name, token in service.template_tokens.items() if token.get("private")]
    if not (written.userinfo or any(getattr(service, name, None) for name in private)):
        return None
    return next((each for each in secure if each == f"{written.schema}s"), "https" if written.is_native else secure[0])


def _unknown_parameters(written: WrittenUrl, service: Any) -> Iterator[tuple[str, int]]:
    """Yield name and position of each parameter that the plugin does not read."""
    if written.is_native or not written.parameters:
        return
    known = "".join(_source(module) for module in {each.__module__ for each in type(service).__mro__})
    for name, _, at in written.parameters:
        if name.isidentifier() and f'"{name.casefold()}"' not in known:
            yield name, at


def _source(module: str) -> str:
    """Return the source of a plugin's module: its parser names every parameter, which its templates do not."""
    file = getattr(sys.modules.get(module), "__file__", None)
    return Path(file).read_text("utf-8", "replace") if file and file.endswith(".py") else ""


def _has_host(service: Any) -> bool:
    return any("{host}" in template for template in service.templates)


def _uses_host(written: WrittenUrl, service: Any) -> bool:
    """Return True if the service sends to the host that the URL names."""
    if not _has_host(service) or not written.host:
        return False
    if kind_of(service) == "email":
        return True
    return written.host.casefold() in unquote(WrittenUrl(service.url()).netloc).casefold()


def _is_own_host(written: WrittenUrl, service: Any) -> bool:
    """Return True if the URL names the vendor's own server."""
    host = written.host.casefold()
    values = (value for each in type(service).__mro__ for value in vars(each).values())
    return any(isinstance(value, str) and "://" in value and host in value.casefold() for value in values)


def _words(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else [str(each) for each in value or ()]


def _texts(value: Any, depth: int = 0) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, bytes):
        yield value.decode("utf-8", "replace")
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield str(value)
    elif isinstance(value, dict) and depth < _DEEPEST:
        for key, inner in value.items():
            yield from (*_texts(key, depth + 1), *_texts(inner, depth + 1))
    elif isinstance(value, (list, tuple, set, frozenset)) and depth < _DEEPEST:
        for inner in value:
            yield from _texts(inner, depth + 1)
