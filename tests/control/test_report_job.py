"""The report job: each running canary once a day, told when the verdict is reached, changes, or is due."""

import asyncio
import json
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Connection
from structlog.testing import capture_logs

from alerts.incidents.notice import OWNER, Receiver, ReceiverKind
from canary.config import parse
from control.jobs.reports import RETRY_S, TELL_FOR_S, Announcer, ReportJob, is_news
from control.settings import ControlSettings
from control.states.rollouts import Rollouts
from pages.words.reasons import sentences
from records.errors import StoreDown
from records.store import Act, Store
from records.store.reports import DailyReport, DailyReports
from routing import transitions
from tests.e2e.mailbox import Mailbox, smtp_server
from tests.e2e.receivers import listening_hook
from tests.verdict.conftest import START, World, exchanges
from tests.verdict.shipping import Shipper
from verdict.decision.document import Report, to_json
from verdict.decision.reports import report_of
from verdict.terms.judged_canary import ReportSettings
from verdict.terms.plan import DAY_S

TEXT = """\
providers: {openai: {api: openai, base_url: "http://127.0.0.1:1/v1"}}
report_job: {at: "09:00", timezone: Europe/Berlin}
canaries:
  - name: c
    match: {models: [gpt-4o]}
    baseline: {provider: openai, model: gpt-4o}
    candidate: {provider: openai, model: gpt-5}
    share: 50%
    owner: anna@example.com
    minimum_days: 1
    rubric:
      - {metric: error_rate, acceptable: "< 90%", ideal: "< 80%", weight: 1, question: "Any?"}
"""
SETTINGS = parse(TEXT, "canary.yaml", {}).control
START_DAY = datetime.fromtimestamp(START, UTC).replace(hour=0, minute=0, second=0, microsecond=0).timestamp()


