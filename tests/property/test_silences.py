"""Silences: whatever is stored, nothing raises, and a window is always left again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.domain.rules.silences import Silence, active_until, next_window, silenced_until

_INSTANTS = st.integers(min_value=0, max_value=15 * 365 * 86400)
INSTANTS = _INSTANTS.map(lambda seconds: datetime(2020, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds))
ZONES = st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Nowhere/Land", ""])
DAYS = st.lists(st.sampled_from(["MO", "TU", "WE", "TH", "FR", "SA", "SU"]), min_size=1, unique=True).map(",".join)
RULES = st.one_of(
    st.sampled_from(["FREQ=DAILY", "FREQ=WEEKLY", "FREQ=MONTHLY;BYMONTHDAY=-1", "FREQ=YEARLY", "FREQ=DAILY;INTERVAL=3;COUNT=9"]),
    DAYS.map(lambda days: f"FREQ=WEEKLY;BYDAY={days}"),
)
LENGTHS = st.timedeltas(min_value=timedelta(minutes=1), max_value=timedelta(days=3))
STRANGE = st.one_of(
    st.text(max_size=40),
    st.lists(
        st.tuples(
            st.sampled_from(
                ["FREQ", "INTERVAL", "COUNT", "BYDAY", "BYMONTH", "BYMONTHDAY", "BYSETPOS", "BYHOUR", "UNTIL", "WKST"]
            ),
            st.one_of(st.sampled_from(["DAILY", "YEARLY", "SECONDLY", "MO", "-1", "0", "31"]), st.text(max_size=6)),
        ),
        max_size=5,
    ).map(lambda parts: ";".join("=".join(part) for part in parts)),
)


@given(
    starts_at=st.one_of(INSTANTS, st.just(datetime.min.replace(tzinfo=UTC)), st.just(datetime.max.replace(tzinfo=UTC))),
    ends_at=st.none() | INSTANTS,
    rrule=st.none() | STRANGE,
    lasts=st.none() | st.timedeltas(),
    zone=ZONES | st.text(max_size=8),
    globs=st.lists(st.text(max_size=8), max_size=3).map(tuple),
    now=INSTANTS,
)
@settings(deadline=None)
def test_nothing_that_is_stored_raises(
    *,
    starts_at: datetime,
    ends_at: datetime | None,
    rrule: str | None,
    lasts: timedelta | None,
    zone: str,
    globs: tuple[str, ...],
    now: datetime,
) -> None:
    silence = Silence(connections=globs, starts_at=starts_at, ends_at=ends_at, rrule=rrule, lasts=lasts, timezone=zone)
    next_window(silence, now)
    silenced_until([silence], source="s", platform="p", connection="s/[x", external_id="[x", labels={}, now=now)


@given(starts_at=INSTANTS, rrule=RULES, lasts=LENGTHS, zone=ZONES, now=INSTANTS)
@settings(deadline=None, max_examples=200)
def test_a_window_is_in_force_until_its_end_and_not_a_moment_longer(
    *, starts_at: datetime, rrule: str, lasts: timedelta, zone: str, now: datetime
) -> None:
    """Or, where windows touch for more than a year, that far ahead."""
    silence = Silence(starts_at=starts_at, rrule=rrule, lasts=lasts, timezone=zone)
    until = active_until(silence, now)
    if until is None:
        window = next_window(silence, now)
        assert window is None or (now < window[0] < window[1] and active_until(silence, window[0]) is not None)
        return
    assert now < until
    assert active_until(silence, until - timedelta(microseconds=1)) is not None
    assert active_until(silence, until) is None or until - now > timedelta(days=300)
