import pytest

from canary.config.errors import ConfigError
from canary.config.load import parse
from canary.config.quantity import COMPUTED
from verdict.terms.measures import known

PROVIDERS = """\
providers:
  openai: {api: openai, base_url: "https://api.openai.com/v1", api_key: "${OPENAI_KEY:-}"}
  other: {api: openai, base_url: "https://other.example/v1", api_key: other-key}
  keyless: {api: openai, base_url: "https://keyless.example/v1", api_key: "${KEYLESS_KEY:-}"}
  claude: {api: anthropic, base_url: "https://api.anthropic.com", api_key: claude-key}
canaries:
"""
TRIAL = """\
  - name: trial
    match: {models: [gpt-4o]}
    baseline: {provider: openai, model: old}
    candidate: {provider: openai, model: new}
    share: 5%
    guardrails: default
    rubric:
      - {metric: csat, acceptable: "> 4.1", ideal: "> 4.4", weight: 15, question: "Happy?"}
"""
CSAT = TRIAL.splitlines()[-1]


def changed(*changes: tuple[str, str]) -> str:
    text = TRIAL
    for before, after in changes:
        assert before in text
        text = text.replace(before, after, 1)
    return PROVIDERS + text


def refusal(text: str) -> list[str]:
    with pytest.raises(ConfigError) as refused:
        parse(text, "canary.yaml", {})
    return str(refused.value).splitlines()


def warnings(text: str, **environment: str) -> tuple[str, ...]:
    return parse(text, "canary.yaml", environment).warnings


def test_the_text_the_other_tests_spoil_is_sound() -> None:
    assert warnings(changed()) == ()


def test_an_unknown_provider_is_refused_with_the_nearest() -> None:
    assert refusal(changed(("candidate: {provider: openai", "candidate: {provider: opneai"))) == [
        'canary.yaml:10: canaries[0].candidate.provider: there is no provider "opneai"; did you mean '
        '"openai"?'
    ]


def test_an_unknown_provider_like_no_other_is_answered_with_all() -> None:
    assert refusal(changed(("baseline: {provider: openai", "baseline: {provider: xyz"))) == [
        'canary.yaml:9: canaries[0].baseline.provider: there is no provider "xyz"; '
        "known names: openai, other, keyless, claude"
    ]


def test_a_candidate_of_another_api_is_refused() -> None:
    assert refusal(changed(("candidate: {provider: openai", "candidate: {provider: claude"))) == [
        'canary.yaml:10: canaries[0].candidate.provider: "claude" uses the anthropic API and the '
        "baseline uses openai; both arms need the same API (most providers have a compatible endpoint)"
    ]


def test_a_candidate_at_another_provider_needs_its_own_credential() -> None:
    assert refusal(changed(("candidate: {provider: openai", "candidate: {provider: keyless"))) == [
        'canary.yaml:10: canaries[0].candidate.provider: "keyless" has no api_key, and '
        "the caller's key is never sent to another provider; set providers.keyless.api_key"
    ]


def test_the_baseline_has_no_patience() -> None:
    assert refusal(changed(("model: old}", "model: old, patience: 20s}"))) == [
        "canary.yaml:9: canaries[0].baseline.patience: only the candidate has a patience; remove it here"
    ]


def test_a_patience_after_which_nobody_answers_is_a_warning() -> None:
    text = changed(("model: new}", "model: new, patience: 20s}\n    on_candidate_failure: error"))
    assert warnings(text) == (
        "canary.yaml:10: canaries[0].candidate.patience: has no effect with on_candidate_failure: error, "
        "because the baseline does not answer then",
    )


def test_a_candidate_at_another_provider_with_its_own_credential_is_fine() -> None:
    text = changed(("candidate: {provider: openai", "candidate: {provider: other"))
    assert warnings(text) == ()
    text = changed(("candidate: {provider: openai", "candidate: {provider: keyless"))
    assert warnings(text, KEYLESS_KEY="keyless-key") == ()


@pytest.mark.parametrize("keys", ["auth: azure", "auth: google"])
def test_a_candidate_with_the_machines_credential_needs_no_key(keys: str) -> None:
    text = changed(("candidate: {provider: openai", "candidate: {provider: keyless"))
    assert warnings(text.replace('api_key: "${KEYLESS_KEY:-}"', keys)) == ()


def test_a_candidate_with_the_baselines_credential_at_another_provider_is_a_warning() -> None:
    text = changed(("candidate: {provider: openai", "candidate: {provider: other"))
    assert warnings(text, OPENAI_KEY="other-key") == (
        'canary.yaml:10: canaries[0].candidate.provider: "other" and the baseline\'s provider have '
        "the same api_key",
    )


def test_two_arms_of_one_model_are_a_warning() -> None:
    assert warnings(changed(("model: new", "model: old"))) == (
        "canary.yaml:10: canaries[0].candidate.model: both arms use the same model: this is an A/A test",
    )


