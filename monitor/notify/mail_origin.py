"""The origin of a mail: headers for mail programs, and a footer for readers."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass, replace
from html import escape
from urllib.parse import urlsplit

from monitor.notify.messages import Markup, Part, email

_LONGEST_NAME = 120  # of a host, in the header
_NO_HOST = re.compile(r"[^A-Za-z0-9.-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class MailOrigin:
    """The channel, the host and the configuration that a mail comes from."""

    channel: str
    config_file: str
    """The name of the configuration file, without its folder."""
    public_url: str | None = None

    def applied(self, part: Part) -> Part:
        """Return the part with the headers, and with the footer if it is an HTML mail."""
        body = email.with_footer(part.body, self._footer()) if part.markup is Markup.MAIL else part.body
        return replace(part, body=body, headers={**part.headers, **self._headers()})

    def _headers(self) -> dict[str, str]:
        """Return headers that keep automatic replies away (RFC 3834) and let mail programs sort by channel (RFC 2919)."""
        site = (urlsplit(self.public_url).hostname if self.public_url else None) or socket.gethostname()
        host = _NO_HOST.sub("-", site)[:_LONGEST_NAME].strip(".-") or "localhost"
        return {
            "Auto-Submitted": "auto-generated",
            "List-Id": f"Token expiry monitor, channel {self.channel} <{self.channel}.token-monitor.{host}>",
        }

    def _footer(self) -> str:
        """Return the footer as HTML."""
        page = escape(self.public_url or "")
        site = f' (<a href="{page}" style="color:inherit">{page}</a>)' if page else ""
        settings = escape(f"Its settings: channel {self.channel} in {self.config_file}.")
        return f"Sent by the token expiry monitor on {escape(socket.gethostname())}{site}. {settings}"
