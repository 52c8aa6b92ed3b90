"""What is known about the services behind Apprise's plugins, beyond what the plugins say of themselves.

A service that is not named here is spoken to in the first format that its plugin declares, one message after another.
"""

from __future__ import annotations

from typing import Any

from monitor.notify.messages import Limits, Markup, Profile

_MARGIN = 0.95  # some services count bytes, or escape characters, after Apprise counted them
_MAIL_ROOM = 400_000  # a letter has no limit of its own; Apprise's 32,768 is the default of all plugins

# Declared as plain text, yet the service reads Markdown in whatever it is given.
_READ_MARKDOWN = frozenset({"discord", "fluxer", "guilded", "mattermost", "revolt", "zulip"})

# Take any file. Others that declare attachments take pictures only, or sounds.
_TAKE_FILES = frozenset(
    {
        "apprise_api",
        "brevo",
        "custom_form",
        "custom_json",
        "custom_xml",
        "discord",
        "email",
        "fluxer",
        "groundmail",
        "guilded",
        "mailersend",
        "mailgun",
        "matrix",
        "mattermost",
        "ntfy",
        "office365",
        "postmark",
        "pushbullet",
        "resend",
        "sendgrid",
        "sendpulse",
        "ses",
        "slack",
        "smtp2go",
        "sparkpost",
        "telegram",
    }
)

# The setting that carries a stable id of an incident, by which the service itself groups and resolves.
INCIDENT_SETTINGS = {
    "firehydrant": "dedup",
    "goalert": "dedup",
    "ilert": "dedup",
    "incidentio": "dedup",
    "jira": "alias",
    "opsgenie": "alias",
    "pagerduty": "dedup",
    "signl4": "external_id",
    "splunk": "entity_id",
    "squadcast": "dedup",
}

REMEMBERING = frozenset({"jira", "opsgenie"})
"""Close by an id that they were given when they opened, and only as long as this process remembers it."""


def kind_of(service: Any) -> str:
    """The plugin's own module name: slack, email, custom_json ..."""
    parts = type(service).__module__.split(".")
    return str(parts[-2] if parts[-1] == "base" else parts[-1])


def profile_of(service: Any, *, keeps_incidents: bool) -> Profile:
    """What a built Apprise service understands and can carry."""
    kind, markup = kind_of(service), _markup_of(service)
    title = max(int(service.title_maxlen), 0)
    shared = bool(service.overflow_amalgamate_title)
    return Profile(
        limits=Limits(
            body=_room(service, kind, markup),
            title=_title_room(service, kind, title),
            shared=shared,
            lines=service.body_max_line_count,
        ),
        markup=markup,
        marked_title=markup is not Markup.TEXT and (title == 0 or shared),
        files=_takes_files(service, kind),
        one_each=keeps_incidents,
    )


def _room(service: Any, kind: str, markup: Markup) -> int:
    if markup is Markup.MAIL:
        return _MAIL_ROOM
    if kind == "slack" and getattr(service, "use_blocks", False):
        return 2900  # a section block of Slack holds 3,000
    return max(int(service.body_maxlen * _MARGIN), 40)


def _title_room(service: Any, kind: str, title: int) -> int:
    if kind == "slack" and getattr(service, "use_blocks", False):
        return min(title, 150)
    # As an encoded header of one line, which Apprise does not fold, in the widest of scripts.
    return min(title, 160) if kind == "email" else title


def _takes_files(service: Any, kind: str) -> bool:
    if not service.attachment_support or kind not in _TAKE_FILES:
        return False
    # Webhooks of these two take text alone.
    return kind not in ("slack", "matrix") or str(service.mode) in ("bot", "off")


def _markup_of(service: Any) -> Markup:
    kind = kind_of(service)
    formats = [str(each.value) for each in service._formats()]  # noqa: SLF001 - Apprise offers no other view of them
    wanted = service._format_override  # noqa: SLF001 - see above
    chosen = str(wanted.value) if wanted is not None and wanted.value in formats else formats[0]
    if kind in _READ_MARKDOWN:
        return Markup.CHAT
    if kind == "slack":
        plain = chosen == "text" or str(service.mode).startswith("workflow") or bool(getattr(service, "template", None))
        return Markup.TEXT if plain else Markup.SLACK
    if kind == "matrix" and str(service.mode) == "off" and wanted is None:
        return Markup.HTML
    if chosen == "html":
        return Markup.HTML if kind in ("telegram", "matrix") or service.title_maxlen <= 0 else Markup.MAIL
    return Markup.MARKDOWN if chosen == "markdown" else Markup.TEXT
