"""Labels are given without knowing whose answer it is, and few of them are no rate."""

import pytest

from console.labelling import candidate_is_a, in_blind_order, right_of, summarized
from control.orders import BadOrder
from records.labels import Label, Right
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
    assert dict(found.arms)["candidate"].replace("\u00a0", " ") == "86.7 % (75.8 % to 93.1 %), 52 of 60"
    full = summarized(labels(both=200))
    assert full is not None and full.extent.endswith("a full evaluation.")


def test_without_labels_nothing_is_told_and_unclear_ones_alone_are_no_share() -> None:
    assert summarized([]) is None
    unclear = summarized(labels(unclear=2))
    assert unclear is not None and unclear.arms == ()
