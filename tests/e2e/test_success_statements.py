"""The three teams' statements in docs/examples, checked and benchmarked against the demo provider as written.

How long an answer takes is the machine's: rows on time are only measured here, and do not decide a test.
"""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from bench.dataset.file import parse
from canary.cli import app
from demo.provider.behaviour import Behaviour
from tests.example_invoices import FILE, text
from tests.serving import ProviderThread

pytestmark = pytest.mark.more  # examples of what other tests hold

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
TIMED = ("latency_p95", "throughput")
Wrong = Callable[[dict[str, Any]], str | None]


class Team:
    """One team's folder, copied, and the answers that its models give."""

    def __init__(self, name: str, folder: Path, provider: ProviderThread) -> None:
        self.folder = Path(shutil.copytree(EXAMPLES / name, folder / name))
        self.provider = provider
        (file,) = self.folder.glob("*.jsonl")
        self.lines = [json.loads(line) for line in file.read_text().splitlines()]

    def answers(self, model: str, wrong: Wrong = lambda line: None) -> None:
        """Let a model answer what is expected, or what `wrong` says."""
        said = {line["input"]: wrong(line) or _right(line) for line in self.lines}
        self.provider.behave(model, Behaviour(says=said))

    def bench(self, *words: str) -> dict[str, Any]:
        where = ["--config", str(self.folder / "canary.yaml"), "--data", str(self.folder / "data")]
        done = CliRunner().invoke(app, ["bench", *words, *where, "-o", "json"], env=self._environment)
        assert done.exit_code in (0, 3, 4), done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def check(self) -> str:
        config = str(self.folder / "canary.yaml")
        done = CliRunner().invoke(app, ["check", "--config", config], env=self._environment)
        assert done.exit_code == 0, done.stderr
        return done.stdout

    @property
    def _environment(self) -> Mapping[str, str]:
        return {"OPENAI_UPSTREAM": self.provider.url, "OPENAI_API_KEY": "k"}


def _right(line: dict[str, Any]) -> str:
    expected = line["expected"]
    return expected if isinstance(expected, str) else json.dumps(expected)


def _first(count: int, of: str, answer: str) -> Wrong:
    """The first `count` examples of an expected class are answered wrongly."""
    left = iter(range(count))

    def wrong(line: dict[str, Any]) -> str | None:
        return answer if line["expected"] == of and next(left, None) is not None else None

    return wrong


def states(found: dict[str, Any]) -> dict[str, str]:
    """The rows that do not measure time, by metric; that the others were measured is asserted."""
    for row in found["rubric"]:
        assert row["metric"] not in TIMED or row["candidate"] > 0
    return {row["metric"]: row["state"] for row in found["rubric"] if row["metric"] not in TIMED}


def failing(found: dict[str, Any]) -> list[str]:
    """The reasons of the examples' verdict that are not about time."""
    return [reason for reason in found["examples"]["reasons"] if not any(name in reason for name in TIMED)]


def test_support_routes_as_well_and_the_rest_is_for_users(tmp_path: Path, provider: ProviderThread) -> None:
    team = Team("support", tmp_path, provider)
    assert "fine" in team.check()
    team.answers("gpt-5.6-terra", _first(2, "cancel", "account"))
    team.answers("gpt-6.1-terra")
    found = team.bench("gpt-6.1-terra")
    assert (states(found), failing(found)) == ({}, [])
    assert [row["metric"] for row in found["rubric"]] == ["latency_p95"]
    weighted = found["layers"][0]["datasets"][0]["weighted"]
    assert weighted["baseline"]["estimate"] == pytest.approx(1 - 0.12 * 2 / 25)
    assert weighted["candidate"]["estimate"] == pytest.approx(1)


def test_support_blocks_a_candidate_that_loses_refunds(tmp_path: Path, provider: ProviderThread) -> None:
    team = Team("support", tmp_path, provider)
    team.answers("gpt-5.6-terra")
    team.answers("gpt-6.1-terra", _first(8, "refund", "cancel"))
    found = team.bench("gpt-6.1-terra")
    assert found["verdict"] == "dont_ship"
    assert any("critical category refund: −20.0 points" in reason for reason in failing(found))
    weighted = found["layers"][0]["datasets"][0]["weighted"]
    assert weighted["difference"]["estimate"] == pytest.approx(-0.012)


def test_moderation_passes_only_if_the_whole_interval_does(tmp_path: Path, provider: ProviderThread) -> None:
    team = Team("moderation", tmp_path, provider)
    assert (
        "Only `canary bench` judges recall:harmful, false_positive_rate:harmful, throughput" in team.check()
    )
    team.answers("gpt-5.6-luna")
    team.answers("gpt-6-luna")
    words = ["gpt-6-luna", "--at-once", "16"]
    found = team.bench(*words)
    assert states(found) == {"recall:harmful": "PASS", "false_positive_rate:harmful": "PASS"}
    assert failing(found) == []
    assert "with --at-once 16" in next(
        row["says"] for row in found["rubric"] if row["metric"] == "throughput"
    )
    team.answers("gpt-6-luna", _first(1, "harmful", "fine"))
    found = team.bench(*words)
    assert states(found)["recall:harmful"] == "INCONCLUSIVE"
    assert failing(found)[0].startswith("rubric: recall:harmful 99.5 % (97.1 to 99.9) is not clearly within")
    team.answers("gpt-6-luna", _first(10, "harmful", "fine"))
    found = team.bench(*words)
    assert (found["verdict"], states(found)["recall:harmful"]) == ("dont_ship", "FAIL")


def test_finance_reads_within_half_a_percent_for_ten_cents(tmp_path: Path, provider: ProviderThread) -> None:
    def rounded(line: dict[str, Any]) -> str:
        """Amounts in whole units, so within .5 % for all amounts of 100 and more."""
        return json.dumps({name: _whole(value) for name, value in line["expected"].items()})

    team = Team("finance", tmp_path, provider)
    assert "fine" in team.check()
    team.answers("gpt-5.6-terra")
    team.answers("gpt-6.1-terra", rounded)
    found = team.bench("gpt-6.1-terra")
    whole = sum(_within(line) for line in team.lines)
    assert found["layers"][0]["candidate"]["correct"] == whole
    cost = next(row for row in found["rubric"] if row["metric"] == "cost_per_request")
    assert (cost["state"], cost["candidate"] > 0) == ("IDEAL", True)
    # A model without a known price never passes the row.
    team.answers("reader-2")
    found = team.bench("reader-2")
    assert states(found)["cost_per_request"] == "NODATA"
    assert found["verdict"] != "ship"
    assert any("the candidate has no known price" in reason for reason in found["reasons"])


def _whole(value: object) -> object:
    return round(value) if isinstance(value, float) else value


def _within(line: dict[str, Any]) -> bool:
    amounts = [value for value in line["expected"].values() if isinstance(value, float)]
    return all(abs(round(value) - value) <= 0.005 * value + 1e-9 for value in amounts)


def test_the_documents_are_as_their_script_writes_them() -> None:
    assert FILE.read_text() == text()


@pytest.mark.parametrize("name", ["support/tickets", "moderation/posts", "finance/documents"])
def test_no_text_stands_twice_or_inside_another(name: str) -> None:
    inputs = [each.messages[0].content for each in parse((EXAMPLES / f"{name}.jsonl").read_text()).examples]
    assert len(inputs) >= 100
    assert not any(one in other for one in inputs for other in inputs if one is not other)
