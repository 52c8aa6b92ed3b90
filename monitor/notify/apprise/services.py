"""Limits of each notification service, and corrections to Apprise plugins."""

from __future__ import annotations

import re
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from monitor.notify.apprise.size_limits import SizeLimit, size_limit
from monitor.notify.messages import ChannelLimits, ChannelProfile, Markup

_MAIL_ROOM = 400_000  # a mail has no limit; Apprise's 32,768 is the default of all plugins

# Declared as plain text in Apprise, but the service reads Markdown.
_READ_MARKDOWN = frozenset({"discord", "fluxer", "guilded", "mattermost", "revolt", "zulip"})

# Accept any file. Others that declare attachments accept only pictures or sounds.
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

# The setting for the stable id of an incident, by which the service groups and resolves alerts.
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

RESOLVES_FROM_MEMORY = frozenset({"jira", "opsgenie"})
"""Services that resolve an incident by an id from its creation, which only this process remembers."""


def kind_of(service: Any) -> str:
    """Return the module name of the plugin: slack, email, custom_json ..."""
    parts = type(service).__module__.split(".")
    return str(parts[-2] if parts[-1] == "base" else parts[-1])


def profile_of(service: Any, *, manages_incidents: bool) -> ChannelProfile:
    """Return the capabilities of a built Apprise service."""
    kind, markup = kind_of(service), _markup_of(service)
    title = max(int(service.title_maxlen), 0)
    limit = _size_limit(service, kind, markup)
    return ChannelProfile(
        limits=ChannelLimits(
            body=limit.room,
            size=limit.size,
            title_size=limit.title_size,
            title=_title_room(service, kind, title if limit.title is None else min(title, limit.title)),
            shared=limit.with_title,
            lines=service.body_max_line_count,
        ),
        markup=markup,
        title_has_markup=markup is not Markup.TEXT and (title == 0 or bool(service.overflow_amalgamate_title)),
        files=_takes_files(service, kind),
        per_incident=manages_incidents,
    )


def _size_limit(service: Any, kind: str, markup: Markup) -> SizeLimit:
    if markup is Markup.MAIL:
        return SizeLimit(_MAIL_ROOM)
    if kind == "slack" and getattr(service, "use_blocks", False):
        return SizeLimit(2900)  # a section block of Slack holds 3,000 characters
    return size_limit(kind, service)


def _title_room(service: Any, kind: str, title: int) -> int:
    if kind == "slack" and getattr(service, "use_blocks", False):
        return min(title, 150)
    # The title is an encoded header of one line, which Apprise does not fold; this fits in every script.
    return min(title, 160) if kind == "email" else title


def _takes_files(service: Any, kind: str) -> bool:
    if not service.attachment_support or kind not in _TAKE_FILES:
        return False
    # The webhooks of these two accept only text.
    return kind not in ("slack", "matrix") or str(service.mode) in ("bot", "off")


def _markup_of(service: Any) -> Markup:
    kind = kind_of(service)
    formats = [str(each.value) for each in service._formats()]  # noqa: SLF001 - Apprise has no public access to them
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


_SCHEMAS = re.compile(r"^    (?:secure_)?protocol(?:\s*:[^=\n]+)?\s*=\s*(\([^)]*\)|\{[^}]*\}|[^\n]*)", re.MULTILINE)
_WORD = re.compile(r"""["']([A-Za-z0-9+-]+)["']""")


_NO_PLUGINS = Path(__file__).parent / "no_plugins"


def load_for(url: str) -> None:
    """Load the Apprise plugin for this URL, or all plugins where the schema does not identify one.

    Must not be called by two threads at the same time.
    """
    from apprise.manager_plugins import NotificationManager

    new: Any = NotificationManager
    manager = new()  # a singleton
    schema = url.partition("://")[0].lower()
    if manager and schema in manager:
        return
    plugin = _plugin_for(schema, manager)
    if plugin is not None:
        if not manager:
            manager.load_modules(path=str(_NO_PLUGINS))  # else it loads all plugins on the first lookup
        manager.add(plugin)
    if plugin is None or schema not in manager:
        _load_everything(manager)


def has_unknown_scheme(url: str) -> bool:
    """Return True if no plugin has the URL's scheme. Call load_for() before."""
    from apprise.manager_plugins import NotificationManager

    new: Any = NotificationManager
    manager = new()  # a singleton
    scheme, separator, _ = url.lower().partition("://")
    # Plugins accept some web addresses of their services, whose scheme is none of theirs.
    return bool(separator) and scheme not in ("http", "https") and scheme not in manager


@cache
def _load_everything(manager: Any) -> None:
    """Load all plugins as Apprise does; those that were loaded separately would conflict."""
    manager.unload_modules()
    manager.load_modules()


def _plugin_for(schema: str, manager: Any) -> Any:
    """Return the plugin whose source declares the schema; None where no source or more than one does."""
    modules = modules_by_schema(Path(manager.module_path)).get(schema, set())
    if len(modules) != 1:
        return None
    module = import_module(f"{manager.module_name_prefix}.{next(iter(modules))}")
    names = (name for name in dir(module) if manager.module_filter_re.match(name))
    return next((found for name in names if hasattr(found := getattr(module, name), "app_id")), None)


@cache
def modules_by_schema(folder: Path) -> dict[str, set[str]]:
    """Return the modules by the schemas that their sources declare."""
    found: dict[str, set[str]] = {}
    for path in sorted(folder.rglob("*.py")):
        name = path.relative_to(folder).parts[0].removesuffix(".py")
        if name == "base" or name.startswith("_"):
            continue
        for claim in _SCHEMAS.finditer(path.read_text("utf-8", "replace")):
            for word in _WORD.findall(claim[1]):
                found.setdefault(word.lower(), set()).add(name)
    return found
