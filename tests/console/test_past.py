"""The sentence about a canary that has left the config."""

from dataclasses import replace

from pages.status.standing import past_view
from records.store import Act
from records.store.releases import PastCanary, Release

AT = 1_790_000_000.0
BY = Act(at=AT, action="rollback", who="guardrail error_rate", reason="too many errors.")
BACK = PastCanary(
    name="trial",
    run=2,
    ending="rolled_back",
    by=BY,
    was="rolled_back",
    share=0.0,
    left_at=AT + 3600,
    release=Release(id="4f2a", candidate="o/new", baseline="o/old", made_at=AT),
    rolled_back=(1, 2),
)


def test_it_says_who_rolled_back_when_and_why() -> None:
    view = past_view(BACK)
    assert view.sentence == (
        "Rolled back by guardrail error_rate on 2026-09-21 14:13:20 UTC: too many errors. "
        "Its entry left the config on 2026-09-21 15:13:20 UTC."
    )
    assert (view.word, view.tone, view.release) == ("rolled back", "bad", "4f2a")
    assert view.models == "old → new"


def test_what_the_audit_log_does_not_know_is_left_out() -> None:
    view = past_view(replace(BACK, by=None, left_at=None, release=None))
    assert view.sentence == "Rolled back. Its entry is no longer in the config."
    assert (view.at, view.who, view.models, view.release) == (None, "", "", "")


def test_a_canary_that_was_only_removed_says_what_it_was() -> None:
    removed = replace(BACK, ending="ended", was="paused", share=0.1, rolled_back=())
    assert past_view(removed).sentence.startswith(
        "Ended without a decision on its run: it was paused at 10 %. Its entry left"
    )
    assert past_view(replace(removed, was="waiting")).sentence.startswith("It never started. ")
    noticed = Release(id="4f2a", candidate="o/new", baseline="", made_at=AT)
    assert past_view(replace(BACK, release=noticed)).models == "new"
