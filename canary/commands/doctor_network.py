"""The checks of `canary doctor` over the network: providers, receivers, Redis, the running server.

For providers and receivers it only connects: it sends no request and uses no key. Of the clouds it asks for
the tokens that provider entries need.
"""

import re
import socket
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import uvloop

from alerts.incidents.apprise_receiver import NOT_INSTALLED, is_installed, wrong_with
from alerts.incidents.notice import Receiver
from bench.preflight.run import ProbeAnswer, ProbedArm, probe
from canary.commands.client import AdminClient, ServerAddress, ServerNotReached
from canary.commands.doctor_machine import Diagnosis, broken, fine, skew, warning
from canary.config import Config
from canary.config.quantity import is_loopback
from canary.programs.routes import routes
from pages.words.status import astray, split_off, unassigned, unmatched
from proxy.providers.credentials import Credentials
from proxy.providers.provider import CLOUD_AUTH, Provider
from records.facts.counts import REFUSALS

SOMEBODY = "anna@example.com"
"""An owner, to see whether Apprise knows a URL with one."""
CONNECT_WITHIN_S = 3.0
TOKEN_WITHIN_S = 5.0
PROBE_WITHIN_S = 120.0
MOST = 0.5
DAY_S = 86400.0
_PORTS = {"https": 443, "http": 80}


def destinations(config: Config) -> dict[str, Callable[[], Sequence[Diagnosis]]]:
    """A check for each provider and each receiver."""
    checks: dict[str, Callable[[], Sequence[Diagnosis]]] = {}
    for provider in config.providers.values():
        name = f"provider {provider.name}"
        checks[name] = partial(_connected, provider.base_url, provider.ca_file)
        if provider.own_auth in CLOUD_AUTH:
            checks[f"credential {provider.name}"] = partial(_credential, provider)
    for place, receiver in enumerate(config.notify):
        name = f"notify[{place}] {receiver.kind}"
        connected = partial(_connected, receiver.url, None, receives=True)
        checks[name] = partial(_apprise, receiver) if receiver.kind == "apprise" else connected
    return checks


def _apprise(receiver: Receiver) -> list[Diagnosis]:
    """Whether Apprise is installed and knows the URL. It sends nothing, and so connects to nobody."""
    if not is_installed():
        return [broken(NOT_INSTALLED, "")]
    if problem := wrong_with(receiver.of(SOMEBODY).url):
        return [broken(problem, "fix it; `apprise -vv --dry-run URL` says what is wrong")]
    return [
        fine(f"Apprise knows {receiver.name.partition(' ')[2]}://; not tried, since it would send a message")
    ]


def _credential(provider: Provider) -> list[Diagnosis]:
    with closing(Credentials.ready([provider], TOKEN_WITHIN_S)) as credentials:
        troubles = credentials.troubles()
    got = fine(f"auth: {provider.own_auth} gives this machine a credential")
    return [broken(each, "") for each in troubles] or [got]


def _connected(url: str, ca_file: str | None, *, receives: bool = False) -> list[Diagnosis]:
    return [connect(url, ca_file, receives=receives)]


def connect(url: str, ca_file: str | None = None, *, receives: bool = False) -> Diagnosis:
    """Look up the host, connect, and do a TLS handshake for https. Findings name only host and port.

    If a receiver (`receives`) on this machine does not run, that is only a warning: it may come from a sample
    config.
    """
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 0)
    began = time.monotonic()
    try:
        with socket.create_connection((host, port), timeout=CONNECT_WITHIN_S) as line:
            if parts.scheme == "https":
                context = ssl.create_default_context(cafile=ca_file)
                with context.wrap_socket(line, server_hostname=host):
                    pass
    except socket.gaierror:
        return broken(f"{host} cannot be resolved", "fix the host name in the URL, or DNS on this machine")
    except ssl.SSLCertVerificationError as problem:
        says = f"the certificate of {host}:{port} is not trusted: {problem.verify_message}"
        return broken(says, "fix the certificate, or set its authority as `ca_file`")
    except ssl.SSLError as problem:
        says = f"{host}:{port} does not speak TLS: {problem.reason}"
        return broken(says, "use http://, or the TLS port")
    except TimeoutError:
        return broken(f"{host}:{port} does not answer", "check firewalls and proxies on the way")
    except ConnectionRefusedError as problem:
        says = f"{host}:{port}: {problem.strerror}"
        if receives and is_loopback(host):
            do = "start the receiver, or set your own; this may be the address of a sample config"
            return warning(f"{says}; events wait on disk for a day", do)
        return broken(says, "start it, or fix the URL")
    except OSError as problem:
        return broken(f"{host}:{port}: {problem.strerror or problem}", "start it, or fix the URL")
    return fine(f"{host}:{port} is reachable ({(time.monotonic() - began) * 1e3:.0f} ms)")


