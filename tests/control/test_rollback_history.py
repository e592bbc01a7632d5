"""Why a candidate was rolled back is kept with the rollback, whoever did it, and while the store is down."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from alerts.incidents.rollback import (
    ArmFigures,
    EvidencePoint,
    FailureSample,
    RollbackEvidence,
    RolledBack,
    RuleThen,
)
from alerts.rules.places import CandidateError
from alerts.wording import FailuresSeen, Trouble
from canary.config import Config, parse
from common.concentration import Concentration, FailingPart
from common.whole_file import read_document
from control.operator.status import RollbackHistory, brief_of, document_of
from control.states.rollouts import PendingRollbacks, Rollouts
from records.errors import StoreDown
from records.shared import states_file
from records.store import Act, Store
from routing import transitions
from routing.states import NO_STATES, State, States
from tests.control.databases import Database
from tests.servers.postgres import Postgres

CONFIG = """\
providers: {openai: {api: openai, base_url: "http://127.0.0.1:1/v1"}}
canaries:
  - name: trial
    match: {models: [gpt-4o]}
    baseline: {provider: openai, model: a}
    candidate: {provider: openai, model: b}
    share: 20%
"""
ARM = ArmFigures(exchanges=9, failed=5, p95_s=0.8, mean_cost_usd=None)

REFUND = Concentration(parts=(FailingPart("category", "refund", 5, 5, 0.05),))
SAID = CandidateError(
    status=500,
    error_type="provider_5xx",
    code="",
    type="server_error",
    param="",
    message="The server's had an error",
    at=998.0,
)


TROUBLE = Trouble(
    rule="error_rate",
    own="5 of 9 failed",
    seen=FailuresSeen(covered=1),
    baseline="assistant-1",
    candidate="assistant-2",
    category="refund",
    numbers={"bad": 5.0, "outcomes": 9.0},
    since=990.0,
    said=SAID.message,
)


def why(who: str = "guardrail error_rate", *, run: int = 1, at: float = 1000.0) -> RollbackEvidence:
    """By the rule `error_rate`, or by a person."""
    rule = "error_rate" if who.startswith("guardrail") else ""
    then = RuleThen(
        rule="error_rate",
        state="latched",
        sentence="5 of 9 failed",
        value=5 / 9,
        threshold=0.05,
        evidence={"ln_mixture": 7.2},
        path=(EvidencePoint(990.0, 1.0, 1.0, 3.0), EvidencePoint(999.0, 7.2, 7.2, 9.0)),
    )
    return RollbackEvidence(
        canary="trial",
        run=run,
        rule=rule,
        who=who,
        reason=then.sentence if rule else "complaints",
        at=at,
        rules=(then,),
        arms={"baseline": ARM, "candidate": ARM},
        failures=(FailureSample("x-1", 998.0, "provider_5xx", 500, SAID.message, "baseline", 12.0),),
        where=REFUND,
        provider_error=SAID,
        share_before=0.2,
        share_after=0.0,
        trouble=TROUBLE if rule else None,
    )


class Admin:
    """One admin's rollouts and rollbacks over a store, to be started again at will."""

    def __init__(self, store: Store, folder: Path) -> None:
        self.store, self.folder = store, folder
        self.config: Config = parse(CONFIG, "canary.yaml", {})
        self.start()

    def start(self) -> None:
        plan = self.folder / "plan.json"
        self.rollouts = Rollouts(
            self.store,
            lambda each: states_file.write(plan, each),
            last=read_document(plan, States) or NO_STATES,
            pending=PendingRollbacks(self.folder / "rollbacks.json"),
        )
        self.rollbacks = RollbackHistory(self.store, self.rollouts)

    def roll_back(self, because: RollbackEvidence) -> None:
        act = Act(at=because.at, action="rollback", who=because.who, reason=because.reason)

        def back(state: State) -> State:
            return transitions.rollback(state, reason=because.reason, now=because.at)

        self.rollouts.change("trial", act, back, why=because)

    def resume(self) -> None:
        steps = self.config.canaries["trial"].canary.steps
        act = Act(at=2000.0, action="resume", who="ann", reason="mended")

        def again(state: State) -> State:
            return transitions.resume(state, steps, reason="mended", now=2000.0)

        self.rollouts.change("trial", act, again)

    def history(self) -> list[tuple[int, str, bool]]:
        """(run, who, stored) of each, the newest first."""
        found = asyncio.run(_of(self.rollbacks))
        return [(each.why.run, each.why.who, each.stored) for each in found]

    def current(self) -> tuple[str, bool] | None:
        """(who, stored) of the one that the canary is under, once there was time to look for it."""
        with suppress(StoreDown):
            self.rollbacks.look()
        found = self.rollbacks.current("trial")
        return None if found is None else (found.why.who, found.stored)


async def _of(rollbacks: RollbackHistory) -> Sequence[RolledBack]:
    return await rollbacks.history("trial", 10)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.more)])
def admin(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Admin]:
    url = "sqlite:///canary.db"
    if request.param == "postgresql":
        postgres: Postgres = request.getfixturevalue("postgres")
        url = postgres.fresh()
    with closing(Store.open(url, tmp_path)) as store:
        up = Admin(store, tmp_path)
        up.rollouts.reconcile(up.config, 1000.0)
        yield up


