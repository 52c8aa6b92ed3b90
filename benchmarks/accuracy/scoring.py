"""What the monitor said against what was really the case."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from statistics import median

from benchmarks.accuracy.ground_truth import DAY, HOUR, MINUTE, SAYS, Kind, Notification, Problem, Truth
from benchmarks.accuracy.simulation import Account, Simulation
from monitor.domain import RECOVERY_EVENTS, Alert, AlertEvent

STAGES = (3 * DAY, DAY)
"""The stages of the default policy that are narrower than its window."""

REMIND_EVERY = timedelta(hours=24)
GROUP_WAIT = timedelta(seconds=10)
BLINK = 2 * MINUTE
"""An alert may come this long after what it says: a probe is confirmed within a minute."""

ROUNDING = timedelta(seconds=1)
"""The APIs state dates in milliseconds, cut off."""

_OF_SOURCES = {"suspicious_list": Kind.LOST_ROWS, "platform_outage": Kind.PLATFORM_OUT, "own_network": Kind.NETWORK_OUT}


@dataclass(kw_only=True)
class Judgement:
    """How the monitor did."""

    problems: int = 0
    """Real problems that had to be said, and shorter ones that were."""
    messages: list[Alert] = field(default_factory=list)
    false_alarms: list[str] = field(default_factory=list)
    misses: list[str] = field(default_factory=list)
    stale: list[str] = field(default_factory=list)
    """Said of what was over or averted already, before the monitor could have heard of that."""
    leads: list[timedelta] = field(default_factory=list)
    """How long before its expiry each token was warned of."""

    @property
    def clean(self) -> bool:
        """Whether everything was said and nothing else."""
        return not self.false_alarms and not self.misses

    def figures(self) -> dict[str, object]:
        """Everything, for people and for JSON."""
        said = len(self.messages)
        reminders = sum(each.reason == "reminder" for each in self.messages)
        hours = [lead / HOUR for lead in self.leads]
        return {
            "real_problems": self.problems,
            "messages": said,
            "messages_without_reminders": said - reminders,
            "notifications_grouped": _grouped(self.messages),
            "messages_per_problem": round((said - reminders) / max(self.problems, 1), 2),
            "false_alarms": self.false_alarms,
            "misses": self.misses,
            "said_before_it_could_be_known_to_be_over": self.stale,
            "warning_lead_hours": {"median": round(median(hours), 1), "min": round(min(hours), 1)} if hours else None,
            "by_event_and_reason": dict(sorted(Counter(f"{each.event} {each.reason}" for each in self.messages).items())),
        }


def _grouped(messages: Iterable[Alert]) -> int:
    """How many notifications leave for one channel that collects for its group_wait."""
    groups, until = 0, None
    for at in sorted(each.at for each in messages):
        if until is None or at > until:
            groups, until = groups + 1, at + GROUP_WAIT
    return groups


def judge(stage: Simulation, said: Sequence[Alert]) -> Judgement:
    """Compare everything that was said with everything that was the case."""
    judgement = Judgement(messages=list(said))
    names = {(account.source.name, account.scope, each): account for account in stage.accounts for each in account.ids}
    by_account: defaultdict[str, list[Alert]] = defaultdict(list)
    of_sources: list[Alert] = []
    for alert in said:
        if alert.external_id is None:
            of_sources.append(alert)
            continue
        account = names.get((alert.source, alert.scope, alert.external_id))
        if account is None:
            judgement.false_alarms.append(f"{_told(alert)}: there is no such account")
        else:
            by_account[_key(account)].append(alert)
    problems: defaultdict[str, list[Problem]] = defaultdict(list)
    for problem in stage.truth.problems:
        problems[f"{problem.source}/{problem.who}"].append(problem)
    for account in stage.accounts:
        _Account(stage, account, problems[_key(account)], by_account[_key(account)], judgement).judge()
    own = [problem for problem in stage.truth.problems if problem.kind.rank >= Kind.DOWN.rank]
    _judge_sources(stage, own, of_sources, judgement)
    return judgement


def _key(account: Account) -> str:
    return f"{account.source.name}/{account.name}"


def _told(alert: Alert) -> str:
    who = alert.connection or alert.subject or alert.source
    return f"{alert.at:%m-%d %H:%M:%S} {who} ({alert.platform}) {alert.event}/{alert.reason} [{alert.verdict_reason}]"


class _Account:
    """One account's messages against its problems."""

    def __init__(
        self, stage: Simulation, account: Account, problems: list[Problem], said: list[Alert], judgement: Judgement
    ) -> None:
        self._stage, self._truth, self._account = stage, stage.truth, account
        self._problems, self._said, self._judgement = problems, said, judgement
        self._backing: dict[str, Problem] = {}
        """By alert id, the problem that a message is about."""

    def judge(self) -> None:
        """Every message must have a reason, every problem its message."""
        for number, alert in enumerate(self._said):
            wrong = self._wrong(alert, self._said[:number])
            if wrong is not None:
                self._judgement.false_alarms.append(f"{_told(alert)}: {wrong}{self._around(alert.at)}")
        heard_of = {id(problem) for problem in self._backing.values()}
        for problem in self._problems:
            required = self._must_be_said(problem)
            self._judgement.problems += required or id(problem) in heard_of
            if required:
                self._require(problem)
        self._require_end()

    def _around(self, at: datetime) -> str:
        near = [str(each) for each in self._problems if each.start - DAY <= at and (each.end is None or at <= each.end + 2 * DAY)]
        return f" — around it: {'; '.join(near) or 'nothing'}"

    def _wrong(self, alert: Alert, before: list[Alert]) -> str | None:
        """Why this message should not have been said, None where it should."""
        is_open = bool(before) and before[-1].event is not AlertEvent.RECOVERED
        if alert.event is AlertEvent.RECOVERED:
            return self._wrong_recovery(alert, before, is_open=is_open)
        problem = self._backed(alert)
        if problem is None:
            return "nothing of the kind is the case"
        self._backing[alert.id] = problem
        if problem.averted is not None or (problem.end is not None and alert.at > problem.end + BLINK):
            self._judgement.stale.append(f"{_told(alert)}: {problem}")
        if alert.reason == "reminder":
            early = not before or alert.at - before[-1].at < REMIND_EVERY
            return "a reminder too early" if early else None
        same = [each for each in before if self._backing.get(each.id) is problem and each.event is alert.event]
        if not same or (alert.reason == "stage" and all(_tighter(alert.stage, each.stage) for each in same)):
            return None
        changed = any(
            same[-1].at - HOUR < instant <= alert.at
            for each in self._problems
            if each is not problem
            for instant in (each.start, each.end or self._stage.end)
        )
        return None if changed else "said already, and nothing changed since"

    def _backed(self, alert: Alert) -> Problem | None:
        """Return the problem of a message: it still exists, or ended so recently that the monitor cannot know."""
        fits = [each for each in self._problems if alert.event in SAYS.get(each.kind, ()) and each.start - ROUNDING <= alert.at]
        held = [each for each in fits if each.averted is None and each.holds(max(alert.at, each.start))]
        if held:
            return max(held, key=lambda each: each.start)
        return next((each for each in reversed(fits) if alert.at <= self._known_over(each)), None)

    def _known_over(self, problem: Problem) -> datetime:
        """By when the monitor has heard that a problem is over or averted; what only a probe tells is asked hourly."""
        over = problem.averted or problem.end
        if over is None:
            return self._stage.end
        known = self._truth.heard(problem.source, over, Notification.POLL)
        return max(known, self._truth.by(problem.source, over, 1.5 * HOUR)) if problem.needs is Notification.PROBE else known

    def _wrong_recovery(self, alert: Alert, before: list[Alert], *, is_open: bool) -> str | None:
        if not is_open:
            return "a recovery of what was never said"
        hidden = self._truth.one_poll
        still = [
            each
            for each in self._problems
            if each.holds(alert.at) and each.averted is None and each.needs and self._due(each) < alert.at - hidden
        ]
        if still:
            return f"a recovery, but {still[0]}"
        told = self._backing.get(before[-1].id)
        over = told is None or told.averted is not None or (told.end is not None and told.end <= alert.at)
        return None if over else f"a recovery, but {told} goes on"

    def _due(self, problem: Problem) -> datetime:
        return self._truth.due(problem) or self._stage.end

    def _must_be_said(self, problem: Problem) -> bool:
        """Whether it lasted until it must have been said, and nothing worse hid it."""
        due = self._truth.due(problem)
        if due is None or due >= self._stage.end or not problem.holds(due):
            return False
        if problem.kind is Kind.EXPIRING and problem.date is not None and due > problem.date - self._truth.poll_every:
            return False
        worse = (each for each in self._problems if each.kind.rank > problem.kind.rank and each.averted is None)
        return not any(each.start < due and (each.end is None or each.end > problem.start) for each in worse)

    def _require(self, problem: Problem) -> None:
        """Check that a problem is notified by its due instant; an expiry at each stage."""
        due, events = self._due(problem), SAYS[problem.kind]
        about = [each for each in self._said if each.event in events and self._backing.get(each.id) is problem]
        if not about or about[0].at > due:
            late = f"said {about[0].at:%m-%d %H:%M}" if about else "never said"
            heard = "; ".join(_told(each) for each in self._said if problem.start - DAY <= each.at <= due + DAY)
            self._judgement.misses.append(f"{problem}: {late}, due {due:%m-%d %H:%M}; said around it: {heard or 'nothing'}")
            return
        if problem.kind is not Kind.EXPIRING or problem.date is None:
            return
        self._judgement.leads.append(problem.date - about[0].at)
        for span in STAGES:
            line = max(problem.date - span, problem.start)
            by = self._truth.heard(problem.source, line, Notification.POLL)
            told = any(each.stage is not None and each.stage <= span and each.at <= by for each in about)
            if problem.holds(by) and by < self._stage.end and not told and not self._hidden(line, by):
                self._judgement.misses.append(f"{problem}: the stage {span} was not said by {by:%m-%d %H:%M}")

    def _hidden(self, start: datetime, end: datetime) -> bool:
        """Whether something worse than an expiry to come was the case in between."""
        return any(
            each.kind is not Kind.EXPIRING
            and each.averted is None
            and each.start < end
            and (each.end is None or each.end > start)
            for each in self._problems
        )

    def _require_end(self) -> None:
        """Check that every notified problem gets a recovery."""
        if not self._said or self._said[-1].event is AlertEvent.RECOVERED:
            return
        real = [each for each in self._problems if each.averted is None]
        if any(each.end is None or each.end > self._stage.end for each in real) or not self._stage.is_listed(self._account):
            return
        last = max((each.end or each.start for each in real), default=self._said[-1].at)
        probed = any(each.needs is Notification.PROBE or each.needs is None for each in real)
        by = self._truth.heard(self._account.source.name, max(last, self._said[-1].at), Notification.TWO_POLLS)
        if probed:
            by = max(by, self._truth.by(self._account.source.name, last, 3 * HOUR))
        if by < self._stage.end:
            self._judgement.misses.append(f"{_told(self._said[-1])}: its end was not said by {by:%m-%d %H:%M}{self._around(by)}")


