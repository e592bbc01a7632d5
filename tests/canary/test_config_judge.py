"""What a config may say of the judge, and what is wrong where it may not."""

from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from bench.settings import CRITERIA, JudgeSource
from canary.cli import app
from canary.config import ConfigError, parse
from common.numbers import set_dollars
from judge.model import least_price
from judge.terms import JudgeTerms
from records.store import FixedRubric
from verdict.terms.fixed_terms import judged_by, terms_of

JUDGE = "judge: {provider: openai, model: gpt-5.6-terra, daily_budget: 5}"
TEXT = """\
providers:
  openai: {{api: openai, base_url: "https://api.openai.com/v1"}}
{judge}
canaries:
  - name: trial
    match: {{models: [gpt-4o]}}
    baseline: {{provider: openai, model: gpt-4o-2024-08-06}}
    candidate: {{provider: openai, model: gpt-4o-mini}}
    share: 5%
    mirror: {mirror}
    {capture}
    {own}
    rubric:
      - {{metric: {metric}, acceptable: "{bound}", ideal: ">= 80%", weight: 1, question: "Better?"}}
"""


def text(
    judge: str = JUDGE,
    own: str = "judge: {pairs: 200}",
    mirror: str = "10%",
    capture: str = "capture: {rate: 10%}",
    metric: str = "task_completed",
    bound: str = ">= 45%",
) -> str:
    return TEXT.format(judge=judge, own=own, mirror=mirror, capture=capture, metric=metric, bound=bound)


def assisted_by_judge(written: str) -> str:
    return written.replace("weight: 1,", "weight: 1, assisted: judge,")


def wrong_with(written: str) -> str:
    with pytest.raises(ConfigError) as refused:
        parse(written, "canary.yaml", {})
    return str(refused.value)


def test_a_judge_and_what_it_looks_at() -> None:
    read = parse(text(), "canary.yaml", {})
    assert read.judge == JudgeSource(provider="openai", model="gpt-5.6-terra", daily_budget_usd=5.0)
    assert read.canaries["trial"].judge == JudgeTerms(pairs=200, criteria=CRITERIA)
    assert read.warnings == ()
    judged = parse(text(own="judge: {sessions: 50}", mirror="0%"), "canary.yaml", {}).canaries["trial"].judge
    assert judged is not None
    assert judged == JudgeTerms(sessions=50, criteria=CRITERIA)
    assert (judged.kind, judged.number) == ("session", 50)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (
            text(judge=JUDGE.replace("openai", "opena")),
            'there is no provider "opena"; did you mean "openai"?',
        ),
        (text(judge=""), "has no judge: name one at the top of the file"),
        (text(own="judge: {pairs: 9, answers: 9}"), "give one of `pairs`"),
        (text(own='judge: {criteria: "Kind."}'), "give one of `pairs`"),
        (
            text(own="judge: {sessions: 50}", capture="capture: {per_category: 9}"),
            "needs whole sessions, which `capture` draws by its `rate`",
        ),
        (text(capture=""), "has no texts to judge; set `capture`"),
        (text(mirror="0%"), "needs `mirror`, for example `mirror: 10%`; without it, write"),
        (text(judge=JUDGE.replace("gpt-5.6-terra", "gpt-4o")), "this canary's baseline; no model judges"),
        (
            text(judge=JUDGE.replace("gpt-5.6-terra", "gpt-4o-mini-2024-07-18")),
            "this canary's candidate; no model judges its own answers",
        ),
        (text(metric="judged_mark"), "needs `judge: {answers: 200}` in this canary"),
        (text(metric="judged_preference", own=""), "needs `judge: {pairs: 200}` in this canary"),
        (
            text(metric="judged_preference", bound=">= baseline - 5%"),
            "compares both arms already, so its bound is a share",
        ),
        (text(judge=JUDGE.replace("5}", "0}")), "daily_budget"),
        (assisted_by_judge(text()), "rubric[0].assisted: needs `judge: {sessions: 200}` in this canary"),
        (
            assisted_by_judge(text(metric="error_rate", bound="< 3%").replace(">= 80%", "< 1%")),
            "rubric[0].assisted: a judge predicts csat and task_completed only; leave it out of error_rate",
        ),
    ],
)
def test_what_cannot_be_is_refused_with_what_would_be_right(written: str, message: str) -> None:
    assert message in wrong_with(written)


