"""A file of feedback through the command line and the real server into its store."""

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import httpx2
import pytest

from routing.cohort import derive_key, unit_hash
from tests.e2e.stage import Stage, chat, on_stage
from tests.serving import eventually

CONFIG = """
providers:
  openai: {{api: openai, base_url: "{url}/v1"}}
canaries:
  - name: support-nov
    match: {{models: [gpt-4o]}}
    baseline: {{provider: openai, model: gpt-4o-2024-08-06}}
    candidate: {{provider: openai, model: gpt-4o-2024-11-20}}
    share: 50%
    guardrails: []
feedback_mappings:
  tickets:
    only: {{Channel: chat}}
    map:
      unit: User
      feedback_id: Id
      at: Closed
      escalated: {{when: Agent}}
      csat: Score
  orders:
    only: {{type: charge.succeeded}}
    map:
      unit: data.object.metadata.user_id
      feedback_id: data.object.id
      conversion: {{value: true}}
      revenue: {{from: data.object.amount, scale: 0.01}}
"""
TOKEN = {"CANARY_FEEDBACK_TOKEN": "tok", "CANARY_SECRET": "a secret of more than sixteen bytes"}
IDS_KEY = derive_key(TOKEN["CANARY_SECRET"].encode(), "ids")


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with on_stage(tmp_path_factory.mktemp("import"), CONFIG, env=TOKEN) as up:
        yield up


def an_exchange(stage: Stage, user: str) -> str:
    url = f"{stage.server.traffic}/v1/chat/completions"
    answer = httpx2.post(url, json=chat("gpt-4o", user), headers={"authorization": "Bearer sk"})
    return str(answer.headers["x-canary-exchange"])


def run(
    stage: Stage, file: Path, *options: str, token: str | None = "tok"
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "canary", "feedback", "import", str(file), "-o", "json", *options]
    env = {**os.environ, "CANARY_FEEDBACK_TOKEN": token or "", "CANARY_DATA": str(stage.server.data)}
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=env)


def stored(stage: Stage, *, unit: str = "", session: str = "", exchange: str = "") -> list[dict[str, Any]]:
    """The feedback about one subject, oldest first."""
    with closing(sqlite3.connect(f"file:{stage.server.data / 'canary.db'}?mode=ro", uri=True)) as database:
        database.row_factory = sqlite3.Row
        query = "SELECT * FROM feedback WHERE {} = ? ORDER BY at"
        subject = [("exchange_id", exchange), ("unit", unit), ("session", session)]
        name, value = next((name, value) for name, value in subject if value)
        return [dict(row) for row in database.execute(query.format(name), (value,))]


def test_late_feedback_of_every_scope_arrives_and_a_second_run_changes_nothing(
    stage: Stage, tmp_path: Path
) -> None:
    exchange = an_exchange(stage, "user-1")
    late = (datetime.now(UTC) + timedelta(minutes=-1)).isoformat()
    file = tmp_path / "feedback.csv"
    file.write_text(
        "exchange_id,session,unit,metric,value,comment,feedback_id,at\n"
        f"{exchange},,,csat,2,first try,,{late}\n"
        f"{exchange},,,csat,4,corrected,,{datetime.now(UTC).isoformat()}\n"
        ",talk-1,,helped,true,,,\n"
        ",,user-1,churn,0,,crm-17,\n"
    )
    first = run(stage, file)
    assert (first.returncode, json.loads(first.stdout)) == (
        0,
        {"rows": 4, "accepted": 4, "skipped": 0, "bad": 0, "problems": []},
    )
    unit, session = unit_hash(IDS_KEY, "user-1"), unit_hash(IDS_KEY, "talk-1")
    eventually(lambda: stored(stage, session=session))

    (csat,) = stored(stage, exchange=exchange)
    assert (csat["value"], csat["comment"], csat["canary"]) == (4.0, "corrected", "support-nov")
    (helped,) = stored(stage, session=session)
    assert (helped["metric"], helped["value"], helped["canary"]) == ("helped", 1.0, "")
    by_unit = {row["metric"]: row for row in stored(stage, unit=unit)}
    assert by_unit["churn"]["key"] == f"{unit}/id/crm-17/churn"

    def everything() -> list[dict[str, Any]]:
        return stored(stage, exchange=exchange) + stored(stage, unit=unit) + stored(stage, session=session)

    before = everything()
    assert run(stage, file).returncode == 0
    marker = tmp_path / "marker.csv"
    marker.write_text("unit,metric,value\nmarker,churn,1\n")
    run(stage, marker)
    eventually(lambda: stored(stage, unit=unit_hash(IDS_KEY, "marker")))
    assert (
        stored(stage, exchange=exchange) + stored(stage, unit=unit) + stored(stage, session=session) == before
    )