def test_share_and_ramp_together_are_refused() -> None:
    assert refusal(changed(("share: 5%", "share: 5%\n    ramp: [{share: 1%}]"))) == [
        "canary.yaml:12: canaries[0].ramp: cannot be combined with share; remove one of them"
    ]


def test_neither_share_nor_ramp_is_refused() -> None:
    assert refusal(changed(("    share: 5%\n", ""))) == [
        "canary.yaml:7: canaries[0]: has neither share nor ramp; set one, for example `share: 5%`"
    ]


@pytest.mark.parametrize(
    ("share", "message"),
    [
        ("0%", "0% sends nothing to the candidate; write a share above 0%, for example 5%"),
        ("0", "0% sends nothing to the candidate; write a share above 0%, for example 5%"),
        ("-5%", "-5% is not a share; a share lies between 0% and 100%"),
        ("101%", "101% is not a share; a share lies between 0% and 100%"),
        ("5", "5 is more than 100%; did you mean 5%?"),
        ("some", '"some" is not a share; write, for example, 5% or 0.05'),
    ],
)
def test_an_impossible_share_is_refused(share: str, message: str) -> None:
    assert refusal(changed(("share: 5%", f"share: {share}"))) == [
        f"canary.yaml:11: canaries[0].share: {message}"
    ]
    assert refusal(changed(("share: 5%", f"ramp: [{{share: {share}}}]"))) == [
        f"canary.yaml:11: canaries[0].ramp[0].share: {message}"
    ]


def test_most_of_the_users_is_a_warning() -> None:
    assert warnings(changed(("share: 5%", "share: 51%"))) == (
        "canary.yaml:11: canaries[0].share: 51 % is more than half of the users; a typical share "
        "is 5% to 10%",
    )
    assert warnings(changed(("share: 5%", "share: 50%"))) == ()
    assert warnings(changed(("share: 5%", "share: 100%")))[0].startswith(
        "canary.yaml:11: canaries[0].share: leaves nobody on the baseline, so nothing is compared"
    )


def test_a_ramp_that_shrinks_is_refused() -> None:
    ramp = "ramp:\n      - {share: 1%, for: 1h}\n      - {share: 10%, for: 1d}\n      - {share: 5%}"
    assert refusal(changed(("share: 5%", ramp))) == [
        "canary.yaml:14: canaries[0].ramp[2].share: a ramp must not fall: 5 % follows 10 %"
    ]


def test_only_a_ramps_last_step_may_last_for_ever() -> None:
    assert refusal(changed(("share: 5%", "ramp:\n      - {share: 1%}\n      - {share: 5%}"))) == [
        "canary.yaml:12: canaries[0].ramp[0]: has no end: write `for: 1h`, `until: {users: 300}` or both; "
        "only the last may omit it"
    ]


@pytest.mark.parametrize(
    ("until", "message"),
    [
        ("{}", "until.users: is missing"),
        ("{user: 300}", 'until.user: unknown key; did you mean "users"?'),
        ("{users: 0}", "until.users: must be at least 1"),
        ("{users: many}", "until.users: must be a whole number"),
        ("300", "until: must be a mapping, such as {users: …}"),
    ],
)
def test_what_a_step_cannot_wait_for_is_refused(until: str, message: str) -> None:
    ramp = f"ramp:\n      - {{share: 1%, until: {until}}}\n      - {{share: 5%}}"
    found = refusal(changed(("share: 5%", ramp)))
    assert [each.partition("canaries[0].ramp[0].")[2] for each in found] == [message]


def test_a_step_may_name_users_a_time_or_both() -> None:
    steps = "[{share: 1%, until: {users: 300}}, {share: 5%, for: 3d, until: {users: 2000}}, {share: 10%}]"
    assert warnings(changed(("share: 5%", f"ramp: {steps}"))) == ()


def test_two_canaries_of_one_name_are_refused() -> None:
    second = TRIAL.replace("[gpt-4o]", "[gpt-5]")
    assert refusal(PROVIDERS + TRIAL + second) == [
        'canary.yaml:15: canaries[1].name: two canaries are named "trial"; rename this one'
    ]


@pytest.mark.parametrize("name", ["a b", "a/b", "-a", "a:b", "a" * 64])
def test_a_canarys_name_must_fit_into_labels_and_paths(name: str) -> None:
    assert refusal(changed(("name: trial", f"name: {name}"))) == [
        "canary.yaml:7: canaries[0].name: a canary's name may contain letters, digits, . _ and -, at most 63"
    ]


def second(match: str, provider: str = "openai") -> str:
    return (
        TRIAL.replace("trial", "second")
        .replace("{models: [gpt-4o]}", match)
        .replace("provider: openai", f"provider: {provider}")
    )


