"""The controller of a single machine, with a real spool, store and receiver, while the disk is slow."""

import asyncio
import json
import os
import socket
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest
import uvicorn
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.testclient import TestClient

from canary.config import parse
from canary.programs.controller import AftermathSentences
from canary.python_path import environment, program
from common.whole_file import read_document
from console.access.guard import Access
from console.app import health_app
from control.controller import Controller
from control.feed.events import SILENT
from control.feed.joins import FeedbackJoins
from control.feed.spool import SpoolSource
from control.fleet.leadership import SoleLeader
from control.fleet.publisher import FilePublisher
from control.jobs.reports import RETRY_S
from control.jobs.segment_job import SegmentProgram
from control.states.rollouts import PendingRollbacks
from pages.words.reasons import sentences
from records.outcome import Outcome
from records.shared import states_file
from records.shared.states_file import StatesWatch
from records.spool.writer import SpoolWriter
from records.store import Store
from routing.canary import ArmName
from routing.states import States
from verdict.decision import reports

CONFIG = """\
providers: {openai: {api: openai, base_url: "http://127.0.0.1:1/v1"}}
canaries:
  - name: trial
    match: {models: [a]}
    baseline: {provider: openai, model: a}
    candidate: {provider: openai, model: b}
    share: 5%
"""
LONG_S = 30.0


def outcome(number: int, arm: ArmName) -> Outcome:
    failed = arm == "candidate"
    return Outcome(
        exchange_id=f"x{number}",
        at=time.time(),
        mono=time.monotonic(),
        outcome="error" if failed else "ok",
        error_type="provider_5xx" if failed else None,
        canary="trial",
        run=1,
        phase=1,
        share=0.05,
        arm=arm,
        reason="cohort",
        unit=f"unit-{number}",
        latency_s=0.1,
    )


def deciding(folder: Path, store: Store, more: str = "") -> Controller:
    """A single machine's controller over the folder's spool. `more` is added to the config."""
    return Controller(
        SpoolSource(folder / "spool", folder / "live.json", boot="0" * 32, joins=FeedbackJoins(store)),
        SoleLeader(),
        FilePublisher(folder / "plan.json"),
        store=store,
        roller=SegmentProgram(
            command=program("canary.programs.roller"),
            environment=environment(),
            url="sqlite:///canary.db",
            data=folder,
            outcomes="outcomes",
        ),
        settings=parse(CONFIG + more, "canary.yaml", {}).control,
        pending=PendingRollbacks(folder / "rollbacks.json"),
        trials=folder / "trials.json",
        assignment_key=lambda: b"key",
        own_url="http://127.0.0.1:1",
        troubles=list,
        sentences=sentences,
        aftermath=AftermathSentences(),
    )


class Pager:
    """A webhook receiver."""

    def __init__(self) -> None:
        self.pages: list[str] = []
        self.paged = asyncio.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/"
        app = Starlette(routes=[Route("/", self._take, methods=["POST"])])
        self._server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off"))

    async def _take(self, request: Request) -> Response:
        self.pages.append((await request.json())["event"])
        self.paged.set()
        return Response()

    async def __aenter__(self) -> "Pager":
        self._serving = asyncio.create_task(self._server.serve([self._listener]))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.should_exit = True
        await self._serving


def test_a_page_and_its_rollback_do_not_wait_for_a_checkpoint_that_the_disk_does_not_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fast, fsync = threading.Event(), os.fsync

    def slow(fd: int) -> None:
        fast.wait(2 * LONG_S)
        fsync(fd)

    async def story(store: Store, spool: SpoolWriter) -> None:
        async with Pager() as pager:
            controller = deciding(tmp_path, store, f"notify: [{{webhook: '{pager.url}'}}]\n")
            await controller.turn()
            monkeypatch.setattr(os, "fsync", slow)
            for number in range(40):
                spool.append(outcome(number, "candidate" if number % 2 else "baseline"))
            loops = [asyncio.create_task(each) for each in controller.loops()]
            try:
                await asyncio.wait_for(pager.paged.wait(), LONG_S)
                plan = read_document(tmp_path / "plan.json", States)
                assert plan is not None and plan.states["trial"].state == "rolled_back"
                assert not (tmp_path / "live.json").exists()  # the checkpoint is still on its way
            finally:
                fast.set()
                for loop in loops:
                    loop.cancel()
                await asyncio.gather(*loops, return_exceptions=True)
                await controller.close()
            assert pager.pages[0] == "page"
            kept = json.loads((tmp_path / "live.json").read_bytes())
            assert kept["canaries"]["trial"]["incident"]["rules"]

    with closing(Store.open("sqlite:///canary.db", tmp_path)) as store:
        spool = SpoolWriter(tmp_path / "spool", worker=0)
        asyncio.run(story(store, spool))
        spool.close()


@pytest.mark.timeout(60)
def test_notices_of_a_controller_that_does_not_lead_leave_the_loop_to_others(tmp_path: Path) -> None:
    async def story(store: Store) -> None:
        controller = deciding(tmp_path, store)  # before its first turn it does not watch
        controller._has_notices.set()
        notifying = asyncio.create_task(controller._notify())
        for _ in range(100):
            await asyncio.sleep(0)
        assert not controller.watches and not notifying.done()
        notifying.cancel()
        await asyncio.gather(notifying, return_exceptions=True)

    with closing(Store.open("sqlite:///canary.db", tmp_path)) as store:
        SpoolWriter(tmp_path / "spool", worker=0).close()
        asyncio.run(story(store))


def test_a_nightly_report_that_cannot_be_made_is_said_by_readyz_and_status_until_it_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report_of = reports.report_of

    def fails(*_args: object, **_named: object) -> None:
        raise ZeroDivisionError("division by zero")

    async def story(store: Store) -> None:
        (tmp_path / "spool").mkdir()
        controller = deciding(tmp_path, store, 'report_job: {at: "00:00", timezone: UTC}\n')
        await controller.turn()
        access = Access(admin_token=lambda: "t", metrics_token=lambda: None, loopback=False)
        ready = TestClient(health_app(controller.operator.degraded, CollectorRegistry(), access))
        job, now = controller._report_job, time.time()
        nobody = SILENT
        for failing in (True, False):
            monkeypatch.setattr(reports, "report_of", fails if failing else report_of)
            job.turn(now + (0 if failing else RETRY_S))
            said = [each for each in controller.operator.status()["degraded"] if each != nobody]
            assert [each.split(" since ")[0] for each in said] == (
                ["the nightly report of trial has failed"] if failing else []
            )
            assert ready.get("/readyz").text == f"degraded: {'; '.join([*said, nobody])}\n"
        await controller.close()

    with closing(Store.open("sqlite:///canary.db", tmp_path)) as store:
        asyncio.run(story(store))


def test_workers_that_follow_newer_states_than_a_restored_store_s_are_overtaken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("control.controller.OUTRUN_FOR_S", 0.0)
    plan = tmp_path / "plan.json"
    states_file.write(plan, States(version=40, refreshed_at=time.time()))

    async def story(store: Store) -> None:
        followed = StatesWatch(plan)
        assert followed.poll(time.time(), time.monotonic()).version == 40
        controller = deciding(tmp_path, store)
        for _ in range(3):
            await controller.turn()
        assert followed.poll(time.time(), time.monotonic()).states["trial"].state == "running"
        await controller.close()

    with closing(Store.open("sqlite:///canary.db", tmp_path)) as store:
        asyncio.run(story(store))
