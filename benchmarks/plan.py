"""How much is measured: everything, about a minute of it, or just enough to prove that the harness works."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Sizes are connections, times are seconds."""

    name: str
    databases: tuple[str, ...]
    sizes: tuple[int, ...]
    """Of the growth curves."""
    large: int
    """The list of the poll's targets, and the list that is polled while notification latency is measured."""
    accounts: int
    """That are probed at the usual pace."""
    backlog: int
    """Accounts that are probed as fast as they go: more than go into one batch, so that there is always more to do."""
    sources: int
    """Of ten connections each."""
    large_sources: int
    """Of 500 connections: the database that daemons of a cluster share."""
    window: float
    """Of one repeat of probing as fast as it goes."""
    paced_window: float
    """Of one repeat of probing once a minute."""
    repeats: int
    minute: float
    """How often accounts are probed at the usual pace."""
    often: float
    """The same at a quick pace, for bytes written."""
    round: float
    """How often each of many sources is polled."""
    poll_every: float
    """Of an unchanged list of up to 10,000 connections."""
    settled: float
    """After a poll, before memory is read."""
    turns: int
    """Transitions of each of the ten sources whose notification latency is measured."""
    dates: int
    requests: int
    """Of one page."""
    variants: bool
    """True if TLS and latency are varied, and the daemon is killed and started again."""
    without: tuple[str, ...] = ()
    """Benchmarks that are left out."""


FULL = Plan(
    name="full",
    databases=("sqlite", "postgres"),
    sizes=(10, 100, 1_000, 10_000, 100_000),
    large=100_000,
    accounts=10_000,
    backlog=10_000,
    sources=10_000,
    large_sources=2_000,
    window=5.0,
    paced_window=20.0,
    repeats=3,
    minute=60.0,
    often=20.0,
    round=60.0,
    poll_every=1.0,
    settled=60.0,
    turns=15,
    dates=6,
    requests=30,
    variants=True,
)

QUICK = Plan(
    name="quick",
    databases=("sqlite",),
    sizes=(10, 1_000),
    large=1_000,
    accounts=10_000,
    backlog=5_000,
    sources=100,
    large_sources=20,
    window=2.0,
    paced_window=5.0,
    repeats=1,
    minute=60.0,
    often=20.0,
    round=5.0,
    poll_every=1.0,
    settled=2.0,
    turns=2,
    dates=2,
    requests=5,
    variants=False,
    without=("custom-list", "date-to-webhook", "prometheus"),
)

TINY = Plan(
    name="tiny",
    databases=("sqlite",),
    sizes=(10,),
    large=10,
    accounts=20,
    backlog=20,
    sources=3,
    large_sources=3,
    window=3.0,
    paced_window=1.0,
    repeats=1,
    minute=1.0,
    often=1.0,
    round=1.0,
    poll_every=1.0,
    settled=0.5,
    turns=2,
    dates=1,
    requests=2,
    variants=False,
)

PLANS = {plan.name: plan for plan in (FULL, QUICK, TINY)}
