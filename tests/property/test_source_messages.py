"""Messages about sources stay within the length that alerts show, whatever a provider states."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from monitor.domain import Unreadable
from monitor.domain.rules import clock_skew, silent_probes, unreadable_rows
from monitor.domain.rules.clock_skew import SourceClock
from monitor.domain.rules.expiry import CLOCK_UNTRUSTED_ABOVE
from monitor.domain.rules.silent_probes import SilentGroup
from monitor.domain.rules.source_reach import Unmonitored
from monitor.domain.text import MAX_TEXT
from tests.support.factories import NOW

TEXTS = st.text(max_size=600)
NUMBERS = st.integers(1, 1_000_000)
NAMES = st.text("abcdefghijklmnopqrstuvwxyz0123456789_-", min_size=1, max_size=120)
SKEWS = st.floats(-1e9, 1e9).filter(lambda skew: abs(skew) > 1)


@given(cause=TEXTS, number=NUMBERS)
def test_the_number_of_unmonitored_connections_is_never_cut_off(cause: str, number: int) -> None:
    text = Unmonitored(number, NOW).explain(cause)
    assert len(text) <= MAX_TEXT
    assert text.endswith(f" not been monitored since {NOW:%Y-%m-%d %H:%M} UTC.")


@given(why=TEXTS, scope=st.none() | TEXTS, number=NUMBERS)
def test_a_description_of_unreadable_rows_fits(why: str, scope: str | None, number: int) -> None:
    text = unreadable_rows.describe([Unreadable(external_id=None, why=why)], number, scope=scope)
    assert len(text) <= MAX_TEXT
    assert text.startswith(f"1 of {number} row")


@given(answer=st.none() | TEXTS, groups=st.lists(st.tuples(st.sampled_from(["linkedin", "x" * 300, "new"]), NUMBERS), min_size=1))
def test_a_description_of_untested_connections_begins_with_their_number(
    answer: str | None, groups: list[tuple[str, int]]
) -> None:
    text = silent_probes.describe([SilentGroup(platform, number, number, NOW) for platform, number in groups], answer)
    number = sum(number for _, number in groups)
    assert text.startswith(f"{number} connection")
    assert text.endswith(" Their status in the list still applies.")


@given(clocks=st.lists(st.tuples(NAMES, NAMES, SKEWS), min_size=1, max_size=9))
def test_a_description_of_clocks_fits_and_names_a_cause(clocks: list[tuple[str, str, float]]) -> None:
    found = [SourceClock(name=name, host=host, skew=skew) for name, host, skew in clocks]
    found.append(SourceClock(name="off", host="off", skew=CLOCK_UNTRUSTED_ABOVE + 1))
    text = clock_skew.describe(found)
    assert len(text) <= MAX_TEXT
    assert text.endswith(" Until this is corrected, expiry is judged by the more lenient clock.")


@given(before=st.none() | st.integers(0, 99), skews=st.lists(st.none() | SKEWS, max_size=20))
def test_clocks_differ_since_the_first_of_the_last_polls_that_showed_it(before: int | None, skews: list[float | None]) -> None:
    since = None if before is None else NOW - timedelta(hours=before)
    for number, skew in enumerate(skews):
        now = NOW + timedelta(hours=number)
        after = clock_skew.skewed_since(since, skew, now)
        assert after is None or after <= now
        if skew is not None:
            assert (after is None) is (abs(skew) <= CLOCK_UNTRUSTED_ABOVE)
        assert since is None or after is None or after == since
        since = after