def nine(day: int) -> float:
    """09:00 in Berlin on the day of the start (0) or a later one, UTC seconds."""
    job = SETTINGS.report_job
    assert job is not None
    return job.today(START_DAY + day * DAY_S + DAY_S / 2)[1]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A store in which `c` runs since START, with three days of traffic."""
    with closing(Store.open("sqlite:///canary.db", tmp_path)) as opened:
        Rollouts(opened, lambda plan: None).reconcile(SETTINGS, START)
        Shipper(opened).lines(exchanges(World(users=500, share=0.5, days=2.9)))
        yield opened


def a_job(store: Store, settings: ControlSettings = SETTINGS) -> ReportJob:
    return ReportJob(store, lambda: settings, Announcer(lambda: settings).put, sentences)


def an_announcer(url: str, kind: ReceiverKind = "webhook", admin_url: str | None = None) -> Announcer:
    """Tells one receiver."""
    settings = replace(SETTINGS, notify=(Receiver(kind=kind, url=url),), admin_url=admin_url)
    return Announcer(lambda: settings)


def days(store: Store) -> Sequence[str]:
    return [each.day for each in DailyReports(store).entries("c", 100)]


def day_of(now: float) -> str:
    return datetime.fromtimestamp(now, UTC).date().isoformat()


def test_a_report_is_made_at_its_time_once_a_day_and_is_that_of_the_command(store: Store) -> None:
    job = a_job(store)
    assert not job.turn(nine(3) - 1)
    assert job.turn(nine(3))
    assert not job.turn(nine(3) + 3600.0)
    kept = DailyReports(store).newest("c")
    assert kept is not None
    assert (kept.day, kept.at) == (day_of(nine(3)), nine(3))
    shown = json.loads(json.dumps(to_json(report_of(SETTINGS.reports, "c", store, now=nine(3)), sentences)))
    assert {**kept.document, "details": None} == {**shown, "details": None}
    assert job.turn(nine(4))
    assert days(store) == [day_of(nine(4)), day_of(nine(3))]


def test_the_owner_is_mailed_a_verdict_once_it_is_reached(store: Store) -> None:
    mailbox = Mailbox()
    with smtp_server(mailbox) as address:
        announcer = an_announcer(f"mailto://{address}/{OWNER}?from=canary@example.com", "apprise")
        job = ReportJob(store, lambda: SETTINGS, announcer.put, sentences)
        assert job.turn(nine(3))
        asyncio.run(announcer.tell(nine(3)))
    ((recipients, mail),) = mailbox.mails
    assert recipients == ["anna@example.com"]
    assert mail["subject"].startswith("c: the verdict is ship now")


def test_a_restart_makes_up_for_todays_report_but_makes_none_twice(store: Store) -> None:
    late = nine(3) + 5 * 3600.0
    assert a_job(store).turn(late)
    assert a_job(store).turn(late + 60.0)
    assert days(store) == [day_of(late)]
    early = nine(5) - 3600.0
    assert not a_job(store).turn(early)


def test_without_a_time_or_a_running_canary_there_is_no_report(store: Store) -> None:
    assert not a_job(store, replace(SETTINGS, report_job=None)).turn(nine(3))
    act = Act(at=nine(2), action="rollback", who="jane", reason="r")
    rollouts = Rollouts(store, lambda plan: None)
    rollouts.change("c", act, lambda state: transitions.rollback(state, reason="r", now=act.at))
    rollouts.settle()
    assert not a_job(store).turn(nine(3))
    assert days(store) == []


def test_what_fails_is_logged_and_tried_again_later(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    answers, failures = store.reading, [StoreDown("away")]

    def reading() -> AbstractContextManager[Connection]:
        if failures:
            raise failures.pop()
        return answers()

    monkeypatch.setattr(store, "reading", reading)
    job = a_job(store)
    with capture_logs() as logs:
        assert job.turn(nine(3))
        assert not job.turn(nine(3) + RETRY_S - 1)
        assert job.turn(nine(3) + RETRY_S)
    assert [each["event"] for each in logs] == ["report.not_made", "report.made"]


def two_canaries(opened: Store) -> ControlSettings:
    """`c` and `d` run since START, with three days of traffic of `c`."""
    first, second = TEXT.split("canaries:\n")[1], TEXT.split("canaries:\n")[1].replace("name: c", "name: d")
    second = second.replace("[gpt-4o]", "[gpt-4o-mini]")
    settings = parse(TEXT.split("canaries:\n")[0] + "canaries:\n" + first + second, "canary.yaml", {}).control
    Rollouts(opened, lambda plan: None).reconcile(settings, START)
    return settings


def test_a_report_that_cannot_be_made_is_a_trouble_told_once_and_the_other_canaries_have_theirs(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = {"c"}

    def made(reports: ReportSettings, name: str, store: Store, *, now: float, run: int) -> Report:
        if name in broken:
            raise ZeroDivisionError("division by zero")
        return report_of(reports, name, store, now=now, run=run)

    monkeypatch.setattr("verdict.decision.reports.report_of", made)
    settings = two_canaries(store)
    with listening_hook() as hook, capture_logs() as logs:
        told = replace(settings, notify=(Receiver(kind="webhook", url=hook.url),))
        announcer = Announcer(lambda: told)
        job = ReportJob(store, lambda: told, announcer.put, sentences)
        for later in (0.0, 0.0, 1.0, RETRY_S, DAY_S, DAY_S, DAY_S + RETRY_S):
            job.turn(nine(3) + later)
            asyncio.run(announcer.tell(nine(3) + later))
        assert [each.canary for each in DailyReports(store).entries("d", 100)] == ["d", "d"]
        assert days(store) == []
        (trouble,) = job.troubles
        since = datetime.fromtimestamp(nine(3), UTC).strftime("%d %B %H:%M UTC")
        assert trouble == (
            f"the nightly report of c has failed since {since} "
            "(ZeroDivisionError: division by zero); none was made yet, it is tried again every 10 minutes"
        )
        broken.clear()
        assert job.turn(nine(4) + 2 * RETRY_S)
        asyncio.run(announcer.tell(nine(4) + 2 * RETRY_S))
        assert days(store) == [day_of(nine(4))]
        assert job.troubles == []
    (failed,) = [each for each in hook.bodies if each["event"] == "report_failed"]
    assert (failed["canary"], failed["headline"]) == ("c", trouble)
    assert any("ZeroDivisionError" in each.get("trace", "") for each in logs)


def test_a_failed_report_is_no_trouble_once_its_run_is_over_or_no_report_is_wanted(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_args: object, **_named: object) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("verdict.decision.reports.report_of", fails)
    wanted = [SETTINGS]
    job = ReportJob(store, lambda: wanted[0], lambda news: None, sentences)
    job.turn(nine(3))
    assert len(job.troubles) == 1
    wanted[0] = replace(SETTINGS, report_job=None)
    job.turn(nine(3) + 1)
    assert job.troubles == []
    wanted[0] = SETTINGS
    job.turn(nine(3) + RETRY_S)
    assert len(job.troubles) == 1
    act = Act(at=nine(3) + 700, action="rollback", who="jane", reason="r")
    rollouts = Rollouts(store, lambda plan: None)
    rollouts.change("c", act, lambda state: transitions.rollback(state, reason="r", now=act.at))
    rollouts.settle()
    job.turn(nine(4) - 3600)
    assert job.troubles == []


def test_the_verdict_is_told_when_it_is_reached_and_not_every_day(store: Store) -> None:
    with listening_hook() as hook:
        announcer = an_announcer(hook.url)
        job = ReportJob(store, lambda: SETTINGS, announcer.put, sentences)
        for day in (3, 4):
            job.turn(nine(day))
            asyncio.run(announcer.tell(nine(day)))
    verdicts = [each.verdict for each in DailyReports(store).entries("c", 100)]
    assert verdicts == ["ship_now", "ship_now"]
    (told,) = hook.bodies
    assert told.pop("headline").startswith("c: the verdict is ship now")
    at = datetime.fromtimestamp(nine(3), UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    about = {"canary": "c", "verdict": "ship_now", "owner": "anna@example.com"}
    assert told == {"event": "verdict_reached", **about, "at": at}


def test_slack_is_told_with_a_link_to_the_promotion_s_dialog(store: Store) -> None:
    with listening_hook() as hook:
        announcer = an_announcer(hook.url, "slack", "https://canary.example/")
        ReportJob(store, lambda: SETTINGS, announcer.put, sentences).turn(nine(3))
        asyncio.run(announcer.tell(nine(3)))
    (told,) = hook.bodies
    link = told["text"].splitlines()[-1]
    assert link.startswith("<https://canary.example/canaries/c?order=promote&amp;reason=the+verdict+of+")
    assert link.endswith("is+ship+now|Promote…> · <https://canary.example/canaries/c/verdict|Report>")


def test_a_receiver_that_is_away_is_told_later_for_a_day(store: Store) -> None:
    with listening_hook() as hook:
        pass
    announcer = an_announcer(hook.url)
    ReportJob(store, lambda: SETTINGS, announcer.put, sentences).turn(nine(3))
    with capture_logs() as logs:
        for later in (0.0, 30.0, 60.0, TELL_FOR_S, TELL_FOR_S + 60.0):
            asyncio.run(announcer.tell(nine(3) + later))
    assert [each["problem"] for each in logs] == ["ConnectError"] * 3


def report(verdict: str, looks: Sequence[int] = ()) -> DailyReport:
    document = {"plan": {"planned_days": 14, "looks": list(looks)}, "reasons": []}
    return DailyReport(canary="c", run=1, day="d", at=0.0, verdict=verdict, document=document)


@pytest.mark.parametrize(
    ("before", "now", "news"),
    [
        (None, report("extend"), False),
        (None, report("ship"), True),
        (report("extend"), report("extend"), False),
        (report("extend"), report("dont_ship"), True),
        (report("ship"), report("ship"), False),
        (report("ship"), report("extend"), True),
        (report("extend", [13]), report("extend", [13, 14]), True),
        (report("extend", [13, 14]), report("extend", [13, 14]), False),
        (None, report("extend", [14]), True),
    ],
)
def test_news_is_the_first_verdict_another_one_and_the_planned_day(
    before: DailyReport | None, now: DailyReport, news: bool
) -> None:
    assert is_news(before, now) is news
