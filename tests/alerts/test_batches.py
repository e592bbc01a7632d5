"""Outcomes that come in a batch count as they do one by one."""

from collections.abc import Iterator, Sequence
from itertools import batched
from random import Random
from typing import Any, get_args

import pytest
from msgspec.structs import replace

from alerts.guardrails import Watch
from alerts.pulse import Pulse
from alerts.rules.rule import DEFAULT_RULES, Rule
from records.facts.counts import alike
from records.outcome import ErrorType, Fault, Outcome, OutcomeName, Usage

CATEGORY = Rule(rule="error_rate", limit=0.05, window_s=None, minimum=3, action="rollback", category="refund")
RULES = (*DEFAULT_RULES, CATEGORY)
OTHERS: Sequence[OutcomeName] = ("error", "fallback", "aborted", "shed", "caller_error")


def mixed(count: int) -> Iterator[Outcome]:
    """Outcomes of every kind, of both arms, mirror copies and another run among them."""
    dice = Random(7)
    for number in range(count):
        usual = dice.random() < 0.7
        outcome: OutcomeName = "ok" if usual else dice.choice(OTHERS)
        failed = outcome in ("error", "fallback")
        stream = dice.random() < 0.5
        yield Outcome(
            exchange_id=f"x{number}",
            at=1_790_000_000.0 + number * 0.5,
            mono=1000.0 + number * 0.5,
            outcome=outcome,
            canary="trial",
            run=2 if dice.random() < 0.05 else 1,
            phase=number // 500,
            share=0.25,
            arm="candidate" if dice.random() < 0.25 else "baseline",
            reason="pinned" if dice.random() < 0.05 else "cohort",
            unit=f"unit-{dice.randrange(200)}",
            session=f"session-{dice.randrange(100)}",
            fingerprint=f"question-{dice.randrange(3)}" if dice.random() < 0.3 else "",
            category=dice.choice(("refund", "other")),
            operation="chat",
            stream=stream,
            error_type=dice.choice(get_args(ErrorType)) if failed else None,
            latency_s=dice.lognormvariate(0.0, 1.0),
            ttft_s=dice.random() if stream else None,
            ttfb_s=dice.random() if stream else None,
            usage=Usage(output_tokens=20),
            cost_usd=0.001 * dice.random() if dice.random() < 0.9 else None,
            finish="stop" if outcome == "ok" else None,
            faults=(dice.choice(get_args(Fault)),) if outcome == "ok" and dice.random() < 0.2 else (),
            output_check="judged" if dice.random() < 0.5 else "",
            mirror=dice.random() < 0.05,
        )


def rounded(document: Any) -> Any:
    """The document without the last digits, in which a sum depends on its order, and without the moment at
    which a unit counted: of two events within one batch either may be the first."""
    if isinstance(document, dict):
        return {
            key: sorted(value) if key == "counted_at" else rounded(value) for key, value in document.items()
        }
    if isinstance(document, list | tuple):
        return [rounded(each) for each in document]
    return float(f"{document:.9g}") if isinstance(document, float) else document


@pytest.mark.parametrize("size", [7, 400])
def test_every_rule_finds_the_same(size: int) -> None:
    one_by_one, together = Watch("trial", RULES), Watch("trial", RULES)
    for part in batched(mixed(2000), size):
        for each in part:
            one_by_one.observe(each)
        together.observe(*part)
        now = part[-1].mono + 5.0
        statuses = [rounded(each.evidence) for each in one_by_one.decide(now, routed=True)]
        assert [rounded(each.evidence) for each in together.decide(now, routed=True)] == statuses
    assert rounded(together.snapshot()) == rounded(one_by_one.snapshot())


def test_live_figures_are_the_same() -> None:
    one_by_one, together = Pulse(run=1), Pulse(run=1)
    outcomes = list(mixed(2000))
    for each in outcomes:
        one_by_one.observe(each)
    for group in alike(outcomes):
        together.observe(*group)
    assert rounded(together.document(2000.0)) == rounded(one_by_one.document(2000.0))
    assert rounded(together.mirror_document(2000.0)) == rounded(one_by_one.mirror_document(2000.0))


def test_only_what_no_counter_asks_about_may_differ_within_a_group() -> None:
    (one, *_) = mixed(1)
    same = replace(one, exchange_id="y", at=2.0, latency_s=9.0, unit="else", model="m", category="c")
    assert [len(group) for group in alike([one, same, replace(one, stream=not one.stream)])] == [2, 1]
