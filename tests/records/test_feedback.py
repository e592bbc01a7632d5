"""Reading feedback documents."""

import json
from typing import Any

import pytest

from records.errors import BadFeedback
from records.facts.exchange_id import VALID_FOR_S, mint
from records.facts.feedback import VOICES_REMEMBERED, FeedbackTerms, FeedbackVoices, complaints, parse
from records.facts.metric import BUILT_IN, JUDGED, Metric
from records.outcome import Feedback
from routing.cohort import derive_key, unit_hash

KEY, OLD_KEY = derive_key(b"secret", "ids"), derive_key(b"previous", "ids")
NOW = 1_795_000_000.0
METRICS = {
    **BUILT_IN,
    "turns": Metric(name="turns", kind="count", question="How many turns did it take?"),
    "price": Metric(name="price", kind="amount", question="What does a buyer cost?", cost_per="conversion"),
    "refund": Metric(name="refund", kind="amount", high=0, question="How much went back?"),
}


def an_id(*, key: bytes = KEY, at: float = NOW - 60) -> str:
    unit = unit_hash(KEY, "user-1")
    return mint(
        key, canary="support-nov", run=2, phase=3, arm="candidate", unit_hash=unit, at=at, serial=b"12345678"
    )


def a_value(**changes: Any) -> dict[str, Any]:
    value = {"exchange_id": an_id(), "metric": "csat", "value": 4, **changes}
    return {name: each for name, each in value.items() if each is not None}


def terms(*, token_ok: bool = False, now: float = NOW, voices: FeedbackVoices | None = None) -> FeedbackTerms:
    return FeedbackTerms(
        metrics=METRICS,
        keys=[KEY, OLD_KEY],
        token_ok=token_ok,
        now=now,
        mono=7.0,
        ids_key=KEY,
        voices=voices or FeedbackVoices(),
    )


def read(
    document: Any, *, token_ok: bool = False, now: float = NOW, voices: FeedbackVoices | None = None
) -> list[Feedback]:
    text = document if isinstance(document, bytes) else json.dumps(document).encode()
    return list(parse(text, terms(token_ok=token_ok, now=now, voices=voices)))


def refusal(
    document: Any, *, token_ok: bool = False, now: float = NOW, voices: FeedbackVoices | None = None
) -> tuple[int, str]:
    with pytest.raises(BadFeedback) as caught:
        read(document, token_ok=token_ok, now=now, voices=voices)
    assert 400 <= caught.value.status < 500
    return caught.value.status, caught.value.message


def test_an_exchange_id_says_canary_run_and_arm_by_itself() -> None:
    (feedback,) = read(a_value(comment="nice", at="2026-11-18T09:00:00+01:00"))
    assert (feedback.canary, feedback.run, feedback.phase, feedback.arm) == ("support-nov", 2, 3, "candidate")
    assert (feedback.exchange_id, feedback.session) == (an_id(), "")
    assert feedback.unit == unit_hash(KEY, "user-1")
    assert (feedback.metric, feedback.value, feedback.comment, feedback.mono) == ("csat", 4.0, "nice", 7.0)
    assert (feedback.at, feedback.taken_at) == (1794988800.0, NOW)


def test_without_a_time_it_is_now() -> None:
    assert read(a_value())[0].at == NOW


def test_an_optional_member_may_be_null() -> None:
    said = dict.fromkeys(("session", "unit", "comment", "feedback_id", "at"))
    (feedback,) = read(json.dumps(a_value() | said).encode())
    assert (feedback.comment, feedback.at) == ("", NOW)


def test_an_array_is_read_in_order() -> None:
    found = read([a_value(value=n, feedback_id=str(n)) for n in range(1, 6)])
    assert [feedback.value for feedback in found] == [1, 2, 3, 4, 5]


def test_one_bad_value_spoils_the_array_and_is_named() -> None:
    status, message = refusal([a_value(), a_value(), a_value(value=9)])
    assert (status, message.startswith("[2]: ")) == (422, True)


def test_every_bad_value_of_an_array_is_complained_of_at_its_place() -> None:
    document = json.dumps([a_value(), a_value(value=9), a_value(), a_value(metric="casat")]).encode()
    found = list(complaints(document, terms()))
    assert found == [
        None,
        "csat takes a number from 1 to 5, not 9",
        None,
        "unknown metric 'casat': did you mean 'csat'?",
    ]


def test_a_thousand_values_are_taken_and_no_more() -> None:
    assert len(read([a_value()] * 1000)) == 1000
    assert refusal([a_value()] * 1001)[0] == 413
    assert refusal([])[0] == 400


# What costs more than it is worth


@pytest.mark.parametrize(
    ("text", "longest"),
    [("metric", 64), ("exchange_id", 512), ("feedback_id", 512), ("comment", 8192), ("session", 512)],
)
def test_a_text_that_is_too_long_is_not_looked_at(text: str, longest: int) -> None:
    assert refusal(a_value(**{text: "x" * (longest + 1)})) == (
        400,
        f"{text} is longer than {longest} characters",
    )


