"""A retirement names the successor and the last day to begin a canary, and is told once a stage."""

from contextlib import closing
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from canary.config.load import parse
from control.jobs.retirements import (
    ModelUse,
    Retirement,
    TimelyNotice,
    Uses,
    after_dates,
    dates_of,
    retiring,
    to_tell,
    urgent,
)
from control.operator.retiring import KnownRetirements
from pages.words.status import retirements
from records.facts.retirement import LastDay
from records.store import Store
from records.store.releases import ListedRetirements

DAY = date(2027, 3, 1)
SUPPORT = ModelUse(canary="support", part="baseline", owner="anna@example.com", planned_days=14)
CONFIG = """
providers: {openai: {api: openai, base_url: "http://127.0.0.1:1/v1", api_key: k}}
canaries:
  - name: support
    standing: true
    owner: anna@example.com
    match: {models: [support-bot]}
    baseline: {provider: openai, model: gpt-old}
    candidate: {provider: openai}
    share: 5%
    rubric: [{metric: error_rate, acceptable: "< 5%", ideal: "< 1%", weight: 1, question: "Any?"}]
  - name: plain
    match: {models: [m]}
    baseline: {provider: openai, model: gpt-old}
    candidate: {provider: openai, model: gpt-new}
    share: 5%
    minimum_days: 0
retires: {gpt-old: {on: 2027-03-01, successor: gpt-new}, gpt-new: 2027-09-01}
"""


def retirement(*uses: ModelUse, successor: str = "") -> Retirement:
    return Retirement(model="p/old", on=DAY, successor=successor, uses=uses)


def told_on_the_way(*uses: ModelUse) -> list[int]:
    """The stages, from half a year before to after the day, looked at every day."""
    told: dict[str, TimelyNotice] = {}
    days = []
    for left in range(180, -3, -1):
        today = DAY - timedelta(days=left)
        told = after_dates(told, [retirement(*uses)], today=today, receivers=lambda each: ["hook"])
        days += [each.days(today) for each in to_tell(told, {"p/old": uses})]
        told = {name: TimelyNotice(on=each.on, days=each.days) for name, each in told.items()}
    assert told == {}
    return days


@pytest.mark.parametrize(
    ("planned", "days"),
    [
        (None, [90, 30, 7]),
        (14, [90, 30, 22, 7]),
        (21, [90, 30, 7]),
        (28, [90, 36, 30, 7]),
        (120, [128, 90, 30, 7]),
    ],
)
def test_each_stage_is_told_once_and_one_lies_a_week_before_the_last_day_to_begin(
    planned: int | None, days: list[int]
) -> None:
    assert told_on_the_way(ModelUse(canary="support", part="baseline", planned_days=planned)) == days


@pytest.mark.parametrize(("left", "count"), [(91, 0), (90, 1), (50, 1), (3, 1), (0, 1), (-1, 0)])
def test_the_first_look_counts(left: int, count: int) -> None:
    today = DAY - timedelta(days=left)
    told = after_dates({}, [retirement()], today=today, receivers=lambda each: ["hook"])
    assert [each.days(today) for each in to_tell(told, {})] == [left] * count


def test_who_was_not_reached_is_told_later_and_a_moved_day_is_told_again() -> None:
    today = DAY - timedelta(days=20)
    told = {"p/old": TimelyNotice(on=str(DAY), days=30, untold=("slack",))}
    assert after_dates(told, [], today=today, receivers=lambda each: ["hook"]) == told
    later = DAY + timedelta(days=5)
    moved = Retirement(model="p/old", on=later)
    (told_again,) = after_dates(told, [moved], today=today, receivers=lambda each: ["hook"]).values()
    assert (told_again.on, told_again.days, told_again.untold) == (str(later), 30, ("hook",))


def test_the_config_comes_before_the_providers_list_and_names_a_model_anywhere_or_at_one() -> None:
    first, second = LastDay(on=date(2027, 1, 1), successor="next"), LastDay(on=date(2027, 2, 1))
    names = ["openai/gpt-4o", "other/gpt-4o", "openai/o1"]
    listed = {"openai/gpt-4o": first, "openai/o1": first}
    assert dates_of(listed, {"gpt-4o": second, "mine": second}, names) == {
        "openai/gpt-4o": LastDay(on=second.on, successor="next"),
        "other/gpt-4o": second,
        "openai/o1": first,
        "mine": second,
    }
    one = dates_of({}, {"gpt-4o": first, "other/gpt-4o": second}, names)
    assert one == {"openai/gpt-4o": first, "other/gpt-4o": second}


@pytest.mark.parametrize(
    ("left", "words"),
    [
        (30, "retires on 2027-03-01, in 30 days; it is the baseline of support; its successor is new; "
         "the last day to begin a canary of 14 days is 2027-02-14"),
        (15, "retires on 2027-03-01, in 15 days; it is the baseline of support; its successor is new; "
         "the last day to begin a canary of 14 days is 2027-02-14"),
        (1, "retires on 2027-03-01, in 1 day; it is the baseline of support; its successor is new; "
         "a canary of 14 days cannot finish any more"),
        (-4, "retired on 2027-03-01; it was the baseline of support; its successor is new; "
         "a canary of 14 days cannot finish any more"),
    ],
)  # fmt: skip
def test_the_sentence_names_successor_and_last_day_to_begin(left: int, words: str) -> None:
    said = retirement(SUPPORT, successor="new").sentence(DAY - timedelta(days=left))
    assert said == f"p/old {words}"


def test_the_last_report_comes_on_the_day_itself_at_the_latest() -> None:
    """A canary that begins late on the last day has its planned days over before the midnight of the day."""
    last = retirement(SUPPORT).last_start
    assert last is not None
    begun = 23.9 / 24
    over = next(day for day in range(100) if day >= begun + 14)  # the first midnight, in days after it
    assert last + timedelta(days=over) == DAY


def test_the_canaries_of_a_config_are_named_with_the_plan_of_their_rubric() -> None:
    config = parse(CONFIG, "canary.yaml", {})
    uses: Uses = config.uses
    assert uses["openai/gpt-old"] == [SUPPORT, ModelUse(canary="plain", part="baseline")]
    (old,) = urgent({}, config.retires, uses, DAY - timedelta(days=29))
    assert (old.successor, old.last_start, old.owners) == (
        "gpt-new",
        date(2027, 2, 14),
        ("anna@example.com",),
    )
    assert urgent({}, config.retires, uses, DAY - timedelta(days=31)) == []
    assert [each.model for each in retiring(config.retires, {})] == ["gpt-old", "gpt-new"]


def test_the_status_has_what_the_config_says_and_what_the_watcher_stored(tmp_path: Path) -> None:
    settings = replace(parse(CONFIG, "canary.yaml", {}).control, retires={})
    now = datetime(2027, 2, 20, 12, tzinfo=UTC).timestamp()
    with closing(Store.open("sqlite:///canary.db", tmp_path)) as store:
        known = KnownRetirements(store, lambda: settings)
        assert known.document(now) == []
        ListedRetirements(store).replace({"openai/gpt-old": LastDay(on=DAY, successor="gpt-new")})
        known.look()
        (old,) = known.document(now)
    assert (old["at"], old["days"], old["last_start"]) == ("2027-03-01", 9, "2027-02-14")
    assert [each["canary"] for each in old["canaries"]] == ["support", "plain"]
    status = {"retirements": [old]}
    assert retirements(status, "plain") == retirements(status) == [old["sentence"]]
    assert retirements(status, "other") == []
