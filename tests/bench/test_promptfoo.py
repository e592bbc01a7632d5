"""promptfoo's tests become examples. The configs here were written for these tests, in that format."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from bench.answers.scorers import SCORERS
from bench.dataset.example import Example
from bench.dataset.file import parse
from bench.dataset.imports.imported import BadImport, ImportedExamples
from bench.dataset.imports.promptfoo import promptfoo

CONFIG = """
prompts: ["In a word: {{question}}"]
tests:
  - vars: {question: Capital}
    assert: ASSERT
"""


def imported(folder: Path, text: str, name: str = "pf.yaml") -> ImportedExamples:
    (folder / name).write_text(text)
    found = promptfoo(folder / name)
    parse("\n".join(map(json.dumps, found.lines)))
    return found


def scores(found: ImportedExamples, answer: str) -> list[float]:
    examples: tuple[Example, ...] = parse("\n".join(map(json.dumps, found.lines))).examples
    return [SCORERS[each.task](each, answer) for each in examples]


def assertion(**fields: Any) -> str:
    return CONFIG.replace("ASSERT", json.dumps([fields]))


@pytest.mark.parametrize(
    ("fields", "right", "wrong"),
    [
        ({"type": "equals", "value": "Paris"}, "Paris", "In Paris"),
        ({"type": "equals", "value": 4}, "4", "5"),
        ({"type": "equals", "value": {"city": "Paris"}}, '{"city": "Paris"}', '{"city": "Lyon"}'),
        ({"type": "contains", "value": "(Paris)"}, "in (Paris)", "in (paris)"),
        ({"type": "icontains", "value": "paris"}, "In PARIS", "Lyon"),
        ({"type": "contains-any", "value": ["Paris", "Lyon"]}, "Lyon?", "Nice"),
        ({"type": "contains-all", "value": ["Paris", "Lyon"]}, "Lyon\nand Paris", "Paris"),
        ({"type": "icontains-all", "value": ["Paris", "Lyon"]}, "lyon, paris", "lyon"),
        ({"type": "starts-with", "value": "Paris"}, "Paris it is", "It is Paris"),
        ({"type": "regex", "value": r"\d{4}"}, "in 1999", "in 99"),
        ({"type": "not-contains", "value": "Paris"}, "Lyon", "in\nParis"),
        ({"type": "not-contains-any", "value": ["a", "b"]}, "c", "b"),
        ({"type": "not-contains-all", "value": ["a", "b"]}, "a", "b a"),
        ({"type": "not-starts-with", "value": "Sorry"}, "I am. Sorry", "Sorry, no"),
        ({"type": "not-regex", "value": r"^\d"}, "a1", "1a"),
        ({"type": "is-json"}, "[1]", "one"),
        ({"type": "is-json", "value": {"type": "object", "required": ["a"]}}, '{"a": 1}', "[1]"),
        ({"type": "contains", "value": "{{question}}"}, "the Capital", "the capital"),
    ],
    ids=lambda each: each["type"] if isinstance(each, dict) else "",
)
def test_an_assertion_takes_the_answers_that_promptfoo_takes(
    tmp_path: Path, fields: Mapping[str, Any], right: str, wrong: str
) -> None:
    found = imported(tmp_path, assertion(**fields))
    assert (scores(found, right), scores(found, wrong)) == ([1], [0])
    assert found.lines[0]["input"] == "In a word: Capital"
    assert not found.left_out


def test_patterns_of_one_test_hold_together_and_other_kinds_are_examples_of_the_same_id(
    tmp_path: Path,
) -> None:
    asserts = [
        {"type": "icontains", "value": "paris"},
        {"type": "not-contains", "value": "Lyon"},
        {"type": "is-json"},
    ]
    found = imported(tmp_path, CONFIG.replace("ASSERT", json.dumps(asserts)))
    assert [(each["id"], each["task"]) for each in found.lines] == [("pf-1", "regex"), ("pf-1", "json")]
    assert scores(found, '["Paris"]') == [1, 1]
    assert scores(found, '["Paris", "Lyon"]') == [0, 1]
    assert scores(found, "Paris") == [1, 0]


WHOLE = """
description: made up
providers: [openai:gpt-4o]
prompts:
  - "{% if polite %}Please. {% endif %}{{question}}"
  - {label: chat, id: "file://chat.json"}
  - file://two.txt
  - file://prompts.py
  - exec:./prompt.sh
defaultTest:
  vars: {tone: dry}
  assert: [{type: not-icontains, value: sorry}]
tests:
  - file://more.csv
  - file://made.py:tests
  - vars: {question: ["Red?", "Blue?"]}
    assert:
      - {type: contains, value: ok}
      - {type: javascript, value: "output.length < 9"}
      - {type: llm-rubric, value: is polite}
      - {type: contains, value: o, transform: output.trim()}
    metadata: {category: colours, level: easy, tags: [a]}
  - vars: {question: "Free?"}
    options: {transform: output.trim()}
  - vars: {question: "Some?"}
    threshold: 0.5
