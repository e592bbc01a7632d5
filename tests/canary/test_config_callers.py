"""`callers:`: names and keys are nobody else's, no entry sends a key on, apps cannot name themselves."""

from hashlib import sha256
from pathlib import Path

import pytest
from typer.testing import CliRunner

from canary.cli import app
from canary.config.errors import ConfigError
from canary.config.load import parse
from canary.config.schema import json_schema
from routing.caller import Caller

ONE, TWO = "a" * 64, "b" * 64
PROVIDER = 'providers:\n  openai: {api: openai, base_url: "https://api.openai.com/v1", api_key: sk-own}\n'
CANARY = """\
canaries:
  - name: trial
    match: {models: [m]}
    baseline: {provider: openai, model: old}
    candidate: {provider: openai, model: new}
    share: 5%
"""


def refusal(text: str) -> list[str]:
    with pytest.raises(ConfigError) as refused:
        parse(text, "canary.yaml", {})
    return str(refused.value).splitlines()


def callers(*entries: str, before: str = PROVIDER) -> str:
    return before + "callers:\n" + "".join(f"  - {{{entry}}}\n" for entry in entries)


def test_a_caller_has_its_name_its_digests_and_its_limits() -> None:
    text = callers(
        f'name: web, key_sha256: "{ONE.upper()}", providers: [openai], models: ["gpt-4o*"], '
        "requests_per_minute: 600",
        f"name: batch, key_sha256: [{TWO}, {'c' * 64}]",
    )
    web, batch = parse(text, "canary.yaml", {}).callers
    assert web == Caller(
        name="web",
        key_sha256=(ONE,),
        providers=("openai",),
        models=("gpt-4o*",),
        requests_per_minute=600,
    )
    assert batch == Caller(name="batch", key_sha256=(TWO, "c" * 64))
    assert ONE not in repr(web)


def test_digits_alone_are_a_digest_too() -> None:
    (web,) = parse(callers(f"name: web, key_sha256: {'1' * 64}"), "canary.yaml", {}).callers
    assert web.key_sha256 == ("1" * 64,)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("ck_9f3", "looks like a key, not its digest; write the SHA-256 of the key"),
        ("sk-proj-1", "is no digest; write the SHA-256 of the key"),
        ("a" * 63, "is no digest"),
        ("[]", "must be one digest, or a list of two"),
        (f"[{ONE}, {TWO}, {'c' * 64}]", "must be one digest, or a list of two"),
        (f"[{ONE}, ck_9f3]", "looks like a key"),
        ("{a: b}", "must be a single value"),
        (sha256(b"").hexdigest(), "is the digest of an empty key"),
    ],
)
def test_what_is_no_digest_is_refused_and_not_quoted(key: str, message: str) -> None:
    (said,) = refusal(callers(f"name: web, key_sha256: {key}"))
    assert said.startswith(f"canary.yaml:4: callers[0].key_sha256: {message}")
    assert "9f3" not in said


def test_an_empty_list_is_warned_of_since_it_keeps_nobody_out() -> None:
    (said,) = parse(f"{PROVIDER}callers: []\n", "canary.yaml", {}).warnings
    assert said == (
        "canary.yaml:3: callers: the list is empty, so the traffic listener asks nobody for a key; name who "
        "may call"
    )
    assert parse(PROVIDER, "canary.yaml", {}).warnings == ()


@pytest.mark.parametrize(
    ("more", "open_to_all"),
    [("", True), ("callers: []\n", True), (f"callers: [{{name: web, key_sha256: {ONE}}}]\n", False)],
)
def test_check_says_that_the_credentials_are_everybodys(tmp_path: Path, more: str, open_to_all: bool) -> None:
    (tmp_path / "canary.yaml").write_text(PROVIDER + more)
    done = CliRunner().invoke(app, ["check", "--config", str(tmp_path / "canary.yaml")])
    says = "No callers: whoever reaches the traffic listener uses the credentials of openai"
    assert (done.exit_code, says in done.stdout) == (0, open_to_all)
    (tmp_path / "canary.yaml").write_text(PROVIDER.replace(", api_key: sk-own", ""))
    assert (
        "No callers"
        not in CliRunner().invoke(app, ["check", "--config", str(tmp_path / "canary.yaml")]).stdout
    )


def test_names_and_keys_are_nobody_elses() -> None:
    assert refusal(callers(f"name: web, key_sha256: {ONE}", f"name: web, key_sha256: {TWO}")) == [
        'canary.yaml:5: callers[1].name: two callers are named "web"; for a second key of the same caller, '
        "put both digests into one `key_sha256: [old, new]`, and for another caller choose another name"
    ]
    assert refusal(callers(f"name: web, key_sha256: {ONE}", f"name: app, key_sha256: {ONE.upper()}")) == [
        "canary.yaml:5: callers[1].key_sha256: is a key of web already; each caller needs a key of its own"
    ]


