"""A channel's own words: what fills a template is harmless, and what a template can do is bounded by its form."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.config.templates import TemplatePair
from monitor.domain import AlertEvent
from monitor.notify.messages import Dispatch, Markup, compose, templates
from monitor.notify.messages.templates import MEANINGS, TemplateProblem, render, render_sample, variables
from tests.support.factories import NOW, make_alert


def filled(body: str, *, markup: Markup = Markup.TEXT, **alert: Any) -> str:
    (item,) = compose([Dispatch(alert=make_alert(**alert))], timezone="UTC", now=NOW).items
    return render(TemplatePair(body=body), item, markup).body or ""


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("{{ name }} ({{ external_id }}) at {{ source }}/{{ platform }}", "Acme Ltd (linkedin-123) at agency/linkedin"),
        ("{{ status }} {{ event }} {{ severity }}", "expired expired critical"),
        ("{{ labels.client }}|{{ labels.nobody }}|", "acme||"),
        ("{% for key, value in labels|dictsort %}{{ key }}={{ value }};{% endfor %}", "client=acme;tier=1;"),
        ("{% if severity == 'critical' %}Now{% else %}Soon{% endif %}", "Now"),
        ("{{ name|upper }} {{ name|truncate(4, true, '') }}", "ACME LTD Acme"),
        ("{{ stage or 'no stage' }}", "no stage"),
        ("{{ provider }}: {{ news }}", "PostPost: Acme Ltd on LinkedIn has expired."),
        ("{{ alert }} {{ incident }} {{ at }}", "alert-1 incident-1 2026-03-10T12:00:00Z"),
        ("{{ title }}", "[EXPIRED] Acme Ltd (linkedin) at agency"),
        ("Dear team,\n{{ body }}", "Dear team,\nAcme Ltd on LinkedIn has expired. No expiry date is known."),
    ],
)
def test_a_template_fills_in_what_is_known(body: str, text: str) -> None:
    assert filled(body, labels={"client": "acme", "tier": "1"}).startswith(text)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("{{ nope }}", "'nope' is undefined"),
        ("{% if %}", "Expected an expression"),
        ("{{ name", "line 1"),
        ("{{ name|center(99) }}", "No filter named 'center'"),
        ("{% set a = 1 %}", "must not assign variables"),
        ("{{ name.upper() }}", "must not call functions"),
        ("{{ 'a' * 9 }}", "must not multiply"),
        ("{{ 9 ** 9 }}", "must not multiply"),
        ("{{ '%9d' % 1 }}", "must not format by %"),
        ("{% for a in range(3) %}{% endfor %}", "can only loop over notes and labels"),
        ("{% for a in notes %}{% for b in notes %}{% endfor %}{% endfor %}", "must not nest loops"),
        ("{% for a in (1, 2) %}{% endfor %}", "can only loop"),
        ("{% include 'x' %}", "must not include"),
        ("{% import 'x' as y %}", "must not import"),
        ("{% extends 'x' %}", "must not extend"),
        ("{% macro f() %}{% endmacro %}", "must not define macros"),
        ("{{ name.__class__ }}", "unsafe"),
        ("{{ labels.__class__.__mro__ }}", "unsafe"),
        ("{{ ''.__class__ }}", "unsafe"),
        ("{{ name|int / 0 }}", "must not use div"),
        ("x" * 10_001, "longer than 10,000"),
        ("{% for c in name|sort %}" + "x" * 3000 + "{% endfor %}", "renders more than 20,000"),
    ],
)
def test_what_a_template_must_not_do_is_one_sentence(body: str, why: str) -> None:
    with pytest.raises(TemplateProblem, match=why.replace("%", "%")) as caught:
        filled(body)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")


def test_growth_by_chained_filters_is_stopped() -> None:
    """Each step could make the text a hundred times longer."""
    began = time.process_time()
    with pytest.raises(TemplateProblem, match="longer than 2,000"):
        filled("{{ name" + "|replace('a', name)|replace('A', name)|replace('x', name)" * 60 + " }}", label="aAxaAxaAx" * 8)
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    ("markup", "shown"),
    [
        (Markup.TEXT, "@\u200beveryone <\u200bb> *x*"),
        (Markup.CHAT, "@\u200beveryone \\<\u200bb\\> \\*x\\*"),
        (Markup.SLACK, "@\u200beveryone &lt;\u200bb&gt; \u2217x\u2217"),
        (Markup.HTML, "@\u200beveryone &lt;\u200bb&gt; *x*"),
        (Markup.MAIL, "@\u200beveryone &lt;\u200bb&gt; *x*"),
    ],
)
@pytest.mark.parametrize(
    "body", ["{{ name }}", "{{ name|trim }}", "{{ name ~ '' }}", "{{ name|replace('q', '') }}", "{{ name[:99] }}"]
)
def test_S05_an_untrusted_name_is_harmless_whatever_the_template_does_with_it(markup: Markup, shown: str, body: str) -> None:
    assert filled(body, markup=markup, label="@everyone <b> *x*") == shown


def test_S05_a_filter_cannot_put_a_power_together_again() -> None:
    assert "@everyone" not in filled("{{ name|replace('\u200b', '')|replace('#', '') }}", label="@#every#one")


def test_the_templates_own_text_is_the_persons_and_stays_as_it_is() -> None:
    assert filled("<!here> *{{ name }}*", markup=Markup.SLACK) == "<!here> *Acme Ltd*"
    assert filled("<p>{{ name }}</p>\n", markup=Markup.MAIL, label="a & b") == "<p>a &amp; b</p>"
    assert filled("one\ntwo", markup=Markup.MAIL) == "one<br>two"


def test_the_built_in_body_comes_in_the_channels_own_markup() -> None:
    assert "<div><span" in filled("{{ body }}", markup=Markup.MAIL)
    assert "Connection: `agency/linkedin-123`" in filled("{{ body }}", markup=Markup.SLACK)


def test_the_command_that_acknowledges_can_be_copied_as_it_is() -> None:
    about: dict[str, Any] = {"external_id": "bluesky-acme.bsky.social", "connection": "agency/bluesky-acme.bsky.social"}
    assert filled("{{ ack }}", **about) == "token-monitor ack agency/bluesky-acme.bsky.social"
    assert filled("{{ ack }}", event=AlertEvent.RECOVERED) == ""


def test_the_link_is_whole_in_every_markup() -> None:
    link = "https://app.postpost.dev/_a_?x=1&y=*2*"
    assert filled("{{ link }}", markup=Markup.TEXT, link=link) == link
    assert filled("<{{ link }}|Open>", markup=Markup.SLACK, link=link) == f"<{link.replace('&', '&amp;')}|Open>"
    assert filled("[Open](<{{ link }}>)", markup=Markup.CHAT, link=link) == f"[Open](<{link}>)"


@pytest.mark.parametrize("markup", list(Markup))
def test_the_links_of_this_monitor_are_whole_in_every_markup(markup: Markup) -> None:
    page, link = "https://tokens.example/connections/agency/a_b", "https://tokens.example/ack/i_1.ops.1.ab"
    dispatch = Dispatch(alert=make_alert(labels={"client": "Acme"}), status_page=page, acknowledge=link)
    (item,) = compose([dispatch], timezone="UTC", now=NOW).items
    made = render(TemplatePair(body="{{ page }} {{ ack_link }} {{ client }} {{ brief }}{{ reminder }}"), item, markup)
    assert made.body == f"{page} {link} Acme expired"


def test_a_title_is_one_line() -> None:
    (item,) = compose([Dispatch(alert=make_alert())], timezone="UTC", now=NOW).items
    made = render(TemplatePair(title="{{ name }}\n  needs you\n"), item, Markup.TEXT)
    assert (made.title, made.body) == ("Acme Ltd needs you", None)


@pytest.mark.parametrize("event", list(AlertEvent))
def test_a_sample_can_be_rendered_for_every_event(event: AlertEvent) -> None:
    pair = TemplatePair(title="{{ title }}", body="{{ body }} {{ labels.client }} {{ expires }} {{ left }} {{ cause }}")
    assert "sample" in render_sample(pair, event)


def test_an_event_without_a_template_of_its_own_takes_the_one_for_any() -> None:
    one, any_ = TemplatePair(title="one"), TemplatePair(title="any")
    pairs = {"expired": one, "*": any_}
    assert templates.pair_for(pairs, AlertEvent.EXPIRED) is one
    assert templates.pair_for(pairs, AlertEvent.REVOKED) is any_
    assert templates.pair_for({"expired": one}, AlertEvent.REVOKED) is None


@given(st.text(st.sampled_from("{}%|.()[]'~ \nnamexif=endfor*+-0129<>&\\"), max_size=60))
def test_any_template_either_renders_or_is_a_problem(body: str) -> None:
    try:
        text = filled(body)
    except TemplateProblem as problem:
        text = str(problem)
    assert len(text) <= 20_000


def test_every_variable_has_a_meaning_and_nothing_else_has() -> None:
    (item,) = compose([Dispatch(alert=make_alert())], timezone="UTC", now=NOW).items
    assert list(variables(item)) == [name for name in MEANINGS if name != "body"]