LANES_NOT_DECLARED = (
    'canary.yaml:16: canaries[1].match: takes the same requests as "trial": each gets a lane of its own, 0.5 '
    "of the units, if none of them has started. If this is meant, write `lane:` for those that have not "
    "started; else separate them by models, paths, headers or tags"
)


@pytest.mark.parametrize(
    "match", ["{models: [gpt-5, gpt-4o]}", "{paths: [/v1/responses]}", "{tags: {plan: pro}}"]
)
def test_canaries_that_may_take_the_same_request_have_equal_lanes_and_a_warning(match: str) -> None:
    assert LANES_NOT_DECLARED in warnings(PROVIDERS + TRIAL + second(match))


def with_lane(text: str, lane: str) -> str:
    return text.replace("    share: 5%", f"    lane: {lane}\n    share: 5%")


def test_declared_lanes_are_no_warning() -> None:
    text = PROVIDERS + with_lane(TRIAL, "60%") + second("{models: [gpt-4o]}")
    assert not [each for each in warnings(text) if "lane" in each]


@pytest.mark.parametrize(
    ("lanes", "message"),
    [
        (
            ("60%", "50%"),
            'canaries[1].lane: the lanes of "trial", "second" add up to 1.1; they may have 1 in all',
        ),
        (("100%", None), 'canaries[1]: gets no lane: "trial" take all units of the same requests'),
    ],
)
def test_lanes_that_do_not_fit_are_refused(lanes: tuple[str, str | None], message: str) -> None:
    other = second("{models: [gpt-4o]}")
    text = (
        PROVIDERS + with_lane(TRIAL, lanes[0]) + (other if lanes[1] is None else with_lane(other, lanes[1]))
    )
    assert message in refusal(text)[0]


def test_a_lane_of_nothing_is_refused_as_a_lane() -> None:
    (found,) = refusal(PROVIDERS + with_lane(TRIAL, "0%"))
    assert "lane: 0% gives the canary no users; write a lane above 0%" in found


@pytest.mark.parametrize(
    ("match", "key"),
    [("{models: [gpt-5, gpt-5.6-*]}", "models[1]"), ("{paths: [/v1/responses, /v1/chat/*]}", "paths[1]")],
)
def test_a_pattern_in_a_match_is_a_warning(match: str, key: str) -> None:
    """Callers' models take patterns; a canary's do not."""
    (found,) = [each for each in warnings(PROVIDERS + second(match)) if "literally" in each]
    assert f"match.{key}: " in found
    assert 'with its "*"' in found


def test_canaries_that_share_lanes_know_a_unit_alike() -> None:
    other = second("{models: [gpt-4o]}").replace("    share: 5%", "    share: 5%\n    unit: [session]")
    assert 'canaries[1].unit: differs from "trial"' in refusal(PROVIDERS + TRIAL + other)[0]
    other = second("{models: [gpt-4o]}").replace("    share: 5%", "    share: 5%\n    session: [body]")
    assert 'canaries[1].session: differs from "trial"' in refusal(PROVIDERS + TRIAL + other)[0]
    twice = TRIAL.replace("    share: 5%", "    share: 5%\n    session: [body, body]")
    assert '"body" is listed twice' in refusal(PROVIDERS + twice)[0]


def test_sessions_as_units_are_a_warning() -> None:
    by = "    share: 5%\n    unit: [{}]"
    (found,) = warnings(PROVIDERS + TRIAL.replace("    share: 5%", by.format("session, header")))
    assert "canaries[0].unit: a unit is a session: one person may be several, in both arms" in found
    assert warnings(PROVIDERS + TRIAL.replace("    share: 5%", by.format("header, session"))) == ()


def test_header_names_that_differ_in_case_do_not_part_canaries() -> None:
    first = TRIAL.replace("{models: [gpt-4o]}", "{headers: {X-Team: a}}")
    assert LANES_NOT_DECLARED in warnings(PROVIDERS + first + second("{headers: {x-team: a}}"))
    assert warnings(PROVIDERS + first + second("{headers: {x-team: b}}")) == ()


def test_canaries_at_two_entries_of_one_api_share_no_request() -> None:
    found = warnings(PROVIDERS + TRIAL + second("{models: [gpt-4o]}", "other"))
    assert not [each for each in found if "same requests" in each]


@pytest.mark.parametrize(
    ("match", "provider"), [("{models: [gpt-5]}", "openai"), ("{models: [gpt-4o]}", "claude")]
)
def test_canaries_of_other_models_or_another_api_stand_beside_each_other(match: str, provider: str) -> None:
    assert warnings(PROVIDERS + TRIAL + second(match, provider)) == ()


def test_a_match_without_parts_is_a_warning() -> None:
    assert warnings(changed(("{models: [gpt-4o]}", "{}"))) == (
        "canary.yaml:8: canaries[0].match: is empty: this canary takes every request, for any model",
    )


