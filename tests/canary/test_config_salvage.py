import pytest

from canary.config.errors import ConfigError
from canary.config.load import parse

SOUND = """\
providers:
  openai:
    api: openai
    base_url: https://api.openai.com/v1
    timeout: {total: 60s}
canaries:
  - name: trial
    match: {models: [gpt-4o]}
    baseline: {provider: openai, model: old}
    candidate: {provider: openai, model: new}
    ramp: [{share: 5%, for: 1h}]
    guardrails: [{rule: error_rate}]
    rubric:
      - {metric: csat, acceptable: "> 4.1", ideal: "> 4.4", weight: 15, question: "Happy?"}
metrics:
  settled: {kind: bool, question: "Settled?"}
notify:
  - pagerduty: {key: secret}
"""

NAMED_OR_LIST = "must be `default`, a list of rules, or [] for none"
ONE_OF_THE_APIS = 'must be openai or anthropic or gemini; did you mean "openai"?'
NO_UNIT = 'a duration needs a unit: write "60s" for seconds (or ms, m, h, d, w)'
NO_TRUTH = "higher_is_better: must be true or false"


def refusal(*changes: tuple[str, str]) -> list[str]:
    text = SOUND
    for before, after in changes:
        assert before in text
        text = text.replace(before, after, 1)
    with pytest.raises(ConfigError) as refused:
        parse(text, "canary.yaml", {})
    return str(refused.value).splitlines()


def test_the_text_the_other_tests_spoil_is_sound() -> None:
    assert list(parse(SOUND, "canary.yaml", {}).canaries) == ["trial"]


@pytest.mark.parametrize(
    ("before", "after", "line"),
    [
        ("notify:", "notfy:", '17: notfy: unknown key; did you mean "notify"?'),
        ("base_url", "base_ulr", '4: providers.openai.base_ulr: unknown key; did you mean "base_url"?'),
        ("total", "totl", '5: providers.openai.timeout.totl: unknown key; did you mean "total"?'),
        ("ramp:", "rmap:", '11: canaries[0].rmap: unknown key; did you mean "ramp"?'),
        ("models", "model", '8: canaries[0].match.model: unknown key; did you mean "models"?'),
        ("for: 1h", "fro: 1h", '11: canaries[0].ramp[0].fro: unknown key; did you mean "for"?'),
        ("rule:", "rul:", '12: canaries[0].guardrails[0].rul: unknown key; did you mean "rule"?'),
        ("weight", "wieght", '14: canaries[0].rubric[0].wieght: unknown key; did you mean "weight"?'),
        ("kind", "knd", '16: metrics.settled.knd: unknown key; did you mean "kind"?'),
        ("{key", "{kye", '18: notify[0].pagerduty.kye: unknown key; did you mean "key"?'),
    ],
)
def test_an_unknown_key_at_any_depth_is_named_with_line_and_nearest(
    before: str, after: str, line: str
) -> None:
    assert f"canary.yaml:{line}" in refusal((before, after))


def test_an_unknown_key_like_no_other_is_answered_with_all_there_are() -> None:
    assert refusal(("total: 60s", "total: 60s, zzz: 1"))[0] == (
        "canary.yaml:5: providers.openai.timeout.zzz: unknown key; "
        "known names: connect, write, first_byte, idle, total"
    )


def test_a_mistyped_key_is_not_reported_as_missing_too() -> None:
    assert refusal(("model: old", "modle: old")) == [
        'canary.yaml:9: canaries[0].baseline.modle: unknown key; did you mean "model"?'
    ]
    assert refusal(("ramp:", "rmap:")) == [
        'canary.yaml:11: canaries[0].rmap: unknown key; did you mean "ramp"?'
    ]


@pytest.mark.parametrize(
    ("before", "after", "line"),
    [
        (", model: old", "", "9: canaries[0].baseline.model: is missing"),
        ("    base_url: https://api.openai.com/v1\n", "", "2: providers.openai.base_url: is missing"),
        ("kind: bool, ", "", "16: metrics.settled.kind: is missing; only a metric with `cost_per` has none"),
        (', question: "Settled?"', "", "16: metrics.settled.question: is missing"),
        (', question: "Happy?"', "", "14: canaries[0].rubric[0].question: is missing"),
        ("weight: 15, ", "", "14: canaries[0].rubric[0].weight: is missing"),
    ],
)
def test_a_missing_key_is_reported_where_it_should_stand(before: str, after: str, line: str) -> None:
    assert refusal((before, after)) == [f"canary.yaml:{line}"]


