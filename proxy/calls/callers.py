"""Who calls: finds the caller of a request by its key, and refuses what that caller may not do.

    the request                                        is
    has no key, or one of no caller                    refused with 401
    is to an entry that the caller may not use         refused with 403, before its body is read
    is over the caller's rate in this worker           refused with 429, before its body is read
    asks for a model that the caller may not use       refused with 403

Where the config names no callers, everybody may call. No key is kept but those of known callers, in memory.
"""

import math
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from hashlib import sha256
from itertools import dropwhile
from urllib.parse import unquote, unquote_to_bytes

from proxy.calls.call import RequestFacts
from proxy.calls.refusal import Refused
from proxy.calls.routes import ONE_APIS_OWN, Route
from proxy.dialects.realtime import key_among
from proxy.providers.headers import PROTOCOLS
from proxy.providers.json_edit import TooIntricateJson, member_spans
from routing.caller import Caller

OWN_KEY = b"x-canary-key"
"""The header of callers whose SDKs sign their requests. It decides alone."""

_AUTHORIZATION = b"authorization"
_KEYS = (b"x-api-key", b"x-goog-api-key", b"api-key")
_BEARER = b"bearer "
_HOW = "send a caller's key as `Authorization: Bearer`, x-api-key, x-goog-api-key, api-key or x-canary-key"

_MODEL = b'"model"'
_MOST_KNOWN, _LONGEST_KNOWN = 4096, 256
"""Answers remembered, of models by name: callers choose those."""

_NO_CHANGE = frozenset({"GET", "HEAD", "DELETE", "OPTIONS"})
_WITHOUT_MODEL = frozenset(
    {"files", "uploads", "conversations", "containers", "vector_stores", "fileSearchStores", "guardrail"}
)
"""The resources that are written to without a model's name. What is not listed needs one."""

_ELSEWHERE = frozenset(
    {
        "models",
        "model",
        "tunedmodels",
        "deployments",
        "engines",
        "endpoints",
        "publishers",
        "async-invoke",
        "batches",
    }
)
"""Segments, in lower case, of paths that name a model in a way that is not read here, or whose requests name
theirs in a list or a file: what such a body calls `model` need not be what answers."""

_PASSED = re.compile(
    r"(?:/v\d\w*+)?/(?:projects/[^/]+/locations/[^/]+/)?(?:publishers/[^/]+/)?models/(?P<model>[^/:]+):[A-Za-z]+"
)
"""A method of Google's that is no operation of canary's."""

_BEFORE_RESOURCE = frozenset({"openai", "anthropic", "upload"})
_MODEL_PARAMETERS = frozenset(
    {b"model", b"deployment", b"deployment_id", b"deploymentid", b"engine", b"modelid"}
)


class _Bucket:
    """The requests that a caller may still send now: at most one minute's worth."""

    def __init__(self, per_minute: int, left: float, at: float) -> None:
        self.per_minute, self.left, self.at = per_minute, left, at

    def take(self, now: float) -> float:
        """Take one. Returns 0, or the seconds until there is one."""
        self.fill(now)
        if self.left >= 1.0:
            self.left -= 1.0
            return 0.0
        return (1.0 - self.left) * 60.0 / self.per_minute

    def fill(self, now: float) -> None:
        gained = (now - self.at) * self.per_minute / 60.0
        self.left, self.at = min(float(self.per_minute), self.left + gained), now


