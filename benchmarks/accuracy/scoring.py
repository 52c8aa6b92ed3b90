"""Scoring of the monitor's alerts against the real problems."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from statistics import median

from benchmarks.accuracy.ground_truth import DAY, HOUR, MINUTE, Kind, Notification, Problem, Truth
from benchmarks.accuracy.simulation import Account, Simulation
from monitor.domain import RECOVERY_EVENTS, Alert, AlertEvent

STAGES = (3 * DAY, DAY)
"""The stages of the default policy that are narrower than its window."""

REMIND_EVERY = timedelta(hours=24)
GROUP_WAIT = timedelta(seconds=10)
BLINK = 2 * MINUTE
"""An alert may be sent this long after its status ended: a probe is confirmed within a minute."""

ROUNDING = timedelta(seconds=1)
"""The APIs state dates in milliseconds, cut off."""

_OF_SOURCES = {
    "suspicious_list": (Kind.LOST_ROWS, Kind.KEY_SWAPPED),
    "platform_outage": (Kind.PLATFORM_OUT,),
    "own_network": (Kind.NETWORK_OUT,),
    "rows_unreadable": (Kind.ROWS_UNREADABLE,),
    "clock_skew": (Kind.CLOCK_OFF,),
    "unrecognised_status": (Kind.STATUS_UNKNOWN,),
    "probes_unanswered": (Kind.UNTESTED,),
}
"""The kinds of problems that an alert's reason names; any other may be about each of _OTHERS."""
_OTHERS = (Kind.DOWN, Kind.LIST_PARTIAL)
_ENDS = (Kind.DOWN, Kind.LOST_ROWS, Kind.PLATFORM_OUT, Kind.NETWORK_OUT)
"""The problems of sources whose end must be notified."""
_FOLLOW_UPS = ("reminder", "stage")


@dataclass(kw_only=True)
class Judgement:
    """Result of a simulation."""

    problems: int = 0
    """Real problems that had to be notified, and shorter ones that were."""
    messages: list[Alert] = field(default_factory=list)
    false_alarms: list[str] = field(default_factory=list)
    misses: list[str] = field(default_factory=list)
    """Problems that were never notified, and ends of notified ones."""
    late: list[str] = field(default_factory=list)
    """Problems that were notified later than possible."""
    stale: list[str] = field(default_factory=list)
    """Alerts about problems that were over or averted, before the monitor could know that."""
    leads: list[timedelta] = field(default_factory=list)
    """The time between the first warning and the expiry of each token."""

    @property
    def clean(self) -> bool:
        """True if every problem was notified in time, and nothing else."""
        return not self.false_alarms and not self.misses and not self.late

    def figures(self) -> dict[str, object]:
        """Return all figures by name, for the table and for JSON."""
        count = len(self.messages)
        reminders = sum(each.reason == "reminder" for each in self.messages)
        first = [each for each in self.messages if each.event not in RECOVERY_EVENTS and each.reason not in _FOLLOW_UPS]
        hours = [lead / HOUR for lead in self.leads]
        return {
            "real_problems": self.problems,
            "messages": count,
            "messages_without_reminders": count - reminders,
            "notifications_grouped": _grouped(self.messages),
            "messages_per_problem": round((count - reminders) / max(self.problems, 1), 2),
            "first_notifications": len(first),
            "first_notifications_grouped": _grouped(first),
            "first_notifications_per_problem": round(len(first) / max(self.problems, 1), 2),
            "false_alarms": self.false_alarms,
            "misses": self.misses,
            "late": self.late,
            "notified_before_the_end_could_be_known": self.stale,
            "warning_lead_hours": {"median": round(median(hours), 1), "min": round(min(hours), 1)} if hours else None,
            "by_event_and_reason": dict(sorted(Counter(f"{each.event} {each.reason}" for each in self.messages).items())),
        }


def _grouped(messages: Iterable[Alert]) -> int:
    """Return the number of messages of one channel that groups alerts by its group_wait."""
    groups, until = 0, None
    for at in sorted(each.at for each in messages):
        if until is None or at > until:
            groups, until = groups + 1, at + GROUP_WAIT
    return groups


def judge(simulation: Simulation, alerts: Sequence[Alert]) -> Judgement:
    """Compare all alerts with all real problems."""
    judgement = Judgement(messages=list(alerts))
    names = {(account.source.name, account.scope, each): account for account in simulation.accounts for each in account.ids}
    by_account: defaultdict[str, list[Alert]] = defaultdict(list)
    of_sources: list[Alert] = []
    for alert in alerts:
        if alert.external_id is None:
            of_sources.append(alert)
            continue
        account = names.get((alert.source, alert.scope, alert.external_id))
        if account is None:
            judgement.false_alarms.append(f"{_describe(alert)}: there is no such account")
        else:
            by_account[_key(account)].append(alert)
    problems: defaultdict[str, list[Problem]] = defaultdict(list)
    for problem in simulation.truth.problems:
        problems[f"{problem.source}/{problem.subject}"].append(problem)
    for account in simulation.accounts:
        _Account(simulation, account, problems[_key(account)], by_account[_key(account)], judgement).judge()
    own = [problem for problem in simulation.truth.problems if problem.kind.rank >= Kind.DOWN.rank]
    _judge_sources(simulation, own, of_sources, judgement)
    return judgement