def shared(url: str) -> list[Diagnosis]:
    """Whether Redis answers, and its clock."""
    from redis import Redis
    from redis.exceptions import RedisError

    client = Redis.from_url(url, socket_timeout=CONNECT_WITHIN_S, socket_connect_timeout=CONNECT_WITHIN_S)
    try:
        seconds, micros = client.time()
    except (RedisError, OSError) as problem:
        says = f"Redis does not answer: {problem}"
        return [broken(says, "start Redis, or fix `shared`; replicas use the store meanwhile")]
    finally:
        client.close()
    return [fine("Redis answers"), *skew(float(seconds) + float(micros) / 1e6)]


def server(data: Path, environment: Mapping[str, str], admin: str | None, config: Config) -> list[Diagnosis]:
    """The answers of a running server's `/readyz`, and the traffic that its canaries get."""
    try:
        client = AdminClient(admin=admin, data=data, environment=environment)
        state = client.text("GET", "/readyz").strip()
    except ServerNotReached as problem:
        return [warning(str(problem), "start it with `canary serve`, if it should run")]
    found = [broken(each, "") for each in _degraded(state)] or [fine(f"says: {state}")]
    found += _traffic(data)
    try:
        status = client.get("/api/status")
        traffic = [*_matched(status, config), *_astray(status, config)]
        assigned = _assigned(status)
    except (ServerNotReached, KeyError):  # an agent has no status
        traffic, assigned = [], []
    return [*found, *traffic, *_callers(client, config), *assigned]


def _assigned(status: Mapping[str, Any]) -> list[Diagnosis]:
    """Warnings for each canary whose requests have no good arm from a flag system, or whose split is off."""
    sign = "send x-canary-assignment with every request, signed with the CANARY_PIN_TOKEN that the server has"
    agree = "sign for the baseline's users too, and set `share` to what the flag system gives the candidate"
    said = [
        (each["name"], words(each["assignment"]), do)
        for each in status["canaries"]
        if each.get("assignment")
        for words, do in ((unassigned, sign), (split_off, agree))
    ]
    return [warning(f"{name}: {says}", do, check="assignment") for name, says, do in said if says]


def _matched(status: Mapping[str, Any], config: Config) -> list[Diagnosis]:
    """The part of the requests that no canary took; a warning if that is most of them."""
    traffic = status["unmatched"]
    if not (config.canaries and traffic.get("requests")):
        return []
    if traffic["share"] <= MOST:
        return [fine(unmatched(traffic), check="traffic")]
    matches = [each.canary.match for each in config.canaries.values()]
    taken = "; ".join(
        f"{name} matches {', '.join(sorted(match.models | match.paths)) or 'every model'}"
        for name, match in zip(config.canaries, matches, strict=True)
    )
    return [warning(unmatched(traffic), f"{taken}; change `match` if it should take more", check="traffic")]


def _astray(status: Mapping[str, Any], config: Config) -> list[Diagnosis]:
    """What is wrong with most requests of the last minutes, and what to change in the file or the app."""
    return [
        (broken if each["kind"] in REFUSALS else warning)(
            f"{each['canary'] and each['canary'] + ': '}{astray(each)}",
            _mended(each["kind"], each["entry"], config),
            check="traffic",
        )
        for each in (
            *status["traffic"],
            *(each for canary in status["canaries"] for each in canary["traffic"]),
        )
    ]


def _mended(kind: str, entry: str, config: Config) -> str:
    """What would help against requests that go astray."""
    entries = [each for name, each in config.providers.items() if not entry or name == entry]
    match kind:
        case "caller_not_found":
            right = [f'{each.name}: base_url: "{url}"' for each in entries if (url := with_version(each))]
            see = "`canary doctor --probe` asks each arm's model once"
            return f"{right_words}; {see}" if (right_words := ", ".join(right)) else see
        case _:
            return _HELP[kind]


