"""OpenAI Evals' samples become examples. The files here were written for these tests, in that format."""

import json
from typing import Any

import pytest

from bench.answers.scorers import SCORERS
from bench.dataset.file import parse
from bench.dataset.imports.imported import BadImport
from bench.dataset.imports.openai_evals import Ideal, openai_evals

CHAT = [{"role": "system", "content": "Answer in a word."}, {"role": "user", "content": "Capital of France?"}]
SAMPLES = [
    {"input": CHAT, "ideal": "Paris"},
    {"input": "2 + 2 = ?", "ideal": ["4", "four (4)"]},
    {"item": {"input": "Capital of Spain?", "ideal": "Madrid"}},
]


def lines_of(*samples: Any, ideal: Ideal = "starts") -> list[dict[str, Any]]:
    found = openai_evals("\n".join(map(json.dumps, samples)), "geo.jsonl", "geo", ideal)
    parse("\n".join(map(json.dumps, found.lines)))
    return found.lines


@pytest.mark.parametrize(
    ("ideal", "right", "wrong"),
    [
        ("starts", ["Paris, of course", "four (4)!", "Madrid"], ["It is Paris", "The answer is 4", "madrid"]),
        ("contains", ["It is Paris.", "so 4", "In Madrid"], ["It is paris.", "five", "madrid"]),
        ("equals", ["paris.", "4", "Madrid"], ["It is Paris", "so 4", "In Madrid"]),
    ],
)
def test_ideal_says_which_answers_are_right(ideal: Ideal, right: list[str], wrong: list[str]) -> None:
    text = "\n".join(map(json.dumps, lines_of(*SAMPLES, ideal=ideal)))
    for example, good, bad in zip(parse(text).examples, right, wrong, strict=True):
        assert SCORERS[example.task](example, good) == 1
        assert SCORERS[example.task](example, bad) == 0


def test_what_is_asked_is_the_samples_input() -> None:
    lines = lines_of(*SAMPLES)
    assert [line["id"] for line in lines] == ["geo-1", "geo-2", "geo-3"]
    assert [line["input"] for line in lines] == [CHAT, "2 + 2 = ?", "Capital of Spain?"]


def test_every_bad_line_is_named_with_its_key_and_what_would_be_right() -> None:
    image = [{"role": "user", "content": [{"type": "image_url"}]}]
    samples = [
        {"input": "a", "ideal": "b"},
        {"ideal": "b"},
        {"input": "a"},
        {"input": [], "ideal": "b"},
        {"input": image, "ideal": "b"},
        {"input": "a", "ideal": [1]},
        {"item": {"input": "a"}},
    ]
    with pytest.raises(BadImport) as refused:
        openai_evals("\n".join([*map(json.dumps, samples), "{"]), "x.jsonl", "x", "starts")
    message = '{"role": "…", "content": "a text"}; images and tools cannot be imported'
    assert refused.value.problems[:6] == (
        'x.jsonl:2: has no `input`; a line is {"input": …, "ideal": …}, or {"item": {the same}}',
        "x.jsonl:3: ideal is missing; it must be a text, or a list of accepted texts",
        'x.jsonl:4: input must be a text, or messages: [{"role": "user", "content": "…"}]',
        f"x.jsonl:5: input[0] must be {message}",
        "x.jsonl:6: ideal is [1]; it must be a text, or a list of accepted texts",
        "x.jsonl:7: item.ideal is missing; it must be a text, or a list of accepted texts",
    )
    assert refused.value.problems[6].startswith("x.jsonl:8: is not JSON: ")