def test_a_document_of_very_many_values_or_members_is_refused_before_it_is_read() -> None:
    many = b"[" + b",".join([b'{"metric":"a","value":1}'] * 160_000) + b"]"
    repeated = b"{" + b'"metric":"a",' * 300_000 + b'"value":1}'
    for document in (many, repeated):
        assert refusal(document) == (413, "the document is too large: send at most 1000 values")


def test_a_thousand_comments_full_of_code_are_taken() -> None:
    assert len(read([a_value(comment='if a { b("c": d) } ' * 10)] * 1000)) == 1000


def test_a_complaint_does_not_repeat_all_that_was_sent() -> None:
    assert len(refusal(json.dumps({"x" * 4_000_000: 1}).encode())[1]) < 250


def test_the_nearest_name_is_looked_for_a_few_times_only() -> None:
    document = json.dumps([a_value(metric=f"casat{n}") for n in (0, 0, 1, 2, 3, 4, 5, 0)]).encode()
    hinted = ["did you mean" in (wrong or "") for wrong in complaints(document, terms())]
    assert hinted == [True, True, True, True, True, False, False, True]


# Keys


def test_a_repeat_about_the_same_exchange_and_metric_has_the_same_key() -> None:
    assert read(a_value(value=1))[0].key == read(a_value(value=5))[0].key
    assert read(a_value())[0].key != read(a_value(metric="helped", value=True))[0].key


def test_an_exchange_id_in_anybodys_hands_has_one_voice_for_each_metric() -> None:
    ids = [f"f-{number}" for number in range(10_000)]
    keys = {
        each.key
        for at in range(0, 10_000, 1000)
        for each in read([a_value(feedback_id=x) for x in ids[at : at + 1000]])
    }
    assert keys == {read(a_value())[0].key}


def test_with_the_token_a_feedback_id_tells_values_of_one_metric_apart_and_an_event_has_several() -> None:
    def key(**given: str) -> str:
        return read(a_value(**given), token_ok=True)[0].key

    assert key(feedback_id="f-1") == key(feedback_id="f-1")
    assert (
        len({key(), key(feedback_id="f-1"), key(feedback_id="f-2"), key(feedback_id="f-1", metric="nps")})
        == 4
    )


def test_a_feedback_id_cannot_reach_another_exchanges_feedback() -> None:
    mine, other = a_value(feedback_id="f-1"), a_value(feedback_id="f-1", exchange_id=an_id(at=NOW - 61))
    assert read(mine, token_ok=True)[0].key != read(other, token_ok=True)[0].key


def test_a_feedback_id_named_like_a_metric_is_no_metrics_key() -> None:
    assert read(a_value(feedback_id="metric/csat"), token_ok=True)[0].key != read(a_value())[0].key


@pytest.mark.parametrize("subject", [{}, {"exchange_id": None, "unit": "user-1"}])
def test_the_21st_feedback_id_of_a_subject_and_metric_is_refused(subject: dict[str, Any]) -> None:
    values = [a_value(feedback_id=f"f-{number}", **subject) for number in range(21)]
    status, message = refusal(values, token_ok=True)
    assert status == 422
    assert message.startswith("[20]: more than 20 feedback ids for csat of one exchange, session or user")
    voices = FeedbackVoices()
    assert len(read(values[:20], token_ok=True, voices=voices)) == 20
    assert refusal(values[20], token_ok=True, voices=voices)[0] == 422
    read(values[:20], token_ok=True, voices=voices)  # corrections
    read(a_value(feedback_id="f-20", metric="nps", **subject), token_ok=True, voices=voices)
    read(a_value(feedback_id="f-20", exchange_id=an_id(at=NOW - 61)), token_ok=True, voices=voices)


def test_a_document_that_is_refused_or_only_checked_uses_up_no_feedback_ids() -> None:
    voices = FeedbackVoices()
    values = [a_value(feedback_id=f"f-{number}") for number in range(20)]
    refusal([*values, a_value(value=6)], token_ok=True, voices=voices)
    assert not any(complaints(json.dumps(values).encode(), terms(token_ok=True, voices=voices)))
    read([a_value(feedback_id=f"g-{number}") for number in range(20)], token_ok=True, voices=voices)


def test_what_is_remembered_of_feedback_ids_is_bounded() -> None:
    voices = FeedbackVoices()
    for number in range(VOICES_REMEMBERED + 10):
        voices.note({number: {1}})
    assert [len(voices.of(number)) for number in (0, 9, 10)] == [0, 0, 1]


# Whom it is about


@pytest.mark.parametrize("scope", ["session", "unit"])
def test_sessions_and_units_need_the_token_and_are_stored_as_hashes(scope: str) -> None:
    value = a_value(exchange_id=None, **{scope: "user-1"})
    status, message = refusal(value)
    assert (status, "feedback token" in message) == (401, True)
    (feedback,) = read(value, token_ok=True)
    assert getattr(feedback, scope) == unit_hash(KEY, "user-1")
    assert (feedback.canary, feedback.arm, "user-1" in repr(feedback)) == ("", None, False)