def test_a_matched_path_starts_with_a_slash() -> None:
    assert refusal(changed(("{models: [gpt-4o]}", "{paths: [v1/responses]}"))) == [
        'canary.yaml:8: canaries[0].match.paths[0]: a path starts with "/": write "/v1/responses"'
    ]


@pytest.mark.parametrize(
    ("paths", "why"),
    [
        ("[/v1/messages]", "/v1/messages belongs to the anthropic API"),
        (
            "[/v1/messages, /v1/files]",
            "/v1/messages belongs to the anthropic API, /v1/files belongs to no API's LLM operations",
        ),
        (
            '["/v1beta/models/gemini-2.5-pro:generateContent"]',
            "/v1beta/models/gemini-2.5-pro:generateContent belongs to the gemini API",
        ),
    ],
)
def test_a_canary_that_no_request_can_reach_is_refused(paths: str, why: str) -> None:
    assert refusal(changed(("{models: [gpt-4o]}", f"{{paths: {paths}}}"))) == [
        "canary.yaml:8: canaries[0].match.paths: no request reaches this canary: its baseline "
        f'"openai" has the openai API, and {why}'
    ]


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses", "/v1/realtime"])
def test_one_path_of_the_baselines_api_is_enough(path: str) -> None:
    assert warnings(changed(("{models: [gpt-4o]}", f"{{paths: [{path}, /v1/messages]}}"))) == ()


def test_stored_answers_at_two_entries_are_said_to_stay_with_the_baseline() -> None:
    paths = ("{models: [gpt-4o]}", "{paths: [/v1/chat/completions, /v1/responses]}")
    away = ("{provider: openai, model: new}", "{provider: other, model: new}")
    (found,) = [each for each in warnings(changed(paths, away)) if "store: false" in each]
    assert "canaries[0].match.paths[1]: requests to /v1/responses" in found
    assert warnings(changed(paths)) == ()


@pytest.mark.parametrize(
    ("entry", "base_url"), [("other", "/other/v1"), ("claude-eu", "/claude-eu"), ("openai", None)]
)
def test_a_baseline_that_plain_paths_do_not_reach_is_named_with_its_base_url(
    entry: str, base_url: str | None
) -> None:
    eu = '  claude-eu: {api: anthropic, base_url: "https://eu.example", api_key: eu-key}\ncanaries:\n'
    text = PROVIDERS.replace("canaries:\n", eu) + TRIAL
    for arm in ("old", "new"):
        text = text.replace(f"{{provider: openai, model: {arm}}}", f"{{provider: {entry}, model: {arm}}}")
    api = "openai" if base_url == "/other/v1" else "anthropic"
    assert warnings(text) == (
        ()
        if base_url is None
        else (
            "canary.yaml:10: canaries[0].baseline.provider: only requests to the base URL "
            f"http://127.0.0.1:8080{base_url} reach this canary, because "
            f'"{entry}" is not the first provider with `api: {api}`',
        )
    )
    assert parse(text, "canary.yaml", {}).canaries["trial"].base_path == base_url


@pytest.mark.parametrize(
    ("keys", "path"),
    [
        ("segments: [regoin]", "segments[0]"),
        ("guardrails: [{rule: error_rate, segment: {regoin: eu}}]", "guardrails[0].segment.regoin"),
    ],
)
def test_a_tag_outside_the_files_list_is_refused_with_the_nearest(keys: str, path: str) -> None:
    assert refusal("tags: [region, plan]\n" + changed(("guardrails: default", keys))) == [
        f'canary.yaml:13: canaries[0].{path}: "regoin" is not listed under tags; did you mean "region"?'
    ]


def test_a_matched_tag_outside_the_files_list_is_refused() -> None:
    assert refusal("tags: [region]\n" + changed(("{models: [gpt-4o]}", "{tags: {xyz: a}}"))) == [
        'canary.yaml:9: canaries[0].match.tags.xyz: "xyz" is not listed under tags; known names: region'
    ]


def test_a_segment_that_no_header_could_carry_is_refused() -> None:
    assert refusal(changed(("guardrails: default", 'segments: ["a=b"]'))) == [
        'canary.yaml:12: canaries[0].segments[0]: "a=b" is not a valid tag name; use '
        "letters, digits, . _ and -"
    ]


@pytest.mark.parametrize(
    ("segment", "message"),
    [
        ("eu", '"eu" is not a segment; write TAG=VALUE, for example "plan=enterprise"'),
        ("region=", '"region=" is not a segment; write TAG=VALUE, for example "plan=enterprise"'),
        ("regoin=eu", '"regoin" is not listed under this canary\'s segments; did you mean "region"?'),
    ],
)
def test_a_critical_segment_is_a_value_of_a_listed_tag(segment: str, message: str) -> None:
    text = changed(("guardrails: default", f'segments: [region]\n    critical_segments: ["{segment}"]'))
    assert refusal(text) == [f"canary.yaml:13: canaries[0].critical_segments[0]: {message}"]