def test_each_rollback_is_kept_whole_the_newest_first(admin: Admin) -> None:
    admin.roll_back(why())
    admin.rollouts.settle()
    admin.resume()
    assert admin.current() is None
    admin.roll_back(why("ann", run=2, at=3000.0))
    admin.rollouts.settle()
    assert admin.history() == [(2, "ann", True), (1, "guardrail error_rate", True)]
    newest, first = asyncio.run(_of(admin.rollbacks))
    assert first.why == why()
    assert (first.before.share, first.before.state, first.after.state) == (0.2, "running", "rolled_back")
    assert (newest.before.run, newest.before.phase, newest.after.phase) == (2, 3, 4)


def test_a_rollback_by_another_admin_or_an_earlier_process_is_known_soon(admin: Admin) -> None:
    admin.roll_back(why("ann"))
    admin.rollouts.settle()
    admin.start()
    assert admin.rollbacks.current("trial") is None
    assert admin.current() == ("ann", True)


def test_a_second_rollback_of_the_same_run_leaves_the_first_one_why(admin: Admin) -> None:
    admin.roll_back(why())
    admin.roll_back(why("ann", at=1001.0))
    admin.rollouts.settle()
    assert admin.history() == [(1, "guardrail error_rate", True)]


def test_it_is_known_while_the_store_is_down_and_stored_when_it_answers_even_after_a_restart(
    tmp_path: Path,
) -> None:
    database = Database(tmp_path)
    up = Admin(database.open(), tmp_path)
    up.rollouts.reconcile(up.config, 1000.0)
    with pytest.raises(StoreDown):
        database.go()
        up.history()
    up.roll_back(why())
    assert up.history() == [(1, "guardrail error_rate", False)]
    up.start()
    assert up.current() == ("guardrail error_rate", False)
    assert up.history() == [(1, "guardrail error_rate", False)]
    database.come_back()
    up.start()
    assert up.history() == [(1, "guardrail error_rate", False)]
    up.rollouts.settle()
    assert up.current() == ("guardrail error_rate", True)
    assert up.history() == [(1, "guardrail error_rate", True)]


def test_what_the_api_says_can_be_read_without_our_types() -> None:
    state = State(state="running", share=0.2)
    told = [
        msgspec.json.decode(msgspec.json.encode(document_of(each)))
        for each in (_rolled_back(why(), state), _rolled_back(why("ann"), state))
    ]
    by_rule, by_person = told
    assert (by_rule["rule"], by_rule["who"], by_rule["sentence"]) == (
        "error_rate",
        "guardrail error_rate",
        "5 of 9 failed",
    )
    assert by_rule["path"][-1] == {"at": 999.0, "ln_mixture": 7.2, "ln_cusum": 7.2, "observations": 9.0}
    assert by_rule["limits"] == {
        "ln_mixture": pytest.approx(6.9078, 1e-4),
        "ln_cusum": pytest.approx(11.513, 1e-4),
    }
    assert by_rule["failures"] == [
        {
            "exchange_id": "x-1",
            "at": 998.0,
            "request_id": "",
            "error_type": "provider_5xx",
            "status": 500,
            "message": "The server's had an error",
            "saw": "baseline",
            "waited_s": 12.0,
        }
    ]
    assert by_rule["headline"] == (
        "Refund answers of assistant-2 fail: 5 of 9 requests, since 00:16 UTC. Users got assistant-1's"
        ' answers instead. Rolled back at 00:16 UTC. The provider says: "The server\'s had an error".'
    )
    assert by_rule["summary"] == by_rule["headline"].partition(" The provider says")[0]
    assert by_person["headline"] == "Rolled back at 00:16 UTC by ann: complaints"
    assert by_rule["where"] == [{"by": "category", "value": "refund", "failing": 5, "of": 5, "share": 0.05}]
    assert by_rule["where_sentence"] == (
        "5 of 5 failing exchanges are in category refund (5 % of the traffic)"
    )
    assert by_rule["provider_error"] == {
        "status": 500,
        "error_type": "provider_5xx",
        "code": "",
        "type": "server_error",
        "param": "",
        "message": "The server's had an error",
        "at": 998.0,
        "request_id": "",
        "sentence": "provider 5xx: The server's had an error",
    }
    assert by_rule["arms"]["candidate"] == {
        "exchanges": 9,
        "failed": 5,
        "p95_s": 0.8,
        "mean_cost_usd": None,
        "faulty": None,
        "left": None,
    }
    assert (by_rule["before"]["share"], by_rule["after"]["state"]) == (0.2, "rolled_back")
    assert (by_person["rule"], by_person["sentence"], by_person["path"]) == (None, "complaints", [])
    assert by_person["rules"][0]["path"][0]["at"] == 990.0
    without = document_of(_rolled_back(replace(why("ann"), reason=""), state))
    assert without["sentence"] == "rolled back by ann, no reason given"
    assert brief_of(None) is None


def _rolled_back(because: RollbackEvidence, state: State) -> RolledBack:
    after = transitions.rollback(state, reason="", now=1000.0)
    return RolledBack(why=because, before=state, after=after, stored=True)
