"""Untrusted texts and texts of operators: dates, spans, names, ids, templates, and the wording of messages."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from pathlib import Path

from monitor.config.templates import TemplatePair
from monitor.domain import AlertEvent, ProbeAnswer, ProbeFinding
from monitor.domain import text as provider_text
from monitor.domain.rules import dates, platforms, probe_answers
from monitor.notify.messages import (
    ChannelLimits,
    ChannelProfile,
    Dispatch,
    Markup,
    clean,
    clean_id,
    compose,
    defuse,
    fit,
    render,
    templates,
)
from monitor.notify.messages.templates import TemplateProblem
from tests.answers.corpus import dates as written_dates
from tests.fuzz.target import Target, must
from tests.support.factories import NOW, make_alert
from tests.support.hostile_names import HOSTILE


def _text(octets: bytes) -> str:
    """Any text, lone surrogates too."""
    return octets.decode("utf-8", "surrogateescape")


def _dates(octets: bytes) -> None:
    written = _text(octets)
    for value in (written, *_numbers(written)):
        instant, flags = dates.parse_expiry(value, now=NOW)
        must(instant is None or (instant.utcoffset() is not None and instant.year >= 2015), instant)
        must(instant is not None or flags or not written.strip() or value == "", (value, flags))
    span = dates.parse_remaining(written)
    must(span is None or span.at_least < span.below or span.expired, span)


def _numbers(written: str) -> list[float]:
    try:
        return [float(written)]
    except ValueError:
        return []


def _names(octets: bytes) -> None:
    written = _text(octets)
    kept = provider_text.sanitize(written)
    kept.encode()
    must(len(kept) <= provider_text.MAX_TEXT and "\n" not in kept and "\x00" not in kept, kept)
    must(provider_text.sanitize(kept) == kept, kept)
    line = clean(written)
    must(clean(line) == line, line)
    must(all(unicodedata.category(letter) not in ("Cc", "Cs", "Zl", "Zp") for letter in line), line)
    harmless = defuse(line)
    must(defuse(harmless) == harmless, harmless)
    must("@everyone" not in harmless and "<!" not in harmless and "://" not in harmless, harmless)
    must(clean_id(written), written)
    address = provider_text.web_address(written)
    must(address is None or address.startswith(("http://", "https://")), address)
    named = platforms.split_platform_id(written)
    must(named is None or written.endswith(named[1]), named)
    must(not platforms.is_plain_platform_id(written) or named is not None, written)


def _probe_texts(octets: bytes) -> None:
    """Any text with which a platform refuses a probe: one class, whatever its case and the blanks around it."""
    written = _text(octets)
    for platform in ("facebook", "telegram"):
        finding = _class_of(written, platform)
        must(_class_of(f" \t{written}\n", platform) is finding, written)
        must(not written.isascii() or _class_of(written.upper(), platform) is finding, written)


def _class_of(message: str, platform: str) -> ProbeFinding:
    answer = ProbeAnswer(http_status=200, status="error", message=message)
    return probe_answers.classify(answer, platform=platform, date_trusted=True)


_PROFILES = [
    ChannelProfile(
        limits=ChannelLimits(body=body, title=title, shared=False, lines=lines),
        markup=markup,
        title_has_markup=False,
        files=False,
    )
    for markup in Markup
    for body, title, lines in ((160, 40, 0), (2000, 250, 10))
]


def _messages(octets: bytes) -> None:
    """Any name and any words of an API in a message for any kind of channel."""
    name, _, words = _text(octets).partition("\n")
    alert = make_alert(label=name, message=words, external_id=name[:200] or "x", platform=words[:20], event=AlertEvent.EXPIRED)
    message = compose([Dispatch(alert=alert)], timezone="UTC", now=NOW)
    for part in (*(part for profile in _PROFILES for part in fit(message, profile)), render(message)):
        part.body.encode()
        must(part.body.strip() and "\n" not in part.title, part)
        must("@everyone" not in part.title + part.body and "<!channel>" not in part.title + part.body, part)


_ITEM = compose([Dispatch(alert=make_alert(labels={"client": "acme"}))], timezone="UTC", now=NOW).items[0]


def _templates(octets: bytes) -> None:
    """Any text as a template: refused in one sentence, or short."""
    written = _text(octets).replace("\ud800", "")
    try:
        made = templates.render(TemplatePair(title=written[:200], body=written), _ITEM, Markup.MARKDOWN)
    except TemplateProblem as error:
        must(len(str(error)) < 2000, error)
        return
    must(len(made.title or "") <= templates.LONGEST_TITLE and len(made.body or "") <= templates.LONGEST_BODY + 100, made)


def _date_seeds() -> Sequence[bytes]:
    tables = (written_dates.UNUSUAL, written_dates.EXTREME, written_dates.IMPOSSIBLE)
    found = [str(value) for table in tables for value, _ in table.values()]
    return [text.encode("utf-8", "surrogatepass") for text in [*found, "82d 4h", "< 1h", "expired", "29 days"] if len(text) < 100]


_ONCE_BROKE = ("a\u0335\u0321\u0322\x00\u0327b",)
"""What fuzzing found and what was mended since."""


def _name_seeds() -> Sequence[bytes]:
    found = (*HOSTILE, *_ONCE_BROKE)
    return [name.encode("utf-8", "surrogatepass") for name in found if len(name) < 500]


def _probe_text_seeds() -> Sequence[bytes]:
    folder = Path(__file__).parents[1] / "data" / "probe_texts"
    rows = [line.split("\t") for path in sorted(folder.glob("*.tsv")) for line in path.read_text("utf-8").splitlines()[1:]]
    return [row[2].encode() for row in rows]


def _template_seeds() -> Sequence[bytes]:
    return [
        b"{{ name }} is {{ status }} since {{ since }}",
        b"{% if link %}<{{ link }}>{% endif %}{% for note in notes %}- {{ note|upper }}\n{% endfor %}",
        b"{{ labels.client|default('nobody') }} {{ body }} {{ name[:3] }} {{ 7 * 7 }}",
        b"{{ ''.__class__.__mro__ }}{{ cycler.__init__.__globals__ }}",
        b"{% set x = 1 %}{% macro m() %}{% endmacro %}{{ name|replace('a', 'b')|center(9) }}",
    ]


TARGETS = (
    Target(name="dates", one=_dates, seeds=_date_seeds, largest=120),
    Target(name="names", one=_names, seeds=_name_seeds, largest=1200),
    Target(name="probe-texts", one=_probe_texts, seeds=_probe_text_seeds, largest=1200),
    Target(name="messages", one=_messages, seeds=lambda: [name + b"\n" + name for name in _name_seeds()], largest=1200),
    Target(name="templates", one=_templates, seeds=_template_seeds, largest=1000),
)