def test_more_critical_parts_than_have_guardrails_of_their_own_are_a_warning() -> None:
    def with_categories(count: int, rules: str = "default") -> str:
        names = ", ".join(f"c{number}" for number in range(count))
        return changed(("guardrails: default", f"guardrails: {rules}\n    critical_categories: [{names}]"))

    assert warnings(with_categories(20)) == ()
    assert warnings(with_categories(21, "[]")) == ()
    (message,) = warnings(with_categories(21))
    assert message.endswith(
        "has 21 critical categories and segments; only the first 20 get guardrails of their own, because each"
        " makes the others slower"
    )


@pytest.mark.parametrize(
    ("key", "name"), [("segments", "region"), ("critical_categories", "billing"), ("unit", "header")]
)
def test_a_name_that_stands_twice_in_a_list_is_refused(key: str, name: str) -> None:
    assert refusal(changed(("guardrails: default", f"{key}: [{name}, {name}]"))) == [
        f'canary.yaml:12: canaries[0].{key}[1]: "{name}" is listed twice'
    ]


@pytest.mark.parametrize(
    ("rule", "key", "message"),
    [
        ("{rule: error_rate, limit: 5}", "limit", "5 is more than 100%; did you mean 5%?"),
        ("{rule: latency_p95, limit: 3}", "limit", "a duration needs a unit"),
        (
            "{rule: cost_per_request, limit: 200%}",
            "limit",
            '"200%" is not a factor of the baseline; write, for example, 1.5x',
        ),
        ("{rule: csat, limit: 95%}", "limit", "95% means 95% below the baseline; for a factor of it write"),
        ("{rule: error_rate, window: ever}", "window", '"ever" is not a duration'),
        ("{rule: error_rate, limit: 50%}", "limit", "50% is never judged"),
        ("{rule: escalated, limit: 1.1x}", "limit", '"1.1x" would decide nothing: the rule always compares'),
        ("{rule: empty, limit: 0.5x}", "limit", "0.5x blames a candidate that is as good as the baseline"),
        (
            "{rule: latency_p95, limit: 20m}",
            "limit",
            "20m is never reached: no answer of the candidate takes",
        ),
        ("{rule: telemetry, action: rollback}", "action", "telemetry says nothing about the candidate"),
        ("{rule: telemetry, minimum: 3}", "minimum", "telemetry counts no exchanges"),
    ],
)
def test_a_limit_or_window_that_the_rule_cannot_have_is_refused(rule: str, key: str, message: str) -> None:
    (line,) = refusal(changed(("guardrails: default", f"guardrails: [{rule}]")))
    assert line.startswith(f"canary.yaml:12: canaries[0].guardrails[0].{key}: {message}")


@pytest.mark.parametrize(
    ("one", "other", "key"),
    [
        ("{rule: latency_p95}", "{rule: latency_p95, limit: 5s}", "latency_p95"),
        ("{rule: latency_p95, segment: {}}", "{rule: latency_p95}", "latency_p95"),
        (
            "{rule: latency_p95, category: eu}",
            "{rule: latency_p95, segment: {category: eu}}",
            "latency_p95[category=eu]",
        ),
        (
            "{rule: latency_p95, segment: {a: 1, b: 2}}",
            "{rule: latency_p95, window: 1h, segment: {b: 2, a: 1}}",
            "latency_p95[a=1,b=2]",
        ),
        (
            '{rule: latency_p95, segment: {a: "1,b=2"}}',
            "{rule: latency_p95, segment: {a: 1, b: 2}}",
            "latency_p95[a=1,b=2]",
        ),
    ],
)
def test_two_guardrails_that_nothing_tells_apart_are_refused_by_name(one: str, other: str, key: str) -> None:
    rules = f"[{one}, {{rule: latency_p95, category: billing}}, {other}]"
    assert refusal(changed(("guardrails: default", f"guardrails: {rules}"))) == [
        f"canary.yaml:12: canaries[0].guardrails[2]: {key} has the same rule, category and segment "
        "as guardrails[0]; status, metrics and pages could not tell them apart, so merge the two or change "
        "one"
    ]


@pytest.mark.parametrize("rule", ["csat", "thumbs", "stuck", "telemetry"])
@pytest.mark.parametrize("part", ["category: billing", "segment: {region: eu}"])
def test_a_rule_that_cannot_tell_a_part_of_the_traffic_is_refused_with_one(rule: str, part: str) -> None:
    rules = f"[{{rule: {rule}, {part}}}]"
    (line,) = refusal(changed(("guardrails: default", f"guardrails: {rules}")))
    key = part.partition(":")[0]
    assert line.startswith(
        f"canary.yaml:12: canaries[0].guardrails[0].{key}: {rule} can only watch the whole canary"
    )
    assert f"; remove {key} " in line


