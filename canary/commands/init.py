"""`canary init`: asks for what a first canary.yaml needs, writes it, and says what to expect of it."""

import math
import os
import shlex
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from canary.commands import shell
from canary.config import ConfigError
from canary.config.load import parse
from canary.config.quantity import parse_share

if TYPE_CHECKING:
    from verdict.planner.prospect import Prospect

T = TypeVar("T")

_ADDRESSES = {
    "openai": "https://api.openai.com/v1",
    "anthropic": "https://api.anthropic.com",
    "gemini": "https://generativelanguage.googleapis.com",
}
_VARIABLES = {
    "openai": "OPENAI_BASE_URL",
    "anthropic": "ANTHROPIC_BASE_URL",
    "gemini": "GOOGLE_GEMINI_BASE_URL",
}
_DAYS = 14
_LEVERS = 3


def init(
    name: Annotated[str, typer.Option(help="The standing canary's name.")] = "app",
    api: Annotated[
        str | None, typer.Option(help="The API that your app speaks: openai, anthropic or gemini.")
    ] = None,
    base_url: Annotated[
        str | None, typer.Option(help="The provider's base URL, if not the vendor's own.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="The model that your app asks for today (required).")
    ] = None,
    port: Annotated[str | None, typer.Option(help="The port at which your app finds canary: 8080.")] = None,
    users: Annotated[
        str | None, typer.Option(help="Different users in 14 days; without it 20,000 are assumed.")
    ] = None,
    requests: Annotated[
        str | None, typer.Option("--requests-a-day", help="Requests a day, of all users together.")
    ] = None,
    raters: Annotated[
        str | None, typer.Option(help="The share of requests that a user rates, 12%: by default none.")
    ] = None,
    categories: Annotated[
        str | None, typer.Option(help="The kinds of requests that your app tells: refund,delivery.")
    ] = None,
    critical: Annotated[
        str | None, typer.Option(help="Those that may not get worse, with their part of users: refund=5%.")
    ] = None,
    page: Annotated[
        str | None, typer.Option(help="Who is paged: a URL, slack=URL, pagerduty=KEY, or none.")
    ] = None,
    share: Annotated[str, typer.Option(help="The users who get a candidate.")] = "5%",
    config: shell.ConfigFile = shell.CONFIG,
) -> None:
    """Write a first canary.yaml, a standing canary with comments, and say what to expect of it.

    Asks in a terminal for what no option gives. Never overwrites a file.
    """
    if config.exists():
        shell.fail(f"{config} is there, and init overwrites nothing; name another file with --config", code=2)
    ask = _Asked(talks=sys.stdin.isatty() and sys.stderr.isatty())
    spoken = ask("--api", api, "API of your app: openai, anthropic or gemini", "openai", _api)
    answers = _Answers(
        name=ask("--name", name, "", "app", _text),
        share=ask("--share", share, "", "5%", _a_share),
        api=spoken,
        base_url=ask("--base-url", base_url, "Base URL of its provider", _ADDRESSES[spoken], _text),
        model=ask("--model", model, "Model that it asks for today", None, _text),
        port=ask("--port", port, "Port at which your app finds canary", "8080", _port),
        users=ask("--users", users, f"Different users in {_DAYS} days (Enter: not known yet)", "", _number),
        requests=ask(
            "--requests-a-day", requests, "Requests a day, of all users (Enter: not known yet)", "", _number
        ),
        raters=ask("--raters", raters, "Share of requests that a user rates, 0 for none", "0", parse_share),
        categories=ask(
            "--categories", categories, "Kinds of requests, such as refund,delivery (Enter: none)", "", _names
        ),
        critical=ask(
            "--critical",
            critical,
            "Which may not get worse, such as refund=5% of the users (Enter: none)",
            "",
            _parts,
        ),
        notify=ask("--page", page, "Who is paged: a URL, slack=URL or pagerduty=KEY", "none", _receiver),
    )
    if answers.fewer_requests_than_users:
        shell.fail(f"--requests-a-day: in {_DAYS} days fewer than --users; each asks at least once", code=2)
    text = answers.text()
    with shell.ended_by(ConfigError, code=2):
        read = parse(text, str(config), os.environ, folder=config.parent)
        told = _expectations(answers, read.known[answers.name])
    _write(config, text)
    if _in_use(answers.port):
        shell.say(
            f"127.0.0.1:{answers.port} is in use at the moment: end what listens there, or change the port"
        )
    for each in [f"{config} is written.", *told, *_next(answers, config)]:
        shell.print_text(each)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What an option gives, else a person in the terminal, else what is usual. Bad input ends the command, or
    is asked again."""

    talks: bool

    def __call__(
        self, option: str, given: str | None, question: str, usual: str | None, read: Callable[[str], T]
    ) -> T:
        """`usual` is None for what has to be given."""
        if given is None and self.talks:
            return self._answer(question, usual, read)
        text = usual if given is None else given
        if text is None:
            shell.fail(f"{option} is required where nobody can be asked", code=2)
        with shell.ended_by(ValueError, code=2, about=option):
            return read(text.strip())

    def _answer(self, question: str, usual: str | None, read: Callable[[str], T]) -> T:
        while True:
            text = typer.prompt(question, default=usual, show_default=bool(usual), err=True)
            try:
                return read(str(text).strip())
            except ValueError as problem:
                shell.say(str(problem))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answers:
    """What the file is made of. `requests` are those of a day. `critical` has each part's share of users;
    None: not known."""

    name: str
    share: float
    api: str
    base_url: str
    model: str
    port: int
    users: int | None
    requests: int | None
    raters: float
    categories: Sequence[str]
    critical: Mapping[str, float | None]
    notify: Mapping[str, Any] = field(default_factory=dict)

    @property
    def per_user(self) -> float | None:
        """The requests of a user in the planned days; None if not known."""
        if self.requests is None:
            return None
        from verdict.planner.prospect import USERS

        return self.requests * _DAYS / (self.users or USERS)

    @property
    def fewer_requests_than_users(self) -> bool:
        return self.per_user is not None and self.per_user < 1

    @property
    def expected(self) -> str:
        """What the plan is to expect, as the file has it."""
        parts = [f"{_quoted(name)}: {_percent(part)}" for name, part in self.critical.items() if part]
        told = {
            "users": self.users,
            "requests": None if self.per_user is None else f"{self.per_user:.6g}",
            "rated": _percent(self.raters) if self.raters else None,
            "categories": f"{{{', '.join(parts)}}}" if parts else None,
        }
        return ", ".join(f"{key}: {value}" for key, value in told.items() if value is not None)

    def text(self) -> str:
        """The file."""
        admin = "" if self.port != 8081 else "admin: 127.0.0.1:8082\n"
        named = [*dict.fromkeys([*self.categories, *self.critical])]
        said = (
            f"    # The app says it in the header x-canary-category: {', '.join(named)}.\n" if named else ""
        )
        quoted = ", ".join(map(_quoted, self.critical))
        critical = f"    critical_categories: [{quoted}]\n" if quoted else ""
        about = "    # What the plan expects of your users, until three whole days of them are measured.\n"
        expect = f"{about}    expect: {{{self.expected}}}\n" if self.expected else ""
        return f"""# Written by `canary init`. `canary check` checks it; docs/configuration.md has every key.

# Where your app finds canary. The page is at 127.0.0.1:{8082 if admin else 8081}.
traffic: 127.0.0.1:{self.port}
{admin}
# Where requests go. Without api_key, your app's own key is sent.
providers:
  {self.api}: {{api: {self.api}, base_url: {_quoted(self.base_url)}}}

canaries:
  # The terms of every next candidate. Until one is begun, everybody gets the baseline. Begin one by its name:
  #   canary begin {self.name} --model MODEL
  - name: {_quoted(self.name)}
    standing: true
    # What your app asks for.
    match: {{models: [{_quoted(self.model)}]}}
    baseline: {{provider: {self.api}, model: {_quoted(self.model)}}}
    candidate: {{provider: {self.api}}}
    # Of the users, each of whom keeps their model. The verdict is to be reached in the planned days.
    share: {_percent(self.share)}
    planned_days: {_DAYS}
    # A candidate waits for `canary start`. With auto it starts once it has taken a first request.
    start: manual
{said}{critical}{expect}    # The criteria, fixed once a candidate starts. `canary plan` says how likely they ship a good one.
    rubric:
      - {{metric: error_rate, acceptable: "< 5%", ideal: "< 1%", weight: 40, question: "Do answers arrive?"}}
      - {{metric: answer_faults, acceptable: "<= baseline + 3pp", ideal: "<= baseline + 0pp", weight: 20, question: "Are they whole, and no refusal?"}}
{self._rated_row()}      # If your app says when a case went to a person after all (docs/feedback.md):
      # - {{metric: escalated, acceptable: "<= 10%", ideal: "<= 5%", weight: 40, question: "Who needs a person?"}}
      # If the candidate's price is known (docs/configuration.md#prices):
      # - {{metric: cost_per_request, acceptable: "<= 1.2x baseline", ideal: "<= 1x baseline", weight: 20, question: "What does it cost?"}}
{self._receivers()}"""  # noqa: E501

    def _rated_row(self) -> str:
        bounds = 'acceptable: ">= baseline - 5%", ideal: ">= baseline + 0%"'
        row = f'- {{metric: csat, {bounds}, weight: 40, question: "Are users content?"}}\n'
        return f"      {row}" if self.raters else f"      # Once users rate answers, 1 to 5:\n      # {row}"

    def _receivers(self) -> str:
        if not self.notify:
            others = "or webhook, pagerduty, alertmanager, apprise"
            return f"\n# Nobody is paged.\n# notify: [{{slack: https://hooks.slack.com/…}}]  # {others}\n"
        ((kind, value),) = self.notify.items()
        told = f"{{key: {_quoted(value)}}}" if kind == "pagerduty" else _quoted(value)
        return f"\n# Who is paged, after a rollback for example.\nnotify: [{{{kind}: {told}}}]\n"


def _percent(share: float) -> str:
    return f"{share * 100:.6g}%"


def _quoted(text: str) -> str:
    """The text as a YAML scalar that is read as it is, but for a `${VARIABLE}` in it."""
    import yaml

    return yaml.safe_dump(text, default_style='"', allow_unicode=True, width=math.inf).rstrip()


def _write(config: Path, text: str) -> None:
    """Write the file, if nothing is there."""
    try:
        with config.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as problem:
        shell.fail(f"{config} cannot be written: {problem.strerror}")


def _expectations(answers: _Answers, known: Any) -> Sequence[str]:
    """What to expect of the rubric, from the same plan as `canary plan`. Exits 2 for what it cannot take."""
    from control.operator.status import NOT_SEEN, too_few
    from pages.reports.plan import brief_document
    from verdict.planner.prospect import PlanRequest, levers, prospect_of

    found = prospect_of(known.judged, known.canary.steps, PlanRequest())
    assert found is not None  # noqa: S101 - there are rows and a share
    from common.numbers import rough_percent

    best = levers(found, found.power())[:_LEVERS]
    blind = [f"{NOT_SEEN}."] if not answers.raters else []
    few = too_few(known, found.users)
    return [
        "",
        "What to expect",
        str(brief_document(found)["sentence"]),
        *_of_critical(found, answers.critical),
        *(["What would help:"] if best else []),
        *(f"  {rough_percent(each.ship)} with {each.change}" for each in best),
        *([] if few is None else [f"{few.sentence}."]),
        *blind,
    ]


def _of_critical(found: "Prospect", critical: Mapping[str, float | None]) -> Sequence[str]:
    """What the critical categories need."""
    from common.numbers import count, set_percent
    from verdict.planner.prospect import need_of_parts

    if not critical or found.power().scarcest is None:
        return []
    need = need_of_parts(found)
    told = [
        *([f"a share of {set_percent(need.share)}"] if need.share is not None else []),
        *([count(need.days, "day")] if need.days is not None else []),
    ]
    which = ", ".join(critical)
    if not told:
        return [f"With {which} critical no share up to half and no year is enough: too few users are in it."]
    return [f"With {which} critical you need {', or '.join(told)}."]


def _next(answers: _Answers, config: Path) -> Sequence[str]:
    """What to do now."""
    version = "/v1" if answers.api == "openai" else ""
    named = "" if config == shell.CONFIG else f" --config {shlex.quote(str(config))}"
    return [
        "",
        "Next",
        f"  canary check{named}",
        f"  canary serve{named}",
        f"  {_VARIABLES[answers.api]}=http://127.0.0.1:{answers.port}{version}    for your app, which names "
        "its user in the header x-canary-unit",
        f"  canary begin {answers.name} --model MODEL{named}    once a candidate is there",
        f"  canary plan{named}    the same figures again, and more",
    ]


def _in_use(port: int) -> bool:
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def _text(text: str) -> str:
    if not text or not text.isprintable():
        raise ValueError("give one line of text")
    return text


def _api(text: str) -> str:
    if text not in _ADDRESSES:
        raise ValueError(
            f"{text!r} is not openai, anthropic or gemini; clouds (Azure, Bedrock, Vertex) need more keys: "
            "docs/configuration.md"
        )
    return text


def _port(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise ValueError(f"{text!r} is not a port; give a number from 1 to 65535")
    return int(text)


def _number(text: str) -> int | None:
    number = text.replace(",", "")
    if number and (not number.isdecimal() or not 1 <= int(number) <= 10**9):
        raise ValueError(f"{text!r} is not a number of at least 1")
    return int(number) if number else None


def _a_share(text: str) -> float:
    if not 0 < (share := parse_share(text)) <= 0.5:
        raise ValueError(f"{text} of the users is not a share to try a model on; give one up to 50%")
    return share


def _names(text: str) -> Sequence[str]:
    return [*dict.fromkeys(_text(each.strip()) for each in text.split(",") if each.strip())]


def _parts(text: str) -> Mapping[str, float | None]:
    """`refund=5%,billing`: each with its part of the users, None where it is not said."""
    found: dict[str, float | None] = {}
    for each in _names(text):
        name, equals, part = each.partition("=")
        if not name or (equals and not part):
            raise ValueError(f"{each!r} is not NAME or NAME=SHARE, for example refund=5%")
        found[name.strip()] = _a_part(part) if equals else None
    return found


def _a_part(text: str) -> float:
    if not (part := parse_share(text)):
        raise ValueError("a category that nobody is in decides nothing; leave it out")
    return part


def _receiver(text: str) -> Mapping[str, str]:
    kind, equals, value = text.partition("=")
    if text in ("", "none"):
        return {}
    if equals and kind in ("slack", "pagerduty", "webhook", "alertmanager", "apprise"):
        return {kind: _text(value)}
    if "://" not in text and not text.startswith("${"):
        raise ValueError(
            f"{text!r} is not a URL, slack=URL, pagerduty=KEY, alertmanager=URL, apprise=URL or none"
        )
    return {"slack" if "//hooks.slack.com/" in text else "webhook": _text(text)}