def _tighter(stage: timedelta | None, said: timedelta | None) -> bool:
    return stage is not None and (said is None or stage < said)


def _judge_sources(stage: Simulation, problems: list[Problem], said: list[Alert], judgement: Judgement) -> None:
    """Score the alerts about whole sources and about the monitor's own network."""
    truth, backing = stage.truth, defaultdict[int, list[Alert]](list)
    open_since: dict[tuple[str, str], Problem] = {}
    for alert in said:
        kind = _OF_SOURCES.get(alert.reason, Kind.DOWN)
        key = (alert.source, alert.subject)
        if alert.event in RECOVERY_EVENTS:
            problem = open_since.pop(key, None)
            if problem is None:
                judgement.false_alarms.append(f"{_told(alert)}: a recovery of what was never said")
            elif problem.holds(alert.at) and problem.kind is not Kind.PLATFORM_OUT:
                judgement.false_alarms.append(f"{_told(alert)}: a recovery, but {problem}")
            elif problem.end is not None and alert.at > _end_due(truth, problem):
                judgement.misses.append(f"{problem}: its end was said late, {alert.at:%m-%d %H:%M}")
            continue
        fits = [each for each in problems if each.kind is kind and each.source == alert.source]
        found = next((each for each in fits if each.holds(alert.at - BLINK) or each.holds(alert.at)), None)
        if found is None:
            judgement.false_alarms.append(f"{_told(alert)}: nothing of the kind is the case: {alert.message}")
            continue
        if backing[id(found)] and alert.reason not in ("worse", "changed"):
            judgement.false_alarms.append(f"{_told(alert)}: said already of {found}")
        backing[id(found)].append(alert)
        open_since[key] = found
    for problem in problems:
        due = truth.due(problem)
        heard = backing[id(problem)]
        if due is None or due >= stage.end:
            judgement.problems += bool(heard)
            continue
        judgement.problems += 1
        if not heard:
            judgement.misses.append(f"{problem}: never said")
    for problem in open_since.values():
        if problem.end is not None and _end_due(truth, problem) < stage.end:
            judgement.misses.append(f"{problem}: its end was never said")


def _end_due(truth: Truth, problem: Problem) -> datetime:
    """By when the end of a source's trouble is said: a platform's only as its connections are probed again."""
    assert problem.end is not None
    if problem.kind is Kind.PLATFORM_OUT:
        return truth.by(problem.source, problem.end, 3 * HOUR)
    if problem.kind is Kind.NETWORK_OUT:
        return problem.end + truth.one_poll
    return truth.by(problem.source, problem.end, truth.one_poll + 20 * MINUTE)
