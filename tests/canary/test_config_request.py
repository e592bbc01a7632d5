"""What an arm's `request:` may say, and as which types its values are sent."""

import json

import pytest

from canary.config.errors import ConfigError
from canary.config.load import parse
from routing.canary import NO_CHANGES, Canary, RequestChanges

CONFIG = """\
providers:
  openai: {api: openai, base_url: "https://api.openai.com/v1"}
canaries:
  - name: trial
    match: {models: [gpt-4o]}
    baseline: {provider: openai, model: gpt-4o-2024-08-06}
    candidate:
      provider: openai
      model: gpt-5.2
      request: REQUEST
    share: 5%
    rubric: [{metric: csat, acceptable: "> 4.1", ideal: "> 4.4", weight: 15, question: "Happy?"}]
"""
MODEL = '"model" cannot be changed here, because the arm\'s `model` says which model is asked; remove it'
STREAM = '"stream" cannot be changed here, because the caller decides about streaming; remove it'
TWICE = "is also set; keep one of the two (`set` replaces what the caller sent)"


def canary(request: str, **environment: str) -> Canary:
    config = parse(CONFIG.replace("REQUEST", request), "canary.yaml", environment)
    assert config.warnings == ()
    return config.canaries["trial"].canary


def changes(request: str, **environment: str) -> RequestChanges:
    return canary(request, **environment).candidate.request


def refusals(request: str) -> list[str]:
    """The problems, without the place of the candidate."""
    with pytest.raises(ConfigError) as refused:
        changes(request)
    place = "canary.yaml:10: canaries[0].candidate.request."
    return [line.removeprefix(place) for line in str(refused.value).splitlines()]


def test_an_arm_says_what_differs() -> None:
    said = changes(
        "{rename: {max_tokens: max_completion_tokens}, remove: [temperature, top_p], "
        'set: {reasoning_effort: low, "text.verbosity": low}, default: {max_completion_tokens: 4096}}'
    )
    assert said == RequestChanges(
        rename=(("max_tokens", "max_completion_tokens"),),
        remove=("temperature", "top_p"),
        set=(("reasoning_effort", '"low"'), ("text.verbosity", '"low"')),
        default=(("max_completion_tokens", "4096"),),
    )


def test_the_baseline_may_say_it_too() -> None:
    text = CONFIG.replace("model: gpt-4o-2024-08-06}", "model: gpt-4o-2024-08-06, request: {set: {seed: 1}}}")
    config = parse(text.replace("REQUEST", "{}"), "canary.yaml", {})
    assert config.canaries["trial"].canary.baseline.request == RequestChanges(set=(("seed", "1"),))
    assert config.canaries["trial"].canary.candidate.request == NO_CHANGES
    assert config.warnings == ()


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("1", 1),
        ("-7", -7),
        ("007", 7),
        ("0.20", 0.2),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ('"1"', "1"),
        ("'true'", "true"),
        ('"null"', "null"),
        ('""', ""),
        ("low", "low"),
        ("on", "on"),
        ("2024-08-06", "2024-08-06"),
        ("12:30:00", "12:30:00"),
        ("1.2.3", "1.2.3"),
        ("é", "é"),
        (
            "{a: {b: [1, x, null, {c: true}]}, 50256: -100}",
            {"a": {"b": [1, "x", None, {"c": True}]}, "50256": -100},
        ),
        ("[]", []),
        ("${LIMIT}", "4096"),
        ('"${LIMIT}"', "4096"),
        ("u-${LIMIT}", "u-4096"),
        ("${MISSING:-7}", "7"),
    ],
)
@pytest.mark.parametrize("key", ["set", "default"])
def test_a_value_is_sent_as_its_yaml_type_and_a_variable_as_text(
    key: str, written: str, sent: object
) -> None:
    ((name, value),) = getattr(changes(f"\n        {key}:\n          x: {written}", LIMIT="4096"), key)
    assert (name, json.loads(value)) == ("x", sent)
    assert type(json.loads(value)) is type(sent)


