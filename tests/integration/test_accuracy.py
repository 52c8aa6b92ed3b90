"""Days of a simulated world, problems and noise of every sort: every real problem is notified, and nothing else.

The whole of it is `python -m benchmarks.accuracy`; these are short ones.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from benchmarks.accuracy.__main__ import play, play_scenario


@pytest.mark.parametrize("seed", [1, 2])
async def test_every_real_problem_is_notified_and_nothing_else(seed: int, tmp_path: Path) -> None:
    with capture_logs():  # thousands of lines of no interest
        judgement, _ = await play(days=6, accounts=40, seed=seed, poll_every="2h", probe_every="1d", folder=tmp_path)
    assert judgement.false_alarms == []
    assert judgement.misses == []
    assert judgement.late == []
    assert judgement.problems > 10
    assert len(judgement.messages) > judgement.problems


@pytest.mark.parametrize(
    "name",
    [
        "bot_revoked",
        "cannot_be_tested",
        "clock_off",
        "date_passes_while_it_works",
        "failed_post",
        "key_swapped",
        "lasting_texts",
        "long_refresh_fails_for_hours",
        "long_refresh_fails_until_death",
        "moved_to_mtproto",
        "new_status",
        "odd_side_field",
        "one_failed_refresh",
        "only_the_date_runs_out",
        "only_the_span_runs_out",
        "passing_texts",
        "permission_exchanged",
        "permission_lost",
        "reading_permission_lost",
        "reconnected_as_unknown",
        "reconnected_late",
        "reconnected_under_new_id",
        "reconnected_without_permission",
        "refresh_fails_for_hours",
        "refresh_fails_until_death",
        "renewals_never_stated",
        "renewals_stop",
        "renewed_late",
        "renewed_late_then_stops",
        "renewed_lazily",
        "rotating_date",
        "runs_out",
        "stale_date",
        "unknown_and_valid",
        "unreadable_id",
        "unreadable_status",
    ],
)
async def test_a_scenario_of_the_living_world(name: str, tmp_path: Path) -> None:
    with capture_logs():
        _, judgement, _ = await play_scenario(name, folder=tmp_path)
    assert judgement.false_alarms == []
    assert judgement.misses == []
    assert judgement.late == []