def test_bad_rows_are_all_named_by_line_and_nothing_is_kept(stage: Stage, tmp_path: Path) -> None:
    exchange = an_exchange(stage, "user-2")
    file = tmp_path / "feedback.csv"
    file.write_text(
        f"exchange_id,unit,metric,value\n{exchange},,csat,4\n{exchange},,csat,9\nforged,,csat,4\n"
        f"{exchange},u,csat,4\n{exchange},,casat,4\n"
    )
    done = run(stage, file)
    assert done.returncode == 1
    told = {each["line"]: each["error"] for each in json.loads(done.stdout)["problems"]}
    assert told == {
        3: "csat takes a number from 1 to 5, not 9",
        4: "this is not an exchange id: send the value of x-canary-exchange",
        5: "send exactly one of exchange_id, session, unit",
        6: "unknown metric 'casat': did you mean 'csat'?",
    }
    assert "4 of 5 rows are invalid; nothing was sent" in done.stderr
    assert stored(stage, exchange=exchange) == []


def test_sessions_and_units_need_the_token(stage: Stage, tmp_path: Path) -> None:
    file = tmp_path / "feedback.csv"
    file.write_text("unit,metric,value\nuser-3,churn,1\n")
    done = run(stage, file, token=None)
    assert done.returncode == 1
    assert "line 2: feedback by unit needs the feedback token" in done.stderr
    assert stored(stage, unit=unit_hash(IDS_KEY, "user-3")) == []


def test_an_export_is_imported_by_a_mapping_of_the_config(stage: Stage, tmp_path: Path) -> None:
    file, config = tmp_path / "tickets.csv", tmp_path / "canary.yaml"
    config.write_text(CONFIG.format(url="http://127.0.0.1:9"))
    header = "Id,User,Channel,Agent,Score,Closed\n"
    file.write_text(
        f"{header}1,user-5,chat,Sam,2,2026-11-20 09:12\n2,user-5,mail,Sam,2,2026-11-20 09:15\n"
        "3,user-5,chat,,5,1763630000\n"
    )
    by_mapping = ("--mapping", "tickets", "--config", str(config))
    for _ in range(2):
        done = run(stage, file, *by_mapping)
        assert (done.returncode, json.loads(done.stdout)) == (
            0,
            {"rows": 3, "accepted": 2, "skipped": 1, "bad": 0, "problems": []},
        ), done.stderr
        assert "2 of 3 rows accepted; 1 map to nothing" in done.stderr
    unit = unit_hash(IDS_KEY, "user-5")
    assert eventually(lambda: len(stored(stage, unit=unit)) == 3)
    found = {(row["metric"], row["value"]) for row in stored(stage, unit=unit)}
    assert found == {("csat", 2.0), ("escalated", 1.0), ("csat", 5.0)}

    file.write_text(f"{header}4,user-5,chat,,good,\n5,{'u' * 600},chat,Sam,5,\n")
    done = run(stage, file, *by_mapping)
    assert (done.returncode, [each["line"] for each in json.loads(done.stdout)["problems"]]) == (1, [2, 3])
    assert "line 2: column 'Score': 'good' is neither a number nor true or false" in done.stderr
    done = run(stage, file, "--mapping", "ticket", "--config", str(config))
    assert (done.returncode, "has no 'ticket'; it has: tickets, orders" in done.stderr) == (2, True)


def test_a_webhook_of_another_system_is_feedback_by_a_mapping(stage: Stage) -> None:
    url = f"{stage.server.traffic}/canary/feedback"
    order = {"type": "charge.succeeded", "data": {"object": {"id": "ch_1", "amount": 1999}}}
    order["data"]["object"]["metadata"] = {"user_id": "user-6"}  # type: ignore[index]
    unit = unit_hash(IDS_KEY, "user-6")
    with httpx2.Client() as http:

        def sent(document: Any, path: str = "/orders", token: str = "tok") -> tuple[int, dict[str, Any]]:
            headers = {"authorization": f"Bearer {token}"} if token else {}
            answer = http.post(url + path, json=document, headers=headers)
            return answer.status_code, answer.json()

        assert sent(order, token="")[0] == sent(order, token="x")[0] == sent(order, "/x", "")[0] == 401
        assert sent(order, "/order") == (
            404,
            {"error": "`feedback_mappings` has no 'order'; it has: tickets, orders"},
        )
        much = {**order, "data": {"object": {**order["data"]["object"], "amount": "much"}}}  # type: ignore[index]
        said = "column 'data.object.amount': 'much' is neither a number nor true or false"
        assert sent(much) == (422, {"error": said})
        assert sent([order, much]) == (422, {"error": f"[1]: {said}"})
        assert sent([order, much, {}], "/orders?check") == (200, {"problems": [{"place": 1, "error": said}]})
        assert sent({"type": "charge.refunded"}) == (202, {"accepted": 0, "skipped": 1})
        for _ in range(2):  # a webhook may come twice
            assert sent([order, {"type": "ping"}]) == (202, {"accepted": 2, "skipped": 1})
        assert eventually(lambda: len(stored(stage, unit=unit)) == 2)
        found = {(row["metric"], row["value"], row["key"]) for row in stored(stage, unit=unit)}
        assert found == {
            ("revenue", 19.99, f"{unit}/id/ch_1/revenue"),
            ("conversion", 1.0, f"{unit}/id/ch_1/conversion"),
        }


