"""A release that people decide in a sitting: copies, a judge with a taste of its own, labels on the page,
and a verdict by a clock set two days ahead.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from itertools import count
from pathlib import Path

import httpx2
import pytest

from canary.config import parse
from pages.words.reasons import sentences
from records.store import Store
from tests.e2e.judge_server import JudgeServer
from tests.e2e.people import Person, logged_in, sit
from tests.e2e.stage import Stage, on_stage
from tests.e2e.test_judge_over_http import arms, ask, config, done
from tests.serving import eventually
from verdict.decision.document import Report
from verdict.decision.reports import report_of

PAIRS, LABELS = 150, 110
RUBRIC = """    rubric:
      - {{metric: judged_preference, acceptable: ">= 40%", ideal: ">= 60%", weight: 1, minimum_days: 1,
          question: "Are the answers better?"}}
"""


ASSISTED = """    rubric:
      - {{metric: csat, acceptable: ">= baseline - 20%", ideal: ">= baseline", weight: 1, minimum_days: 1,
          assisted: judge, question: "Are users satisfied?"}}
"""


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """Every user's question has its copy, and the judge likes the candidate's words whatever the question."""
    with JudgeServer(lambda asked: f"BETTER: {'A' if asked.first.startswith('Warm') else 'B'}") as judge:
        text = config(judge).replace("\nprices:", f"\n{RUBRIC}prices:", 1)
        with on_stage(tmp_path, text, provider=arms()) as up:
            ask(up, range(PAIRS))
            ask(up, range(PAIRS, 2 * PAIRS), arm="candidate")
            done(up, PAIRS)
            yield up


def ann_labels(stage: Stage, person: Person) -> None:
    with logged_in(stage.server.admin, stage.server.token) as browser:
        sit(browser, "trial", person, LABELS)


def judged_in_two_days(stage: Stage) -> Report:
    settings = parse(stage.server.config.read_text(), "canary.yaml", {}).control.reports
    with closing(Store.open("sqlite:///canary.db", stage.server.data)) as store:
        state = store.states()["trial"].state
        assert state.started_at is not None
        return report_of(settings, "trial", store, now=state.started_at + 2.2 * 86400)


def likes_warm_once_in(turns: int) -> Person:
    """A person who takes the candidate's answer every so many times, and else the baseline's."""
    asked = count()
    return lambda first, _: "a" if first.startswith("Warm") == (next(asked) % turns == 0) else "b"


def test_people_who_like_both_alike_ship_it(stage: Stage) -> None:
    ann_labels(stage, likes_warm_once_in(2))
    report = judged_in_two_days(stage)
    assert report.verdict in ("ship", "ship_with_caveats"), sentences(report)
    assert report.judge is not None
    assert (report.judge.drawn, report.judge.pairs) == (LABELS, PAIRS)


def test_a_judge_who_likes_the_candidate_does_not_ship_what_people_do_not_like(stage: Stage) -> None:
    ann_labels(stage, likes_warm_once_in(5))
    report = judged_in_two_days(stage)
    assert report.verdict == "dont_ship", sentences(report)
    assert report.judge is not None and report.judge.judged_preference is not None
    assert report.judge.judged_preference.estimate == 1.0
    assert sentences(report)[0].startswith("People’s preference misses “>= 40%”")


def test_a_judge_who_likes_the_candidate_is_put_right_by_the_ratings_of_a_few(tmp_path: Path) -> None:
    """Every answer is marked, every second one is rated, and users like both arms alike."""
    with JudgeServer(lambda asked: f"MARK: {4 if asked.first.startswith('Warm') else 2}") as judge:
        text = config(judge, own="answers: 900").replace("\nprices:", f"\n{ASSISTED}prices:", 1)
        with on_stage(tmp_path, text, provider=arms()) as up:
            ask(up, range(PAIRS))
            ask(up, range(PAIRS, 2 * PAIRS), arm="candidate")
            marked = done(up, 2 * PAIRS)
            by_arm = {arm: [each for each in marked if each.arm == arm] for arm in ("baseline", "candidate")}
            ratings = [
                {"exchange_id": each.exchange_id, "metric": "csat", "value": 3 + n % 3}
                for found in by_arm.values()
                for n, each in enumerate(found[::2])
            ]
            url = f"{up.server.traffic}/canary/feedback"
            assert httpx2.post(url, json=ratings, trust_env=False).status_code == 202
            eventually(lambda: _stored_ratings(up) == len(ratings))  # a look is made once, and kept
            report = judged_in_two_days(up)
    assert report.metrics[0].state in ("PASS", "IDEAL"), sentences(report)
    assert report.judge is not None and report.judge.marks is not None
    (found,) = report.judge.assisted
    assert found.rated == len(ratings) // 2
    assert (found.marked, found.decides) == (2 * PAIRS, True)
    assert report.judge.marks.difference is not None and found.means.difference is not None
    assert report.judge.marks.difference.estimate == 2.0
    assert abs(found.means.difference.estimate) < 1e-3


def _stored_ratings(stage: Stage) -> int:
    with closing(sqlite3.connect(stage.server.data / "canary.db")) as database:
        found: int = database.execute("SELECT count(*) FROM feedback").fetchone()[0]
        return found
