"""Labels are given without knowing whose answer it is, and few of them are no rate."""

from dataclasses import replace
from urllib.parse import parse_qsl

import pytest
from msgspec import structs

from console.captures import (
    candidate_is_a,
    in_blind_order,
    messages_of,
    progress_words,
    query,
    right_of,
    summarized,
    switches,
    wanted_of,
)
from control.operator.labels import LabelProgress, PairWanted
from control.operator.orders import BadOrder
from records.captures.capture import CapturedMessage
from records.store.captures import Label, Right
from tests.records.test_capture_store import a_capture

IDS = [f"exchange-{number}" for number in range(1000)]


def labels(**counts: int) -> list[Label]:
    return [
        Label(at=1.0, canary="trial", exchange_id=f"{right}-{number}", right=right, who="ann")  # type: ignore[arg-type]
        for right, count in counts.items()
        for number in range(count)
    ]


def test_the_candidate_stands_first_in_half_of_the_pairs() -> None:
    assert 450 < sum(map(candidate_is_a, IDS)) < 550


@pytest.mark.parametrize("letter", ["a", "b"])
def test_a_letter_means_the_arm_whose_answer_stood_under_it(letter: str) -> None:
    for name in IDS[:50]:
        real, copy = a_capture(name, answer="old"), a_capture(f"copy of {name}", answer="new", copy_of=name)
        _, first, second = in_blind_order(real, copy)
        shown = first if letter == "a" else second
        meant: Right = "candidate" if shown.answer == "new" else "baseline"
        assert right_of(letter, name) == meant
    with pytest.raises(BadOrder, match="is not a label"):
        right_of("c", "exchange-1")


def test_below_fifty_labels_are_examples_and_no_rate() -> None:
    found = summarized(labels(both=20, candidate=8, baseline=3, unclear=9))
    assert found is not None
    assert found.extent.startswith("31 labelled, 9 unclear: a spot check.")
    assert dict(found.arms) == {"baseline": "23 of 31", "candidate": "28 of 31"}
    assert found.apart == "Only the candidate is right in 8, only the baseline in 3."


def test_from_fifty_on_each_arm_has_an_interval() -> None:
    found = summarized(labels(both=40, candidate=12, neither=8))
    assert found is not None
    assert found.extent == "60 labelled, 0 unclear: a partial evaluation."
    assert dict(found.arms)["candidate"] == "86.7 % (75.8 % to 93.1 %), 52 of 60"
    full = summarized(labels(both=200))
    assert full is not None and full.extent.endswith("a full evaluation.")


def test_without_labels_nothing_is_told_and_unclear_ones_alone_are_no_share() -> None:
    assert summarized([]) is None
    unclear = summarized(labels(unclear=2))
    assert unclear is not None and unclear.arms == ()


def test_the_address_says_what_is_wanted_and_the_switches_change_one_thing() -> None:
    wanted = PairWanted(who="ann & ben", category="refund", second=True, disagreements=True, again="e1")
    for each in (wanted, PairWanted()):
        assert wanted_of(dict(parse_qsl(query(each))), who=each.who) == each
    assert query(PairWanted()) == ""
    order, extent = switches(replace(wanted, disagreements=False), judged=True)
    assert [here for *_, here in order] == [True, False]
    assert [here for *_, here in extent] == [False, True]
    assert wanted_of(dict(parse_qsl(order[1][1][1:])), who=wanted.who) == wanted
    assert not wanted_of(dict(parse_qsl(extent[0][1][1:])), who=wanted.who).second
    assert len(switches(PairWanted(), judged=False)) == 1


def progressed(**counts: int) -> str:
    known = {"labelled": 0, "judged": 0, "on_judged": 0, "twice": 0, "agree": 0} | counts
    return " ".join(progress_words(LabelProgress(**known)))


def test_two_people_s_agreement_is_a_rate_from_thirty_pairs_on() -> None:
    assert progressed(labelled=1) == "1 labelled so far."
    assert progressed(twice=29, agree=20) == (
        "0 labelled so far. Labelled by two people: 29 pairs. They agree on 20; below 30 pairs this is "
        "no rate."
    )
    assert progressed(twice=30, agree=24).endswith("They agree on 24: 80.0 % (62.7 % to 90.5 %).")


def test_how_many_of_the_labels_are_there_that_a_row_on_the_judge_needs() -> None:
    assert (
        "Labels on pairs that the judge marked: 12. A rubric row on people's preference needs 50 in the "
        "order of this page; then the verdict says how many more would decide it."
    ) in progressed(judged=80, on_judged=12)
    assert "judge" not in progressed(labelled=12)


def test_the_system_prompt_and_all_but_the_last_messages_can_be_folded() -> None:
    said = [CapturedMessage("system", "Be brief.")]
    said += [CapturedMessage(("user", "assistant")[number % 2], f"{number}") for number in range(5)]
    shown = messages_of(structs.replace(a_capture("e1"), messages=tuple(said)))
    assert [each.content for each in shown.system] == ["Be brief."]
    assert [each.content for each in shown.earlier] == ["0", "1"]
    assert [each.content for each in shown.last] == ["2", "3", "4"]
    assert messages_of(structs.replace(a_capture("e1"), messages=tuple(said[:4]))).earlier == []
