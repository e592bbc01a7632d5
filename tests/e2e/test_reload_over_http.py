"""A config that changes under a running server: what it no longer names is let go of."""

import json
import os
import signal
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

from tests.e2e.stage import chat, worker_pids
from tests.reliability.answers import answer
from tests.reliability.callers import ask
from tests.reliability.rig import rigged
from tests.serving import eventually

CONFIG = """
providers:
  kept: {api: openai, base_url: "<kept>/v1"}
  gone: {api: openai, base_url: "<gone>/v1"}
"""


def test_a_reload_drops_the_connections_to_a_provider_that_it_removes(tmp_path: Path) -> None:
    with rigged(tmp_path, CONFIG, {"kept": answer, "gone": answer}) as stage:
        provider = stage.provider
        for name in ("kept", "gone"):
            path = f"/{name}/v1/chat/completions"
            assert ask(stage.server.traffic, chat("gpt-4o", "user-1"), path=path).status == 200
        assert len(provider.open_lines) == 2  # type: ignore[attr-defined]
        (worker,) = worker_pids(stage.server)
        text = stage.server.config.read_text()
        stage.configure("\n".join(line for line in text.splitlines() if "gone" not in line))
        stage.server.process.send_signal(signal.SIGHUP)
        # Sooner than an idle connection is let go of anyway (15 s).
        eventually(lambda: len(provider.open_lines) == 1, 10.0)  # type: ignore[attr-defined]
        assert ask(stage.server.traffic, chat("gpt-4o", "user-1"), path=path).status == 404
        assert worker_pids(stage.server) == [worker]


def test_a_request_that_is_still_arriving_is_served_by_the_entry_that_a_reload_removes(
    tmp_path: Path,
) -> None:
    with rigged(tmp_path, CONFIG, {"kept": answer, "gone": answer}) as stage:
        body = json.dumps(chat("gpt-4o", "user-1")).encode()
        host = stage.server.traffic.removeprefix("http://")
        with closing(HTTPConnection(host, timeout=30.0)) as caller:
            caller.putrequest("POST", "/gone/v1/chat/completions")
            caller.putheader("content-type", "application/json")
            caller.putheader("content-length", str(len(body)))
            caller.endheaders(body[:10])
            text = stage.server.config.read_text()
            stage.configure("\n".join(line for line in text.splitlines() if "gone" not in line))
            path = "/gone/v1/chat/completions"
            eventually(lambda: ask(stage.server.traffic, chat("gpt-4o", "user-1"), path=path).status == 404)
            caller.send(body[10:])
            assert caller.getresponse().status == 200


def test_a_hangup_is_for_the_supervisor_and_ends_no_child(tmp_path: Path) -> None:
    with rigged(tmp_path, CONFIG, {"kept": answer, "gone": answer}) as stage:
        children = stage.server.children()
        for pid in children:
            os.kill(pid, signal.SIGHUP)
        stage.server.process.send_signal(signal.SIGHUP)
        eventually(lambda: stage.server.log_file.read_text().count("config.reloaded") == len(children))
        assert stage.server.children() == children
