"""What a judge says, in every form of a report, in the archive and in a release's layers."""

import json
from dataclasses import replace

import pytest

from judge.figures import JudgeFigures
from pages.reports import archive
from pages.reports import release as release_forms
from pages.reports.release import layer_words
from pages.reports.report import rendered
from pages.words import gains, judge, verdict
from pages.words.figures import title
from pages.words.gains import known_of_answers
from pages.words.reasons import sentences
from records.store.releases import Release, Run
from tests.verdict.archived import a_line, an_evaluation
from tests.verdict.judgement_figures import FEW, FULL, MARKS, NONE, SESSIONS
from tests.verdict.planned import as_told
from verdict.archive.evaluations import Evaluation
from verdict.archive.releases import Dossier, RunStanding, layers_of
from verdict.archive.trends import to_json as trends_json
from verdict.archive.trends import trends
from verdict.decision.document import Difference, MetricLine, Report, from_json, to_json
from verdict.terms.measures import unit_of

HOSTILE = 'x"><script>alert(1)</script>|*a*'
FORMS = ["html", "markdown", "text"]
SAME = Difference(low=-0.01, estimate=0.0, high=0.01, p_value=0.9)


def _report(judge: JudgeFigures | None, *metrics: str) -> Report:
    lines = tuple(a_line(metric, 0.5, SAME) for metric in metrics)
    return replace(an_evaluation().report, metrics=lines, judge=judge)


def _evaluation(judge: JudgeFigures | None, number: int = 1) -> Evaluation:
    one = an_evaluation(number)
    return replace(one, report=replace(one.report, judge=judge))


def _words(text: str) -> str:
    return " ".join(text.replace("\\", "").split())


@pytest.mark.parametrize("form", FORMS)
def test_every_form_says_the_preference_and_what_it_is_worth(form: str) -> None:
    text = _words(rendered(_report(FULL, "error_rate"), form))
    assert "Whose answers a judge prefers" in text
    assert judge.preference(FULL) in text
    for sentence in judge.worth(FULL, "c1"):
        assert sentence in text
    assert judge.identity(FULL) in text
    assert "B asks for the order number" in text
    assert "(A: current model, B: candidate)" in text


@pytest.mark.parametrize("figures", [FEW, NONE, MARKS])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_says_what_is_not_known(form: str, figures: JudgeFigures) -> None:
    assert judge.summary(figures) in _words(rendered(_report(figures, "error_rate"), form))


@pytest.mark.parametrize(
    ("pairs", "says"),
    [
        (104, "104 pairs that an earlier judge, or the same with other words, judged are left out, and so "
              "are labels of theirs."),
        (1, "1 pair that an earlier judge, or the same with other words, judged is left out, and so are "
            "labels of it."),
    ],
)  # fmt: skip
@pytest.mark.parametrize("form", FORMS)
def test_every_form_says_what_is_left_out(form: str, pairs: int, says: str) -> None:
    assert says in _words(rendered(_report(replace(FULL, left_out=pairs), "error_rate"), form))
    assert "left out" not in _words(rendered(_report(FULL, "error_rate"), form))


@pytest.mark.parametrize("form", FORMS)
def test_without_a_judge_there_is_no_section(form: str) -> None:
    assert "Whose answers a judge prefers" not in rendered(_report(None, "task_completed"), form)


def test_a_reason_breaks_out_of_nothing() -> None:
    lost = tuple(replace(each, reason=HOSTILE, category=HOSTILE) for each in FULL.lost)
    hostile = _report(replace(FULL, lost=lost), "error_rate")
    assert "<script>alert" not in rendered(hostile, "html") + rendered(hostile, "markdown")
    assert "*a*" not in rendered(hostile, "markdown").replace("\\*a\\*", "")


def test_the_page_has_a_bar_for_the_whole_and_for_each_category_with_one() -> None:
    page = rendered(_report(FULL, "error_rate"), "html")
    assert page.count('class="preference"') == 3
    assert 'aria-label="54 % (49 % to 59 %); 50 % is no preference"' in page


def test_the_figures_come_back_from_the_document() -> None:
    report = _report(FULL, "error_rate")
    assert from_json(json.loads(json.dumps(to_json(report, sentences)))) == as_told(report)
    assert "judge" not in to_json(_report(None, "error_rate"), sentences)