def test_a_coding_agents_text_is_its_user_here_too() -> None:
    hash_, said = "9c" * 32, f"user_{'9c' * 32}_account__session_0b33f1e1-4ee4-4fe2-b935-8212afc96ea1"
    (feedback,) = read(a_value(exchange_id=None, unit=said), token_ok=True)
    assert feedback.unit == unit_hash(KEY, hash_)


@pytest.mark.parametrize("scope", ["session", "unit"])
def test_space_around_a_session_or_unit_does_not_count(scope: str) -> None:
    (feedback,) = read(a_value(exchange_id=None, **{scope: " user-1\t"}), token_ok=True)
    assert getattr(feedback, scope) == unit_hash(KEY, "user-1")


@pytest.mark.parametrize(
    "about",
    [{"exchange_id": None}, {"session": "s"}, {"exchange_id": ""}, {"exchange_id": None, "unit": " "}],
)
def test_exactly_one_subject_is_named(about: dict[str, Any]) -> None:
    status, message = refusal(a_value(**about), token_ok=True)
    assert (status, "exactly one of exchange_id, session, unit" in message) == (400, True)


def test_bad_and_old_ids_are_told_apart() -> None:
    assert refusal(a_value(exchange_id="chatcmpl-1"))[0] == 400
    assert refusal(a_value(exchange_id=an_id(key=b"x" * 32)))[0] == 403
    assert refusal(a_value(), now=NOW + VALID_FOR_S)[0] == 410


def test_an_id_under_the_previous_secret_is_taken() -> None:
    assert read(a_value(exchange_id=an_id(key=OLD_KEY)))[0].arm == "candidate"


# Values


@pytest.mark.parametrize(
    ("metric", "good", "bad"),
    [
        ("csat", [1, 5, 4.5], [0, 5.01, -1, True, 1e308]),
        ("nps", [0, 10], [11, -1, 7.5, False]),
        ("thumbs", [True, False, 0, 1], [2, 0.5, -1]),
        ("turns", [0, 3, 10_000], [-1, 1.5, True]),
        ("revenue", [0, 12.34, -5], [True]),
        ("refund", [0, -3.5], [0.01]),
    ],
)
def test_values_keep_to_their_scale(metric: str, good: list[float], bad: list[float]) -> None:
    for value in good:
        assert read(a_value(metric=metric, value=value))[0].value == float(value)
    for value in bad:
        status, message = refusal(a_value(metric=metric, value=value))
        assert (status, f"{metric} takes" in message) == (422, True)


def test_a_number_that_no_float_holds_is_off_every_scale() -> None:
    for metric in ("csat", "revenue", "turns"):
        assert refusal(a_value(metric=metric, value=10**400))[0] == 422
    assert refusal(a_value(metric="refund", value=-(10**400)))[0] == 422


def test_a_number_whose_square_no_float_holds_is_none_that_was_meant() -> None:
    assert refusal(a_value(metric="revenue", value=1e200)) == (
        422,
        "revenue takes a number up to 1e+15, not 1e+200",
    )
    assert read(a_value(metric="revenue", value=-1e15))[0].value == -1e15


def test_a_scale_is_told_in_words() -> None:
    assert refusal(a_value(value=True))[1] == "csat takes a number from 1 to 5, not true"


@pytest.mark.parametrize("metric", sorted(JUDGED))
def test_no_app_sends_what_a_judge_measures(metric: str) -> None:
    assert refusal(a_value(metric=metric, value=1))[0] == 422


def test_an_unknown_metric_is_answered_with_the_nearest_one() -> None:
    for name in ("casat", "CSAT"):
        assert refusal(a_value(metric=name)) == (422, f"unknown metric {name!r}: did you mean 'csat'?")


def test_a_cost_is_computed_and_not_sent() -> None:
    assert refusal(a_value(metric="price")) == (422, "price is computed from costs: send conversion")
    assert "known: " in refusal(a_value(metric="zzzzzz"))[1]


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"{",
        b"null",
        b'"csat"',
        b"[[]]",
        b"\xff\xfe",
        b'{"metric": "csat"}',
        a_value(value="4"),
        a_value(value=None),
        a_value(metric=7),
        a_value(feedbackId="f"),
        a_value(at="yesterday"),
        a_value(at="2026-11-18T20:00:00"),
        a_value(comment=["x"]),
        a_value(comment="x" * 8193),
        a_value(feedback_id="x" * 513),
    ],
)
def test_what_cannot_be_read_is_a_400_that_says_why(document: Any) -> None:
    status, message = refusal(document)
    assert status == 400 and len(message) > 20


def test_an_unknown_field_is_named() -> None:
    assert "feedbackId" in refusal(a_value(feedbackId="f"))[1]


def test_a_time_from_the_future_cannot_win_over_all_later_corrections() -> None:
    assert refusal(a_value(at="2099-01-01T00:00:00Z"))[0] == 422
