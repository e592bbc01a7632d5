"""Scorers read answers as models write them."""

from typing import Any

import pytest

from bench.answers import scorers as judge
from bench.answers.results import ExampleResult
from bench.answers.scorers import ACTION_SCORERS, SCORERS, THRESHOLDS, is_right
from bench.benchmark.figures import per_class
from bench.dataset.example import TASKS
from bench.models.asker import Answer
from bench.models.tools import Action
from records.captures.capture import CapturedToolCall
from tests.bench.examples import dataset_of, example_of

CITIES = ["Paris", "Berlin", "New York", "York"]


def scored(answer: str, **fields: Any) -> float:
    example = example_of(**fields)
    return SCORERS[example.task](example, answer)


def test_every_task_has_a_threshold_and_all_but_judging_a_scorer() -> None:
    assert set(THRESHOLDS) == set(TASKS)
    assert {*SCORERS, *ACTION_SCORERS} == set(TASKS) - {"judge"}


@pytest.mark.parametrize(
    "answer",
    [
        "B",
        "b",
        "(B)",
        "B.",
        "**B**",
        "B) Berlin",
        "Berlin",
        "berlin.",
        "The answer is B.",
        "The correct answer is: **B**",
        "Answer: (B)",
        "I choose option B, since A is in France.",
        "A is in France, so the answer is B, not A.",
        "It is Berlin, of course.",
        "Let me think.\nThe answer should be B",
        "B\n\nBerlin is the capital of Germany.",
    ],
)
def test_a_choice_is_read_from_its_letter_or_text(answer: str) -> None:
    assert scored(answer, task="choice", choices=CITIES, expected="B") == 1
    assert scored(answer, task="choice", choices=CITIES, expected="Berlin") == 1


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "A",
        "Paris",
        "Paris or Berlin",
        "A city in Germany.",
        "**A** or **B**",
        "The answer is E.",
        "Berliner",
    ],
)
def test_another_choice_none_or_two_are_wrong(answer: str) -> None:
    assert scored(answer, task="choice", choices=CITIES, expected="B") == 0


def test_a_choice_inside_a_longer_one_is_not_named_by_it() -> None:
    assert scored("That is New York.", task="choice", choices=CITIES, expected="New York") == 1
    assert scored("That is New York.", task="choice", choices=CITIES, expected="York") == 0


@pytest.mark.parametrize("answer", ["spam", "Spam.", '"spam"', "This is spam.", "Class: SPAM"])
def test_a_class_is_read_from_a_word_or_a_sentence(answer: str) -> None:
    assert scored(answer, task="classify", choices=["spam", "ham"], expected="spam") == 1


@pytest.mark.parametrize("answer", ["", "ham", "spam or ham", "spammer", "It is neither."])
def test_another_class_or_two_are_wrong(answer: str) -> None:
    assert scored(answer, task="classify", choices=["spam", "ham"], expected="spam") == 0


def test_without_choices_the_datasets_classes_are_those_there_are() -> None:
    lines = [{"task": "classify", "expected": name} for name in ("spam", "ham")]
    example = dataset_of(*lines).examples[0]
    assert SCORERS["classify"](example, "I take it for spam.") == 1
    assert SCORERS["classify"](example, "No spam, it is ham.") == 0


def test_each_class_has_its_recall_precision_and_false_alarms() -> None:
    told = (
        [("bad", "bad")] * 98
        + [("bad", "good"), ("bad", None)]
        + [("good", "good")] * 196
        + [("good", "bad")] * 4
    )
    lines = [{"task": "classify", "choices": ["bad", "good"], "expected": right} for right, _ in told]
    examples = dataset_of(*lines).examples
    bad, good = per_class(
        [
            ExampleResult(example=example, answer=Answer(text=named), score=0.0, right=False)
            for example, (_, named) in zip(examples, told, strict=True)
        ]
    )
    assert (bad.name, bad.examples, good.examples) == ("bad", 100, 200)
    assert bad.recall is not None
    assert bad.precision is not None
    assert bad.false_positive_rate is not None
    assert bad.recall.estimate == 0.98
    assert bad.precision.estimate == 98 / 102
    assert bad.false_positive_rate.estimate == 0.02
    assert bad.false_positive_rate.low < 0.02 < bad.false_positive_rate.high


INVOICE = {"total": 1234.5, "currency": "EUR", "lines": [{"sku": "a-1", "paid": True}]}


@pytest.mark.parametrize(
    "answer",
    [
        '{"total": 1234.5, "currency": "EUR", "lines": [{"sku": "a-1", "paid": true}]}',
        '```json\n{"total": "1,234.50", "currency": "eur", "lines": [{"sku": "A-1", "paid": true}]}\n```',
        'No {}: {"total": "€1234.5", "currency": "EUR", "lines": [{"sku": "a-1", "paid": "true"}]}',
    ],
)
def test_fields_are_found_in_any_json_a_model_writes(answer: str) -> None:
    assert scored(answer, task="extract", expected=INVOICE) == pytest.approx(1)


