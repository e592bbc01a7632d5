"""promptfoo's rarer values, templates and patterns: taken as promptfoo takes them, or left out, or named."""

import json
from pathlib import Path
from typing import Any

import pytest

from bench.dataset.imports.imported import BadImport
from bench.dataset.imports.promptfoo import promptfoo
from tests.bench.test_promptfoo import CONFIG, imported, scores


def regexes(*patterns: tuple[str, str]) -> str:
    asserts = [{"type": kind, "value": value} for kind, value in patterns]
    return CONFIG.replace("ASSERT", json.dumps(asserts))


def test_patterns_with_groups_or_flags_are_examples_of_their_own(tmp_path: Path) -> None:
    text = regexes(
        ("contains", "x"),
        ("regex", r"(.)\1"),
        ("regex", r"(?P<y>\d)(?P=y)"),
        ("not-regex", r"(?P<y>[A-Z])(?P=y)"),
        ("regex", "(?i)oo"),
        ("icontains", "o"),
    )
    found = imported(tmp_path, text)
    assert [each["task"] for each in found.lines] == ["regex"] * 5
    assert scores(found, "x 11 OO") == [1, 1, 0, 1, 1]
    assert scores(found, "x 12 oO") == [0, 0, 1, 1, 1]
    assert scores(found, "11 oo") == [1, 1, 1, 1, 0]


def test_flags_of_a_pattern_that_must_not_match_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        BadImport, match=r"pf.yaml:5: tests\[0\].assert\[0\].value begins with \(\?i\); write"
    ):
        imported(tmp_path, regexes(("not-regex", "(?i)sorry")))


PROMPT = "prompts: ['{{q}}']\ntests:\n"


@pytest.mark.parametrize(
    ("value", "asked"),
    [
        ("null", "."),
        ("true", "true."),
        ("{a: true, b: ['é', null]}", '{"a":true,"b":["é",null]}.'),
        ("4.0", "4."),
        ("0.5", "0.5."),
        ("2026-11-27", "2026-11-27."),
        ("yes", "yes."),
        ("12:30", "12:30."),
        ("0x10", "16."),
    ],
)
def test_a_variable_is_written_as_promptfoo_writes_it(tmp_path: Path, value: str, asked: str) -> None:
    text = f"prompts: ['{{{{q}}}}.']\ntests:\n  - {{vars: {{q: {value}}}, assert: [{{type: is-json}}]}}"
    assert imported(tmp_path, text).lines[0]["input"] == asked


def test_a_list_is_one_variable_where_expansion_is_off(tmp_path: Path) -> None:
    test = "  - {vars: {q: [a, b]}, options: {disableVarExpansion: true}, assert: [{type: is-json}]}"
    assert [each["input"] for each in imported(tmp_path, PROMPT + test).lines] == ['["a","b"]']


def test_templates_within_an_expected_object_are_filled(tmp_path: Path) -> None:
    test = "  - {vars: {q: Rome}, assert: [{type: equals, value: {in: [{city: '{{q}}'}], on: 2026-11-27}}]}"
    (line,) = imported(tmp_path, PROMPT + test).lines
    assert (line["task"], line["expected"]) == ("extract", {"in": [{"city": "Rome"}], "on": "2026-11-27"})


def test_a_schema_that_is_a_text_is_read_as_yaml(tmp_path: Path) -> None:
    test = "  - {vars: {q: a}, assert: [{type: is-json, value: 'required: [total]'}]}"
    (line,) = imported(tmp_path, PROMPT + test).lines
    assert (line["task"], line["expected"]) == ("json", {"required": ["total"]})