def test_an_unknown_rule_is_refused_with_the_nearest() -> None:
    (line,) = refusal(changed(("guardrails: default", "guardrails: [{rule: latency_p59}]")))
    assert line.startswith("canary.yaml:12: canaries[0].guardrails[0].rule: must be error_rate or ")
    assert line.endswith('did you mean "latency_p95"?')


@pytest.mark.parametrize(
    ("wrong", "right"), [("csta", "csat"), ("latncy_p95", "latency_p95"), ("errors_rate", "error_rate")]
)
def test_an_unknown_metric_is_refused_with_the_nearest(wrong: str, right: str) -> None:
    assert refusal(changed(("metric: csat", f"metric: {wrong}"))) == [
        f'canary.yaml:14: canaries[0].rubric[0].metric: "{wrong}" is not a built-in, computed or '
        f'declared metric; did you mean "{right}"?'
    ]


def test_every_computed_metric_is_one_that_the_report_measures() -> None:
    assert [name for name in COMPUTED if not known(name, {})] == []
    assert not known("latency_p42", {})


def test_a_declared_metric_may_be_judged() -> None:
    declared = 'metrics: {settled: {kind: bool, question: "Settled?"}}\n'
    bounds = ("> 4.1", "> 41%"), ("> 4.4", "> 44%")
    assert warnings(changed(("metric: csat", "metric: settled"), *bounds) + declared) == ()


def test_a_metric_that_is_declared_with_a_mistake_is_not_unknown_too() -> None:
    text = (
        changed(("metric: csat", "metric: settled"))
        + 'metrics: {settled: {kind: boole, question: "Settled?"}}\n'
    )
    assert refusal(text) == [
        "canary.yaml:15: metrics.settled.kind: must be bool or rating or nps or count or amount; "
        'did you mean "bool"?'
    ]


@pytest.mark.parametrize(
    ("question", "message"),
    [('""', "must not be empty"), ('" "', "must state the business question that the metric answers")],
)
def test_a_rubric_row_without_a_question_is_refused(question: str, message: str) -> None:
    assert refusal(changed(('"Happy?"', question))) == [
        f"canary.yaml:14: canaries[0].rubric[0].question: {message}"
    ]


@pytest.mark.parametrize("ideal", ["> 4.0", "> 4.1"])
def test_an_ideal_that_is_no_better_than_acceptable_is_refused(ideal: str) -> None:
    (line,) = refusal(changed(("> 4.4", ideal)))
    assert line.startswith("canary.yaml:14: canaries[0].rubric[0]: csat")
    assert line.endswith("ideal must be strictly better than acceptable")


def test_bounds_that_look_in_opposite_directions_are_refused() -> None:
    (line,) = refusal(changed(("> 4.4", "< 4.4")))
    assert line.startswith("canary.yaml:14: canaries[0].rubric[0]: csat")
    assert "opposite directions" in line


def test_a_bound_that_cannot_be_read_is_refused() -> None:
    (line,) = refusal(changed(('"> 4.1"', '"about 4"')))
    assert line.startswith("canary.yaml:14: canaries[0].rubric[0].acceptable: 'about 4' is not a bound")


@pytest.mark.parametrize(
    ("acceptable", "ideal", "message"),
    [
        ("< 4", "< 3", 'acceptable: csat: acceptable "< 4" asks for a low value, but higher is better; '
         'write "> 4"'),
        ("> 4", "> 6", 'ideal: csat: ideal "> 6" is outside its values, 1 to 5; '
         'write, for example, "> 3"'),
    ],
)  # fmt: skip
def test_a_bound_that_cannot_be_meant_is_refused_with_its_line(
    acceptable: str, ideal: str, message: str
) -> None:
    assert refusal(changed(("> 4.1", acceptable), ("> 4.4", ideal))) == [
        f"canary.yaml:14: canaries[0].rubric[0].{message}"
    ]


def test_a_declared_metrics_direction_is_the_declared_one() -> None:
    declared = 'metrics: {csat: {kind: rating, scale: 0-9, higher_is_better: false, question: "?"}}\n'
    assert warnings(changed(("> 4.1", "< 8"), ("> 4.4", "< 6")) + declared) == ()
    (line,) = refusal(changed() + declared)
    assert line.endswith('write "< 4.1", or declare `higher_is_better: true` under metrics.csat')


def test_a_metric_that_stands_twice_in_a_rubric_is_refused() -> None:
    assert refusal(changed() + CSAT + "\n") == [
        'canary.yaml:15: canaries[0].rubric[1].metric: "csat" is in this rubric twice'
    ]