_HELP: Mapping[str, str] = {
    "caller_unauthorized": "send the provider's own key with each request, or set the entry's `api_key`",
    "caller_rejected": "see what the provider says; `canary doctor --probe` asks each arm's model once",
    "provider_throttled": "ask the provider for more quota (docs/guardrails.md says what happens until then)",
    "no_unit": "docs/sdks.md says where each SDK puts the user's id",
    "stateful": "docs/sdks.md, requests with provider-side state, says which they are",
    "prompt_missed": "write the file of `prompt.find` as your app sends the text (docs/arms.md)",
    "unmatched": "change the canary's `match`, or the model that the app asks for",
    "unjoined": "send in feedback the same ids as in x-canary-session and as the unit (docs/feedback.md)",
    "one_sided": "say `per: user` or `per: session` under `metrics:`, or send the other value too",
}
"""What would help, by kind (`control.monitor.traffic.AstrayKind`), where that depends on no entry."""


def with_version(provider: Provider) -> str:
    """The entry's base URL with the version that servers of OpenAI's API want, or without the one that
    canary adds for other APIs; "" where nothing is to be changed."""
    if provider.kind != "plain":
        return ""
    if provider.api == "openai":
        has = re.search(r"/v\d\w*(/|$)", urlsplit(provider.base_url).path)
        return "" if has else f"{provider.base_url}/v1"
    bare = re.sub(r"/v\d\w*$", "", provider.base_url)
    return bare if bare != provider.base_url else ""


def _callers(client: AdminClient, config: Config) -> list[Diagnosis]:
    """The callers that have been in the config for a day, and that the server has not seen."""
    try:
        known = client.get("/api/callers") if config.callers else {"callers": []}
    except ServerNotReached:  # an agent has no API
        return []
    unseen = [each for each in known["callers"] if each["last_seen"] is None]
    late = unused(unseen, time.time())
    if not late:
        if not config.callers:
            return []
        names = ", ".join(each["name"] for each in unseen)
        says = f"not yet seen, and in the config for less than a day: {names}"
        return [fine(says if unseen else "all callers have been seen", check="callers")]
    says = "; ".join(f"{each['name']}: not seen since {each['since']}" for each in late)
    return [warning(says, "give them their keys (docs/callers.md), or remove their entries", check="callers")]


def unused(unseen: Sequence[Mapping[str, Any]], now: float) -> list[Mapping[str, Any]]:
    """Those of the unseen callers (as `/api/callers` lists them) that could have called for a day."""
    return [each for each in unseen if datetime.fromisoformat(each["since"]).timestamp() <= now - DAY_S]


def _degraded(state: str) -> list[str]:
    word, _, problems = state.partition(": ")
    return problems.split("; ") if word == "degraded" else []


def _traffic(data: Path) -> list[Diagnosis]:
    try:
        address = ServerAddress.of("traffic", None, data)
    except ServerNotReached:
        return []  # the server runs on another machine
    url = address.url
    try:
        answer = address.ask("GET", "/readyz", within_s=CONNECT_WITHIN_S)
    except httpx2.TransportError as problem:
        says = f"the traffic listener at {url} does not answer: {problem}"
        return [broken(says, "see the server's log")]
    state = answer.text.strip()
    if answer.status_code != 200 or "baseline only" in state or _degraded(state):
        return [broken(f"traffic at {url}: {state}", "see the server's log")]
    return [fine(f"traffic at {url}: {state}")]


def probed(config: Config, environment: Mapping[str, str]) -> list[Diagnosis]:
    """How each arm of each canary answers one small request of each operation."""
    arms = uvloop.run(probe(routes(config, {}), environment))
    return [each for arm in arms for each in _findings(arm)]


def _findings(arm: ProbedArm) -> list[Diagnosis]:
    check = f"probe {arm.canary} {arm.arm}"
    if arm.no_key:
        return [warning(f"{arm.model} cannot be probed", arm.no_key, check=check)]
    return [_finding(check, arm.model, each) for each in arm.answers]


def _finding(check: str, model: str, answer: ProbeAnswer) -> Diagnosis:
    reply = answer.reply
    status = f" {reply.status}" if reply.status is not None else ""
    says = f"{model} {reply.operation}:{status} {reply.message}".rstrip()
    if reply.taken:
        return fine(f"{says} ({reply.took_s * 1e3:.0f} ms)", check=check)
    if not answer.needed:
        return fine(f"{says}; no fault, because the other arm does not take it either", check=check)
    do = "fix the arm's model or `request:`, or its provider's base_url, api_key or account"
    return broken(says, do, check=check)
