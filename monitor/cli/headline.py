"""The sentences that answer first: do I have to do something, and can I believe what I see?"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from monitor.domain import Severity, Status
from monitor.domain.text import clean
from monitor.domain.times import Times
from monitor.views.daemon import Keeping
from monitor.views.status import Overview
from monitor.views.wellbeing import how_they_are, nobody_can_tell


def headline(found: Overview, *, unread: Collection[str] = ()) -> str:
    """One line that answers: do I have to do something?"""
    doubts = [sentence for sentence in (_unread(found, unread), _old(found)) if sentence]
    return " ".join([_need(found, certain=not doubts), *_quiet(found), *doubts])


def _need(found: Overview, *, certain: bool) -> str:
    now, soon = found.count(Severity.CRITICAL), found.count(Severity.WARNING)
    if not found.total:
        return _none(found)
    of = f"of {found.total:,} connection{'' if found.total == 1 else 's'}"
    if now:
        words = ", ".join(
            f"{found.summary[word]:,} {word}"
            for word in reversed(Status)
            if word.severity is Severity.CRITICAL and found.summary[word]
        )
        later = f", and {soon:,} soon (expiring_soon)" if soon else ""
        return f"{now:,} {of} need{'s' if now == 1 else ''} you now ({words}){later}."
    if soon:
        return f"{soon:,} {of} need{'s' if soon == 1 else ''} you soon (expiring_soon)."
    if not certain:
        return f"As far as is known, {how_they_are(found.summary)}."
    known = "Nothing to do that anyone knows of" if nobody_can_tell(found.summary) else "Nothing to do"
    return f"{known}: {how_they_are(found.summary)}."


def _none(found: Overview) -> str:
    """Nothing is selected: because there is nothing, or because of the filters."""
    if not found.left_out:
        return "No connection is known here."
    of = f"None of {found.left_out:,} connection{'' if found.left_out == 1 else 's'}"
    statuses = [status for status in reversed(Status) if status.value in (found.asked.statuses or ())]
    others = found.asked.sources or found.asked.platforms or found.asked.labels
    return f"{of} is {' or '.join(statuses)}." if statuses and not others else f"{of} fits these filters."


def _quiet(found: Overview) -> Iterator[str]:
    """What nothing is said about, although it needs somebody."""
    counted = [(found.acked, "acknowledged"), (found.silenced, "silenced")]
    words = [f"{number:,} {'is' if number == 1 else 'are'} {word}" for number, word in counted if number]
    if words:
        yield f"{' and '.join(words)}."


def _unread(found: Overview, unread: Collection[str]) -> str:
    names = [clean(source.name) for source in found.sources if source.unread or source.name in unread]
    if not names:
        return ""
    listed = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    of = f"{len(names)} of {len(found.sources)} source{'' if len(found.sources) == 1 else 's'}"
    return f"{of} {'is' if len(names) == 1 else 'are'} not being read: {listed} (see `token-monitor sources`)."


def _old(found: Overview) -> str:
    if not found.stale:
        return ""
    return f"{found.stale:,} {'is' if found.stale == 1 else 'are'} shown from old data (marked stale)."


def notes(kept: Keeping, found: Overview, times: Times) -> Iterator[str]:
    """What stands in the way of hearing from the monitor: no daemon, or messages that do not get out."""
    if not kept.watched:
        read = max((source.last_poll_at for source in found.sources if source.last_poll_at), default=None)
        last = f"; the last poll was {times.near(read)}" if read else ""
        yield f"No daemon keeps watch{last}: `token-monitor run` does."
    if kept.refused is not None:
        problem = clean(kept.refused.problem, limit=600)
        yield f"The reload {times.near(kept.refused.at)} was refused, the configuration before it is in force: {problem}"
    for each in kept.waiting:
        counted = "1 delivery waits" if each.number == 1 else f"{each.number:,} deliveries wait"
        yield f"{counted} for {clean(each.channel)} since {times.both(each.since)} (see `token-monitor alerts`)."


def counts(found: Overview) -> str:
    """How many connections have each status."""
    return ", ".join(f"{number:,} {word}" for word, number in found.summary.items() if number)
