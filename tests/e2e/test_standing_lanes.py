"""A promotion in a lane: who gets the promoted model, and that every surface says the same."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.e2e.stage import Stage, chat, on_stage
from tests.e2e.test_retired_model_over_http import greeting
from tests.e2e.test_standing_canaries import CONFIG, canary, check, standing
from tests.serving import eventually

IN_LANES = CONFIG.replace("share: 50%", "share: 50%\n    lane: 50%")


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with on_stage(tmp_path, IN_LANES) as stage:
        canary(stage, "begin", "support", "--model", "second")
        canary(stage, "begin", "support", "--model", "third")
        yield stage


def served(stage: Stage, units: list[str | None]) -> Counter[str]:
    """How many of these units the provider was asked which model for."""
    found = Counter[str]()
    url = f"{stage.server.traffic}/v1/chat/completions"
    with httpx2.Client(trust_env=False, timeout=30) as client:
        for unit in units:
            assert client.post(url, json=chat("support-bot", unit)).status_code == 200
            found[stage.provider.log.entries[-1].model] += 1
    return found


USERS: list[str | None] = [f"user-{n}" for n in range(200)]
NOBODY: list[str | None] = [None] * 5


def order(stage: Stage, name: str, model: str) -> None:
    more = ("--against-verdict",) if name == "promote" else ()
    canary(stage, name, f"support-{model}", "--reason", "r", *more)


def said(stage: Stage) -> dict[str, str]:
    """What status, page, check and greeting say that everybody gets."""
    status = stage.canary("status").stdout
    page = stage.api("GET", "/").text
    told = {"status": status, "page": page, "check": check(stage), "greeting": greeting(stage)}
    return {where: " ".join(text.split()) for where, text in told.items()}


def test_every_surface_says_how_many_get_the_baseline_while_trials_run(stage: Stage) -> None:
    eventually(lambda: served(stage, NOBODY) == {"first": 5})
    now = served(stage, USERS)
    assert 80 < now["first"] < 130 and now["second"] and now["third"]
    for where, text in said(stage).items():
        assert "50 % of the users get openai/first" in text, (where, text)
        assert "everybody gets" not in text, (where, text)
    order(stage, "pause", "second")
    order(stage, "rollback", "third")
    eventually(lambda: served(stage, USERS)["third"] == 0)
    for where, text in said(stage).items():
        assert "75 % of the users get openai/first" in text, (where, text)


def test_a_promotion_reaches_the_lane_of_a_trial_that_was_rolled_back(stage: Stage) -> None:
    order(stage, "rollback", "second")
    order(stage, "promote", "third")
    eventually(lambda: served(stage, USERS) == {"third": 200})
    assert served(stage, NOBODY) == {"third": 5}
    assert standing(stage)["kept"] == []
    assert all("keeps its own baseline" not in text for text in said(stage).values())


def test_who_runs_beside_a_promotion_keeps_its_lane_until_it_is_decided_and_every_surface_says_so(
    stage: Stage,
) -> None:
    order(stage, "promote", "third")
    eventually(lambda: standing(stage)["canary"])
    eventually(lambda: served(stage, NOBODY) == {"third": 5})
    now = served(stage, USERS)
    assert now["third"] < 140 and now["first"] and now["second"]  # a lane, and a half of the other one each
    assert all("50 % of the users get openai/third" in text for text in said(stage).values())
    (kept,) = standing(stage)["kept"]
    assert kept == {"canary": "support-second", "lane": 0.5, "provider": "openai", "model": "first"}
    for where, text in said(stage).items():
        told = "support-second keeps its own baseline, openai/first, for 50 % of the users of these requests"
        assert told in text, where

    order(stage, "rollback", "second")
    eventually(lambda: served(stage, USERS) == {"third": 200})
    eventually(lambda: standing(stage)["kept"] == [])
    stage.restart()
    eventually(lambda: served(stage, USERS) == {"third": 200})


def test_a_second_promotion_beside_the_first_reaches_everybody(stage: Stage) -> None:
    order(stage, "promote", "third")
    order(stage, "promote", "second")
    eventually(lambda: served(stage, USERS + NOBODY) == {"second": 205})
    order(stage, "rollback", "second")
    eventually(lambda: served(stage, USERS + NOBODY) == {"third": 205})
    assert standing(stage)["baseline"]["model"] == "third"


ELSEWHERE = CONFIG.replace(
    "canaries:", '  other: {{api: openai, base_url: "{elsewhere}/v1", api_key: k2}}\ncanaries:'
)


def test_a_model_at_another_entry_that_was_promoted_stays_everybodys_until_the_file_has_it(
    tmp_path: Path,
) -> None:
    with on_stage(tmp_path, ELSEWHERE.replace("share: 50%", "share: 50%\n    lane: 40%")) as stage:
        arm = stage.server.config.with_name("arm.yaml")
        arm.write_text("provider: other\n")
        canary(stage, "begin", "support", "--model", "second", "--arm", str(arm))
        order(stage, "promote", "second")
        eventually(lambda: served(stage, USERS + NOBODY) == {"second": 205})
        refused = canary(stage, "begin", "support", "--model", "third", code=1).stderr
        assert "the promoted baseline of support is at the entry other, and apps ask at openai" in refused
        assert served(stage, USERS + NOBODY) == {"second": 205}
