"""Measures how a judge agrees with people about public pairs, asked as canary asks: blind, in both orders.

    python -m benchmarks.judge_agreement --pairs llmbar.jsonl --url http://127.0.0.1:8080/v1 --model judge
    python -m benchmarks.judge_agreement --planted 2000      # a judge of known taste: a check of the figures

A line of the file is `{"input", "first", "second", "right"}` with `right` one of `first`, `second`, `tie`. It
may have `people`, the votes of two single people, which show how far people agree; and `said`, the words of a
judge in both orders (A, B or "" each): then these are counted, and nobody is asked. No set is part of canary.
These commands make files from two of them:

    git clone https://github.com/princeton-nlp/LLMBar                                  # MIT
    cat LLMBar/Dataset/LLMBar/Natural/dataset.json LLMBar/Dataset/LLMBar/Adversarial/*/dataset.json |
      jq -c '.[] | {input, first: .output_1, second: .output_2,
        right: (if .label == 1 then "first" else "second" end)}' > llmbar.jsonl

    find LLMBar/Dataset/LLMBar -path '*/GPT-4/Vanilla/result.json' -exec cat {} + |
      jq -c '.[] | .results[0] as $said | {input, first: .output_1, second: .output_2,
        right: (if .label == 1 then "first" else "second" end),
        said: [({"1": "A", "2": "B"}[$said["swap = False"].winner // ""] // ""),
               ({"1": "B", "2": "A"}[$said["swap = True"].winner // ""] // "")]}' > llmbar-gpt-4.jsonl

    git clone https://github.com/WeOpenML/PandaLM                                      # Apache 2.0
    jq -c '["tie", "first", "second"] as $name | .[] | [.annotator1, .annotator2, .annotator3] as $said
      | ($said | group_by(.) | max_by(length) | select(length > 1)[0]) as $most
      | {input: (.instruction + "\\n\\n" + .input), first: .response1, second: .response2,
         right: $name[$most], people: [$name[$said[0]], $name[$said[1]]]}' \\
      PandaLM/data/testset-v1.json > pandalm.jsonl

The key of an API that wants one is OPENAI_API_KEY. Prices are not looked up.
"""

import argparse
import asyncio
import json
import os
import random
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.models.asker import client_for
from bench.settings import CRITERIA, BenchSettings, JudgeSource
from common.interval import Interval, wilson
from demo.provider.behaviour import Behaviour
from demo.provider.server import LocalProvider
from judge.benchmark import AnswerPair, JudgedPair, Vote, judged, judged_figures
from judge.figures import LabelAgreement, kappa
from judge.judgements import FIRST, SECOND, Result
from judge.model import MOST_TOKENS, JudgeAsker, words_sha256
from proxy.providers.provider import Provider
from records.captures.capture import CapturedMessage
from records.facts.prices import TokenPrices

VOTES: dict[str, Vote] = {"first": "baseline", "second": "candidate", "tie": "tie"}

TASTE = {
    "=== ANSWER A ===\nGood": "BETTER: A",
    "=== ANSWER B ===\nGood": "BETTER: B",
    "=== ANSWER A ===\nOdd": "BETTER: A",
    "=== ANSWER A ===\nMute": "I would rather not say.",
    "You compare": "BETTER: SAME",
}
"""The judge of known taste: it takes the good answer, the first of two odd ones, neither of two plain."""

PLANTED: dict[tuple[str, str], tuple[float, Result]] = {
    ("Plain", "Good"): (0.50, "candidate"),
    ("Good", "Plain"): (0.20, "baseline"),
    ("Plain", "Plain"): (0.15, "tie"),
    ("Odd", "Odd"): (0.10, "tie"),
    ("Mute", "Mute"): (0.05, "no_mark"),
}
"""Both answers' first words: how often they are drawn, and what the judge's result is then."""