"""


def test_a_whole_config_is_imported_and_what_is_not_is_counted_with_why(tmp_path: Path) -> None:
    chat = [{"role": "system", "content": "Be {{tone}}."}, {"role": "user", "content": "{{question}}"}]
    (tmp_path / "chat.json").write_text(json.dumps(chat))
    (tmp_path / "two.txt").write_text("One: {{question}}\n---\nTwo: {{question}}\n")
    (tmp_path / "more.csv").write_text(
        "question,__expected1,__expected2,__metadata:category,__description\n"
        'Spain?,"contains-any: Madrid, madrid",similar(0.8): Madrid,geo,a capital\n'
        "Ratio?,note: 1:2,,,\n"
    )
    found = imported(tmp_path, WHOLE)
    spain = [each for each in found.lines if each["id"] == "pf-1"]
    assert [each["input"] for each in spain] == [
        "Spain?",
        [{"role": "system", "content": "Be dry."}, {"role": "user", "content": "Spain?"}],
        "One: Spain?",
        "Two: Spain?",
    ]
    assert {each["category"] for each in spain} == {"geo"}
    ratio = [each for each in found.lines if each["id"] == "pf-2"]
    assert {each["task"]: each["expected"] for each in ratio}["exact"] == "note: 1:2"
    colours = [each for each in found.lines if each["id"] == "pf-3"]
    assert len(colours) == 8
    assert {json.dumps(each["tags"]) for each in colours} == {'{"level": "easy"}'}
    code, runs = (
        "it runs code, which an import never does",
        "its text comes from a program or another service",
    )
    counted = {what: (count, why) for (what, why), count in found.left_out.items()}
    assert counted["prompt"] == (2, f"{runs}; write it into the config")
    assert counted["tests"] == (1, f"{runs}; write it into the config")
    assert counted["assertion `javascript`"] == (1, code)
    assert counted["assertion `similar`"] == (1, "canary has no scorer for it")
    assert counted["assertion `contains`"] == (1, "it transforms the answer first")
    assert counted["assertion `llm-rubric`"][1].startswith("a model judges it")
    assert found.left_out["test", "it transforms the answer first"] == 1
    assert found.left_out["test", "it passes from a threshold over several assertions on"] == 1


WRONG = {
    "no YAML": ("tests: [", "pf.yaml:1: is not YAML: while parsing a flow"),
    "no tests": ("prompts: [a]", "pf.yaml: has no `tests`; name a promptfoo config, or a list of tests"),
    "a test that is a number": (
        "tests: [3]\nprompts: [a]",
        "pf.yaml: tests[0] must be a mapping such as {vars:",
    ),
    "vars that are a list": (
        "prompts: [a]\ntests:\n  - vars: [a]\n    assert: [{type: is-json}]",
        "pf.yaml:3: tests[0].vars must be a mapping of names to values",
    ),
    "an assertion without a type": (
        "prompts: [a]\ntests:\n  - assert:\n      - value: a",
        "pf.yaml:4: tests[0].assert[0].type is missing; for example {type: contains, value: Paris}",
    ),
    "an assertion without a value": (
        "prompts: [a]\ntests:\n  - assert:\n      - type: contains",
        "pf.yaml:4: tests[0].assert[0].value must be a text that the answer is compared with",
    ),
    "a list where a text belongs": (
        "prompts: [a]\ntests:\n  - assert:\n      - {type: icontains, value: [a]}",
        "pf.yaml:4: tests[0].assert[0].value must be a text",
    ),
    "no regular expression": (
        "prompts: [a]\ntests:\n  - assert: [{type: regex, value: '(?<y>a'}]",
        "pf.yaml:3: tests[0].assert[0].value is not a regular expression that Python can read",
    ),
    "a variable that a test lacks": (
        "prompts: ['{{question}}']\ntests:\n  - {vars: {q: a}, assert: [{type: is-json}]}",
        "pf.yaml:3: tests[0].vars do not fill prompts[0] ('question' is undefined)",
    ),
    "a prompt that is a number": (
        "prompts: [7]\ntests: [{assert: [{type: is-json}]}]",
        "pf.yaml: prompts[0] must be a text, a file://… or messages",
    ),
    "programs only": (
        "prompts: [exec:./a.sh]\ntests: [{assert: [{type: is-json}]}]",
        "pf.yaml: prompts has no prompt that can be imported; write its text into the config",
    ),
    "a file outside": (
        "prompts: [a]\ntests: file://../secrets.yaml",
        "pf.yaml: tests names ../secrets.yaml, which is outside the config's folder; copy it there",
    ),
    "a file that is not there": (
        "prompts: [a]\ntests: file://none.csv",
        "pf.yaml: tests names none.csv, which is not a file in ",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_bad_input_is_named_by_file_line_and_key_with_what_would_be_right(tmp_path: Path, what: str) -> None:
    text, wanted = WRONG[what]
    with pytest.raises(BadImport) as refused:
        imported(tmp_path, text)
    assert wanted in str(refused.value).replace(f"{tmp_path}/", "")


def test_every_bad_test_is_named_not_only_the_first(tmp_path: Path) -> None:
    with pytest.raises(BadImport) as refused:
        imported(tmp_path, "prompts: [a]\ntests:\n  - 1\n  - {assert: [{type: contains}]}\n")
    assert len(refused.value.problems) == 2


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.json", '[{"vars": {"prompt": "Hi"}, "assert": [{"type": "equals", "value": "Hello"}]}]'),
        ("t.jsonl", '{"vars": {"prompt": "Hi"}, "assert": [{"type": "equals", "value": "Hello"}]}\n'),
        ("t.yml", "- {vars: {prompt: Hi}, assert: [{type: equals, value: Hello}]}"),
        ("t.csv", "prompt,__expected\nHi,Hello\n"),
    ],
)
def test_tests_alone_are_taken_with_their_prompt(tmp_path: Path, name: str, text: str) -> None:
    found = imported(tmp_path, text, name)
    assert found.lines == [{"id": "t-1", "task": "exact", "input": "Hi", "expected": "Hello"}]


def test_a_bad_csv_row_is_named_by_its_line(tmp_path: Path) -> None:
    with pytest.raises(BadImport, match=r"t.csv:3: has more cells than the header has names"):
        imported(tmp_path, 'prompt,__expected\n"a\nb",c,d\n', "t.csv")
