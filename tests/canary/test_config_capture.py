"""What a config may say of capturing."""

import pytest

from canary.config import parse
from canary.config.errors import ConfigError
from canary.programs.routes import routes
from records.captures.capture import CaptureRule

TEXT = """\
providers:
  openai: {{api: openai, base_url: "https://api.openai.com/v1"}}
canaries:
  - name: trial
    match: {{models: [gpt-4o]}}
    baseline: {{provider: openai, model: old}}
    candidate: {{provider: openai, model: new}}
    share: 5%
    {line}
    rubric:
      - {{metric: {metric}, acceptable: "< 10%", ideal: "< 5%", weight: 15, question: "Again?"}}
"""


def text(line: str, metric: str = "repeat_question") -> str:
    return TEXT.format(line=line, metric=metric)


def rule(line: str) -> CaptureRule | None:
    return parse(text(line), "canary.yaml", {}).canaries["trial"].capture


def test_without_the_key_nothing_is_captured() -> None:
    assert rule("segments: []") is None


def test_a_rate_alone_is_enough_and_lasts_thirty_days() -> None:
    assert rule("capture: {rate: 1%}") == CaptureRule(rate=0.01, expires_after_s=30 * 86400.0)


def test_everything_may_be_said() -> None:
    line = "capture: {rate: 0%, per_category: 20, expires_after: 7d, redact: ['K-[0-9]+', 'Dr\\. \\w+']}"
    assert rule(line) == CaptureRule(
        rate=0.0, per_category=20, expires_after_s=7 * 86400.0, redact=("K-[0-9]+", r"Dr\. \w+")
    )


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (
            "capture: {}",
            "canaries[0].capture: captures nothing; set a rate, for example `rate: 1%`, or per_category",
        ),
        ("capture: {rate: 1%, redact: ['(']}", "canaries[0].capture.redact[0]: is not a regular expression"),
        ("capture: {rate: 1%, redact: [x, 'a*']}", "canaries[0].capture.redact[1]: matches the empty string"),
        ("capture: {rate: 2}", "did you mean 2%?"),
        ("capture: {rate: 1%, expires_after: 0s}", "canaries[0].capture.expires_after"),
        ("capture: {rate: 1%, per_category: 1001}", "canaries[0].capture.per_category"),
        ("capture: {rat: 1%}", 'canaries[0].capture.rat: unknown key; did you mean "rate"?'),
    ],
)
def test_what_is_wrong_is_named(line: str, words: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse(text(line), "canary.yaml", {})
    assert words in str(refused.value)


@pytest.mark.parametrize(("metric", "counted"), [("repeat_question", True), ("error_rate", False)])
def test_questions_are_told_apart_only_where_the_rubric_asks_for_it(metric: str, counted: bool) -> None:
    config = parse(text("capture: {rate: 1%}", metric), "canary.yaml", {})
    trial = routes(config, {}).trials["trial"]
    assert trial.counts_repeats is counted
    assert trial.capture == CaptureRule(rate=0.01)


PLAIN = """\
providers: {{openai: {{api: openai, base_url: "https://api.openai.com/v1"}}}}
capture:
  - {line}
  - {{models: [o1], per_category: 5}}
"""


def test_models_without_a_canary_are_captured_by_name() -> None:
    line = "{models: [gpt-4o, gpt-4o-mini], rate: 2%, per_category: 20}"
    config = parse(PLAIN.format(line=line), "canary.yaml", {})
    both = CaptureRule(rate=0.02, per_category=20)
    assert config.captures == {
        "gpt-4o": both,
        "gpt-4o-mini": both,
        "o1": CaptureRule(rate=0.0, per_category=5),
    }
    assert routes(config, {}).captures == config.captures


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{models: [gpt-4o]}", "capture[0]: captures nothing"),
        ("{models: [], rate: 1%}", "capture[0].models: must not be empty"),
        ("{rate: 1%}", "capture[0]"),
        ("{models: [gpt-4o], rate: 1%, redact: ['(']}", "capture[0].redact[0]: is not a regular expression"),
        ("{models: [o1], rate: 1%}", 'capture[1].models[0]: "o1" is already listed in capture[0]'),
    ],
)
def test_what_is_wrong_with_a_models_capture_is_named(line: str, words: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse(PLAIN.format(line=line), "canary.yaml", {})
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("line", "captured", "words"),
    [
        ("segments: []", None, ("N-1",)),
        ("capture: {rate: 1%, redact: [K-1]}", ("N-1", "K-1"), ("N-1", "K-1")),
    ],
)
def test_the_configs_patterns_reach_captures_and_what_providers_say(
    line: str, captured: tuple[str, ...] | None, words: tuple[str, ...]
) -> None:
    config = parse(f"redact: [N-1]\n{text(line)}", "canary.yaml", {})
    found = routes(config, {}).trials["trial"]
    assert found.redact == words
    assert (None if found.capture is None else found.capture.redact) == captured