def _key(account: Account) -> str:
    return f"{account.source.name}/{account.name}"


def _describe(alert: Alert) -> str:
    subject = alert.connection or alert.subject or alert.source
    return f"{alert.at:%m-%d %H:%M:%S} {subject} ({alert.platform}) {alert.event}/{alert.reason} [{alert.verdict_reason}]"


class _Account:
    """Scoring of one account's alerts against its problems."""

    def __init__(
        self, simulation: Simulation, account: Account, problems: list[Problem], alerts: list[Alert], judgement: Judgement
    ) -> None:
        self._simulation, self._truth, self._account = simulation, simulation.truth, account
        self._problems, self._alerts, self._judgement = problems, alerts, judgement
        self._backing: dict[str, Problem] = {}
        """By alert id, the problem that a message is about."""

    def judge(self) -> None:
        """Check that every alert has a reason and every problem its alert."""
        for number, alert in enumerate(self._alerts):
            wrong = self._wrong(alert, self._alerts[:number])
            if wrong is not None:
                self._judgement.false_alarms.append(f"{_describe(alert)}: {wrong}{self._around(alert.at)}")
        notified = {id(problem) for problem in self._backing.values()}
        for problem in self._problems:
            required = self._must_be_notified(problem)
            self._judgement.problems += problem.is_real and (required or id(problem) in notified)
            if required:
                self._require(problem)
        self._require_end()

    def _around(self, at: datetime) -> str:
        near = [str(each) for each in self._problems if each.start - DAY <= at and (each.end is None or at <= each.end + 2 * DAY)]
        return f" — around it: {'; '.join(near) or 'nothing'}"

    def _wrong(self, alert: Alert, before: list[Alert]) -> str | None:
        """Return why this alert is false, None if it is right."""
        is_open = bool(before) and before[-1].event is not AlertEvent.RECOVERED
        if alert.event is AlertEvent.RECOVERED:
            return self._wrong_recovery(alert, before, is_open=is_open)
        problem = self._backed(alert)
        if problem is None:
            return "no such problem exists"
        self._backing[alert.id] = problem
        if problem.averted is not None or (problem.end is not None and alert.at > problem.end + BLINK):
            self._judgement.stale.append(f"{_describe(alert)}: {problem}")
        if alert.reason == "reminder" and not problem.has_reminders:
            return "a reminder of what may be no problem"
        if alert.reason == "reminder":
            early = not before or alert.at - before[-1].at < REMIND_EVERY
            return "a reminder too early" if early else None
        same = [each for each in before if self._backing.get(each.id) is problem and each.event is alert.event]
        if not same or (alert.reason == "stage" and all(_is_tighter(alert.stage, each.stage) for each in same)):
            return None
        changed = any(
            same[-1].at - HOUR < instant <= alert.at
            for each in self._problems
            if each is not problem
            for instant in (each.start, each.end or self._simulation.end)
        )
        return None if changed else "notified already, and nothing changed since"

    def _backed(self, alert: Alert) -> Problem | None:
        """Return the problem of a message: it still exists, or ended so recently that the monitor cannot know."""
        fits = [each for each in self._problems if alert.event in each.reported_by and each.start - ROUNDING <= alert.at]
        held = [each for each in fits if each.averted is None and each.holds(max(alert.at, each.start))]
        if held:
            return max(held, key=lambda each: each.start)
        return next((each for each in reversed(fits) if alert.at <= self._known_over(each)), None)

    def _known_over(self, problem: Problem) -> datetime:
        """Return when the monitor knows that a problem is over or averted; what only a probe shows is probed hourly."""
        over = problem.averted or problem.end
        if over is None:
            return self._simulation.end
        known = self._truth.known_by(problem.source, over, Notification.POLL)
        if problem.needs is not Notification.PROBE:
            return known
        wait = 1.5 * HOUR if problem.mentions is None else self._truth.one_probe  # a permission is seen by the next probe
        return max(known, self._truth.by(problem.source, over, wait))

    def _wrong_recovery(self, alert: Alert, before: list[Alert], *, is_open: bool) -> str | None:
        if not is_open:
            return "a recovery of a problem that was never notified"
        hidden = self._truth.one_poll
        still = [
            each
            for each in self._problems
            if each.holds(alert.at) and each.averted is None and each.needs and self._due(each) < alert.at - hidden
        ]
        if still:
            return f"a recovery, but {still[0]}"
        problem = self._backing.get(before[-1].id)
        over = (
            problem is None
            or not problem.is_real
            or problem.averted is not None
            or (problem.end is not None and problem.end <= alert.at)
        )
        return None if over else f"a recovery, but {problem} goes on"

    def _due(self, problem: Problem) -> datetime:
        return self._truth.due(problem) or self._simulation.end

    def _must_be_notified(self, problem: Problem) -> bool:
        """Return True if the problem lasted until its due instant and no worse one hid it."""
        due = self._truth.due(problem)
        if due is None or due >= self._simulation.end or not problem.holds(due):
            return False
        if problem.kind is Kind.EXPIRING and problem.date is not None and due > problem.date - self._truth.poll_every:
            return False
        worse = (each for each in self._problems if each.kind.rank > problem.kind.rank and each.averted is None)
        return not any(each.start < due and (each.end is None or each.end > problem.start) for each in worse)

    def _require(self, problem: Problem) -> None:
        """Check that a problem is notified by its due instant; an expiry at each stage."""
        due, events = self._due(problem), problem.reported_by
        about = [each for each in self._alerts if each.event in events and self._backing.get(each.id) is problem]
        if not about or about[0].at > due:
            late = f"notified {about[0].at:%m-%d %H:%M}" if about else "never notified"
            near = "; ".join(_describe(each) for each in self._alerts if problem.start - DAY <= each.at <= due + DAY)
            found = self._judgement.late if about else self._judgement.misses
            found.append(f"{problem}: {late}, due {due:%m-%d %H:%M}; alerts around it: {near or 'none'}")
            return
        if problem.mentions is not None and not any(problem.mentions in each.message for each in about):
            self._judgement.misses.append(f"{problem}: notified without its reason: {about[0].message}")
        if problem.kind is not Kind.EXPIRING or problem.date is None:
            return
        self._judgement.leads.append(problem.date - about[0].at)
        for span in STAGES:
            line = max(problem.date - span, problem.start)
            by = self._truth.known_by(problem.source, line, Notification.POLL)
            by += self._truth.lag(problem.source, by)
            notified = any(each.stage is not None and each.stage <= span and each.at <= by for each in about)
            if problem.holds(by) and by >= due and by < self._simulation.end and not notified and not self._hidden(line, by):
                self._judgement.misses.append(f"{problem}: the stage {span} was not notified by {by:%m-%d %H:%M}")

    def _hidden(self, start: datetime, end: datetime) -> bool:
        """Return True if a problem worse than a coming expiry existed in between."""
        return any(
            each.kind is not Kind.EXPIRING
            and each.averted is None
            and each.start < end
            and (each.end is None or each.end > start)
            for each in self._problems
        )

    def _require_end(self) -> None:
        """Check that every notified problem gets a recovery."""
        if not self._alerts or self._alerts[-1].event is AlertEvent.RECOVERED:
            return
        real = [each for each in self._problems if each.averted is None]
        if any(each.end is None or each.end > self._simulation.end for each in real) or not self._simulation.is_listed(
            self._account
        ):
            return
        last = max((each.end or each.start for each in real), default=self._alerts[-1].at)
        probed = any(each.needs is Notification.PROBE or each.needs is None for each in real)
        by = self._truth.known_by(self._account.source.name, max(last, self._alerts[-1].at), Notification.TWO_POLLS)
        if probed:
            by = max(by, self._truth.by(self._account.source.name, last, 3 * HOUR))
        if by < self._simulation.end:
            self._judgement.misses.append(
                f"{_describe(self._alerts[-1])}: its end was not notified by {by:%m-%d %H:%M}{self._around(by)}"
            )


