import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from alerts.rules.rule import DEFAULT_RULES
from canary.config import Config, ConfigError, load, parse
from canary.config.quantity import COMPUTED
from canary.config.schema import json_schema
from records.facts.metric import BUILT_IN
from routing.canary import Step

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
SCHEMA = json_schema()

SECTIONS = {
    "The file": "",
    "`providers.NAME`": "ProviderSection",
    "`timeout`": "TimeoutSection",
    "`canaries[]`": "CanarySection",
    "`match`": "MatchSection",
    "`baseline` and `candidate`": "ArmSection",
    "`request`": "RequestSection",
    "`prompt`": "PromptSection",
    "A text of an arm": "ArmTextSection",
    "`ramp`": "StepSection",
    "`until`": "UntilSection",
    "`holdback`": "HoldbackSection",
    "`capture`": "CaptureSection",
    "`capture` without a canary": "ModelCaptureSection",
    "`embeddings`": "EmbeddingsSection",
    "`judge`": "JudgeSection",
    "`judge` of a canary": "CanaryJudgeSection",
    "`oidc`": "OidcSection",
    "`tls`": "TlsSection",
    "`guardrails`": "GuardrailSection",
    "`rubric`": "CriterionSection",
    "`callers[]`": "CallerSection",
    "`metrics.NAME`": "MetricSection",
    "`feedback_mappings.NAME`": "FeedbackMappingSection",
    "`map`": "MappedValueSection",
    "`prices`": "PricesSection",
    "`prices.MODEL`": "PriceSection",
    "`datasets.NAME`": "DatasetSection",
    "`report_job`": "ReportJobSection",
    "`notify[]`": "NotifySection",
    "`probes`": "ProbesSection",
    "`expect`": "ExpectSection",
    "`pagerduty`": "PagerDutySection",
}
GIVEN = {"PD_KEY": "k", "SLACK_WEBHOOK": "https://slack.example", "OIDC_CLIENT_SECRET": "s"}
GIVEN |= {"TEAMS_URL": "workflows://teams.example/w/s", "SMTP_PASSWORD": "p"}
PROVIDER = 'providers:\n  p: {api: openai, base_url: "https://p.example"%s}\n'
TRIAL = (
    PROVIDER % ""
    + """\
canaries:
  - name: trial
    match: {models: [m]}
    baseline: {provider: p, model: old}
    candidate: {provider: p, model: new}
    share: 5%
"""
)


@cache
def tables() -> dict[str, list[list[str]]]:
    """Each section's heading on the page with the rows of its first table, cell by cell."""
    parts = re.split(r"^#{2,3} (.+)$", PAGE, flags=re.MULTILINE)
    found = {}
    for heading, body in zip(parts[1::2], parts[2::2], strict=True):
        table = re.search(r"^\| key \|.*\n\|[-|]+\n((?:\|.*\n)+)", body, re.MULTILINE)
        if table:
            rows = [re.split(r"(?<!\\)\|", row)[1:-1] for row in table[1].splitlines()]
            found[heading] = [[cell.strip() for cell in row] for row in rows]
    return found


def schema_of(section: str) -> dict[str, Any]:
    found: dict[str, Any] = SCHEMA["$defs"][section] if section else SCHEMA
    return found


def documented_defaults(heading: str) -> Iterator[tuple[str, str]]:
    """The keys of a table whose default cell is one literal, with that literal."""
    for key, _, default, _ in tables()[heading]:
        literal = re.fullmatch(r"`([^`]+)`", default)
        if literal:
            yield key.strip("`"), literal[1]


def read(text: str) -> Config:
    return parse(text, "canary.yaml", {})


def test_the_page_has_a_table_for_every_section_of_the_schema() -> None:
    assert tables().keys() == SECTIONS.keys()
    assert set(SCHEMA["$defs"]) - {"JsonValue"} == set(SECTIONS.values()) - {""}


@pytest.mark.parametrize(("heading", "section"), SECTIONS.items())
def test_every_key_of_the_schema_stands_on_the_page_and_no_other(heading: str, section: str) -> None:
    documented = [row[0].strip("`") for row in tables()[heading]]
    assert sorted(documented) == sorted(schema_of(section)["properties"])


@pytest.mark.parametrize(("heading", "section"), SECTIONS.items())
def test_the_page_says_which_keys_are_required(heading: str, section: str) -> None:
    documented = {row[0].strip("`") for row in tables()[heading] if row[2] == "required"}
    assert documented == set(schema_of(section).get("required", []))


def test_the_files_documented_defaults_are_what_leaving_them_out_means() -> None:
    defaults = dict(documented_defaults("The file"))
    assert len(defaults) == 21
    del defaults["canaries"]
    assert defaults.pop("callers") == "[]"  # written out, it is a warning
    for key, value in defaults.items():
        assert read(f"{TRIAL}{key}: {value}\n") == read(TRIAL), key


def test_a_canarys_documented_defaults_are_what_leaving_them_out_means() -> None:
    defaults = dict(documented_defaults("`canaries[]`"))
    assert len(defaults) == 19
    for key, value in defaults.items():
        assert read(f"{TRIAL}    {key}: {value}\n") == read(TRIAL), key


def test_the_documented_defaults_of_capturing_are_what_leaving_them_out_means() -> None:
    defaults = dict(documented_defaults("`capture`"))
    assert len(defaults) == 4
    del defaults["rate"]  # one of two that must be there
    for key, value in defaults.items():
        given = read(f"{TRIAL}    capture: {{rate: 1%, {key}: {value}}}\n")
        assert given == read(f"{TRIAL}    capture: {{rate: 1%}}\n"), key