def rubric_of(count: int) -> str:
    names = ("csat", "nps", "revenue", "politeness", "warmth", "wit")
    declared = "".join(f'  {name}: {{kind: rating, question: "?"}}\n' for name in names[3:])
    rows = "\n".join(CSAT.replace("csat", name) for name in names[:count])
    return changed((CSAT, rows)) + f"metrics:\n{declared}"


def test_more_than_five_rows_are_a_warning() -> None:
    assert warnings(rubric_of(6)) == (
        "canary.yaml:13: canaries[0].rubric: has 6 rows; with more than 5, hardly any candidate "
        "passes them all",
    )
    assert warnings(rubric_of(5)) == ()


def test_no_rubric_is_a_warning() -> None:
    assert warnings(changed(("    rubric:\n", ""), (CSAT + "\n", ""))) == (
        "canary.yaml:7: canaries[0]: has no rubric, so its report cannot reach a verdict",
    )


def test_a_price_for_a_model_that_no_arm_has_is_a_warning() -> None:
    assert warnings(changed() + "prices: {old: {input: 1, output: 1}, nwe: {input: 1, output: 1}}\n") == (
        'canary.yaml:15: prices.nwe: no arm has the model "nwe"; did you mean "new"?',
    )
    assert warnings(changed() + "prices: {gpt-4o: {input: 1, output: 1}}\n") == ()
    priced = "prices: {other: {input: 1, output: 1}}\nprice_as: {new: other}\n"
    assert warnings(changed() + priced) == ()
    standing = changed(("  - name: trial\n", "  - name: trial\n    standing: true\n"))
    assert warnings(standing + "prices: {to-come: {input: 1, output: 1}}\n") == ()


def test_one_canarys_mistake_does_not_hide_anothers() -> None:
    text = PROVIDERS + TRIAL.replace("name: trial\n", "nmae: trial\n") + second("{models: [gpt-5]}", "opnai")
    assert refusal(text) == [
        'canary.yaml:7: canaries[0].nmae: unknown key; did you mean "name"?',
        'canary.yaml:17: canaries[1].baseline.provider: there is no provider "opnai"; did you mean "openai"?',
        'canary.yaml:18: canaries[1].candidate.provider: there is no provider "opnai"; did you mean '
        '"openai"?',
    ]


@pytest.mark.parametrize(
    ("days", "said"),
    [
        ("planned_days: 5", "5 is less than `minimum_days`, 7 in all; write at least 7"),
        (
            "planned_days: 7\n    minimum_days: 7.5",
            "7 is less than `minimum_days`, 7.5 in all; write at least 8",
        ),
        (
            "planned_days: 0",
            "0 is no plan, which needs `minimum_days: 0`; write that too, or at least 7 here",
        ),
    ],
)
def test_planned_days_hold_the_minimum_days(days: str, said: str) -> None:
    (line,) = refusal(changed(("share: 5%", f"share: 5%\n    {days}")))
    assert line == f"canary.yaml:12: canaries[0].planned_days: {said}"


@pytest.mark.parametrize("keys", ["settle: 6h", "settle: 30m\n    settle_at_most: 10m"])
def test_a_change_waits_at_least_until_a_user_is_idle(keys: str) -> None:
    (line,) = refusal(changed(("share: 5%", f"share: 5%\n    {keys}")))
    assert line.startswith("canary.yaml:12: canaries[0].settle: is more than `settle_at_most`")


def test_a_hold_back_is_of_half_of_the_users_at_most_and_by_the_hash() -> None:
    keys = "holdback: {share: 60%, for: 7d}"
    (line,) = refusal(changed(("share: 5%", f"share: 5%\n    {keys}")))
    assert line.startswith("canary.yaml:12: canaries[0].holdback.share: 60 % is more than half of the users")
    keys = "holdback: {share: 2%, for: 7d}\n    assignment: header"
    assert any(
        line.startswith("canary.yaml:12: canaries[0].holdback: is canary's own")
        for line in refusal(changed(("share: 5%", f"share: 5%\n    {keys}")))
    )


def test_no_plan_is_zero_days_of_both() -> None:
    assert warnings(changed(("share: 5%", "share: 5%\n    planned_days: 0\n    minimum_days: 0"))) == ()


@pytest.mark.parametrize("days", ["2", "0.5"])
def test_less_than_a_week_before_a_verdict_is_a_warning(days: str) -> None:
    (said,) = warnings(changed(("share: 5%", f"share: 5%\n    minimum_days: {days}")))
    assert said == (
        f"canary.yaml:12: canaries[0].minimum_days: {days} is less than a week, so a verdict to ship may "
        "rest on working days alone, or on a weekend; write at least 7"
    )
    assert warnings(changed(("share: 5%", "share: 5%\n    minimum_days: 7"))) == ()


