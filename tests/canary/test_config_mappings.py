"""What a config may say of feedback mappings, and what is wrong where it may not."""

import pytest

from canary.config import ConfigError, parse
from records.facts.feedback_mapping import FeedbackMapping, MappedValue

TEXT = """\
providers:
  openai: {{api: openai, base_url: "https://api.openai.com/v1"}}
metrics:
  resolved: {{kind: bool, per: session, question: "Was the case settled?"}}
  cost_per_resolution: {{cost_per: resolved, question: "What does it cost?"}}
feedback_mappings:
  {name}:
    {only}
    map: {map}
"""


def text(map_: str, name: str = "tickets", only: str = "") -> str:
    return TEXT.format(map=map_, name=name, only=only)


def test_a_mapping_is_members_metrics_and_which_rows() -> None:
    written = text(
        "{unit: User, at: Solved, csat: {from: Score, values: {Good: 5, bad: 1}}, resolved: {when: Agent}, "
        "revenue: {from: data.amount, scale: 0.01}, conversion: {value: true}}",
        only="only: {Status: Paid, Currency: [USD, eur]}",
    )
    (mapping,) = parse(written, "canary.yaml", {}).feedback_mappings.values()
    assert mapping == FeedbackMapping(
        members={"unit": "User", "at": "Solved"},
        metrics={
            "csat": MappedValue(column="Score", values={"good": 5, "bad": 1}),
            "resolved": MappedValue(when="Agent"),
            "revenue": MappedValue(column="data.amount", scale=0.01),
            "conversion": MappedValue(),
        },
        only={"Status": frozenset({"paid"}), "Currency": frozenset({"usd", "eur"})},
    )


@pytest.mark.parametrize(
    ("map_", "words"),
    [
        ("{csat: Score}", "map: needs exactly one of exchange_id, session, unit"),
        ("{unit: User, session: Talk, csat: Score}", "map: needs exactly one of"),
        ("{unit: User}", "map: has no metric, such as `csat: COLUMN`"),
        ("{unit: User, casat: Score}", 'map.casat: "casat" is neither a metric nor one of'),
        ("{unit: User, casat: Score}", 'did you mean "csat"?'),
        ("{unit: User, csat: {}}", "map.csat: needs a column (`from`), or else a constant"),
        ("{unit: User, csat: {from: A, when: B}}", "map.csat: needs a column"),
        ("{unit: User, csat: {from: A, scale: 2, values: {a: 1}}}", "csat.values: stands with `from` alone"),
        ("{unit: {from: User, scale: 2}, csat: Score}", "map.unit: is taken from a column as it stands"),
        ("{unit: {value: 1}, csat: Score}", "map.unit: is taken from a column as it stands"),
        ("{unit: User, csat: {value: 9}}", "csat.value: csat takes a number from 1 to 5, not 9"),
        ("{unit: User, csat: {when: A}}", "csat.when: csat takes a number from 1 to 5, not true"),
        ("{unit: User, csat: {from: A, values: {x: 0}}}", "values.x: csat takes a number from 1 to 5, not 0"),
        ("{unit: User, csat: {from: A, values: {x: much}}}", "values.x: must be a number, true or false"),
        ("{unit: User, csat: {form: A}}", 'csat.form: unknown key; did you mean "from"?'),
        ("{unit: User, cost_per_resolution: A}", 'is computed from costs; map "resolved"'),
    ],
)
def test_what_is_wrong_with_a_mapping_is_said_with_its_place(map_: str, words: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse(text(map_), "canary.yaml", {})
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("name", "only", "words"),
    [
        ("a/b", "", '"a/b" is part of a URL; use letters, digits, . _ and -'),
        ("tickets", "only: {Status: []}", "only.Status: must not be empty"),
    ],
)
def test_what_is_wrong_with_its_name_and_its_rows_is_said(name: str, only: str, words: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse(text("{unit: User, csat: Score}", name, only), "canary.yaml", {})
    assert words in str(refused.value)
