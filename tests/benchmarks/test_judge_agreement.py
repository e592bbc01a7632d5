"""Judges measured: planted pairs come out as planted, and recorded words are counted by our rule."""

import asyncio
import json
from collections import Counter
from pathlib import Path

from benchmarks.judge_agreement import PLANTED, lines, planted, planted_pairs, public_pairs
from judge.benchmark import JudgedPair, judged_figures


def test_a_judge_of_known_taste_says_what_was_planted() -> None:
    pairs = list(planted_pairs(300, seed=1))
    first_words = [(each.baseline.split()[0], each.candidate.split()[0]) for each in pairs]
    expected = Counter(PLANTED[each][1] for each in first_words)
    figures = judged_figures(asyncio.run(planted(300, seed=1)))
    found = {
        "candidate": figures.won,
        "baseline": figures.lost,
        "tie": figures.tie,
        "no_mark": figures.no_mark,
    }
    assert found == expected
    assert figures.order_decided == first_words.count(("Odd", "Odd")) / (300 - expected["no_mark"])
    same = sum(each.known == PLANTED[words][1] for each, words in zip(pairs, first_words, strict=True))
    share, preference = figures.agreement.share, figures.judged_preference
    assert share is not None and preference is not None
    assert share.estimate == same / figures.agreement.labels
    assert share.low < 0.8 < share.high
    assert preference.low < (0.50 + 0.25 / 2) / 0.95 < preference.high


def test_recorded_words_are_counted_by_the_rule_of_both_orders(tmp_path: Path) -> None:
    """The same answer in both orders wins, so the judge's words differ."""
    said = [["A", "B"]] * 20 + [["B", "A"]] * 10 + [["A", "A"]] * 9 + [["A", ""]]
    rows = [
        {"input": f"Q{number}?", "first": "yes", "second": "no", "right": "first", "said": words}
        for number, words in enumerate(said)
    ]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    listed = public_pairs(tmp_path / "pairs.jsonl", most=100, seed=1)
    told = list(lines([JudgedPair(pair=each.pair, said=each.said) for each in listed]))
    assert told[0] == "40 pairs: second 10, first 20, tie 9, no mark 1"
    assert told[2].startswith("the judge and the labels: 39 labels, the same 51.3 ")
    assert told[3] == "the order decided 23.1% of the pairs with both words"
    assert told[5].startswith("the longer answer and the labels: 40 labels, the same 100.0 (91.2 to 100.0) %")


def test_a_sample_is_the_same_each_time_and_no_larger_than_asked(tmp_path: Path) -> None:
    rows = [{"input": f"Q{number}?", "first": "a", "second": "b", "right": "tie"} for number in range(50)]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    one, other = (public_pairs(tmp_path / "pairs.jsonl", most=10, seed=7) for _ in range(2))
    assert one == other
    assert len({each.pair.cluster for each in one}) == 10
