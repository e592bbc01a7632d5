"""`canary demo`, played whole: what it tells has happened, its last candidate is decided by labels on its own
pages within a day of a clock that the test sets, and whatever it started ends with it."""

import html
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import httpx2
import pytest

from tests.serving import HandClock, eventually

BEGINS = datetime(2027, 3, 1, 22, 30, tzinfo=UTC)
NEXT_NIGHT = datetime(2027, 3, 3, 0, 15, tzinfo=UTC)
"""After the first midnight by which a whole day is over."""


@pytest.fixture
def clock(tmp_path: Path) -> HandClock:
    return HandClock(tmp_path)


@pytest.fixture
def demo(tmp_path: Path, clock: HandClock, request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    """The demo, with the test's options, which then has the test's clock. There is no screen."""
    options = getattr(request, "param", ())
    _set(clock, BEGINS)
    process = subprocess.Popen(
        [sys.executable, "-m", "canary", "demo", *options],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
        env={
            **{
                name: value
                for name, value in os.environ.items()
                if name not in ("DISPLAY", "WAYLAND_DISPLAY")
            },
            "COLUMNS": "200",
            "PYTHONUNBUFFERED": "1",
            **(clock.env if options else {}),
        },
    )
    with process:
        try:
            yield process
        finally:
            process.terminate()  # killed, it could not end what it started


def _set(clock: HandClock, moment: datetime) -> None:
    clock.set(int((moment - datetime.now(UTC)).total_seconds()))


def looks_for_help(first: str, second: str) -> str:
    """Ann, who reads what the answers say: the longer one helps more, but for two that only talk."""
    talk = [any(each in answer for each in ("great care", "truly interesting")) for answer in (first, second)]
    return "ba"[(len(first) > len(second)) ^ any(talk)]


_FIELDS = re.compile(r'name="(check|onwards|form_token|exchange)" value="([^"]*)"')
_ANSWER = re.compile(r'aria-label="Answer [AB]">([^<]*)<')


@contextmanager
def _logged_in(admin: str, token: str) -> Iterator[httpx2.Client]:
    """A browser's session with the admin page."""
    with httpx2.Client(base_url=admin, trust_env=False, timeout=60.0) as browser:
        fields = dict(_FIELDS.findall(browser.get("/login").text))
        assert browser.post("/login", data={**fields, "token": token}).status_code == 303
        yield browser


def _sit(
    browser: httpx2.Client, who: str, says: Callable[[str, str], str], labels: int, asked: str = ""
) -> str:
    """Somebody labels so many pairs with nothing but what the page shows; the page after them."""
    for _ in range(labels):
        page = browser.get(f"{LABEL}?who={who}{asked}").text
        first, second = map(html.unescape, _ANSWER.findall(page))
        form = {**dict(_FIELDS.findall(page)), "right": says(first, second), "who": who}
        assert browser.post(LABEL, data=form).status_code == 303
    return html.unescape(browser.get(f"{LABEL}?who={who}{asked}").text)


LABEL = "/canaries/people-decide/label"


def _people_decide(admin: str, token: str, text: str, clock: HandClock) -> None:
    """The last verdict waits for labels, which the judge's word cannot replace, and for the look of the first
    night: what is labelled later has no part in it."""
    verdict = re.findall(r"the verdict: (\S+)", text)[0]
    with _logged_in(admin, token) as browser:
        page = _sit(browser, "ann", looks_for_help, 20)
        assert "gpt-6" not in page  # it does not tell which answer is whose
        assert "the candidate's, what the judge said, or how others labelled" in page
        page = browser.get(verdict).text
        assert "Extend the canary" in page
        assert "waits for labels: 20 of 50 of randomly drawn pairs" in page
        assert "the candidate’s in 100 %" in page
        _sit(browser, "ann", looks_for_help, 50)
        page = _sit(browser, "bob", looks_for_help, 30, "&second=1")
        assert "Labelled by two people: 30 pairs. They agree on 30: 100" in page
        assert "is open until day 1, the first on which a look may ship" in browser.get(verdict).text
    _set(clock, NEXT_NIGHT)
    with _logged_in(admin, token) as browser:
        _sit(browser, "ann", lambda _, __: "neither", 1)  # the page then makes its report anew
        page = html.unescape(browser.get(verdict).text)
        assert "<h1>Ship" in page
        assert "As of the look of day 1 (3 Mar 2027, 00:00 UTC)" in page
        assert re.search(r"Passes at a risk of (under )?[0-4]\.\d+ %; 5 % is allowed\.", page)  # drawn anew


def _told(demo: subprocess.Popen[str]) -> str:
    """What the demo says until it waits for its end."""
    assert demo.stdout is not None
    told = []
    for line in demo.stdout:
        told.append(line)
        if "press Ctrl-C" in line:
            break
    return "".join(told)


@pytest.mark.more
@pytest.mark.timeout(900)
@pytest.mark.parametrize("demo", [["--open"]], indirect=True, ids=["open"])
def test_the_demo_tells_its_stories_and_ends_with_all_that_it_started(
    demo: subprocess.Popen[str], tmp_path: Path, clock: HandClock
) -> None:
    text = _told(demo)
    assert text.count("rolled back after") == 2
    assert len(re.findall(r"; 0 of \d+ callers", text)) == 2, "a caller saw an error"
    # The page names what no status shows, whichever of the rules about faults was first to page.
    assert "tool calls or JSON that an app cannot use" in text
    assert re.search(r"^Ship( now)?  passes\b", text, re.MULTILINE)  # who is in the cohort is drawn anew
    folder = tmp_path / "canary-demo"
    assert "passes: " in (folder / "report.html").read_text()
    admin = json.loads((folder / "data-0" / "server.json").read_text())["admin"]
    assert httpx2.get(f"{admin}/healthz", trust_env=False).status_code == 200
    token = re.findall(r"token (\w+)", text)[0]
    _shows_the_made_up(admin, token)
    _is_copied(text, tmp_path)
    _people_decide(admin, token, text, clock)
    ours = _below(demo.pid)
    assert len(ours) >= 3  # provider, supervisor, and the supervisor's own

    demo.send_signal(signal.SIGTERM)
    assert demo.wait(60) == 0
    eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in ours))


