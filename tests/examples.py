"""Writes the worked examples in docs/examples: five logs from fixed seeds, and their reports.

python -m tests.examples                 writes docs/examples
python -m tests.examples --logs FOLDER   writes the logs, for `canary report NAME --from`
"""

import argparse
import csv
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from canary.config import load
from pages.reports.report import rendered
from verdict.decision.document import Report
from verdict.decision.reports import report_from_csv

FOLDER = Path(__file__).parents[1] / "docs" / "examples"
START = datetime(2026, 11, 2, tzinfo=UTC).timestamp()
DAY_S = 86400.0
CATEGORIES = ("account", "billing", "other", "returns")
REGIONS = ("eu", "us")


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One model's behaviour. `errors` by type and `slow` (eight times the latency) are shares of requests."""

    completed: float = 0.94
    csat: float = 4.6
    latency_s: float = 0.42
    cost_usd: float = 0.041
    slow: float = 0.004
    errors: Mapping[str, float] = field(default_factory=lambda: {"provider_5xx": 0.003})


@dataclass(frozen=True, kw_only=True)
class World:
    """One example's traffic. `worse_in` lowers the candidate's share of completed tasks, by category or
    region."""

    verdict: str
    story: str
    seed: int
    users: int = 6000
    share: float = 0.1
    days: float = 9.0
    requests_a_user: float = 4.0
    baseline: Arm = Arm()
    candidate: Arm = Arm()
    worse_in: Mapping[str, float] = field(default_factory=dict)


WORLDS = (
    World(
        verdict="ship_now",
        story="A smaller model does the same work for 40 % less. Every criterion is ideal.",
        seed=1,
        candidate=Arm(completed=0.945, latency_s=0.36, cost_usd=0.0246),
    ),
    World(
        verdict="ship",
        story="A newer model is as good as the old one for 20 % less, but as slow: acceptable, not ideal.",
        seed=2,
        baseline=Arm(latency_s=0.8),
        candidate=Arm(completed=0.945, latency_s=0.78, cost_usd=0.033),
    ),
    World(
        verdict="ship_with_caveats",
        story="Cheaper and good enough overall, but worse in one region, which the average hides.",
        seed=3,
        users=8000,
        candidate=Arm(completed=0.955, cost_usd=0.027),
        worse_in={"eu": 0.09},
    ),
    World(
        verdict="dont_ship",
        story="Much cheaper, but slow, with timeouts, and it fails at billing questions.",
        seed=4,
        candidate=Arm(
            completed=0.93, csat=4.3, latency_s=1.3, cost_usd=0.012, slow=0.03,
            errors={"provider_5xx": 0.004, "provider_timeout": 0.03, "candidate_rejects": 0.008},
        ),
        worse_in={"billing": 0.25},
    ),
    World(
        verdict="extend",
        story="Five days into a small canary: nothing is wrong, but it is too early to decide.",
        seed=8,
        users=3600,
        days=5.0,
        candidate=Arm(completed=0.913, cost_usd=0.027),
    ),
)  # fmt: skip