def _is_tighter(new: timedelta | None, old: timedelta | None) -> bool:
    return new is not None and (old is None or new < old)


def _judge_sources(simulation: Simulation, problems: list[Problem], alerts: list[Alert], judgement: Judgement) -> None:
    """Score the alerts about whole sources and about the monitor itself."""
    backing = defaultdict[int, list[Alert]](list)
    open_since: dict[tuple[str, str], Problem] = {}
    covered = defaultdict[str, list[tuple[datetime, datetime]]](list)
    for alert in alerts:
        key = (alert.source, alert.subject)
        if alert.event in RECOVERY_EVENTS:
            problem = open_since.pop(key, None)
            if problem is not None:
                covered[alert.source].append((problem.start, alert.at))
            _judge_recovery(simulation.truth, alert, problem, judgement)
            continue
        found = _found(simulation.truth, problems, alert, backing, open_since.get(key))
        if found is None:
            judgement.false_alarms.append(f"{_describe(alert)}: no such problem exists: {alert.message}")
            continue
        again = found.needs is None and key not in open_since  # it seemed to have ended
        if backing[id(found)] and not again and alert.reason not in ("worse", "changed", "reminder"):
            judgement.false_alarms.append(f"{_describe(alert)}: notified already for {found}")
        backing[id(found)].append(alert)
        open_since[key] = found
    for problem in open_since.values():
        covered[problem.source].append((problem.start, simulation.end))
    for problem in problems:
        about = backing[id(problem)]
        if about or not problem.source or not any(start <= problem.start <= end for start, end in covered[problem.source]):
            _require_of_source(simulation, problem, about, judgement)
    for problem in open_since.values():
        if problem.kind in _ENDS and problem.end is not None and _end_due(simulation.truth, problem) < simulation.end:
            judgement.misses.append(f"{problem}: its end was never notified")