@pytest.mark.parametrize(
    ("answer", "f1"),
    [
        ("no JSON", 0),
        ("[1, 2]", 0),
        ("{}", 0),
        ('{"a": 1}', 2 * 1 / (2 + 1)),
        ('{"a": 1, "b": null}', 2 * 1 / (2 + 1)),
        ('{"a": 1, "b": 3}', 2 * 1 / (2 + 2)),
        ('{"a": 1, "b": 2, "c": 3}', 2 * 2 / (2 + 3)),
        ('{"a": true, "b": "two"}', 0),
    ],
)
def test_f1_counts_what_is_missing_wrong_and_too_much(answer: str, f1: float) -> None:
    assert scored(answer, task="extract", expected={"a": 1, "b": 2}) == pytest.approx(f1)


@pytest.mark.parametrize(
    ("said", "right"), [(100.5, 1), (99.5, 1), (100.51, 0), ("$100.40", 1), ("about 100", 0)]
)
def test_a_number_is_right_within_its_tolerance(said: object, right: int) -> None:
    answer = f'{{"total": {said}}}' if isinstance(said, float) else f'{{"total": "{said}"}}'
    assert scored(answer, task="extract", expected={"total": 100}, tolerance=0.005) == right


@pytest.mark.parametrize("answer", ["42", " 42.", "**42**", "Forty-Two"])
def test_exact_takes_any_of_the_texts_and_does_not_see_case_or_decoration(answer: str) -> None:
    assert scored(answer, task="exact", expected=["42", "forty-two"]) == 1


@pytest.mark.parametrize("answer", ["", "43", "It is 42"])
def test_exact_takes_nothing_more(answer: str) -> None:
    assert scored(answer, task="exact", expected="42") == 0


def test_exact_knows_punctuation_where_it_is_all_that_is_asked() -> None:
    assert scored("?", task="exact", expected="?") == 1
    assert scored("!", task="exact", expected="?") == 0


def test_similarity_falls_from_one_to_nought_with_the_words_that_are_shared() -> None:
    wanted = "Your refund reaches your account within three days."
    answers = [
        wanted,
        "Your refund reaches your account in three days",
        "Refund: three days",
        "Please restart.",
    ]
    found = [scored(each, task="similar", expected=wanted) for each in answers]
    assert found[0] == pytest.approx(1)
    assert found == sorted(found, reverse=True)
    assert found[-1] == 0
    assert scored("Please restart.", task="similar", expected=[wanted, "please restart"]) == pytest.approx(1)


def test_similarity_reads_scripts_without_blanks() -> None:
    assert 0.3 < scored("返金は三日以内です", task="similar", expected="返金は三日かかります") < 0.95


@pytest.mark.parametrize(
    ("answer", "share"),
    [
        ("a\nb\nc", 1),
        ("1. a\n2. b\n3. c", 1),
        ('The order is ["a", "b", "c"].', 1),
        ("a > b > c", 1),
        ("- b\n- a\n- c", 2 / 3),
        ("c, b, a", 0),
        ("b", 1 / 3),
        ("", 0),
    ],
)
def test_an_order_scores_the_pairs_that_it_puts_right(answer: str, share: float) -> None:
    assert scored(answer, task="rank", expected=["a", "b", "c"]) == pytest.approx(share)


def test_an_order_may_be_given_by_the_choices_letters() -> None:
    fields: dict[str, Any] = {"task": "rank", "choices": ["red", "blue", "green"]}
    assert scored("C, A, B", expected=["green", "red", "blue"], **fields) == 1


def test_a_threshold_of_the_example_goes_before_the_tasks() -> None:
    assert is_right(example_of(task="similar", expected="x"), 0.8)
    assert not is_right(example_of(task="similar", expected="x", threshold=0.9), 0.8)


def test_the_judge_is_asked_in_the_same_words_and_not_told_whose_answer_it_is() -> None:
    example = example_of(task="judge", expected="the refund takes three days")
    (said,) = judge.example_question(example, "It takes {three} days.")
    assert (said.role, "It takes {three} days." in said.content) == ("user", True)
    assert "the refund takes three days" in said.content
    assert "Question 0?" in said.content


@pytest.mark.parametrize(
    ("said", "score"),
    [
        ("All there. MARK: 5", 1),
        ("MARK: 1", 0),
        ("Not MARK: 5 but\n**MARK: 3**", 0.5),
        ("Good!", None),
        ("MARK: 9", None),
    ],
)
def test_the_judges_last_mark_counts_and_none_is_not_nought(said: str, score: float | None) -> None:
    assert judge.mark_score(said) == score