def test_who_is_refused_before_the_body_has_come_is_told_that_the_connection_ends(stage: Stage) -> None:
    host = stage.server.traffic.removeprefix("http://")
    with closing(HTTPConnection(host, timeout=30.0)) as caller:
        caller.putrequest("POST", "/canary/feedback/orders")
        caller.putheader("content-type", "application/json")
        caller.putheader("content-length", "100")
        caller.endheaders()
        answer = caller.getresponse()
        assert (answer.status, answer.getheader("connection")) == (401, "close")


@pytest.mark.parametrize(
    ("given", "status"),
    [("Bearer tok", 202), ("bearer tok", 202), ("tok", 401), ("Basic tok", 401), ("", 401)],
)
def test_the_feedback_token_is_a_bearer_token(stage: Stage, given: str, status: int) -> None:
    value = {"unit": "user-1", "metric": "churn", "value": 0}
    headers = {"authorization": given} if given else {}
    answer = httpx2.post(f"{stage.server.traffic}/canary/feedback", json=value, headers=headers)
    assert answer.status_code == status


def test_ten_thousand_values_for_one_exchange_id_are_one_voice(stage: Stage) -> None:
    exchange, url = an_exchange(stage, "user-4"), f"{stage.server.traffic}/canary/feedback"
    with httpx2.Client(timeout=30.0) as http:

        def sent(values: list[dict[str, Any]], token: str = "") -> int:
            about = [{"exchange_id": exchange, "metric": "csat", **each} for each in values]
            headers = {"authorization": f"Bearer {token}"} if token else {}
            return http.post(url, json=about, headers=headers).status_code

        before = _csat(stage)
        for batch in range(10):
            assert sent([{"value": 1, "feedback_id": f"f-{batch}-{n}"} for n in range(1000)]) == 202
        assert sent([{"value": 5}]) == 202
        assert eventually(lambda: [row["value"] for row in stored(stage, exchange=exchange)] == [5.0])
        eventually(lambda: _csat(stage) == before + 1)
        several = [{"value": 2, "feedback_id": f"rater-{n}"} for n in range(21)]
        assert (sent(several, "tok"), sent(several[:20], "tok"), sent(several[20:], "tok")) == (422, 202, 422)
        assert eventually(lambda: len(stored(stage, exchange=exchange)) == 21)
    print(
        f"R34: 10,001 values for one exchange id: 1 stored, counted {_csat(stage) - before - 20}; 20 by token"
    )


@pytest.mark.more
def test_ten_thousand_rows_for_one_exchange_id_are_one_voice(stage: Stage, tmp_path: Path) -> None:
    exchange, file, before = an_exchange(stage, "user-7"), tmp_path / "flood.csv", _csat(stage)
    rows = [f"{exchange},csat,1,f-{number}" for number in range(9_999)] + [f"{exchange},csat,3,last"]
    file.write_text("exchange_id,metric,value,feedback_id\n" + "\n".join(rows))
    done = run(stage, file, token=None)
    assert (done.returncode, json.loads(done.stdout)["accepted"]) == (0, 10_000), done.stderr
    assert eventually(lambda: [row["value"] for row in stored(stage, exchange=exchange)] == [3.0])
    assert eventually(lambda: _csat(stage) == before + 1)


def _csat(stage: Stage) -> int:
    """The values of csat that Prometheus counts, of both arms."""
    lines = httpx2.get(f"{stage.server.admin}/metrics").text.splitlines()
    counted = [line for line in lines if line.startswith("canary_feedback_total") and 'metric="csat"' in line]
    return sum(int(float(line.rpartition(" ")[2])) for line in counted)