@pytest.mark.parametrize(
    ("request_", "problems"),
    [
        (
            "{set: {temperature: 1}, remove: [top_p, temperature]}",
            [f'remove[1]: "temperature" {TWICE}'],
        ),
        (
            '{set: {"text.verbosity": low}, remove: [text.verbosity]}',
            [f'remove[0]: "text.verbosity" {TWICE}'],
        ),
        (
            "{remove: [a.b.c]}",
            [
                'remove[0]: "a.b.c" has more than one dot; members are top-level or one level down, so write '
                '"a.b"'
            ],
        ),
        (
            '{set: {"text.": 1}, rename: {.a: b}}',
            [
                'rename..a: ".a" has an empty part; write "OUTER.MEMBER", for example "text.verbosity"',
                'set.text.: "text." has an empty part; write "OUTER.MEMBER", for example "text.verbosity"',
            ],
        ),
        ("{set: {model: gpt-5}}", [f"set.model: {MODEL}"]),
        ("{rename: {model.a: b}, remove: [model]}", [f"rename.model.a: {MODEL}", f"remove[0]: {MODEL}"]),
        (
            "{rename: {s: stream}, default: {stream: true}}",
            [f"rename.s: {STREAM}", f"default.stream: {STREAM}"],
        ),
        ("{remove: [a, a]}", ['remove[1]: "a" is listed twice']),
        (
            "{rename: {a: b}, remove: [a]}",
            ['remove[0]: "a" is also renamed, so nothing is left to remove; keep one of the two'],
        ),
        (
            "{rename: {a: b}, remove: [b]}",
            ['remove[0]: another member is renamed to "b", and would be removed; keep one of the two'],
        ),
        (
            "{set: {a: 1}, default: {a: 2}}",
            ['default.a: "a" is also set, so the default never applies; remove it'],
        ),
        (
            '{set: {text: {}, "text.verbosity": low}}',
            ['set.text.verbosity: "text" is given as a whole; write verbosity inside its value'],
        ),
        ("{rename: {a: a}}", ['rename.a: "a" is renamed to itself; remove it']),
        ("{rename: {a: b, b: c}}", ['rename.a: "b" is renamed as well; write the final name of each']),
        (
            "{rename: {a: c, b: c}}",
            ['rename.b: "a" is also renamed to "c", and only one can be; remove the other'],
        ),
        ("{set: {a: .nan}}", ["set.a: must be a finite number; JSON has no other"]),
        ('{set: {a: ["\\uD800"]}}', ["set.a: has a character that is not valid in UTF-8"]),
        ('{rename: {a: ""}}', ["rename.a: must not be empty"]),
        (
            '{set: {a: "${MISSING}"}}',
            ["set.a: the variable MISSING is not set; set it, or write ${MISSING:-default}"],
        ),
        ("{drop: [a]}", ["drop: unknown key; known names: rename, remove, set, default"]),
    ],
)
def test_changes_that_cannot_be_meant_are_refused(request_: str, problems: list[str]) -> None:
    assert refusals(request_) == problems


@pytest.mark.parametrize(
    "request_",
    [
        "{remove: [temperature], default: {temperature: 1}}",
        "{rename: {max_tokens: max_completion_tokens}, default: {max_completion_tokens: 1}}",
        '{remove: [text], set: {"text.verbosity": low}}',
        "{rename: {generationConfig.a: generationConfig.b, effort: reasoning.effort}}",
    ],
)
def test_changes_that_follow_each_other_are_allowed(request_: str) -> None:
    assert changes(request_)


def test_two_arms_of_one_model_that_are_asked_differently_are_no_a_a_test() -> None:
    text = CONFIG.replace("model: gpt-5.2", "model: gpt-4o-2024-08-06")
    told = [parse(text.replace("REQUEST", request), "c", {}).warnings for request in ("{}", "{set: {n: 1}}")]
    assert [len(each) for each in told] == [1, 0]
    assert "A/A test" in told[0][0]
