"""Runs promtool on the rules file: checks its syntax, and evaluates its alerts over synthetic series."""

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import yaml

Fired = tuple[str, str]
"""An alert's name and severity."""


class Case(NamedTuple):
    """Series with one sample a minute, and what fires on them at a time, as `20m`."""

    series: Mapping[str, str]
    at: str
    expected: set[Fired]


_FIRING = 'group by (alertname, severity) (ALERTS{alertstate="firing"})'


def check(rules: Path) -> None:
    """AssertionError with promtool's words where Prometheus would not load the file."""
    done = _promtool("check", "rules", "--lint=all", "--lint-fatal", str(rules))
    assert done.returncode == 0, done.stdout + done.stderr


def fire(rules: Path, folder: Path, cases: Mapping[str, Case]) -> None:
    """AssertionError, with the name of a case in which other than the expected alerts fire."""
    groups = [
        {
            "name": name,
            "interval": "1m",
            "input_series": [{"series": each, "values": values} for each, values in case.series.items()],
            "promql_expr_test": [
                {
                    "expr": f"{_FIRING}  # {name}",
                    "eval_time": case.at,
                    "exp_samples": [
                        {"labels": _labels(*fired), "value": 1} for fired in sorted(case.expected)
                    ],
                }
            ],
        }
        for name, case in cases.items()
    ]
    file = folder / "canary.test.yml"
    file.write_text(
        yaml.safe_dump({"rule_files": [str(rules)], "evaluation_interval": "1m", "tests": groups})
    )
    done = _promtool("test", "rules", str(file))
    assert done.returncode == 0, done.stdout + done.stderr


def _labels(name: str, severity: str) -> str:
    return f'{{alertname="{name}",severity="{severity}"}}'


def _promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["promtool", *arguments],
        capture_output=True,
        text=True,
        timeout=240,
        stdin=subprocess.DEVNULL,
        check=False,
    )
