"""Characters that end or split an Apprise URL although they were meant as part of a secret or name.

Apprise's parser takes any text: what follows a `#`, a second `@` or a second `:` of a login is dropped without an error, and a
`/` or `?` in a password moves the host. Only the text is read here; `url_check` compares it with the service that was built.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import quote, unquote

_SCHEME = re.compile(r"([^:\s]+):[/\\]+")
_FRAGMENT = re.compile(r"(?<!/)#")  # Apprise reads "/#" as "/%23" (plugins.url_to_dict): a channel name
_PORT = re.compile(r"(\[[^\]]*\]|[^:]*):(\d+)")
_HOST = re.compile(r"(?i)(?:localhost|\[[0-9a-f:.]+\]|[a-z0-9](?:[a-z0-9_-]*\.)+[a-z0-9_-]+)(?::\d+)?|[a-z0-9_-]+:\d+")
_INNER_AT = re.compile(r"(?<=[^/?])@([^/?]*)")
_AT_BEFORE_VALUE = re.compile(r"\?[^=&;@]*@([^/?]*)")
_PARAMETERS = re.compile(r"[^&;]+")  # Apprise separates parameters at both
_PREFIXES = "+-:"  # of parameters that a service passes on: headers, fields


@dataclass(frozen=True, slots=True)
class Fault:
    """A character that makes Apprise read the URL differently than it is written."""

    character: str
    at: int
    """Its position in the URL, counted from 1."""
    effect: str
    remedy: str = ""
    """The correction as an imperative sentence; empty if it is to write the escape of the character."""
    prefix: str | None = None
    """The prefix of a parameter without a value; there is no fault if the service takes parameters with it."""
    host_meant: str | None = None
    """The text that reads like the host; there is no fault if the service was built with this host."""

    def __str__(self) -> str:
        remedy = self.remedy or f"write {quote(self.character, safe='')}"
        return f'is misread, because the "{self.character}" at character {self.at} {self.effect}: {remedy}'


@dataclass(frozen=True, slots=True)
class Piece:
    """One part of a URL, with its escapes resolved."""

    kind: str
    """user, password, host, port or path, or the name of a parameter after `?`."""
    text: str
    at: int
    """Its position in the URL, counted from 1."""


class WrittenUrl:
    """An Apprise URL, separated into parts where Apprise separates them."""

    def __init__(self, url: str) -> None:
        self.url = url.strip()
        match = _SCHEME.match(self.url)
        self.schema = match[1].lower() if match else ""
        self._start = match.end() if match else 0
        self._before, self._mark, self.query = self.url[self._start :].partition("?")
        self.authority, _, self.path = self._before.partition("/")
        self.userinfo, self.at_sign, self.netloc = self.authority.rpartition("@")

    @property
    def is_native(self) -> bool:
        """True for a service's own web address, such as https://hooks.slack.com/…, which its plugin matches as a whole."""
        return self.schema in ("http", "https")

    @property
    def host(self) -> str:
        """The host without a port, its escapes resolved."""
        match = _PORT.fullmatch(self.netloc)
        return unquote(match[1] if match else self.netloc).strip("[]")

    @property
    def names_server(self) -> bool:
        """True if the text in the place of the host can only be a server: a name with a dot, an address, a port, localhost."""
        return bool(_HOST.fullmatch(self.netloc))

    @property
    def parameters(self) -> list[tuple[str, str | None, int]]:
        """The name, the value (None without `=`) and the position of each parameter after `?`."""
        begin = self._start + len(self._before) + 2
        found = []
        for match in _PARAMETERS.finditer(self.query):
            name, equals, value = match[0].partition("=")
            found.append((name, value if equals else None, begin + match.start()))
        return found

    def pieces(self) -> Iterator[Piece]:
        """Yield the parts that the service has to keep, without the parameters after `?`."""
        user, colon, password = self.userinfo.partition(":")
        begin = self._start + 1
        if user:
            yield Piece("user", unquote(user), begin)
        if password:
            yield Piece("password", unquote(password), begin + len(user) + len(colon))
        begin += len(self.userinfo) + len(self.at_sign)
        match = _PORT.fullmatch(self.netloc)
        if host := match[1] if match else self.netloc:
            yield Piece("host", unquote(host), begin)
        if match:
            yield Piece("port", match[2], begin + match.start(2))
        begin += len(self.netloc) + 1
        for segment in self.path.split("/"):
            if segment.strip():
                yield Piece("path", unquote(segment), begin)
            begin += len(segment) + 1

    def faults(self) -> Iterator[Fault]:
        """Yield the characters that end or split the URL, the most harmful first."""
        if match := _FRAGMENT.search(self._before):
            yield self._fault(match.start(), "ends the address, so the text after it is not used")
        yield from self._faults_of_userinfo()
        yield from self._moved_host()
        last = self.path.rfind("/") + 1
        if ";" in self.path[last:]:
            yield self._fault(len(self.authority) + 1 + self.path.index(";", last), "cuts off the text after it")
        if not self.is_native:
            yield from self._faults_of_parameters()

    def _faults_of_userinfo(self) -> Iterator[Fault]:
        if "@" in self.userinfo:
            yield self._fault(self.userinfo.index("@"), "ends the user and password too early, and moves the host")
        if self.userinfo.count(":") > 1:
            yield self._fault(self.userinfo.index(":", self.userinfo.index(":") + 1), "cuts off the password")
        if match := re.search(r"[\[\]]", self.userinfo):
            yield self._fault(match.start(), "is only allowed around an IPv6 address")

    def _moved_host(self) -> Iterator[Fault]:
        """Yield the first `/` or `?` where a later `@` shows that it is part of the user or password."""
        if self.at_sign or not self.authority:
            return
        port = self.netloc.rpartition(":")[2] if ":" in self.netloc else None
        secret = port is not None and not port.isdigit()
        later = _INNER_AT.search(self._before, len(self.authority))
        if secret and self._before == self.authority:  # the ? may stand in a password, unless the @ is in a parameter's value
            later = _AT_BEFORE_VALUE.match(self.url[self._start :], len(self.authority))
        if later is None or (not secret and (port is not None or self.names_server)):
            return
        moved = self._fault(len(self.authority), "makes the text before it the host, although an @ follows")
        number, escape = self._start + later.start(1), quote(moved.character, safe="")
        remedy = f"write {escape} if it is part of the user or password, or %40 for the @ at character {number}"
        host = _PORT.fullmatch(later[1])
        meant = (host[1] if host else later[1]).strip("[]")
        yield Fault(moved.character, moved.at, moved.effect, remedy, host_meant=meant)

    def _faults_of_parameters(self) -> Iterator[Fault]:
        seen: set[str] = set()
        for name, value, at in self.parameters:
            before = self._fault(at - self._start - 2, "begins a parameter")
            if match := re.search(r"[?@/]", name):
                yield Fault(match[0], at + match.start(), "is in the name of a parameter, which is not used")
            elif value is None:
                prefix = name[0] if name[0] in _PREFIXES else None
                yield Fault(before.character, before.at, "begins a parameter without a value, which is not used", prefix=prefix)
            else:
                key = name if name[0] in _PREFIXES else name.casefold()
                if key in seen:
                    effect = "begins a parameter that is set twice, and only the last one is used"
                    yield Fault(before.character, before.at, effect, "write one parameter, with commas between its values")
                seen.add(key)

    def _fault(self, offset: int, effect: str) -> Fault:
        """Return the fault of the character at an offset after the scheme."""
        at = self._start + offset
        return Fault(self.url[at], at + 1, effect)