def test_a_demo_that_is_signalled_again_while_it_ends_leaves_nothing_running(
    demo: subprocess.Popen[str],
) -> None:
    assert demo.stdout is not None
    assert any("canary serve at" in line for line in demo.stdout)
    ours = _below(demo.pid)
    assert len(ours) >= 2

    while demo.poll() is None:  # as `timeout` does, and who presses Ctrl-C twice
        demo.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            demo.wait(0.05)
    eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in ours))


def _is_copied(text: str, folder: Path) -> None:
    """The demo's line for a shell, pasted, is what the commands need; they exit by what they find."""
    line = re.findall(r"^export .*", text, re.MULTILINE)[0]
    canary = f"{sys.executable} -m canary"
    lines = [
        line,
        f"{canary} status -o json > status || true",
        f"{canary} report made-up-ships -o json > report || true",
    ]
    subprocess.run(["sh", "-ec", "\n".join(lines)], cwd=folder, check=True, timeout=120)
    states = {each["name"]: each["state"] for each in json.loads((folder / "status").read_text())["canaries"]}
    assert states["made-up-goes-on"] == "running"
    assert json.loads((folder / "report").read_text())["canary"] == "made-up-ships"


def _shows_the_made_up(admin: str, token: str) -> None:
    """One release each that was rolled back, that ships, and that goes on, on pages that say where from."""
    with httpx2.Client(
        base_url=admin, headers={"authorization": f"Bearer {token}"}, trust_env=False, timeout=60.0
    ) as http:
        found = http.get("/api/releases").json()["releases"]
        made_up = {each["state"]: each for each in found if each["candidate"]["provider"] == "made-up"}
        assert made_up.keys() == {"rolled_back", "promoted", "running"}
        for each in made_up.values():
            assert "Made up by" in http.get(f"/releases/{each['id']}").text
        for canary, says in (("made-up-fails", "rolled back"), ("made-up-ships", "promoted")):
            assert says in http.get(f"/canaries/{canary}").text
        assert "made-up/assistant-3" in http.get("/releases").text
        assert http.get("/canaries/made-up-ships/report").status_code == 200
        state = {each["name"]: each["state"] for each in http.get("/api/status").json()["canaries"]}
        assert state["made-up-goes-on"] == "running"


def _below(pid: int) -> list[int]:
    """All processes that this one started, and those that they started."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in map(int, (task / "children").read_text().split()):
            found += [child, *_below(child)]
    return found
