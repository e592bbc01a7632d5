"""A past run under another rubric: it is scored, and the report says that this is no test."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from canary.cli import app
from canary.config import ConfigError
from canary.config.load import read_rubric
from records.facts.metric import BUILT_IN

CONFIG = """
providers: {openai: {api: openai, base_url: "http://127.0.0.1:1/v1"}}
canaries:
  - name: trial
    match: {models: [gpt-4o]}
    baseline: {provider: openai, model: a}
    candidate: {provider: openai, model: b}
    share: 50%
    rubric: [{metric: error_rate, acceptable: "< 3%", ideal: "< 1%", weight: 1, question: "Any?"}]
"""
ROW = '{metric: error_rate, acceptable: "< 30%", ideal: "< 20%", weight: 1, question: "Any?"}'
HEAD = "unit,arm,at,error_type"

Written = Callable[[str, str], Path]


@pytest.fixture
def written(tmp_path: Path) -> Written:
    """Write a file and return its path."""

    def write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


def test_a_log_is_scored_after_the_fact_and_says_so(written: Written) -> None:
    rows = (
        f"u{n},{('baseline', 'candidate')[n % 2]},2026-11-{2 + n // 80:02}T23:30:{n % 60:02}Z,"
        f"{'provider_5xx' if n % 10 == 1 else ''}"
        for n in range(800)
    )
    where = ["--config", str(written("canary.yaml", CONFIG)), "-o", "json"]
    where += ["--from", str(written("log.csv", "\n".join([HEAD, *rows])))]
    own = json.loads(CliRunner().invoke(app, ["report", "trial", *where]).stdout)
    rubric = ["--rubric", str(written("other.yaml", f"rubric: [{ROW}]"))]
    retro = json.loads(CliRunner().invoke(app, ["report", "trial", *where, *rubric]).stdout)
    assert own["metrics"][0]["state"] == "FAIL"
    assert not any("after the run under another rubric" in reason for reason in own["reasons"])
    assert retro["metrics"][0]["state"] in ("PASS", "INCONCLUSIVE")
    assert retro["rubric_sha256"] != own["rubric_sha256"]
    (said,) = [reason for reason in retro["reasons"] if "after the run under another rubric" in reason]
    assert retro["rubric_sha256"][:12] in said


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("rubric: []", "other.yaml:1: rubric"),
        (f"rubric: [{ROW}]\nshare: 5%", "share"),
        (
            f"rubric:\n  - {ROW}\n  - {ROW.replace('error_rate', 'eror_rate')}",
            "other.yaml:3: rubric[1].metric",
        ),
        (f"rubric: [{ROW.replace('20%', '40%')}]", "ideal must be strictly better"),
        (f"rubric: [{ROW.replace('< 30%', 'about 30')}]", "is not a bound"),
        (
            f"rubric: [{ROW.replace('<', '>').replace('30', '10')}]",
            'rubric[0].acceptable: error_rate: acceptable "> 10%" asks',
        ),
        ("- nothing", "must be a mapping"),
    ],
)
def test_a_mistake_in_the_rubrics_file_is_named_with_its_line(
    written: Written, text: str, complaint: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        read_rubric(written("other.yaml", text), {}, BUILT_IN)
    assert complaint in str(refused.value)


@pytest.mark.parametrize("wrong", ["config", "rubric"])
def test_a_report_refuses_a_bound_that_cannot_be_meant(written: Written, wrong: str) -> None:
    config = CONFIG.replace('"< 3%"', '"< 500%"') if wrong == "config" else CONFIG
    rubric = ROW.replace('"< 30%"', '"< 500%"') if wrong == "rubric" else ROW
    told = CliRunner().invoke(
        app,
        [
            *("report", "trial", "--config", str(written("canary.yaml", config))),
            *("--rubric", str(written("other.yaml", f"rubric: [{rubric}]"))),
            *("--from", str(written("log.csv", f"{HEAD}\nu1,baseline,2026-11-02T00:00:00Z,\n"))),
        ],
    )
    assert told.exit_code == 2
    assert 'error_rate: acceptable "< 500%" is outside its values, 0% to 100%; did you mean "< 5%"?' in (
        " ".join(told.stderr.split())
    )


def test_a_missing_file_is_a_mistake_too(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_rubric(tmp_path / "none.yaml", {}, BUILT_IN)