@pytest.mark.parametrize(
    ("pattern", "answer", "score"),
    [
        ("Paris", "It is Paris.", 1),
        ("Paris", "It is paris.", 0),
        ("(?i:paris)", "It is PARIS.", 1),
        (r"\AParis", "It is Paris.", 0),
        (r"\A(?=(?s:.*?)(?:blue))(?!(?s:.*?)(?:red))", "one\nblue", 1),
        (r"\A(?=(?s:.*?)(?:blue))(?!(?s:.*?)(?:red))", "blue\nred", 0),
    ],
)
def test_a_pattern_is_searched_in_the_answer_as_it_is(pattern: str, answer: str, score: float) -> None:
    assert scored(answer, task="regex", expected=pattern) == score


@pytest.mark.parametrize(
    ("answer", "score"),
    [
        ('{"total": 3}', 1),
        (' {"total": 3}\n', 1),
        ('{"total": "3"}', 0),
        ("{}", 0),
        ("```json\n{}\n```", 0),
        (r'{"total": 3, "\ud800": 1}', 0),
        ("three", 0),
    ],
)
def test_only_an_answer_that_is_json_and_fits_the_schema_is_right(answer: str, score: float) -> None:
    schema = {"type": "object", "required": ["total"], "properties": {"total": {"type": "integer"}}}
    assert scored(answer, task="json", expected=schema) == score
    assert scored("[1]", task="json", expected={}) == 1


SEARCH = {
    "type": "function",
    "function": {
        "name": "search",
        "parameters": {
            "type": "object",
            "properties": {"q": {"type": "string"}, "top": {"type": "number"}},
            "required": ["q"],
        },
    },
}
DEPLOY = {"type": "function", "function": {"name": "deploy"}}
RIGHT_CALL = {"tool_calls": [{"function": {"name": "search", "arguments": {"q": "a", "top": 1}}}]}


def done(*calls: tuple[str, str], text: str = "") -> Action:
    return Action(text, tuple(CapturedToolCall("", name, arguments) for name, arguments in calls))


@pytest.mark.parametrize(
    ("made", "scores"),
    [
        (done(("search", '{"top": 1.0, "q":"a"}')), (1, 1, 1)),
        (done(("search", '{"q": "a", "top": 1}'), text="I look."), (1, 1, 1)),
        (done(("search", '{"q": "b"}')), (0, 1, 1)),
        (done(("search", '{"q": 2}')), (0, 1, 0)),
        (done(("search", '{"q": "a"')), (0, 1, 0)),
        (done(("deploy", '{"now": true}')), (0, 0, 1)),
        (done(("find", '{"q": "a"}')), (0, 0, 0)),
        (done(("search", '{"q": "a", "top": 1}'), ("deploy", "{}")), (0, 0, 1)),
        (done(text="I do not know."), (0, 0, 0)),
    ],
)
def test_an_action_is_scored_by_its_tools_arguments_and_schemas(
    made: Action, scores: tuple[int, int, int]
) -> None:
    example = example_of(task="action", tools=[SEARCH, DEPLOY], expected=RIGHT_CALL)
    assert tuple(ACTION_SCORERS[task](example, made) for task in ("action", "tool", "schema")) == scores


def test_calls_at_once_have_no_order_and_any_answer_is_the_action_to_answer() -> None:
    calls = [("search", '{"q": "a"}'), ("deploy", "")]
    both = {"tool_calls": [{"function": {"name": name, "arguments": text}} for name, text in calls]}
    example = example_of(task="action", tools=[SEARCH, DEPLOY], expected=both)
    assert ACTION_SCORERS["action"](example, done(*reversed(calls))) == 1
    example = example_of(task="action", tools=[SEARCH], expected={"content": "It is done."})
    assert ACTION_SCORERS["action"](example, done(text="Done!")) == 1
    assert ACTION_SCORERS["action"](example, done(("search", '{"q": "a"}'), text="Done!")) == 0


def test_a_judge_reads_the_calls_before_and_the_call_that_is_the_answer() -> None:
    before = {"role": "assistant", "tool_calls": [{"id": "c1", "function": {"name": "deploy"}}]}
    messages = [
        {"role": "user", "content": "Ship it."},
        before,
        {"role": "tool", "tool_call_id": "c1", "content": "done"},
    ]
    example = example_of(task="judge", input=messages, tools=[DEPLOY], expected="It searches.")
    (asked,) = judge.example_question(example, done(("search", '{"q": "a"}')).written)
    said = "user: Ship it.\nassistant: [calls deploy {}]\ntool: done"
    assert said in asked.content
    assert '[calls search {"q": "a"}]' in asked.content