class Callers:
    """The callers of one worker. `clock` reads monotonic seconds."""

    def __init__(self, callers: Sequence[Caller] = (), clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: dict[str, _Bucket] = {}
        self.configure(callers)

    def configure(self, callers: Sequence[Caller]) -> None:
        """Take the callers of a changed config. Who stays keeps what is left of its minute."""
        self.named = bool(callers)
        """True where the config names callers."""
        self._by_digest = {digest: each for each in callers for digest in each.key_sha256}
        self._by_key: dict[bytes, Caller] = {}  # as many as there are digests
        self._by_bearer: dict[bytes, Caller] = {}  # the same, as most SDKs send them
        self._may_ask: dict[tuple[str, str], bool] = {}
        self._buckets = {
            each.name: self._bucket(each.name, each.requests_per_minute)
            for each in callers
            if each.requests_per_minute is not None
        }

    def find(self, named: Mapping[bytes, bytes], query: bytes) -> Caller | None:
        """The caller of a request with these headers; None where the config names no callers.

        Raises Refused (401).
        """
        if not self._by_digest:
            return None
        known = self._by_bearer.get(named.get(_AUTHORIZATION, b""))
        if known is not None and OWN_KEY not in named:
            return known
        given = False
        for key in filter(None, _keys(named, query)):
            given = True
            caller = self._by_key.get(key) or self._learn(key)
            if caller is not None:
                return caller
        problem = "this key is no caller's" if given else "this proxy wants to know who calls"
        raise Refused(401, f"{problem}; {_HOW}", "caller_unauthorized")

    def admit(self, caller: Caller, provider: str) -> None:
        """Let a request to this entry through, and count it. Raises Refused (403, 429)."""
        if not caller.may_call(provider):
            message = f"caller {caller.name} may not use the provider entry {provider}"
            raise Refused(403, message, "caller_unauthorized")
        bucket = self._buckets.get(caller.name)
        if bucket is not None and (wait_s := bucket.take(self._clock())):
            message = f"caller {caller.name} is over its {bucket.per_minute} requests a minute"
            raise Refused(429, message, "caller_limited", retry_after_s=math.ceil(wait_s))

    def check_model(self, caller: Caller, model: str | None) -> None:
        """Raises Refused (403) unless the caller may ask for this model: None where none is asked for, ""
        where it cannot be read."""
        if model is None:
            return
        known = (caller.name, model)
        allowed = self._may_ask.get(known)
        if allowed is None:
            allowed = caller.may_ask(model)
            if len(self._may_ask) < _MOST_KNOWN and len(model) < _LONGEST_KNOWN:
                self._may_ask[known] = allowed
        if not allowed:
            problem = f"ask for {model[:200]!r}" if model else "send a request whose model cannot be read"
            message = (
                f"caller {caller.name} may not {problem}; its models are: {', '.join(caller.models or ())}"
            )
            raise Refused(403, message, "caller_unauthorized")

    def limits_models(self, named: Mapping[bytes, bytes], query: bytes) -> bool:
        """True when the models of the requests must be known, or the key is no longer a caller's."""
        try:
            caller = self.find(named, query)
        except Refused:
            return True
        return caller is not None and caller.models is not None

    def _learn(self, key: bytes) -> Caller | None:
        caller = self._by_digest.get(sha256(key).hexdigest())
        if caller is not None:
            self._by_key[key] = caller
            self._by_bearer[b"Bearer " + key] = caller
        return caller

    def _bucket(self, name: str, per_minute: int) -> _Bucket:
        before, now = self._buckets.get(name), self._clock()
        if before is None:
            return _Bucket(per_minute, float(per_minute), now)
        before.fill(now)
        return _Bucket(per_minute, min(before.left, float(per_minute)), now)


def asked_model(
    route: Route, method: str, query: bytes, facts: RequestFacts | None, body: bytes | AsyncIterator[bytes]
) -> str | None:
    """The model that a request asks for: "" if it cannot be read, or stands twice; None if its path has no
    model."""
    if _needs_no_model(route, method):
        return None
    if query and any(name in _MODEL_PARAMETERS for name, _ in _parameters(query)):
        return ""
    if named := route.model or _passed_model(route):
        return named
    if not (route.operation.canary or _is_named_in_body(route)):
        return ""
    if facts is None or not facts.model or not isinstance(body, bytes) or not _stands_once(body):
        return ""
    return _without_place(facts.model) if route.provider.api == "gemini" else facts.model


def session_model(route: Route, query: bytes) -> str:
    """The model in the query of a WebSocket's handshake; "" if there is none, or more than one."""
    if route.operation.model_in != "query":
        return ""
    given = [(name, value) for name, value in _parameters(query) if name in _MODEL_PARAMETERS]
    if [name for name, _ in given] != [b"model"] or b"model=" not in query:
        return ""
    return unquote(given[0][1].replace(b"+", b" ").decode("latin-1"))


def message_model(facts: RequestFacts, body: bytes | AsyncIterator[bytes]) -> str:
    """The model that a message on a WebSocket asks for; "" if it cannot be read, or any member stands twice:
    which of them its reader takes is not known."""
    return facts.model if isinstance(body, bytes) and has_each_member_once(body) else ""


def has_each_member_once(body: bytes) -> bool:
    """True for a JSON object in which no top-level member stands twice, however its name is spelt."""
    names = _member_names(body)
    return names is not None and len(set(names)) == len(names)


def needs_model(route: Route, method: str) -> bool:
    """True when the body of a request that only passes through has to be read for its model."""
    return not (_needs_no_model(route, method) or route.model or _passed_model(route)) and _is_named_in_body(
        route
    )


def _needs_no_model(route: Route, method: str) -> bool:
    if route.operation.canary:
        return False
    if method in _NO_CHANGE or route.path.endswith(("/cancel", ":cancel")):
        return True
    return _resource(route.path) in _WITHOUT_MODEL


def _passed_model(route: Route) -> str:
    """The model in the path of a request that only passes through; "" if none is read there."""
    if route.provider.api != "gemini" and route.provider.kind != "vertex":
        return ""
    found = _PASSED.fullmatch(route.path)
    return unquote(found["model"]) if found is not None else ""


def _is_named_in_body(route: Route) -> bool:
    """True when the body of a request that only passes through names its model. Where an entry's paths name
    models, only known resources do."""
    if any(each.partition(":")[0] in _ELSEWHERE for each in route.path.lower().split("/")):
        return False
    names_in_path = route.provider.api == "gemini" or route.provider.kind != "plain"
    return not names_in_path or _resource(route.path) in ONE_APIS_OWN


def _resource(path: str) -> str:
    """The resource of a path in any of its forms: `files` of `/upload/v1beta/files`."""
    parts = list(dropwhile(_is_before_resource, path.split("/")[1:]))
    if parts[:1] == ["projects"] and parts[2:3] == ["locations"]:
        parts = parts[4:]
    return parts[0].partition(":")[0] if parts else ""


def _is_before_resource(segment: str) -> bool:
    return segment in _BEFORE_RESOURCE or (segment[:1] == "v" and segment[1:2].isdigit())


def _without_place(model: str) -> str:
    """Google's name of a model without where it stands: `models/M`, `projects/…/models/M`."""
    if model.startswith("projects/"):
        return model.rpartition("/models/")[2]
    return model.removeprefix("models/")


def _parameters(query: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The parameters of a query, their names decoded and in lower case."""
    for part in query.split(b"&"):
        name, _, value = part.partition(b"=")
        yield (unquote_to_bytes(name) if b"%" in name else name).lower(), value


def _stands_once(body: bytes) -> bool:
    """True when the top-level object, which has a model, has one only, however its name is spelt."""
    at = body.find(_MODEL)
    if at >= 0 and body.find(_MODEL, at + 1) < 0 and (b"\\" not in body or b"\\u00" not in body):
        return True
    names = _member_names(body)
    return names is not None and names.count("model") == 1


def _member_names(body: bytes) -> list[str] | None:
    """The names of all top-level members, repeated or not; None where they cannot be told."""
    try:
        return [span.name for span in member_spans(body)]
    except (TooIntricateJson, ValueError):
        return None


def _keys(named: Mapping[bytes, bytes], query: bytes) -> Iterator[bytes]:
    """What a request gives as keys, wherever the SDKs put them."""
    if (own := named.get(OWN_KEY)) is not None:
        yield own
        return
    bearer = named.get(_AUTHORIZATION)
    if bearer is not None and bearer[: len(_BEARER)].lower() == _BEARER:
        yield bearer[len(_BEARER) :].strip()
    for name in _KEYS:
        if (key := named.get(name)) is not None:
            yield key
    if b"key=" in query:
        yield from (unquote_to_bytes(part[4:]) for part in query.split(b"&") if part.startswith(b"key="))
    if (protocols := named.get(PROTOCOLS)) is not None and (key := key_among(protocols)):
        yield key
