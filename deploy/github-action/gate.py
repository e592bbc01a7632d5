"""The GitHub action's step: starts a canary, waits, and reports, through the admin API. Needs only Python.

Exit codes are those of canary's commands: 0 fine or ship, 1 no answer or refused, 2 an invalid input,
3 don't ship, 4 extend, 5 rolled back.
"""

import json
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import Request, urlopen

ASK_EVERY_S = 15.0
TIMEOUT_S = 30.0
SILENCE_S = 120.0
"""How long the server may be unreachable while waiting; it may be restarting."""

SHIPS = ("ship_now", "ship", "ship_with_caveats")
VERDICT_EXITS = {**dict.fromkeys(SHIPS, 0), "dont_ship": 3, "extend": 4}
ROLLED_BACK = 5


class Ended(Exception):
    """Ends the gate with an exit code and a message."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Gate:
    """The action's inputs, and its requests to the server."""

    admin: str
    token: str
    canary: str
    start: bool
    reason: str
    wait_s: float
    for_verdict: bool

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Gate":
        """Read the inputs. Raises Ended with code 2 if one is invalid."""
        try:
            wait_s = float(environment["GATE_WAIT_MINUTES"]) * 60
        except ValueError:
            raise Ended(2, "wait-minutes must be a number, for example 60") from None
        if environment["GATE_REQUIRE"] not in ("no-rollback", "verdict"):
            raise Ended(2, "require must be no-rollback or verdict")
        if environment["GATE_START"] not in ("true", "false"):
            raise Ended(2, "start must be true or false")
        if not environment["CANARY_ADMIN"].startswith(("http://", "https://")):
            raise Ended(2, "admin must be a URL, for example https://canary.example.com")
        return cls(
            admin=environment["CANARY_ADMIN"].rstrip("/"),
            token=environment["CANARY_ADMIN_TOKEN"],
            canary=environment["GATE_CANARY"],
            start=environment["GATE_START"] == "true",
            reason=environment["GATE_REASON"],
            wait_s=wait_s,
            for_verdict=environment["GATE_REQUIRE"] == "verdict",
        )

    def ask(self, path: str, document: Mapping[str, Any] | None = None) -> str:
        """The answer's text. Raises OSError without an answer, and Ended with the server's message if it
        refuses."""
        request = Request(  # noqa: S310 - the operator's own address
            self.admin + path,
            data=None if document is None else json.dumps(document).encode(),
            headers={"authorization": f"Bearer {self.token}", "content-type": "application/json"},
        )
        try:
            with urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310
                return str(answer.read().decode())
        except HTTPError as error:
            if error.code >= 500:
                raise OSError(_words(error)) from None
            raise Ended(1, f"{path}: {_words(error)}") from None

    @property
    def _path(self) -> str:
        return f"/api/canaries/{quote(self.canary, safe='')}"

    def state(self) -> str:
        """The canary's state now."""
        canaries = json.loads(self.ask("/api/status"))["canaries"]
        for each in canaries:
            if each["name"] == self.canary:
                return str(each["state"])
        known = ", ".join(each["name"] for each in canaries) or "none"
        raise Ended(1, f"the server has no canary {self.canary!r}; it has: {known}")

    def report(self, form: str) -> str:
        """The report as `json` or `markdown`."""
        return self.ask(f"{self._path}/report?form={form}")

    def begin(self) -> None:
        """Start the canary if it is waiting and `start` is set."""
        if self.start and self.state() == "waiting":
            who = os.environ.get("GITHUB_ACTOR") or "a pipeline"
            self.ask(f"{self._path}/start", {"who": who, "reason": self.reason})
            _say(f"{self.canary}: started")

    def watch(self) -> str:
        """Poll until the time is up, the canary is rolled back or ended, or there is a verdict. Returns the
        state."""
        deadline = time.monotonic() + self.wait_s
        answered_at = time.monotonic()
        while True:
            try:
                state, answered_at = self.state(), time.monotonic()
                if state in ("rolled_back", "ended") or self._decided():
                    return state
            except OSError as problem:
                if time.monotonic() - answered_at > SILENCE_S:
                    raise Ended(1, f"no answer from {self.admin}: {problem}") from None
                state = "unknown"
            left = deadline - time.monotonic()
            if left <= 0:
                return state
            time.sleep(min(ASK_EVERY_S, left))

    def _decided(self) -> bool:
        return self.for_verdict and json.loads(self.report("json"))["verdict"] != "extend"


def run(gate: Gate, environment: Mapping[str, str]) -> int:
    """Run the step; returns its exit code."""
    gate.begin()
    state = gate.watch()
    verdict = str(json.loads(gate.report("json"))["verdict"])
    _append(environment.get("GITHUB_OUTPUT"), f"verdict={verdict}\nstate={state}\n")
    _append(environment.get("GITHUB_STEP_SUMMARY"), gate.report("markdown") + "\n")
    _say(f"{gate.canary}: {state}, verdict {verdict}")
    if state == "rolled_back":
        return ROLLED_BACK
    return VERDICT_EXITS[verdict] if gate.for_verdict else 0


def main() -> int:
    """Run with the action's variables."""
    try:
        return run(Gate.from_environment(os.environ), os.environ)
    except Ended as end:
        _say(str(end))
        return end.code
    except OSError as problem:
        _say(f"no answer from the server: {problem}")
        return 1


def _words(error: HTTPError) -> str:
    try:
        return str(json.loads(error.read())["error"])
    except (ValueError, KeyError, TypeError):
        return f"the server answered {error.code}"


def _append(path: str | None, text: str) -> None:
    if path:
        with Path(path).open("a") as file:
            file.write(text)


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")


if __name__ == "__main__":
    sys.exit(main())