PEOPLE_SAY_THE_SAME = 0.8
"""How often the planted label is the judge's word; else it is one of the two others, evenly."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicPair:
    """A line of a file: the pair, two single people's votes, and a judge's recorded words, by turn."""

    pair: AnswerPair
    people: Sequence[str] = ()
    said: Mapping[int, str] = field(default_factory=dict)


def public_pairs(file: Path, *, most: int, seed: int) -> list[PublicPair]:
    """A sample of the pairs of a file."""
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    sample = random.Random(seed).sample(lines, min(most, len(lines)))
    return [_public(number, line) for number, line in enumerate(sample)]


def _public(number: int, line: Mapping[str, Any]) -> PublicPair:
    pair = AnswerPair(
        id=str(number),
        asked=(CapturedMessage("user", line["input"]),),
        baseline=str(line["first"]),
        candidate=str(line["second"]),
        known=VOTES[line["right"]],
        cluster=line["input"],
    )
    said: dict[int, str] = dict(zip((FIRST, SECOND), line.get("said", ()), strict=False))
    return PublicPair(pair=pair, people=line.get("people", ()), said=said)


def planted_pairs(of: int, *, seed: int) -> Iterator[AnswerPair]:
    """Pairs for the judge of known taste, with labels that are like its words as often as planted."""
    draws = random.Random(seed)
    kinds = draws.choices(list(PLANTED), [rate for rate, _ in PLANTED.values()], k=of)
    for number, (baseline, candidate) in enumerate(kinds):
        _, result = PLANTED[baseline, candidate]
        like: list[Vote] = [vote for vote in VOTES.values() if vote == result]
        others: list[Vote] = [vote for vote in VOTES.values() if vote != result]
        same = bool(like) and draws.random() < PEOPLE_SAY_THE_SAME
        yield AnswerPair(
            id=str(number),
            asked=(CapturedMessage("user", f"Question {number}?"),),
            baseline=f"{baseline} answer {number}.",
            candidate=f"{candidate} reply {number}.",
            known=like[0] if same else draws.choice(others),
            cluster=str(number),
        )


async def asked(
    url: str, model: str, pairs: Sequence[AnswerPair], *, criteria: str, most_tokens: int = MOST_TOKENS
) -> list[JudgedPair]:
    """Ask a judge behind an OpenAI-compatible base URL about every pair."""
    key = os.environ.get("OPENAI_API_KEY", "none")
    provider = Provider(name="judge", api="openai", base_url=url, api_key=key)
    settings = BenchSettings(
        providers={"judge": provider}, canaries=(), prices={model: TokenPrices(input=0, output=0)}
    )
    source = JudgeSource(provider="judge", model=model, daily_budget_usd=0)
    async with client_for(provider, at_once=source.at_once) as client:
        return await judged(
            JudgeAsker(client, source, settings, {}, most_tokens=most_tokens),
            pairs,
            criteria,
            saved=None,
            at_once=source.at_once,
            progress=_progress,
        )


async def planted(of: int, *, seed: int) -> list[JudgedPair]:
    """What a judge of known taste, over HTTP, says of planted pairs."""
    async with LocalProvider({"taste": Behaviour(says=TASTE)}) as provider:
        pairs = list(planted_pairs(of, seed=seed))
        return await asked(f"{provider.url}/v1", "taste", pairs, criteria=CRITERIA)


def _progress(done: int, of: int) -> None:
    if done % 10 == 0 or done == of:
        print(f"\r{done} of {of} pairs", end="\n" if done == of else "", file=sys.stderr, flush=True)


def lines(found: Sequence[JudgedPair]) -> Iterator[str]:
    """The figures in words."""
    figures = judged_figures(found)
    longer_votes = [(each.pair.known, _longer(each.pair)) for each in found if each.pair.known is not None]
    results = f"second {figures.won}, first {figures.lost}, tie {figures.tie}, no mark {figures.no_mark}"
    yield f"{figures.pairs} pairs: {results}"
    yield f"the second answer is preferred: {_share(figures.judged_preference)}"
    yield from _agrees("the judge and the labels", figures.agreement)
    decided, longer = (_percent(each) for each in (figures.order_decided, figures.prefers_longer))
    yield f"the order decided {decided} of the pairs with both words"
    yield f"the longer answer won {longer} of those won"
    yield _alike("the longer answer and the labels", longer_votes)
    for why, count in _unread(found).most_common(2):
        yield f"no mark, {count} times: {why[:80]!r}"


def _unread(found: Sequence[JudgedPair]) -> Counter[str]:
    return Counter(each.reason for each in found if each.result == "no_mark")


def _agrees(who: str, found: LabelAgreement) -> Iterator[str]:
    beyond = "unknown" if found.kappa is None else _interval(found.kappa, 1, 2)
    yield f"{who}: {found.labels} labels, the same {_share(found.share)}, kappa {beyond}"


def _longer(pair: AnswerPair) -> Vote:
    """The vote of a judge that always takes the longer answer: what a judge has to surpass."""
    by = len(pair.candidate) - len(pair.baseline)
    return "tie" if by == 0 else "candidate" if by > 0 else "baseline"


def _alike(who: str, votes: Sequence[tuple[str, str]]) -> str:
    found, same = kappa(votes), sum(first == second for first, second in votes)
    low, high = wilson(same, len(votes))
    words = _share(Interval(low=low, estimate=same / len(votes), high=high))
    beyond = "unknown" if found is None else _interval(found, 1, 2)
    return f"{who}: {len(votes)} labels, the same {words}, kappa {beyond}"


def _share(found: Interval | None) -> str:
    return "unknown" if found is None else f"{_interval(found, 100, 1)} %"


def _interval(found: Interval, scale: float, places: int) -> str:
    low, estimate, high = (f"{scale * each:.{places}f}" for each in (found.low, found.estimate, found.high))
    return f"{estimate} ({low} to {high})"


def _percent(found: float | None) -> str:
    return "an unknown share" if found is None else f"{found:.1%}"


def _expected() -> Iterator[str]:
    """What is planted, as the rates that the figures estimate."""
    rates: dict[Result, float] = {}
    for rate, result in PLANTED.values():
        rates[result] = rates.get(result, 0) + rate
    marked = 1 - rates["no_mark"]
    yield f"planted: preference {(rates['candidate'] + rates['tie'] / 2) / marked:.1%},"
    yield f"no mark {rates['no_mark']:.1%}, order decided {PLANTED['Odd', 'Odd'][0] / marked:.1%},"
    yield f"labels as the judge {PEOPLE_SAY_THE_SAME:.1%}, kappa {_expected_kappa(rates, marked):.2f}"


def _expected_kappa(rates: Mapping[Result, float], marked: float) -> float:
    says = {vote: rates[vote] / marked for vote in VOTES.values()}
    apart = (1 - PEOPLE_SAY_THE_SAME) / 2
    chance = sum(each * (PEOPLE_SAY_THE_SAME * each + apart * (1 - each)) for each in says.values())
    return (PEOPLE_SAY_THE_SAME - chance) / (1 - chance)


def main() -> None:
    """Judge the pairs and print the figures."""
    options = _options()
    if options.planted:
        print(" ".join(_expected()))
        found = asyncio.run(planted(options.planted, seed=options.seed))
    else:
        found = _judged_file(options)
    print(*lines(found), sep="\n")


def _judged_file(options: argparse.Namespace) -> list[JudgedPair]:
    listed = public_pairs(options.pairs, most=options.most, seed=options.seed)
    if votes := [(each.people[0], each.people[1]) for each in listed if each.people]:
        print(_alike("two people", votes))
    if any(each.said for each in listed):
        return [JudgedPair(pair=each.pair, said=each.said) for each in listed]
    pairs = [each.pair for each in listed]
    print(f"words {words_sha256('pair', options.criteria)[:12]}")
    return asyncio.run(
        asked(
            options.url,
            options.model,
            pairs,
            criteria=options.criteria,
            most_tokens=options.most_tokens,
        )
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--pairs", type=Path, help="a file of public pairs")
    what.add_argument(
        "--planted", type=int, default=0, metavar="N", help="so many pairs of a known preference"
    )
    parser.add_argument("--url", default="http://127.0.0.1:8080/v1", help="the judge's base URL")
    parser.add_argument("--model", default="judge", help="the judge's name there")
    parser.add_argument("--criteria", default=CRITERIA, help="what counts, in the judge's words")
    parser.add_argument("--most", type=int, default=200, help="the size of the sample")
    parser.add_argument("--most-tokens", type=int, default=MOST_TOKENS, help="the bound of an answer")
    parser.add_argument("--seed", type=int, default=20_261_127)
    return parser.parse_args()


if __name__ == "__main__":
    main()