@pytest.mark.parametrize("name", ["a b", "-web", "wéb", "a" * 64])
def test_a_name_is_like_a_canarys(name: str) -> None:
    (said,) = refusal(callers(f'name: "{name}", key_sha256: {ONE}'))
    assert "a caller's name may contain" in said


def test_an_unknown_entry_is_named_with_the_nearest() -> None:
    assert refusal(callers(f"name: web, key_sha256: {ONE}, providers: [opnai]")) == [
        'canary.yaml:4: callers[0].providers[0]: there is no provider "opnai"; did you mean "openai"?'
    ]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("models: []", "callers[0].models: must not be empty"),
        ("providers: []", "callers[0].providers: must not be empty"),
        ("requests_per_minute: 0", "callers[0].requests_per_minute: must be at least 1"),
        ("requests_per_minute: 0.5", "callers[0].requests_per_minute: must be a whole number"),
        (
            "requests_per_hour: 5",
            'callers[0].requests_per_hour: unknown key; did you mean "requests_per_minute"?',
        ),
    ],
)
def test_a_limit_is_a_limit(entry: str, message: str) -> None:
    assert refusal(callers(f"name: web, key_sha256: {ONE}, {entry}")) == [f"canary.yaml:4: {message}"]


@pytest.mark.parametrize(
    "entry",
    ["api_key: sk-own", "kind: bedrock, region: eu-west-1", "kind: azure, auth: azure"],
)
def test_an_entry_with_a_credential_of_its_own_is_fine(entry: str) -> None:
    provider = f'providers:\n  p: {{api: openai, base_url: "https://p.example", {entry}}}\n'
    assert (
        len(parse(callers(f"name: web, key_sha256: {ONE}", before=provider), "canary.yaml", {}).callers) == 1
    )


@pytest.mark.parametrize(
    "entry", ["", ', api_key: "${NONE:-}"', ", kind: azure", ", kind: bedrock, auth: bearer"]
)
def test_an_entry_without_one_is_refused_where_there_are_callers(entry: str) -> None:
    provider = f'providers:\n  p: {{api: openai, base_url: "https://p.example"{entry}}}\n'
    said = refusal(callers(f"name: web, key_sha256: {ONE}", before=provider))
    assert [line for line in said if "providers.p" in line] == said[:1]
    assert "has no credential of its own" in said[0]
    assert "set providers.p.api_key" in said[0]
    assert parse(provider + "callers: []\n", "canary.yaml", {}).callers == ()


def test_who_calls_is_a_segment_though_no_app_may_send_it() -> None:
    trial = CANARY + "    segments: [caller, region]\n    critical_segments: [caller=web]\n"
    config = parse(callers(f"name: web, key_sha256: {ONE}") + trial, "canary.yaml", {})
    assert config.tags == ("region",)
    listed = parse(callers(f"name: web, key_sha256: {ONE}") + trial + "tags: [region]\n", "canary.yaml", {})
    assert listed.tags == ("region",)
    without = parse(PROVIDER + trial, "canary.yaml", {})
    assert without.tags == ("caller", "region")


def test_a_tag_that_canary_sets_is_not_listed_for_apps() -> None:
    text = callers(f"name: web, key_sha256: {ONE}") + "tags: [region, caller]\n"
    assert refusal(text) == [
        "canary.yaml:5: tags[1]: `caller` is set by canary from `callers`, and apps cannot send it; "
        "remove it here"
    ]
    assert parse(PROVIDER + "tags: [caller]\n", "canary.yaml", {}).tags == ("caller",)


def test_a_canary_that_names_no_caller_is_warned_of() -> None:
    trial = (
        CANARY.replace("{models: [m]}", "{models: [m], tags: {caller: wep}}")
        + "    segments: [caller]\n    critical_segments: [caller=wed]\n"
        + "    guardrails: [{rule: error_rate, segment: {caller: weg}}]\n"
    )
    warnings = parse(callers(f"name: web, key_sha256: {ONE}") + trial, "canary.yaml", {}).warnings
    named = [line for line in warnings if "there is no caller" in line]
    assert [line.partition('caller "')[2] for line in named] == [
        f'{name}"; did you mean "web"?' for name in ("wep", "wed", "weg")
    ]


def test_the_editors_schema_knows_each_key() -> None:
    known = json_schema()["$defs"]["CallerSection"]["properties"]
    assert set(known) == {"name", "key_sha256", "providers", "models", "requests_per_minute"}