def test_a_judge_that_judges_nothing_is_worth_a_warning() -> None:
    [warning] = parse(text(own=""), "canary.yaml", {}).warnings
    assert "judges nothing: give a canary `judge: {pairs: 200}`" in warning


def test_texts_that_expire_before_people_may_have_labelled_them_are_worth_a_warning() -> None:
    def warnings(expires_after: str, **terms: str) -> tuple[str, ...]:
        capture = f"capture: {{rate: 10%, expires_after: {expires_after}}}"
        return parse(text(capture=capture, **terms), "canary.yaml", {}).warnings

    [warning] = warnings("36h", metric="judged_preference")
    assert "canaries[0].capture.expires_after: 1.5d is shorter than the plan's 14 days" in warning
    assert "ends what counts of its category for judged_preference; write at least 14d" in warning
    assert warnings("14d", metric="judged_preference") == warnings("36h") == ()


def test_the_judges_price_is_no_price_of_a_model_that_nothing_names() -> None:
    priced = text(judge=JUDGE.replace("gpt-5.6-terra", "own")) + "prices: {own: {input: 1, output: 2}}\n"
    assert parse(priced, "canary.yaml", {}).warnings == ()


def test_check_refuses_a_judge_whose_budget_could_not_be_kept(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    file = tmp_path_factory.mktemp("config") / "canary.yaml"
    unpriced = JUDGE.replace("gpt-5.6-terra", "unheard-of")
    file.write_text(text(judge=unpriced))
    assert parse(file.read_text(), "canary.yaml", {}).judge is not None
    done = CliRunner().invoke(app, ["check", "--config", str(file)])
    assert done.exit_code == 2
    assert "the judge openai/unheard-of has no known price" in done.stderr
    assert "`prices:` or `price_as:`" in done.stderr
    file.write_text(text())
    assert CliRunner().invoke(app, ["check", "--config", str(file)]).exit_code == 0


@pytest.mark.parametrize(
    ("written", "kind", "missing"),
    [
        (
            text(judge="", own="", mirror="0%", capture=""),
            "pairs",
            "`judge: {provider: …, model: …, daily_budget: 5.00}` at the top; `judge: {pairs: 200}` in the "
            "canary; `mirror: 10%`, which copies requests to the candidate; `capture: {rate: 10%}`, "
            "which keeps the answers",
        ),
        (
            text(own="judge: {answers: 9}", mirror="0%"),
            "pairs",
            "`mirror: 10%`, which copies requests to the candidate",
        ),
        (
            text(own="", mirror="0%", capture=""),
            "answers",
            "`judge: {answers: 200}` in the canary; `capture: {rate: 10%}`, which keeps the answers",
        ),
        (
            text(capture="capture: {per_category: 5}"),
            "sessions",
            "`capture: {rate: 10%}`, which keeps the answers",
        ),
    ],
)
def test_judging_by_hand_is_refused_with_all_that_the_config_lacks_for_it(
    tmp_path: Path, written: str, kind: str, missing: str
) -> None:
    file = tmp_path / "canary.yaml"
    file.write_text(written)
    done = CliRunner().invoke(
        app, ["judge", "trial", f"--{kind}", "5", "--config", str(file), "--data", str(tmp_path / "data")]
    )
    assert done.exit_code == 1
    assert done.stderr == f"no {kind[:-1]} of trial can be judged: in {file} set {missing}\n"
    assert not (tmp_path / "data").exists()


OWN_PRICE = "prices: {own: {input: 1, output: 5}}\n"


def checked(folder: Path, written: str) -> Result:
    file = folder / "canary.yaml"
    file.write_text(written)
    return CliRunner().invoke(app, ["check", "--config", str(file)])


@pytest.mark.parametrize(
    ("terms", "answers", "least"),
    [("pairs", "two answers of the judge", "0.03"), ("answers", "one answer of the judge", "0.02")],
)
def test_check_refuses_a_budget_in_which_no_call_fits(
    tmp_path: Path, terms: str, answers: str, least: str
) -> None:
    def budget(dollars: str) -> str:
        judge = JUDGE.replace("gpt-5.6-terra", "own").replace("5}", f"{dollars}}}")
        return text(judge=judge, own=f"judge: {{{terms}: 200}}") + OWN_PRICE

    done = checked(tmp_path, budget("0.005"))
    assert done.exit_code == 2
    told = " ".join(done.stderr.split())
    assert f"daily_budget: $0.005 is too small for one call: {answers}, of at most 2,048 tokens" in told
    assert f"write a daily_budget of at least {least}, and more" in told
    assert checked(tmp_path, budget(least)).exit_code == 0


def test_the_least_price_is_that_of_the_shortest_questions_and_the_longest_answers() -> None:
    written = text(judge=JUDGE.replace("gpt-5.6-terra", "own")) + OWN_PRICE
    settings = parse(written, "canary.yaml", {}).bench
    pair, answer = least_price(settings, "pair"), least_price(settings, "answer")
    assert pair is not None and answer is not None
    assert 2 * 2048 * 5e-6 < pair < 2 * 2048 * 5e-6 + 0.002
    assert 2048 * 5e-6 < answer < pair / 1.9


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        (0.0, "$0.00"),
        (0.005, "$0.005"),
        (0.0512, "$0.0512"),
        (0.5, "$0.50"),
        (1.204, "$1.20"),
        (12, "$12.00"),
    ],
)
def test_a_small_budget_is_not_rounded_to_a_larger_one(amount: float, shown: str) -> None:
    assert set_dollars(amount) == shown


