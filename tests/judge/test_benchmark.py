"""What a judge says of pairs, from the words of both orders to preference, agreement and cost."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from bench.answers.results import SavedAnswers
from bench.errors import Unpriced
from bench.models.asker import client_for
from bench.settings import BenchSettings, JudgeSource, same_model
from demo.provider.behaviour import Behaviour
from judge.benchmark import (
    AnswerPair,
    JudgedBench,
    JudgedDataset,
    JudgedPair,
    Vote,
    agreement,
    judged,
    judged_figures,
    preference,
)
from judge.model import JudgeAsker
from pages.reports.bench import judge_document
from records.captures.capture import CapturedMessage
from records.facts.prices import TokenPrices
from tests.bench.asking import entry, waited
from tests.serving import ProviderThread

WON, LOST, SAME = {1: "B", 2: "A"}, {1: "A", 2: "B"}, {1: "SAME", 2: "SAME"}
FIRST_TWICE, MUTE = {1: "A", 2: "A"}, {1: "A", 2: ""}


def pair(
    number: int = 0, *, known: Vote | None = None, cluster: str = "", candidate: str = "longer"
) -> AnswerPair:
    return AnswerPair(
        id=str(number),
        asked=(CapturedMessage("user", "May I?"),),
        baseline="short",
        candidate=candidate,
        known=known,
        cluster=cluster or str(number),
    )


def said(words: Mapping[int, str], of: int, *, known: Vote | None = None, begin: int = 0) -> list[JudgedPair]:
    return [JudgedPair(pair=pair(begin + each, known=known), said=words, cost_usd=0.5) for each in range(of)]


def test_every_pair_counts_once_and_ties_by_half() -> None:
    alike = [JudgedPair(pair=pair(90))]
    found = judged_figures(
        [*said(WON, 6), *said(LOST, 3), *said(SAME, 2), *said(FIRST_TWICE, 1), *said(MUTE, 2), *alike]
    )
    assert (found.pairs, found.won, found.tie, found.lost, found.no_mark, found.alike) == (15, 6, 4, 3, 2, 1)
    assert found.judged_preference is not None
    assert found.judged_preference.estimate == pytest.approx((6 + 4 / 2) / 13)
    assert (found.order_decided, found.prefers_longer) == (1 / 12, 6 / 9)
    assert (found.cost_usd, found.lost_examples) == (7.0, ("0", "1", "2"))


def test_nothing_marked_is_no_preference_and_no_agreement() -> None:
    found = judged_figures(said(MUTE, 40, known="tie"))
    assert (found.judged_preference, found.order_decided, found.prefers_longer) == (None, None, None)
    assert (found.agreement.labels, found.agreement.share, found.agreement.kappa) == (0, None, None)


def test_only_ties_are_a_half_that_is_not_certain() -> None:
    few, many = preference(said(SAME, 10)), preference(said(SAME, 1000))
    assert few is not None and many is not None
    assert few.low < 0.4 < many.low < 0.5 == many.estimate < many.high < 0.6 < few.high


def test_pairs_of_one_document_widen_the_interval() -> None:
    words = [WON, LOST, LOST, SAME] * 20
    apart = [JudgedPair(pair=pair(number), said=each) for number, each in enumerate(words)]
    together = [
        JudgedPair(pair=pair(number, cluster=str(each)), said=each) for number, each in enumerate(words)
    ]
    one, other = preference(apart), preference(together)
    assert one is not None and other is not None
    assert one.estimate == other.estimate
    assert other.high - other.low > 2 * (one.high - one.low)


def test_agreement_is_over_what_is_known_and_marked_and_was_asked() -> None:
    found = [
        *said(WON, 15, known="candidate"),
        *said(LOST, 10, known="baseline"),
        *said(SAME, 15, known="baseline"),
    ]
    aside = [*said(WON, 5), *said(MUTE, 5, known="candidate"), JudgedPair(pair=pair(known="tie"))]
    known = agreement([*found, *aside])
    assert known.labels == 40
    assert known.share is not None and known.kappa is not None
    assert known.share.estimate == 25 / 40
    chance = (15 * 15 + 10 * 25) / 40**2
    assert known.kappa.estimate == pytest.approx((25 / 40 - chance) / (1 - chance))


def test_below_thirty_known_pairs_nothing_is_said_of_agreement() -> None:
    assert agreement(said(WON, 29, known="candidate")).share is None
    assert agreement(said(WON, 30, known="candidate")).share is not None


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("gpt-6", "gpt-6-2026-11-01", True),
        ("eu/Claude-Opus-5", "claude-opus-5@20261101", True),
        ("claude-opus-5-latest", "claude-opus-5", True),
        ("gpt-6", "gpt-6-mini", False),
    ],
)
def test_a_model_is_the_same_at_any_place_and_in_any_version(one: str, other: str, same: bool) -> None:
    assert same_model(one, other) is same


SOURCE = JudgeSource(provider="openai", model="judge", daily_budget_usd=1)


def asked(
    provider: ProviderThread, pairs: list[AnswerPair], file: Path, *, criteria: str = "Right."
) -> list[JudgedPair]:
    """What the judge at the demo provider says, with its answers saved in a file."""
    settings = BenchSettings(
        providers={"openai": entry(provider.url)},
        canaries=(),
        prices={"judge": TokenPrices(input=1, output=2)},
    )

    async def story() -> list[JudgedPair]:
        async with client_for(settings.providers["openai"], at_once=4) as client:
            asker = JudgeAsker(client, SOURCE, settings, {})
            return await judged(asker, pairs, criteria, saved=SavedAnswers(file, now=0.0), at_once=4)

    return waited(story())


def test_both_orders_are_asked_and_nothing_twice(provider: ProviderThread, tmp_path: Path) -> None:
    provider.behave(
        "judge", Behaviour(says={"ANSWER A ===\nshort": "Brief.\nBETTER: A", "compare": "BETTER: B"})
    )
    pairs = [pair(0), pair(1, candidate="short"), pair(2, candidate="other")]
    first = asked(provider, pairs, tmp_path / "saved")
    assert [each.result for each in first] == ["baseline", "tie", "baseline"]
    assert [each.reason for each in first] == ["Brief.", "", "Brief."]
    assert first[0].cost_usd is not None and first[1].cost_usd is None
    assert len(provider.log.entries) == 4, "two answers of the same text are a tie without a question"
    assert asked(provider, pairs, tmp_path / "saved") == first
    assert len(provider.log.entries) == 4
    asked(provider, pairs, tmp_path / "saved", criteria="Kind.")
    assert len(provider.log.entries) == 8


def test_a_judge_that_fails_leaves_no_mark_and_says_why(provider: ProviderThread, tmp_path: Path) -> None:
    provider.behave("judge", Behaviour(faults={"status": 1}, status=404))
    (found,) = asked(provider, [pair()], tmp_path / "saved")
    assert (found.result, found.cost_usd) == ("no_mark", None)
    assert found.reason.startswith("caller_not_found")


def test_the_highest_price_is_above_the_real_one(provider: ProviderThread) -> None:
    settings = BenchSettings(
        providers={"openai": entry(provider.url)},
        canaries=(),
        prices={"judge": TokenPrices(input=1, output=2)},
    )

    async def story() -> None:
        async with client_for(settings.providers["openai"], at_once=1) as client:
            asker = JudgeAsker(client, SOURCE, settings, {})
            question = (CapturedMessage("user", "Which?"),)
            answer = await asker.ask(question)
            assert answer.cost_usd is not None
            assert 0 < answer.cost_usd < asker.highest_price(question)
            with pytest.raises(Unpriced, match="the judge openai/other has no known price"):
                JudgeAsker(
                    client, JudgeSource(provider="openai", model="other", daily_budget_usd=1), settings, {}
                )

    waited(story())


@pytest.mark.parametrize(
    ("won", "lost", "told"),
    [
        (60, 10, "openai/judge prefers the candidate: the candidate's answers are preferred in 85.7 % ("),
        (10, 60, "openai/judge prefers the current model: the candidate's answers are preferred in 14.3 % ("),
        (13, 11, "no preference of openai/judge can be told, because the interval includes 50 %: the"),
    ],
)
def test_a_preference_is_claimed_only_where_the_interval_tells_it(won: int, lost: int, told: str) -> None:
    pairs = [*said(WON, won), *said(LOST, lost, begin=won)]
    dataset = JudgedDataset(name="d", pairs={str(place): each for place, each in enumerate(pairs)})
    document = judge_document(JudgedBench(source=SOURCE, criteria="Right.", datasets=(dataset,)))
    assert document is not None
    assert document["says"][0].startswith(told)
