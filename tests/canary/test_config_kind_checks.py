"""What a provider entry's kind needs, what it refuses, and what is said of canaries between kinds."""

import pytest

from canary.config.errors import ConfigError
from canary.config.load import parse

AZURE = '{api: openai, kind: azure, base_url: "https://r.openai.azure.com", api_key: a}'
OPENAI = '{api: openai, base_url: "https://api.openai.com/v1", api_key: b}'
GEMINI = '{api: gemini, base_url: "https://gemini.example", api_key: c}'
VERTEX = (
    '{api: gemini, kind: vertex, base_url: "https://us-central1-aiplatform.googleapis.com", api_key: d, '
    "project: p, region: us-central1}"
)


def refusal(entry: str, name: str = "it") -> list[str]:
    with pytest.raises(ConfigError) as refused:
        parse(f"providers:\n  {name}: {entry}\n", "canary.yaml", {})
    return str(refused.value).splitlines()


def canary(providers: dict[str, str], baseline: str, candidate: str, match: str = "{models: [m]}") -> str:
    entries = "".join(f"  {name}: {entry}\n" for name, entry in providers.items())
    return (
        f"providers:\n{entries}canaries:\n  - name: trial\n    match: {match}\n"
        f"    baseline: {{provider: {baseline}, model: old}}\n"
        f"    candidate: {{provider: {candidate}, model: new}}\n    share: 5%\n"
    )


@pytest.mark.parametrize(
    "entry",
    [
        AZURE,
        VERTEX,
        OPENAI.replace("{api", "{forward_headers: [x-portkey-*, Helicone-Cache-Enabled], api"),
        AZURE.replace("azure.com", "azure.com/"),
        AZURE.replace("openai, kind", "anthropic, kind"),
        VERTEX.replace("api: gemini", "api: anthropic"),
        VERTEX.replace("us-central1-", "").replace(", region: us-central1", ""),
        VERTEX.replace("https://us-central1-aiplatform.googleapis.com", "http://127.0.0.1:9"),
    ],
)
def test_an_entry_with_what_its_kind_needs_is_sound(entry: str) -> None:
    assert parse(f"providers:\n  it: {entry}\n", "canary.yaml", {}).warnings == ()


@pytest.mark.parametrize("listed", ["X-Custom", "x-portkey-con*", "authorization", "x-canary-unit", "*"])
def test_only_headers_that_steer_other_gateways_are_listed(listed: str) -> None:
    entry = OPENAI.replace("{api", f"{{forward_headers: [x-portkey-*, '{listed}'], api")
    (told,) = refusal(entry)
    assert f'.forward_headers[1]: "{listed.lower()}" steers no other gateway' in told
    assert "list x-portkey-*, helicone-*" in told


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        (
            AZURE.replace("api: openai", "api: gemini"),
            ".api: `kind: azure` serves `api: openai` and `api: anthropic` only",
        ),
        (
            VERTEX.replace("api: gemini", "api: openai"),
            ".api: `kind: vertex` serves `api: gemini` and `api: anthropic` only",
        ),
        (
            AZURE.replace("azure.com", "azure.com/openai/v1"),
            ".base_url: is below the root of its host, and canary adds the paths of azure; "
            'write "https://r.openai.azure.com"',
        ),
        (
            AZURE.replace("{api", "{project: p, api"),
            ".project: belongs to `kind: vertex`; remove it, or set the kind",
        ),
        (
            OPENAI.replace("{api", "{region: r, api"),
            ".region: belongs to `kind: vertex` and `kind: bedrock`; remove it, or set the kind",
        ),
        (
            VERTEX.replace(", project: p", ""),
            ": has no project, which the URLs of `kind: vertex` name; set `project`",
        ),
        (
            VERTEX.replace(", region: us-central1", ""),
            ": has no region, which the URLs of `kind: vertex` name; set it, as `region: us-central1`",
        ),
        (
            VERTEX.replace("region: us-central1", "region: europe-west4"),
            ".region: is not the region of its host; write `region: us-central1`",
        ),
        (
            '{api: anthropic, kind: bedrock, base_url: "https://b.example", auth: aws}',
            ": has no region, which the signature for Bedrock names; set `region`",
        ),
    ],
)
def test_an_entry_that_its_kind_could_not_serve_is_refused_with_what_is_right(
    entry: str, problem: str
) -> None:
    assert refusal(entry) == [f"canary.yaml:2: providers.it{problem}"]


def test_model_is_no_name_beside_bedrock_and_a_name_without_it() -> None:
    bedrock = '{api: anthropic, kind: bedrock, base_url: "https://b.example", api_key: k}'
    assert refusal(f"{OPENAI}\n  aws: {bedrock}", name="model") == [
        'canary.yaml:2: providers.model: "model" begins the paths of Bedrock, of which there is an entry; '
        "choose another name"
    ]
    parse(f"providers:\n  model: {OPENAI}\n  projects: {OPENAI}\n", "canary.yaml", {})


@pytest.mark.parametrize(
    ("providers", "baseline", "base_path", "also"),
    [
        ({"az": AZURE, "openai": OPENAI}, "az", None, ""),
        ({"openai": OPENAI, "az": AZURE}, "az", "/az/openai/v1", ", or to /openai/deployments/…"),
        ({"openai": OPENAI, "eu": AZURE, "az": AZURE}, "az", "/az/openai/v1", ""),
        ({"gemini": GEMINI, "vx": VERTEX}, "vx", None, ""),
        ({"gemini": GEMINI, "eu": VERTEX, "vx": VERTEX}, "vx", "/vx", ""),
    ],
)
def test_the_base_url_of_a_baseline_is_that_of_its_kinds_sdk(
    providers: dict[str, str], baseline: str, base_path: str | None, also: str
) -> None:
    config = parse(canary(providers, baseline, baseline), "canary.yaml", {})
    assert config.canaries["trial"].base_path == base_path
    told = [each for each in config.warnings if "base URL" in each]
    assert bool(told) is (base_path is not None)
    assert all(f"http://127.0.0.1:8080{base_path}{also} reach this canary" in each for each in told)


def test_a_path_that_the_candidates_entry_has_in_no_form_is_a_warning() -> None:
    match = (
        '{paths: ["/v1beta/models/gemini-2.5-pro:generateContent", "/v1beta/models/embedder:embedContent"]}'
    )
    text = canary({"gemini": GEMINI, "vx": VERTEX}, "gemini", "vx", match)
    assert [each for each in parse(text, "canary.yaml", {}).warnings if "outside" in each] == [
        "canary.yaml:6: canaries[0].match.paths[1]: stays outside this canary, because "
        '"vx" (`kind: vertex`) has no such operation'
    ]


def test_the_paths_of_a_match_are_those_of_the_baselines_kind() -> None:
    match = "{paths: [/openai/deployments/old/chat/completions]}"
    parse(canary({"az": AZURE, "openai": OPENAI}, "az", "openai", match), "canary.yaml", {})
    with pytest.raises(ConfigError, match="belongs to no API's LLM operations"):
        parse(canary({"az": AZURE, "openai": OPENAI}, "openai", "az", match), "canary.yaml", {})