@pytest.mark.parametrize("form", FORMS)
def test_a_team_without_feedback_reads_what_a_judge_says_and_that_it_does_not_decide(
    form: str,
) -> None:
    text = _words(rendered(_report(FULL, "error_rate", "latency_p95"), form))
    assert "preferred by a judge in 54 % (49 % to 59 %) of 412 pairs. This does not decide" in text


def test_without_feedback_and_judge_nothing_is_said_to_be_known() -> None:
    report = _report(None, "error_rate")
    assert known_of_answers(report).startswith("Nothing here says whether the answers are better")
    assert "equal quality" not in gains.in_short(report)
    assert "without more faults" in gains.in_short(report)


def test_sessions_that_only_one_arm_has_are_too_few_and_no_pairs() -> None:
    told = SESSIONS.judged_session
    assert told is not None
    one_arm = replace(told, sessions=3, mark=replace(told.mark, candidate=None))
    assert (
        judge.in_short(replace(SESSIONS, judged_session=one_arm)) == "a judge has marked 3 sessions: too few"
    )


@pytest.mark.parametrize("metric", ["task_completed", "csat", "judged_preference"])
def test_where_a_row_is_about_answers_the_row_speaks(metric: str) -> None:
    assert known_of_answers(_report(FULL, "error_rate", metric)) == ""


def test_business_says_nothing_of_answers() -> None:
    assert known_of_answers(_report(None, "revenue")) != ""


def test_the_judge_is_a_layer_of_its_own_and_no_user() -> None:
    layers = {each.kind: each for each in gains.layers(_report(FULL, "error_rate", "judged_preference"))}
    assert layers["judge"].says == "✓ preferred by a judge in 54 % (49 % to 59 %) of 412 pairs"
    assert "judge" not in layers["user_experience"].says
    beside = {each.kind: each for each in gains.layers(_report(FULL, "error_rate"))}
    assert beside["judge"].says.endswith("; does not decide")
    assert "judge" not in {each.kind for each in gains.layers(_report(None, "error_rate"))}


def test_the_rows_on_a_judge_have_words_and_units() -> None:
    assert [title(name) for name in ("judged_preference", "judged_mark")] == [
        "People’s preference",
        "Mark by the judge",
    ]
    assert unit_of("judged_preference", ">= 45%") == "share"
    assert unit_of("judged_mark", ">= 4") == "number"
    line: MetricLine = a_line("judged_preference", 0.5, Difference())
    assert "50 %" in verdict.against_baseline(line)


def test_the_archive_tells_the_preference_beside_the_changes() -> None:
    found = trends([_evaluation(FULL, 1), _evaluation(None, 2)])
    text = archive.summarized(found)
    assert "preferred by a judge" in text
    assert "54 % (49 % to 59 %)" in text
    assert trends_json(found)["steps"][0]["judged"] == {"low": 0.49, "estimate": 0.54, "high": 0.59}
    assert archive.summary(_evaluation(FULL))["judged_preference"]["estimate"] == 0.54
    assert archive.summary(_evaluation(None))["judged_preference"] is None


def test_an_archive_without_a_judge_has_no_such_column() -> None:
    assert "judge" not in archive.summarized(trends([_evaluation(None)]))


def test_a_release_has_the_preference_among_its_users_layer() -> None:
    with_judge, without = (layers_of(None, [_report(judge, "error_rate")])["users"] for judge in (FULL, None))
    _, candidate = layer_words(with_judge)
    assert candidate.endswith("; preferred by a judge in 54 % (49 % to 59 %) of 412 pairs")
    assert (with_judge.state, with_judge.score) == (without.state, without.score)


@pytest.mark.parametrize("metrics", [("error_rate",), ()])
def test_a_release_says_it_under_each_canary(metrics: tuple[str, ...]) -> None:
    release = Release(id="r1", candidate="openai/new", baseline="openai/old", made_at=0.0, noticed_at=None)
    run = Run(release="r1", canary="c1", run=1, at=1.0)
    history = RunStanding(of=run, acts=(), report=_report(FULL, *metrics), decided=None)
    found = Dossier(release=release, runs=(history,), notes=(), benchmark=None, benchmarked_at=None)
    for render_as in ("text", "markdown", "html"):
        assert judge.summary(FULL) in _words(release_forms.rendered(found, render_as))