def rows(world: World) -> Iterator[dict[str, object]]:
    """The log's lines, user by user. A user's arm, speed and taste are the same in all its requests.

    Two requests make a session. Of the tasks that were not completed, four in ten go to a person.
    """
    rng, people = np.random.default_rng(world.seed), np.random.default_rng(1000 + world.seed)
    for user in range(world.users):
        name = ("baseline", "candidate")[int(rng.random() < world.share)]
        arm = world.candidate if name == "candidate" else world.baseline
        region, came = REGIONS[int(rng.integers(2))], rng.random() * world.days
        habit = rng.normal()
        for request in range(1 + rng.poisson(world.requests_a_user - 1)):
            category = CATEGORIES[int(rng.integers(4))]
            worse = (world.worse_in.get(region, 0.0) + world.worse_in.get(category, 0.0)) * (
                name == "candidate"
            )
            error = _error(arm, rng.random())
            slow = 8.0 if rng.random() < arm.slow else 1.0
            answered = rng.random() < 0.6
            line = {
                "unit": f"user-{user}",
                "session": f"user-{user}/{request // 2}",
                "arm": name,
                "at": round(START + DAY_S * (came + rng.random() * (world.days - came)), 3),
                "latency_s": round(arm.latency_s * slow * np.exp(0.2 * habit + 0.3 * rng.normal()), 4),
                "cost_usd": round(arm.cost_usd * np.exp(0.3 * habit + 0.4 * rng.normal()), 6),
                "error_type": error,
                "category": category,
                "tag_region": region,
                "metric_task_completed": int(not error and rng.random() < arm.completed - worse),
                "metric_csat": _stars(arm.csat - 2 * worse - 2 * bool(error) + 0.3 * habit, rng)
                if answered
                else "",
            }
            escalates = not line["metric_task_completed"] and people.random() < 0.4
            yield {**line, "metric_escalated": 1 if escalates else ""}


def _error(arm: Arm, draw: float) -> str:
    for name, share in arm.errors.items():
        if draw < share:
            return name
        draw -= share
    return ""


def _stars(middle: float, rng: np.random.Generator) -> int:
    return int(np.clip(round(middle + 0.5 * rng.normal()), 1, 5))


def write_log(world: World, folder: Path) -> Path:
    """Write the world's log in the format of `report --from`."""
    path = folder / f"{world.verdict}.csv"
    lines = sorted(rows(world), key=lambda row: float(str(row["at"])))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)
    return path


def judged(world: World) -> Report:
    """The world's report, half a day after the last request."""
    with tempfile.TemporaryDirectory() as folder:
        log = write_log(world, Path(folder))
        now = START + (world.days + 0.5) * DAY_S
        settings = load(FOLDER / "canary.yaml", {}).control.reports
        return report_from_csv(settings, world.verdict, log, now=now)


def pages() -> dict[str, str]:
    """The generated files by name."""
    found = {}
    for world in WORLDS:
        report = judged(world)
        found[f"{world.verdict}.md"] = rendered(report, "markdown")
        found[f"{world.verdict}.html"] = rendered(report, "html")
    return {**found, "README.md": _index(WORLDS)}


def _index(worlds: Sequence[World]) -> str:
    sections = [_section(world) for world in worlds]
    return (
        f"""# Five canaries, five verdicts

Each example is a synthetic log: simulated users with individual habits, from a fixed seed, so that the right
verdict is known. `canary report` wrote the reports, with the rubrics in [canary.yaml](canary.yaml). `make
examples` regenerates this folder. `python -m tests.examples --logs FOLDER` writes the logs, and `canary
report ship --from FOLDER/ship.csv --config docs/examples/canary.yaml` judges one of them.

Three more folders start from a team's success statement, with its rubric and a dataset for `canary bench`:
[support](support/README.md), [moderation](moderation/README.md) and [finance](finance/README.md).

{"".join(sections)}""".rstrip()
        + "\n"
    )


def _section(world: World) -> str:
    recipe = {key: value for key, value in asdict(world).items() if key not in ("verdict", "story")}
    lines = "\n".join(f"{key}: {json.dumps(value)}" for key, value in recipe.items())
    return f"""## {world.verdict}

{world.story}

Report: [Markdown]({world.verdict}.md), or [HTML]({world.verdict}.html) to download and open.

```yaml
{lines}
```

"""


def main() -> None:
    """Write docs/examples, or the logs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--logs", type=Path, help="write the logs into this folder instead")
    logs: Path | None = parser.parse_args().logs
    if logs is not None:
        logs.mkdir(parents=True, exist_ok=True)
        for world in WORLDS:
            print(write_log(world, logs))
        return
    for name, text in pages().items():
        (FOLDER / name).write_text(text)
        print(FOLDER / name)


if __name__ == "__main__":
    main()
