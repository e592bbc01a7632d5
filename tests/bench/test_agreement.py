"""What labels are worth: people keep a model's proposals or not, and agree with each other or not."""

from typing import Any

from bench.dataset.labels import (
    accepted,
    ambiguous,
    differing,
    document,
    edited,
    history,
    kept,
    proposed,
)
from pages.words.judge import labels_worth as worth

LINE = {"id": "1", "task": "exact", "input": "Is it?", "tags": {}}


def a_proposal(by: str = "p/judge") -> dict[str, Any]:
    return proposed(LINE, "yes", by=by, at=0.0)


def test_the_line_keeps_every_label_with_who_gave_it_and_when() -> None:
    line = edited(a_proposal(), "no", by="ann", at=60.0)
    assert history(line) == [
        {"by": "p/judge", "at": "1970-01-01T00:00:00Z", "label": "proposed", "expected": "yes"},
        {"by": "ann", "at": "1970-01-01T00:01:00Z", "label": "edited", "expected": "no"},
    ]
    assert (line["expected"], line["tags"]) == ("no", {"label": "edited"})


def test_people_keep_a_models_proposals_or_not_and_ambiguous_ones_are_left_out() -> None:
    ann: Any = {"by": "ann", "at": 1.0}
    lines = [accepted(a_proposal(), **ann)] * 3 + [edited(a_proposal(), "no", **ann)]
    lines += [ambiguous(a_proposal(), **ann), a_proposal(), accepted(a_proposal("p/current"), **ann)]
    found = kept(lines)
    assert {by: (each.hits, each.of) for by, each in found.items()} == {
        "p/current": (1, 1),
        "p/judge": (3, 4),
    }
    assert worth(lines)[1] == "p/judge: people kept its proposals in 3 of 4 (30 % to 95 %)"
    share = document(lines)["kept"][1]["share"]
    assert 0.3 < share["low"] < share["estimate"] == 0.75 < share["high"] < 0.96


def test_the_newest_proposal_counts_and_it_does_not_matter_who_made_an_earlier_one() -> None:
    line = accepted(proposed(a_proposal("p/current"), "no", by="p/judge", at=1.0), by="ann", at=2.0)
    assert {by: each.hits for by, each in kept([line]).items()} == {"p/judge": 1}


def test_two_people_differ_by_their_newest_labels() -> None:
    once = accepted(a_proposal(), by="ann", at=1.0)
    same = accepted(once, by="ben", at=2.0)
    other = ambiguous(once, by="ben", at=2.0)
    changed = accepted({**other, "expected": "yes"}, by="ben", at=3.0)
    assert differing([once]) is None
    found = differing([once, same, other, changed])
    assert found is not None
    assert (found.hits, found.of) == (1, 3)
    assert worth([once, other])[1].startswith("two people differ in 1 of 1 (21 % to 100 %)")
