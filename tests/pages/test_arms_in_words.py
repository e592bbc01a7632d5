"""Two arms' texts, as `diff -u` and side by side."""

from pages.words.arms import heading, lines, next_candidate, side_by_side
from records.facts.arm_texts import TextChange, changes_between
from routing.canary import Arm, OwnPrompt

LONG = [f"Rule {number}." for number in range(30)]
CHANGE = TextChange(
    what="prompt",
    before="\n".join(LONG),
    after="\n".join([*LONG[:15], "Another.", "And one more.", *LONG[16:]]),
)


def test_lines_that_are_alike_are_left_out() -> None:
    rows = side_by_side(CHANGE)
    assert rows[0] == ("⋯ 12 lines alike", "", "left_out")
    assert rows[1] == ("Rule 12.", "Rule 12.", "same")
    assert rows[4:6] == [("Rule 15.", "Another.", "changed"), ("", "And one more.", "changed")]
    assert rows[-1] == ("⋯ 11 lines alike", "", "left_out")
    assert heading(CHANGE) == "Prompt: 30 lines → 31 lines"


def test_the_difference_is_that_of_diff() -> None:
    found = lines(CHANGE, "v7.md", "v8.md")
    assert found[:3] == ["--- v7.md", "+++ v8.md", "@@ -13,7 +13,8 @@"]
    assert [line for line in found[3:] if line[0] != " "] == ["-Rule 15.", "+Another.", "+And one more."]


def test_a_text_of_a_hundred_thousand_lines_is_not_compared() -> None:
    huge = TextChange(what="prompt", before="a\n" * 100_000, after="b\n" * 100_000)
    assert side_by_side(huge) == [("too long to compare: 200,000 and 200,000 characters", "", "left_out")]


def test_what_differs_is_said_from_the_baseline_to_the_candidate() -> None:
    texts = {name: f"the text {name}" for name in ("a", "b", "c", "t")}
    plain = Arm(provider="o", model="m")
    v8, v9 = (Arm(provider="o", model="m", prompt=OwnPrompt(find="a", put=put)) for put in ("b", "c"))
    tools = Arm(provider="o", model="m", tools=[("get", "t")])

    def said(baseline: Arm, candidate: Arm) -> list[tuple[str, str, str]]:
        found = changes_between(baseline, candidate, texts)
        return [(each.what, each.before[9:], each.after[9:]) for each in found]

    assert said(plain, v8) == [("prompt", "a", "b")]
    assert said(v8, plain) == [("prompt", "b", "a")]
    assert said(v8, v9) == [("prompt", "b", "c")]
    assert said(v8, v8) == []
    assert said(plain, tools) == [("description of get", "", "t")]


def test_what_the_next_candidate_has_is_told_by_where_it_comes_from() -> None:
    taken = {"request": {"set": {"seed": 1}}, "prompt": {"find": "a", "put": "b"}, "name": "prompt v8"}
    said = next_candidate({"provider": "openai", "model": "new", **taken}, taken)
    assert said == (
        'The candidate takes over from the baseline in force its request {"set": {"seed": 1}}, its prompt '
        "and the name “prompt v8”; the config gives it the provider “openai”."
    )
    assert next_candidate({}, {}) == "The candidate takes over nothing; the config gives it nothing else."