def _found(
    truth: Truth, problems: list[Problem], alert: Alert, backing: dict[int, list[Alert]], is_open: Problem | None
) -> Problem | None:
    """Return the problem that an alert is about, one that was not notified before if possible."""
    kinds = _OF_SOURCES.get(alert.reason, _OTHERS)
    about = [each for each in problems if each.kind in kinds and alert.source in (each.source, "")]
    about = [each for each in about if each.kind is not Kind.UNTESTED or alert.platform in (None, each.about)]
    status = alert.subject.rpartition(":")[2]
    about = [each for each in about if each.kind is not Kind.STATUS_UNKNOWN or each.about.strip().casefold() == status]
    about = [each for each in about if each.kind is not Kind.ROWS_UNREADABLE or alert.subject.endswith(f":{each.about}")]
    if alert.reason == "reminder" and is_open is not None:
        over = is_open.end is not None and alert.at > truth.known_by(is_open.source, is_open.end, Notification.POLL)
        return None if over else is_open
    held = [each for each in about if each.holds(alert.at - BLINK) or each.holds(alert.at)]
    held += [
        each
        for each in about
        if each.kind not in _ENDS
        and each.end is not None
        and each.start <= alert.at <= truth.known_by(each.source, each.end, _shown_by(each))
    ]
    return next((each for each in held if not backing.get(id(each))), held[0] if held else None)


def _shown_by(problem: Problem) -> Notification:
    """Return the evidence that a problem of a source is over."""
    return Notification.PROBE if problem.kind is Kind.UNTESTED else Notification.TWO_POLLS


def _judge_recovery(truth: Truth, alert: Alert, problem: Problem | None, judgement: Judgement) -> None:
    if problem is None:
        judgement.false_alarms.append(f"{_describe(alert)}: a recovery of a problem that was never notified")
    elif problem.holds(alert.at) and problem.kind is not Kind.PLATFORM_OUT and problem.needs is not None:
        judgement.false_alarms.append(f"{_describe(alert)}: a recovery, but {problem}")
    elif (
        problem.kind in _ENDS and problem.end is not None and alert.at > _end_due(truth, problem) and not _goes_on(truth, problem)
    ):
        judgement.late.append(f"{problem}: its end was notified late, {alert.at:%m-%d %H:%M}")


def _goes_on(truth: Truth, problem: Problem) -> bool:
    """Return True if another problem of the source followed before this one's end was due to be notified."""
    assert problem.end is not None
    due = _end_due(truth, problem)
    return any(
        each is not problem
        and each.source == problem.source
        and each.kind.rank >= Kind.DOWN.rank
        and each.start <= due
        and (each.end is None or each.end > problem.end)
        for each in truth.problems
    )


def _require_of_source(simulation: Simulation, problem: Problem, about: list[Alert], judgement: Judgement) -> None:
    """Check that a problem of a source is notified by its due instant."""
    due = simulation.truth.due(problem)
    lasted = due is not None and (problem.kind in _ENDS or problem.holds(due))
    if due is None or due >= simulation.end or not lasted:
        judgement.problems += bool(about)
        return
    judgement.problems += 1
    if not about:
        judgement.misses.append(f"{problem}: never notified, due {due:%m-%d %H:%M}")
    elif problem.kind not in _ENDS and about[0].at > due:
        judgement.late.append(f"{problem}: notified {about[0].at:%m-%d %H:%M}, due {due:%m-%d %H:%M}")


def _end_due(truth: Truth, problem: Problem) -> datetime:
    """Return when the end of a source's problem must be notified: a platform's only as its connections are probed again."""
    assert problem.end is not None
    if problem.kind is Kind.PLATFORM_OUT:
        return truth.by(problem.source, problem.end, 3 * HOUR)
    if problem.kind is Kind.NETWORK_OUT:
        return problem.end + truth.one_poll
    return truth.by(problem.source, problem.end, truth.one_poll + 20 * MINUTE)