@pytest.mark.parametrize(
    ("test", "what", "why"),
    [
        ("{vars: {q: '{{other}}'}, assert: [JSON]}", "test", "a variable is a template itself"),
        ("{vars: {q: {a: ['{{b}}']}}, assert: [JSON]}", "test", "a variable is a template itself"),
        ("{vars: {q: [file://a.txt]}, assert: [JSON]}", "test", "a variable is the content of a file"),
        ("{vars: {q: a}, prompts: [p], assert: [JSON]}", "test", "it is for some of the prompts or pro"),
        ("{vars: {q: a}, providers: [p], assert: [JSON]}", "test", "it is for some of the prompts or pro"),
        (
            "{vars: {q: a}, assert: [{type: contains-any, value: [file://a]}]}",
            "assertion `contains-any`",
            "its value is in another file",
        ),
        (
            "{vars: {q: a}, assert: [{type: is-json, value: [a]}]}",
            "assertion `is-json`",
            "its schema is not a mapping",
        ),
    ],
)
def test_what_would_mean_something_else_is_left_out(tmp_path: Path, test: str, what: str, why: str) -> None:
    (tmp_path / "pf.yaml").write_text(f"{PROMPT}  - {test.replace('JSON', '{type: is-json}')}")
    found = promptfoo(tmp_path / "pf.yaml")
    assert not found.lines
    assert any(name == what and said.startswith(why) for name, said in found.left_out)


def test_an_assertion_is_counted_once_for_all_combinations(tmp_path: Path) -> None:
    (tmp_path / "pf.yaml").write_text(PROMPT + "  - {vars: {q: [a, b, c]}, assert: [{type: similar}]}")
    assert promptfoo(tmp_path / "pf.yaml").left_out == {
        ("assertion `similar`", "canary has no scorer for it"): 1,
        ("test", "none of its assertions can be imported"): 1,
    }


def deep(value: Any) -> str:
    return f"{'[' * 3000}{value}{']' * 3000}"


WRONG = {
    "a division by nothing": (
        "prompts: ['{{1/0}}']\ntests:\n  - {assert: [{type: is-json}]}",
        "pf.yaml:3: tests[0].vars do not fill prompts[0] (division by zero); every",
    ),
    "a sum with a text": (
        "prompts: ['{{q + 1}}']\ntests:\n  - {vars: {q: a}, assert: [{type: is-json}]}",
        "pf.yaml:3: tests[0].vars do not fill prompts[0] (can only concatenate str",
    ),
    "an expression in a value": (
        PROMPT + "  - {vars: {q: a}, assert: [{type: contains-any, value: [b, '{{q + 1}}']}]}",
        "pf.yaml:3: tests[0].assert[0].value[1] cannot be filled (can only concatenate",
    ),
    "a set": (
        PROMPT + "  - vars: {q: a}\n    assert:\n      - {type: equals, value: !!set {b}}",
        "pf.yaml:5: is not YAML: tag:yaml.org,2002:set is not of JSON; write a text, a number",
    ),
    "a deep list in YAML": (f"tests: {deep(1)}", "pf.yaml: is nested too deeply; write it with fewer levels"),
    "a number that is too long": (f"tests: {'9' * 5000}", "pf.yaml: is not YAML: Exceeds the limit"),
    "a schema that is no YAML": (
        PROMPT + "  - {vars: {q: a}, assert: [{type: is-json, value: 'a: ['}]}",
        "pf.yaml:3: tests[0].assert[0].value is not YAML: ",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_cannot_be_read_is_named_by_its_place(tmp_path: Path, what: str) -> None:
    text, wanted = WRONG[what]
    with pytest.raises(BadImport) as refused:
        imported(tmp_path, text)
    assert wanted in str(refused.value).replace(f"{tmp_path}/", "")


def test_a_deep_list_in_json_is_named_by_its_test(tmp_path: Path) -> None:
    text = f'[{{"vars": {{"prompt": {deep(1)}}}, "assert": [{{"type": "is-json"}}]}}]'
    with pytest.raises(BadImport, match=r"t.json: .*is nested too deeply|t.json: is not JSON"):
        imported(tmp_path, text, "t.json")


def test_a_bad_prompt_file_of_tests_and_test_are_all_named(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("a: [")
    text = "prompts: [7, a]\ndefaultTest: {vars: {}}\ntests: [file://bad.yaml, file://none.csv, 3, 4]"
    with pytest.raises(BadImport) as refused:
        imported(tmp_path, text)
    named = [each.removeprefix(f"{tmp_path}/").split(" ")[:2] for each in refused.value.problems]
    assert [" ".join(each) for each in named] == [
        "pf.yaml: prompts[0]",
        "bad.yaml:1: is",
        "pf.yaml: tests[1]",
        "pf.yaml: tests[2]",
        "pf.yaml: tests[3]",
    ]