def test_records_that_go_before_the_plan_ends_are_a_warning() -> None:
    (said,) = warnings("retention: 20d\n" + changed())
    assert "retention: 20d is shorter than the plan of trial with its extension" in said
    assert said.endswith("write at least 28d")
    assert warnings("retention: 28d\n" + changed()) == ()


CAUGHT = CSAT.replace("csat", '"recall:harmful"').replace("> 4.1", ">= 98%").replace("> 4.4", ">= 99%")
PACE = CSAT.replace("csat", "throughput").replace("> 4.1", ">= 10000").replace("> 4.4", ">= 20000")


def test_rows_that_only_a_benchmark_measures_are_no_part_of_the_canarys_verdict() -> None:
    read = parse(changed((CSAT, f"{CSAT}\n{CAUGHT}\n{PACE}")), "canary.yaml", {})
    judged = read.canaries["trial"].judged
    assert read.warnings == ()
    assert [row.metric for row in judged.criteria] == ["csat"]
    assert [row.metric for row in judged.offline] == ["recall:harmful", "throughput"]
    without = parse(changed(), "canary.yaml", {}).canaries["trial"].judged
    assert judged.sha256 == without.sha256


def test_a_rubric_of_such_rows_alone_is_a_warning() -> None:
    (warning,) = warnings(changed((CSAT, CAUGHT)))
    assert warning.endswith(
        "has no row that a canary measures in its rubric, so its report cannot reach a verdict"
    )


@pytest.mark.parametrize("name", ["recall", "recall:", "false_positive_rate"])
def test_a_metric_of_a_class_needs_the_class(name: str) -> None:
    (line,) = refusal(changed((CSAT, CAUGHT.replace("recall:harmful", name))))
    assert line.endswith(f'"{name}" needs a class; write, for example, "{name.rstrip(":")}:fraud"')


def test_such_rows_have_bounds_of_their_own_scale() -> None:
    (line,) = refusal(changed((CSAT, CAUGHT.replace(">= 98%", "<= 2%").replace(">= 99%", "<= 1%"))))
    assert line.endswith('asks for a low value, but higher is better; write ">= 2%"')
    lines = refusal(changed((CSAT, CAUGHT.replace(">= 98%", ">= 98").replace(">= 99%", ">= 99"))))
    assert lines[0].endswith('did you mean ">= 98%"?')
    (line,) = refusal(changed((CSAT, PACE.replace('">= 10000"', '">= 10000s"'))))
    assert "has the unit s" in line


def test_a_metric_that_benchmarks_measure_cannot_be_declared() -> None:
    declared = 'metrics: {throughput: {kind: count, question: "How many?"}}\n'
    (line,) = refusal(changed() + declared)
    assert line.endswith('"throughput" is measured by benchmarks; choose another name')


BY_FLAG = ("    share: 5%", "    share: 5%\n    assignment: header")


def test_a_flag_systems_canary_is_told_what_is_not_checked() -> None:
    (found,) = warnings(changed(BY_FLAG))
    assert "canaries[0].assignment: " in found and "canary does not check the split" in found
    assert parse(changed(BY_FLAG), "canary.yaml", {}).canaries["trial"].canary.assigned_outside


@pytest.mark.parametrize(
    ("before", "after", "key"),
    [
        ("    share: 5%", "    ramp: [{share: 5%, for: 1d}, {share: 10%}]", "ramp"),
        ("    guardrails", "    lane: 50%\n    guardrails", "lane"),
        ("    guardrails", "    no_unit: random\n    guardrails", "no_unit"),
    ],
)
def test_what_canary_would_draw_itself_is_refused_beside_a_flag_system(
    before: str, after: str, key: str
) -> None:
    text = changed((before, after), ("    guardrails", "    assignment: header\n    guardrails"))
    (found,) = refusal(text)
    assert f"canaries[0].{key}: cannot be combined with assignment: header" in found


def test_a_flag_systems_canary_shares_its_requests_with_no_other() -> None:
    (found,) = refusal(changed(BY_FLAG) + second("{models: [gpt-4o]}"))
    assert "canaries[0].assignment: cannot be `header` where other canaries match the same requests" in found


@pytest.mark.parametrize(
    ("expect", "said"),
    [
        ("{rated: 0%}", "expect.rated: nobody rates"),
        ("{categories: {refund: 5%}}", '"refund" is none of `critical_categories`'),
        ("{categories: {billing: 0%}}", "nobody is in it"),
        ("{requests: 0.5}", "expect.requests"),
    ],
)
def test_what_a_plan_expects_can_be_so(expect: str, said: str) -> None:
    keys = f"share: 5%\n    critical_categories: [billing]\n    expect: {expect}"
    (line,) = refusal(changed(("share: 5%", keys)))
    assert said in line