def test_of_a_rubric_on_people_only_plan_and_check_say_how_many_labels_it_takes(tmp_path: Path) -> None:
    done = checked(tmp_path, text(metric="judged_preference"))
    assert done.exit_code == 0
    assert "trial: people's labels decide it, not traffic: judged_preference needs 100" in done.stdout
    planned = CliRunner().invoke(app, ["plan", "--config", str(tmp_path / "canary.yaml")])
    assert planned.exit_code == 0
    assert "if people like both models alike" in " ".join(planned.stdout.split())


@pytest.mark.parametrize(
    ("acceptable", "ideal"), [(">= 3", ">= 4"), (">= baseline - 5%", ">= baseline + 2%")]
)
def test_a_row_on_marks_is_warned_of_in_words_that_agree(tmp_path: Path, acceptable: str, ideal: str) -> None:
    written = text(metric="judged_mark", own="judge: {answers: 200}", mirror="0%", bound=acceptable)
    done = checked(tmp_path, written.replace(">= 80%", ideal))
    assert done.exit_code == 0, done.output
    warning = " ".join(done.stderr.split())
    assert "is never decided, so no verdict says ship while the rubric has this row" in warning
    assert 'write judged_preference, with a share as its bound (">= 45%"), `mirror` and' in warning
    assert "decides nothing" not in warning
    assert "judged_mark is never decided" in done.stdout


def test_the_judge_of_a_row_on_its_word_is_fixed_with_the_rubric() -> None:
    """Otherwise one could change judges until one likes the candidate."""
    worded = 'judge: {pairs: 200, criteria: "Kind."}'

    def judged(
        judge: str = JUDGE, own: str = "judge: {pairs: 200}", metric: str = "judged_preference"
    ) -> str:
        return (
            parse(text(judge=judge, own=own, metric=metric), "canary.yaml", {})
            .canaries["trial"]
            .judged.sha256
        )

    other = JUDGE.replace("gpt-5.6-terra", "gpt-6-luna")
    assert len({judged(), judged(judge=other), judged(own=worded)}) == 3
    assert judged(judge=JUDGE.replace("5}", "9}")) == judged()
    assert judged(judge=other, metric="task_completed") == judged(metric="task_completed")


def test_a_stored_rubric_keeps_its_judge() -> None:
    read = parse(text(metric="judged_preference"), "canary.yaml", {}).canaries["trial"].judged
    fixed = FixedRubric(sha256=read.sha256, document=terms_of(read), fixed_at=0.0)
    assert judged_by("trial", fixed).sha256 == read.sha256


def test_what_a_judge_assists_is_fixed_with_the_start_and_with_the_judge() -> None:
    own = "judge: {answers: 200}"
    plain = parse(text(metric="csat", bound=">= 4", own=own).replace(">= 80%", ">= 4.5"), "canary.yaml", {})
    helped = parse(
        assisted_by_judge(text(metric="csat", bound=">= 4", own=own).replace(">= 80%", ">= 4.5")),
        "canary.yaml",
        {},
    )
    before, after = (each.control.reports.canaries["trial"] for each in (plain, helped))
    assert [row.assisted for row in (*before.criteria, *after.criteria)] == [False, True]
    assert before.sha256 != after.sha256 != replace(after, judge="another").sha256
    fixed = FixedRubric(sha256=after.sha256, document=terms_of(after), fixed_at=0.0)
    assert judged_by("trial", fixed).criteria == after.criteria
