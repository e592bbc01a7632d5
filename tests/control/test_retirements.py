"""A retirement is told 90, 30 and 7 days ahead, once each."""

from datetime import date, timedelta

import pytest

from control.jobs.model_news import TimelyNotice, after_dates, arms_of, dates_of, retiring, to_tell
from routing.canary import Arm, Canary, Match, Step

DAY = date(2027, 3, 1)


def canary(name: str) -> Canary:
    return Canary(
        name=name,
        match=Match(models=frozenset({"gpt-4o"})),
        baseline=Arm(provider="openai", model="gpt-4o"),
        candidate=Arm(provider="openai", model="gpt-5"),
        steps=(Step(share=0.1),),
    )


def test_each_threshold_is_told_once_on_the_way_to_the_day() -> None:
    told: dict[str, TimelyNotice] = {}
    days = []
    for left in range(120, -3, -1):
        today = DAY - timedelta(days=left)
        told = after_dates(told, {"p/old": DAY}, today=today, receivers=["hook"])
        days += [each.days for each in to_tell(told, today)]
        told = {name: TimelyNotice(on=each.on, days=each.days) for name, each in told.items()}
    assert days == [90, 30, 7]
    assert told == {}


@pytest.mark.parametrize(("left", "count"), [(91, 0), (90, 1), (50, 1), (3, 1), (0, 1), (-1, 0)])
def test_the_first_look_counts(left: int, count: int) -> None:
    today = DAY - timedelta(days=left)
    told = after_dates({}, {"p/old": DAY}, today=today, receivers=["hook"])
    assert [each.days for each in to_tell(told, today)] == [left] * count


def test_who_was_not_reached_is_told_later_and_a_moved_day_is_told_again() -> None:
    today = DAY - timedelta(days=20)
    told = after_dates({}, {"p/old": DAY}, today=today, receivers=["hook", "slack"])
    told = {"p/old": TimelyNotice(on=str(DAY), days=30, untold=("slack",))}
    assert after_dates(told, {}, today=today, receivers=["hook", "slack"]) == told
    later = DAY + timedelta(days=5)
    (moved,) = after_dates(told, {"p/old": later}, today=today, receivers=["hook"]).values()
    assert (moved.on, moved.days, moved.untold) == (str(later), 30, ("hook",))


def test_the_config_comes_before_the_providers_list_and_names_a_model_anywhere_or_at_one() -> None:
    first, second = date(2027, 1, 1), date(2027, 2, 1)
    names = ["openai/gpt-4o", "other/gpt-4o", "openai/o1"]
    listed = {"openai/gpt-4o": first, "openai/o1": first}
    assert dates_of(listed, {"gpt-4o": second, "mine": second}, names) == {
        "openai/gpt-4o": second,
        "other/gpt-4o": second,
        "openai/o1": first,
        "mine": second,
    }
    one = dates_of({}, {"gpt-4o": first, "other/gpt-4o": second}, names)
    assert one == {"openai/gpt-4o": first, "other/gpt-4o": second}


@pytest.mark.parametrize(
    ("left", "words"),
    [
        (31, None),
        (30, "retires on 2027-03-01, in 30 days"),
        (1, "retires on 2027-03-01, in 1 day"),
        (0, "retires on 2027-03-01, today"),
        (-4, "retired on 2027-03-01"),
    ],
)
def test_models_of_canaries_are_warned_of_near_their_day_and_after(left: int, words: str | None) -> None:
    found = list(retiring([canary("a"), canary("b")], {"gpt-4o": DAY}, DAY - timedelta(days=left)))
    whole = f"openai/gpt-4o, the baseline of a and the baseline of b, {words}"
    assert found == ([] if words is None else [whole])
    assert arms_of([canary("a")])["openai/gpt-5"] == "the candidate of a"
