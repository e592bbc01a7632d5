"""What a canary's figures take in, and what stands apart from them."""

from alerts import pulse as pulses
from alerts.pulse import Pulse
from records.outcome import Outcome


def exchange(**changed: object) -> Outcome:
    given: dict[str, object] = {
        "exchange_id": "e", "at": 100.0, "mono": 100.0, "outcome": "ok", "canary": "support-nov", "run": 1,
        "arm": "candidate", "reason": "cohort", "latency_s": 2.0, "ttft_s": 0.5, "cost_usd": 0.25, **changed,
    }  # fmt: skip
    return Outcome(**given)  # type: ignore[arg-type]


def pulse_of(*outcomes: Outcome) -> Pulse:
    pulse = Pulse(run=1)
    for outcome in outcomes:
        pulse.observe(outcome)
    return pulse


def test_mirror_copies_are_in_no_arm_and_in_no_share() -> None:
    real = exchange(arm="baseline")
    with_copies = pulse_of(
        real,
        exchange(mirror=True),
        exchange(mirror=True, outcome="error", error_type="provider_5xx", cost_usd=None),
        exchange(mirror=True, outcome="aborted", error_type="aborted", cost_usd=None),
    )
    assert with_copies.document(105.0) == pulse_of(real).document(105.0)
    assert with_copies.actual_share() == 0.0


def test_mirror_copies_are_told_in_the_arms_words() -> None:
    pulse = pulse_of(
        exchange(mirror=True),
        exchange(mirror=True, latency_s=4.0),
        exchange(mirror=True, outcome="error", error_type="provider_5xx", latency_s=None, cost_usd=None),
        exchange(mirror=True, outcome="aborted", error_type="aborted", cost_usd=None),
        exchange(mirror=True, run=2),
    )
    pulse.mirrors_dropped = 7
    told = pulse.mirror_document(105.0)
    assert (told["requests"], told["errors"], told["aborted"], told["dropped"]) == (4, 1, 1, 7)
    assert told["cost_usd"] == 0.5
    assert 2.0 <= told["p50_s"] <= told["p95_s"] <= 4.2
    assert told.keys() - {"dropped"} == pulse.document(105.0)["baseline"].keys()


def test_a_pulse_survives_its_checkpoint_and_one_from_before_there_were_copies_is_read() -> None:
    pulse = pulse_of(exchange(), exchange(mirror=True))
    document = pulses.to_document(pulse)
    assert pulses.from_document(document).mirror_document(105.0) == pulse.mirror_document(105.0)
    del document["mirror"], document["mirrors_dropped"]
    older = pulses.from_document(document)
    assert older.document(105.0) == pulse.document(105.0)
    assert older.mirror_document(105.0)["requests"] == 0