def test_the_documented_times_are_the_default_ones() -> None:
    defaults = dict(documented_defaults("`timeout`"))
    assert len(defaults) == 5
    times = ", ".join(f"{key}: {value}" for key, value in defaults.items())
    assert read(PROVIDER % f", timeout: {{{times}}}").providers == read(PROVIDER % "").providers


def test_the_documented_guardrails_are_the_default_ones() -> None:
    rows = re.findall(
        r"^\| `(\w+)` \| [^|]+ \| `([\w.%]+)`[^|]* \| `(\w+)` \| (\d+) \| `(\w+)` \|$", PAGE, re.MULTILINE
    )
    rules = [
        f"{{rule: {rule}, limit: {limit}, window: {window}, minimum: {minimum}, action: {action}}}"
        for rule, limit, window, minimum, action in rows
    ]
    written = read(TRIAL + f"    guardrails: [{', '.join(rules)}]\n")
    assert written.canaries["trial"].guardrails == DEFAULT_RULES
    assert read(TRIAL).canaries["trial"].guardrails == DEFAULT_RULES


def test_every_metric_that_need_not_be_declared_stands_on_one_of_three_pages() -> None:
    pages = "".join((ROOT / f"docs/{name}.md").read_text("utf-8") for name in ("verdict", "feedback"))
    assert [name for name in (*COMPUTED, *BUILT_IN) if f"`{name}`" not in PAGE + pages] == []


def test_the_pages_examples_are_sound() -> None:
    """Each example on the page, in a file that has what the example leaves out."""
    examples = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert len(examples) >= 12
    for example in examples:
        read_example(example)


def read_example(example: str) -> None:
    text = TRIAL.replace("p: {", "openai: {").replace("provider: p", "provider: openai")
    key = example.partition(":")[0]
    if key == "callers":  # with which every entry needs a credential of its own
        text = text.replace('"https://p.example"', '"https://p.example", api_key: k')
    if key in ("guardrails", "rubric"):
        text += "".join(f"    {line}\n" for line in example.splitlines())
    elif key == "canaries":
        text = text.partition("canaries:")[0] + example
    elif key == "providers":
        text = example
    else:
        text += example
    assert parse(text, "canary.yaml", GIVEN).providers


def test_the_example_file_is_sound() -> None:
    config = load(ROOT / "canary.example.yaml", {"PD_KEY": "key"})
    assert config.warnings == ()
    assert list(config.providers) == ["openai", "anthropic"]
    assert config.providers["openai"].base_url == "https://api.openai.com/v1"
    trial = config.canaries["support-nov"]
    assert trial.canary.steps[-1] == Step(share=0.1, for_s=864000.0)
    assert [row.metric for row in trial.judged.criteria] == [
        "task_completed",
        "latency_p95",
        "cost_per_request",
        "first_contact",
    ]
    assert config.tags == ("region", "plan")
    assert [receiver.kind for receiver in config.notify] == ["alertmanager", "pagerduty"]


def test_the_example_file_takes_its_upstreams_from_the_environment() -> None:
    environment = {"PD_KEY": "key", "OPENAI_UPSTREAM": "http://127.0.0.1:9/v1", "ANTHROPIC_API_KEY": "secret"}
    config = load(ROOT / "canary.example.yaml", environment)
    assert config.providers["openai"].base_url == "http://127.0.0.1:9/v1"
    assert config.providers["anthropic"].api_key == "secret"


def test_the_example_file_says_what_it_needs() -> None:
    with pytest.raises(ConfigError, match=r"notify\[1\]\.pagerduty\.key: the variable PD_KEY"):
        load(ROOT / "canary.example.yaml", {})


def test_a_file_is_read_and_named_in_messages(tmp_path: Path) -> None:
    path = tmp_path / "canary.yaml"
    path.write_text(TRIAL, encoding="utf-8")
    assert load(path, {}) == parse(TRIAL, str(path), {})
    path.write_text(TRIAL.replace("share", "shar"), encoding="utf-8")
    with pytest.raises(ConfigError) as refused:
        load(path, {})
    assert str(refused.value) == f'{path}:8: canaries[0].shar: unknown key; did you mean "share"?'
    (problem,) = refused.value.problems
    assert (problem.file, problem.line, problem.path) == (str(path), 8, "canaries[0].shar")


def test_a_file_that_is_not_there_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"canary\.yaml: cannot be read: No such file"):
        load(tmp_path / "canary.yaml", {})


def test_a_file_that_is_not_text_is_a_config_error(tmp_path: Path) -> None:
    (tmp_path / "canary.yaml").write_bytes(b"a: \xff\n")
    with pytest.raises(ConfigError, match=r"canary\.yaml: cannot be read: it is not UTF-8"):
        load(tmp_path / "canary.yaml", {})


def test_commands_that_read_a_config_need_no_numbers_no_database_and_no_client() -> None:
    """The supervisor and each command read one; numpy, scipy and SQLAlchemy take half a second and 60 MB."""
    program = (
        "import sys; from pathlib import Path; import canary.cli; from canary.config import load; "
        "load(Path(sys.argv[1]), {'PD_KEY': 'k'}); "
        "print(*{'numpy', 'scipy', 'sqlalchemy', 'httpx2'} & {*sys.modules})"
    )
    command = [sys.executable, "-c", program, str(ROOT / "canary.example.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "\n"), done.stderr
