"""What is new in a provider's list, and what is still to be done about it."""

from control.jobs.model_news import (
    LONGEST_RETRY_S,
    PendingModel,
    WatchMemory,
    after_announcing,
    after_benchmark,
    after_failure,
    after_listing,
    is_due,
    to_benchmark_again,
    to_look_at,
)

AT, FIRST_SEEN = 1795608000.0, "2026-11-25T12:00:00Z"


def look(
    memory: WatchMemory, *models: str, at: float = AT, receivers: tuple[str, ...] = ("hook",)
) -> WatchMemory:
    return after_listing(memory, "p", models, at=at, receivers=receivers, measure=True)[0]


def test_at_the_first_look_all_models_are_known_and_nobody_is_told() -> None:
    memory = look(WatchMemory(), "old", "older")
    assert memory.known == {"p": {"old": FIRST_SEEN, "older": FIRST_SEEN}}
    assert (memory.untold, memory.unmeasured) == ({}, ())


def test_a_new_model_is_told_and_measured_once_also_when_it_goes_and_comes_again() -> None:
    memory = look(look(WatchMemory(), "old"), "old", "new", at=AT + 3600)
    assert memory.known["p"] == {"old": FIRST_SEEN, "new": "2026-11-25T13:00:00Z"}
    assert (memory.untold, memory.unmeasured) == ({"p/new": ("hook",)}, ("p/new",))
    done = after_benchmark(after_announcing(memory, {"p/new": []}), "p/new")
    assert look(look(done, "old"), "old", "new").untold == {}
    assert look(look(done, "old"), "old", "new").unmeasured == ()


def test_who_was_not_reached_is_still_to_be_told() -> None:
    memory = look(look(WatchMemory(), "old"), "old", "new", receivers=("hook", "slack"))
    assert after_announcing(memory, {"p/new": ["slack"]}).untold == {"p/new": ("slack",)}


def test_only_models_that_are_wanted_are_news() -> None:
    memory, names = after_listing(
        look(WatchMemory(), "old"),
        "p",
        ["old", "gpt-5", "tts-9"],
        at=AT,
        receivers=["hook"],
        measure=False,
        wanted=lambda model: model.startswith("gpt"),
    )
    assert names == ["p/gpt-5"]
    assert "tts-9" in memory.known["p"]
    assert memory.unmeasured == ()


WAITS = PendingModel(why="too few examples", basis={"datasets": "1"})


def test_a_model_that_waits_is_benchmarked_again_when_its_basis_changes_or_somebody_asks() -> None:
    memory = after_benchmark(look(look(WatchMemory(), "old"), "old", "new"), "p/new", WAITS)
    assert memory.unmeasured == ()
    assert not is_due(memory, "p/new", {"datasets": "1"}, now=1e12)
    assert is_due(memory, "p/new", {"datasets": "2"}, now=0.0)
    assert is_due(to_benchmark_again(memory, "p/new"), "p/new", {"datasets": "1"}, now=0.0)
    assert to_look_at(memory) == ["p/new"]
    assert to_look_at(after_benchmark(memory, "p/new")) == []


def test_a_benchmark_that_cannot_run_is_tried_ever_more_seldom_but_once_a_day() -> None:
    memory, now, waits = WatchMemory(unmeasured=("p/new",)), 0.0, []
    for _ in range(7):
        memory = after_failure(memory, "p/new", "no answer", {}, now)
        again_at = memory.pending["p/new"].again_at
        assert again_at is not None
        assert not is_due(memory, "p/new", {}, again_at - 1)
        assert is_due(memory, "p/new", {}, again_at)
        waits.append((again_at - now) / 3600)
        now = again_at
    assert waits == [1, 2, 4, 8, 16, LONGEST_RETRY_S / 3600, 24]
