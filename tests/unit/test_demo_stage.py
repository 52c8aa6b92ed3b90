"""What the demo's viewer is told: totals that count alerts, and one thing after the other."""

from __future__ import annotations

import json
from datetime import timedelta
from io import StringIO

from rich.console import Console

from monitor.demo.receivers import Post
from monitor.demo.run import Stage, alerts_in
from monitor.domain import AlertEvent
from monitor.notify.messages import Dispatch, compose, render
from tests.support.factories import NOW, make_alert


def body(count: int) -> str:
    """A message about so many that expired and one that recovered, whose name and reason hold other words."""
    bad = [make_alert(id=f"a{number}", external_id=f"l{number}", incident=f"i{number}") for number in range(count)]
    good = make_alert(
        id="b",
        external_id="well",
        incident="well",
        event=AlertEvent.RECOVERED,
        reason="recovered",
        status="valid",
        previous="expired",
        label="revoked",
        message="It was failing.",
        opened_at=NOW - timedelta(hours=1),
    )
    return render(compose([Dispatch(alert=each) for each in (*bad, good)], timezone="UTC", now=NOW)).body


def post(text: str, path: str = "/console") -> Post:
    document = json.dumps({"title": "News", "message": text, "type": "failure"}).encode()
    return Post(at=NOW, monotonic=0.0, path=path, headers={}, body=document)


def test_alerts_are_counted_and_not_words() -> None:
    assert alerts_in(body(0)) == {"recovered": 1}
    assert alerts_in(body(1)) == {"expired": 1, "recovered": 1}
    assert alerts_in(body(3)) == {"expired": 3, "recovered": 1}


def test_the_totals_of_nothing_are_a_sentence() -> None:
    stage = Stage(Console(file=StringIO()))
    assert (
        stage.summary() == "No alert about a connection has been received yet. The webhook channel received 0 critical messages."
    )
    stage.alert(post(body(2)))
    stage.alert(post(body(2), path="/webhook"))
    assert stage.summary() == (
        "Alerts received on the console channel: expired 2, recovered 1. The webhook channel received 1 critical message."
    )
    stage.ended = True
    stage.alert(post(body(2)))
    assert stage.seen["expired"] == 2


def test_what_arrives_while_the_table_prints_is_shown_behind_it() -> None:
    out = StringIO()
    stage = Stage(Console(file=out))
    with stage.alone():
        stage.note("The table:")
        stage.alert(post(body(1)))
        stage.note("a row")
    assert out.getvalue().startswith("The table:\na row\n")
    assert "News" in out.getvalue()
    assert stage.seen["expired"] == 1