@pytest.mark.parametrize(
    ("before", "after", "line"),
    [
        (
            "{models: [gpt-4o]}",
            "gpt-4o",
            "8: canaries[0].match: must be a mapping, such as {models: …, paths: …}",
        ),
        ("[gpt-4o]", "gpt-4o", "8: canaries[0].match.models: must be a list, such as [one, two]"),
        ("[gpt-4o]", "[[gpt-4o]]", "8: canaries[0].match.models[0]: must be a single value"),
        ("name: trial", "name:", "7: canaries[0].name: needs a value"),
        ("name: trial", "name: ''", "7: canaries[0].name: must not be empty"),
        ("weight: 15", "weight: much", "14: canaries[0].rubric[0].weight: must be a number"),
        ("weight: 15", "weight: 0", "14: canaries[0].rubric[0].weight: must be above 0"),
        ("weight: 15", "weight: .nan", "14: canaries[0].rubric[0].weight: must be a number"),
        ("weight: 15", "weight: nan", "14: canaries[0].rubric[0].weight: must be a finite number"),
        ("ramp: [{share: 5%, for: 1h}]", "ramp: []", "11: canaries[0].ramp: must not be empty"),
        ("[{rule: error_rate}]", "none", f"12: canaries[0].guardrails: {NAMED_OR_LIST}"),
        ("api: openai", "api: opanai", f"3: providers.openai.api: {ONE_OF_THE_APIS}"),
        ("total: 60s", "total: 60", f"5: providers.openai.timeout.total: {NO_UNIT}"),
        ("total: 60s", "total: 0s", "5: providers.openai.timeout.total: must be longer than 0"),
        ("total: 60s", "total: [60s]", "5: providers.openai.timeout.total: must be a single value"),
        ("kind: bool", "kind: bool, higher_is_better: maybe", f"16: metrics.settled.{NO_TRUTH}"),
        ("notify:", "workers: 0\nnotify:", "17: workers: must be at least 1"),
        ("notify:", "workers: 1.5\nnotify:", "17: workers: must be a whole number"),
    ],
)
def test_a_bad_value_is_reported_in_words_that_say_what_is_right(before: str, after: str, line: str) -> None:
    assert refusal((before, after)) == [f"canary.yaml:{line}"]


def test_all_that_is_wrong_is_reported_at_once_and_in_the_files_order() -> None:
    assert refusal(
        ("total: 60s", "totl: 60s"),
        ("provider: openai, model: old", "provider: opnai, model: old"),
        ("share: 5%", "share: 5"),
        ("metric: csat", "metric: csta"),
        ("key: secret", "key: '${PD_KEY}'"),
    ) == [
        'canary.yaml:5: providers.openai.timeout.totl: unknown key; did you mean "total"?',
        'canary.yaml:9: canaries[0].baseline.provider: there is no provider "opnai"; did you mean "openai"?',
        "canary.yaml:11: canaries[0].ramp[0].share: 5 is more than 100%; did you mean 5%?",
        'canary.yaml:14: canaries[0].rubric[0].metric: "csta" is not a built-in, computed or declared '
        'metric; did you mean "csat"?',
        "canary.yaml:18: notify[0].pagerduty.key: the variable PD_KEY is not set; set it, or write "
        "${PD_KEY:-default}",
    ]


def test_what_stands_after_an_unreadable_list_item_keeps_its_index() -> None:
    row = '      - {metric: csat, acceptable: "> 4.1"'
    assert refusal((row, "      - {metric: thumbs}\n" + row), ("metric: csat", "metric: csta"))[-1] == (
        'canary.yaml:15: canaries[0].rubric[1].metric: "csta" is not a built-in, computed or declared '
        'metric; did you mean "csat"?'
    )


def test_a_provider_with_a_mistake_inside_is_still_a_provider() -> None:
    assert refusal(("api: openai", "api: opanai"))[1:] == []


def test_values_that_may_be_secret_are_never_quoted() -> None:
    text = SOUND.replace("https://api.openai.com/v1", "'${URL}'").replace("secret", "['${KEY}']")
    with pytest.raises(ConfigError) as refused:
        parse(text, "canary.yaml", {"URL": "https://user:hunter2@host", "KEY": "hunter2"})
    assert len(refused.value.problems) == 2
    assert "hunter2" not in str(refused.value)
