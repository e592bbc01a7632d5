"""The next model in a line of canaries: when it may follow, and what changes in the file."""

from dataclasses import replace
from pathlib import Path

import pytest

from canary.config.load import parse
from canary.config.next_canary import NotNext, Succession, put, rewritten
from routing.canary import Arm, RequestChanges
from routing.states import State, StateName

TEXT = """\
# Kept as it is: é.
providers:
  openai: {api: openai, base_url: "https://api.example/v1"}
  other: {api: openai, base_url: "https://other.example/v1", api_key: k}
canaries:
  - name: chat-1
    match: {models: [chat]}
    baseline: {provider: openai, model: gpt-1}
    candidate: {provider: openai, model: gpt-2}
    share: 5%
  - candidate:
      model: 'gpt-2'   # the one under test
      provider: openai
    baseline: &current {provider: openai, model: gpt-1}
    name: support-nov
    match: {models: [gpt-1]}
    share: 5%
    rubric: [{metric: error_rate, acceptable: "< 5%", ideal: "< 1%", weight: 1, question: "Enough?"}]
notify: [{webhook: "https://page.example"}]
"""


def a_line(state: StateName | None = "rolled_back", text: str = TEXT) -> Succession:
    config = parse(text, "canary.yaml", {})
    states = {"support-nov": State(state=state)} if state is not None else {}
    present = config.canaries["support-nov"]
    return Succession(name="support", file=Path("canary.yaml"), config=config, present=present, states=states)


@pytest.mark.parametrize(("state", "current"), [("rolled_back", "gpt-1"), ("promoted", "gpt-2")])
def test_only_the_name_and_the_arms_change_in_the_file(state: StateName, current: str) -> None:
    line = a_line(state)
    following = line.followed("openai", "gpt-3")
    assert following.canary.baseline == Arm(provider="openai", model=current)
    text = rewritten(TEXT, line.present, following)
    expected = TEXT.replace("'gpt-2'", '"gpt-3"').replace("support-nov", '"support-gpt-3"')
    if state == "promoted":
        expected = expected.replace(
            "current {provider: openai, model: gpt-1", 'current {provider: openai, model: "gpt-2"'
        )
    assert text == expected
    others = {"chat-1": line.config.canaries["chat-1"]}
    assert parse(text, "canary.yaml", {}).canaries == {**others, "support-gpt-3": following}


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("  - candidate:\n", "  - start: manual\n    candidate:\n"),
        ("  - start: auto  # at once\n    candidate:\n", "  - start: manual  # at once\n    candidate:\n"),
        ("  - start: manual\n    candidate:\n", "  - start: manual\n    candidate:\n"),
    ],
)
def test_a_canary_that_a_person_must_start_says_so_in_the_file(entry: str, expected: str) -> None:
    text = TEXT.replace("  - candidate:\n", entry)
    line = a_line(text=text)
    following = line.followed("openai", "gpt-3", by_hand=True)
    assert following.canary.start_by_hand
    changed = rewritten(text, line.present, following)
    assert expected in changed
    assert parse(changed, "canary.yaml", {}).canaries["support-gpt-3"] == following


def test_an_entry_on_one_line_stays_on_it() -> None:
    arms = "baseline: {provider: openai, model: gpt-1}, candidate: {provider: openai, model: gpt-2}"
    entry = f"{{name: support-nov, match: {{models: [gpt-1]}}, {arms}, share: 5%}}"
    text = f"{TEXT[: TEXT.index('canaries:')]}canaries: [{entry}]\n"
    line = a_line(text=text)
    changed = rewritten(text, line.present, line.followed("openai", "gpt-3", by_hand=True))
    assert 'canaries: [{start: manual, name: "support-gpt-3", match' in changed
    assert parse(changed, "canary.yaml", {}).canaries["support-gpt-3"].canary.start_by_hand


@pytest.mark.parametrize(
    ("state", "why"),
    [
        ("running", "support-nov is running"),
        ("paused", "support-nov is paused"),
        ("waiting", "support-nov is waiting"),
        (None, "not known to a server yet"),
    ],
)
def test_a_canary_that_is_not_over_is_followed_by_none(state: StateName | None, why: str) -> None:
    with pytest.raises(NotNext, match=why):
        a_line(state).followed("openai", "gpt-3")


def test_a_template_that_waits_under_the_lines_own_name_is_followed_by_the_first_model() -> None:
    text = TEXT.replace("name: support-nov", "name: support\n    start: manual")
    config = parse(text, "canary.yaml", {})
    line = Succession(
        name="support",
        file=Path("canary.yaml"),
        config=config,
        present=config.canaries["support"],
        states={"support": State(state="waiting")},
    )
    following = line.followed("openai", "gpt-3")
    assert (following.canary.name, following.canary.baseline.model) == ("support-gpt-3", "gpt-1")
    with pytest.raises(NotNext, match="support is running"):
        replace(line, states={"support": State(state="running")}).followed("openai", "gpt-3")


@pytest.mark.parametrize("left_out", ["    rubric: [", "notify: ["])
def test_nothing_starts_by_itself_that_nobody_would_be_paged_for(left_out: str) -> None:
    text = "".join(each for each in TEXT.splitlines(keepends=True) if not each.startswith(left_out))
    with pytest.raises(NotNext, match="has start: auto, which needs"):
        a_line(text=text).followed("openai", "gpt-3")
    by_hand = text.replace("name: support-nov", "name: support-nov\n    start: manual")
    assert a_line(text=by_hand).followed("openai", "gpt-3").canary.start_by_hand


@pytest.mark.parametrize(
    ("provider", "model"), [("other", "gpt-3"), ("openai", "${SECRET}"), ("openai", "a b")]
)
def test_a_name_from_elsewhere_is_not_put_into_the_file(provider: str, model: str) -> None:
    with pytest.raises(NotNext, match="not a plain model name at openai"):
        a_line().followed(provider, model)


def test_a_model_that_had_its_canary_gets_no_second_one() -> None:
    line = a_line()
    tried = replace(line, states={**line.states, "support-gpt-3": State(state="ended")})
    with pytest.raises(NotNext, match="a canary named support-gpt-3 existed before"):
        tried.followed("openai", "gpt-3")


def test_the_file_keeps_its_mode_and_nothing_stays_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "canary.yaml"
    file.write_text("a: 1\n")
    file.chmod(0o640)
    put(file, "a: 2\n")
    assert (file.read_text(), file.stat().st_mode & 0o777) == ("a: 2\n", 0o640)
    assert list(tmp_path.iterdir()) == [file]


WITH_REQUEST = TEXT.replace(
    "      provider: openai\n", "      provider: openai\n      request: {remove: [n]}\n"
)


def test_the_next_model_is_asked_as_the_one_before() -> None:
    line = a_line(text=WITH_REQUEST)
    following = line.followed("openai", "gpt-3")
    assert following.canary.candidate.request == RequestChanges(remove=("n",))
    text = rewritten(WITH_REQUEST, line.present, following)
    assert parse(text, "canary.yaml", {}).canaries["support-gpt-3"] == following


def test_a_promoted_candidate_that_is_asked_differently_is_moved_by_hand() -> None:
    with pytest.raises(NotNext, match="has its own `request:`; move it by hand"):
        a_line("promoted", WITH_REQUEST).followed("openai", "gpt-3")
