"""Routes requests to provider, operation and canary. One immutable value per config.

A path is brought into the one spelling that everything matches. What is sent is the caller's own.

    the caller writes                  matched as
    %63 for c, any unreserved          c (RFC 3986 §6.2.2.2)
    %3a                                %3A
    %3A before a method at the end     :
    //                                 /
    a segment . or .., in whatever     nothing: refused with 400
    encoding, also before ; ? # and
    NUL, among blanks and controls
    bytes that are not UTF-8           nothing: refused with 400, as servers read them differently
    over 8 KiB                         nothing: refused with 414

Capitals are left as they are: they count in all of the APIs' own documents.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from urllib.parse import unquote

from proxy.answers.quota import QuotaMeter
from proxy.calls.refusal import ErrorForm, Refused
from proxy.dialects.gemini import MODEL_PATH
from proxy.dialects.operation import Api, Operation
from proxy.network.upstream.breaker import CandidateBreaker
from proxy.providers.arm_texts import ArmTexts, texts_of
from proxy.providers.provider import Kind, Provider, Timeout
from proxy.providers.urls import CallerUrl, EntryUrl, Owner, owner, read, write
from records.captures.capture import CaptureRule
from routing.canary import NO_CHANGES, Arm, ArmName, Canary, Match, RequestChanges
from routing.states import Lane, States

_ODD = re.compile(r"[%\\]|//|/\.")
"""Without one of these a path is in its normal spelling already."""

_ENCODED = re.compile(r"%([0-9A-Fa-f]{2})")
_CHAIN = re.compile(r"%(?:25)+")
_SLASHES = re.compile(r"//+")
_BETWEEN = re.compile(r"[/\\]")
_NAME_ENDS = re.compile(r"[;?#\0]")
"""Where an obliging server ends a segment's name, or the whole path."""
_METHOD_COLON = re.compile(r"%3A(?=[A-Za-z]+$)")
"""What Google's servers read as the colon before a method (`models/M:generateContent`)."""
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_MOST_DECODINGS = 3
LONGEST_PATH = 8192
"""Bytes of a path. No provider's are longer, and many servers take no more (RFC 9110 §15.5.15)."""
_DOTS = (".", "..")


MOST_KNOWN, LONGEST_KNOWN = 4096, 256
Spoken = tuple[bool, bool]
"""Whether a request's headers or query mark it as Anthropic's API, and as Gemini's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmTarget:
    """An arm's provider, model ("" keeps the caller's), changes of the request, and timeout.

    `patience_s`: how long a request may wait for this candidate; None follows the plan.
    `key` names the arm's own connection limit, so that a hanging candidate cannot starve the baseline.
    `request` is NO_CHANGES itself where there are none. `texts`: the arm's own prompt and descriptions of
    tools; None for none. `standing`: the standing canary whose own baseline it is, "" for another arm.
    """

    arm: ArmName
    provider: Provider
    model: str
    timeout: Timeout
    key: str
    patience_s: float | None = None
    request: RequestChanges = NO_CHANGES
    texts: ArmTexts | None = None
    standing: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trial:
    """A canary with the targets of its arms, its candidate's breaker and quota, and the fingerprint of its
    definition.

    `mirror`: the part, in [0, 1], of the baseline's exchanges that is copied to the candidate. `capture`: the
    rule for capturing texts. `redact`: the config's patterns for what providers say. `counts_repeats`:
    whether questions get a fingerprint. `prompts`: the texts of the arms that have a prompt of their own.
    """

    canary: Canary
    definition: str
    baseline: ArmTarget
    candidate: ArmTarget
    mirror: float = 0.0
    capture: CaptureRule | None = None
    redact: tuple[str, ...] = ()
    counts_repeats: bool = False
    breaker: CandidateBreaker = field(default_factory=CandidateBreaker)
    quota: QuotaMeter = field(default_factory=QuotaMeter)
    prompts: tuple[ArmTexts, ...] = ()

    def target(self, arm: ArmName) -> ArmTarget:
        return self.baseline if arm == "baseline" else self.candidate

    def without_unit(self, states: States) -> Arm:
        """The arm that serves a request without a unit, whose arm is not drawn."""
        state = states.state_of(self.canary.name, self.definition)
        promoted = state is not None and state.state == "promoted"
        return self.canary.candidate if promoted else self.canary.baseline

    @property
    def has_texts(self) -> bool:
        """True when an arm has a prompt or descriptions of tools of its own."""
        return self.baseline.texts is not None or self.candidate.texts is not None

    @property
    def shares_state(self) -> bool:
        """True when both arms use one provider entry and so share provider-side state."""
        return self.baseline.provider.name == self.candidate.provider.name


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StandingRoute:
    """What a standing canary's requests get while none of its trials takes them. `trials`: their names.
    `capture`: the rule for capturing the texts of these requests."""

    name: str
    match: Match
    baseline: ArmTarget
    arm: Arm
    capture: CaptureRule | None = None
    trials: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Route:
    """The route of one request. `path` is the path behind the entry's name, in its normal spelling; `model`
    the model in that path, "" where body or query name it; `target` the path below the entry's base URL, as
    its caller spells it."""

    provider: Provider
    operation: Operation
    path: str
    model: str
    place: CallerUrl
    target: bytes
    written: dict[tuple[str, bool], EntryUrl | None] = field(default_factory=dict)
    """The operation as the entry of each arm takes it, by the arm's key and whether it streams. Filled on
    demand, and as small as the number of arms."""

    @property
    def error_form(self) -> ErrorForm:
        """The form in which the SDKs that write this path read errors."""
        return "amazon" if self.operation.amazon_errors else self.provider.api

    def at(self, target: ArmTarget, stream: bool) -> EntryUrl:
        """The operation as the entry of this arm takes it; as it came, where the entry cannot take it."""
        written = self.written.get((target.key, stream)) or self._write(target, stream)
        return written or EntryUrl(target=self.target)

    def taken_by(self, target: ArmTarget) -> bool:
        """True when the other entry of this arm takes this operation, in one form or another."""
        key = (target.key, False)
        written = self.written[key] if key in self.written else self._write(target, False)
        return written is not None

    def _write(self, target: ArmTarget, stream: bool) -> EntryUrl | None:
        home = target.provider is self.provider
        written = write(target.provider, self.place, model=target.model, stream=stream, home=home)
        if written is not None and written.target == self.place.target.encode():
            written = replace(written, target=self.target)
        self.written[target.key, stream] = written
        return written


class Routes:
    """All providers and canaries of one config, indexed so that lookups do not depend on their number.

    `captures`: the rules for texts of models that no canary takes, by model. `standing`: the baselines of
    standing canaries, for requests that none of their trials takes. `texts`: those of all arms, by digest.
    """

    def __init__(
        self,
        providers: Mapping[str, Provider],
        trials: Sequence[Trial],
        tags: Sequence[str],
        captures: Mapping[str, CaptureRule] | None = None,
        standing: Sequence[StandingRoute] = (),
        texts: Mapping[str, str] | None = None,
    ) -> None:
        self.tags = frozenset(tags)
        self.standing = standing
        self._standing_captures = {each.name: each.capture for each in standing}
        self.texts = dict(texts or {})
        self.captures = dict(captures or {})
        self.trials = {trial.canary.name: trial for trial in trials}
        self._providers = dict(providers)
        self._first: dict[Api, Provider] = {}
        for provider in providers.values():
            self._first.setdefault(provider.api, provider)
        self._plain = {name: _pass_through(provider) for name, provider in providers.items()}
        self._targets: dict[Arm, ArmTarget] = {}
        self._known: dict[tuple[str, str, Spoken], Route] = {}
        self._baselines = {trial.baseline.provider.name for trial in trials}
        self._baselines |= {each.baseline.provider.name for each in standing}
        self._by_model = _by_model(trials)

    def plain(self, provider: Provider) -> ArmTarget:
        """How this entry serves a request outside every canary. A reload may have removed the entry since the
        request came: it serves this one still."""
        return self._plain.get(provider.name) or _pass_through(provider)

    def may_take(self, route: Route) -> bool:
        """True when a canary may take requests of this route, whatever they hold."""
        return route.operation.canary and route.provider.name in self._baselines

    def route(self, method: str, path: str, query: bytes, headers: Mapping[bytes, bytes]) -> Route:
        """Find the provider for a raw path. Raises Refused (404), naming the valid paths."""
        spoken = (
            b"anthropic-version" in headers,
            b"x-goog-api-key" in headers or (query != b"" and _has_key(query)),
        )
        known = self._known.get((method, path, spoken))
        if known is None:
            known = self._find(method, path, spoken)
            if len(path) < LONGEST_KNOWN:  # bounded, because callers choose the paths
                if len(self._known) >= MOST_KNOWN:
                    self._known.clear()
                self._known[method, path, spoken] = known
        return known

    def _find(self, method: str, path: str, spoken: Spoken) -> Route:
        raw, path = path, normal(path)
        provider, rest = self._provider(method, path, spoken)
        if rest != path:
            raw = behind_first(raw)
        place = read(provider.kind, provider.api, method, rest)
        return Route(
            provider=provider,
            operation=place.operation,
            path=rest,
            model=place.model,
            place=place,
            target=(place.target if raw == rest else spelt(place.target, rest, raw)).encode(),
        )

    def matching(
        self, route: Route, model: str, headers: Mapping[bytes, bytes], tags: Mapping[str, str]
    ) -> Sequence[Trial]:
        """Return the canaries that match this request, in the config's order, for `CanaryChooser`.

        A request that the candidate's entry cannot take in its caller's form stays outside its canary.
        """
        provider = route.provider.name
        found: list[Trial] = []
        for trial in self._by_model.get((provider, model)) or self._by_model.get((provider, ""), ()):
            match = trial.canary.match
            more = match.paths or match.headers or match.tags
            if not more or _accepts(match, route, model, headers, tags):
                home = trial.candidate.provider is route.provider
                if home or route.taken_by(trial.candidate):
                    found.append(trial)
        return found

    def standing_for(
        self,
        route: Route,
        model: str,
        headers: Mapping[bytes, bytes],
        tags: Mapping[str, str],
        trial: str = "",
    ) -> StandingRoute | None:
        """Return the standing canary that matches this request; None if none does. A request that its `trial`
        matches has come to it, though its baseline may be at another entry."""
        for each in self.standing:
            here = each.baseline.provider is route.provider or trial in each.trials
            if here and _accepts(each.match, route, model, headers, tags):
                return each
        return None

    def capture_outside(self, rest: ArmTarget | None, model: str) -> CaptureRule | None:
        """The rule for capturing the texts of a request that no canary takes: that of the standing one whose
        baseline serves it (`rest`), else that of its model."""
        own = self._standing_captures.get(rest.standing) if rest is not None else None
        return self.captures.get(model) if own is None else own

    def last_baseline(
        self, lane: Lane, route: Route, model: str, headers: Mapping[bytes, bytes], tags: Mapping[str, str]
    ) -> ArmTarget | None:
        """Return the baseline of a lane whose canary has ended; None if it did not take this request."""
        if lane.baseline.provider != route.provider.name:
            return None
        if not _accepts(lane.match, route, model, headers, tags):
            return None
        return self._targets.get(lane.baseline) or self._target(lane.baseline)

    def _target(self, arm: Arm) -> ArmTarget:
        provider = self._providers[arm.provider]
        target = ArmTarget(
            arm="baseline",
            provider=provider,
            model=arm.model,
            request=arm.request or NO_CHANGES,
            texts=texts_of(arm, self.texts),
            timeout=provider.timeout,
            key=f"{provider.name}/{arm.model}",
        )
        self._targets[arm] = target
        return target

    def _provider(self, method: str, path: str, spoken: Spoken) -> tuple[Provider, str]:
        if (of_cloud := owner(path)) and (provider := self._of_cloud(*of_cloud)):
            return provider, path
        name, _, rest = path[1:].partition("/")
        if provider := self._providers.get(name):
            return provider, "/" + rest
        return self._the_first(_api(method, path, spoken)), path

    def _of_cloud(self, kind: Kind, api: Owner) -> Provider | None:
        for provider in self._providers.values():
            if provider.kind == kind and api in ("any", provider.api):
                return provider
        return None

    def _the_first(self, api: Api) -> Provider:
        if provider := self._first.get(api):
            return provider
        message = f"no provider entry has `api: {api}`; add one to canary.yaml"
        raise Refused(404, message, "caller_not_found", form=api)


def _pass_through(provider: Provider) -> ArmTarget:
    return ArmTarget(arm="baseline", provider=provider, model="", timeout=provider.timeout, key=provider.name)


def _by_model(trials: Sequence[Trial]) -> Mapping[tuple[str, str], Sequence[Trial]]:
    """The canaries by entry and model, "" for any other one, in the order of the config."""
    keys = [(t.canary.baseline.provider, model) for t in trials for model in t.canary.match.models or ("",)]
    return {
        (provider, model): [t for t in trials if t.canary.baseline.provider == provider and _of(t, model)]
        for provider, model in keys
    }


def _of(trial: Trial, model: str) -> bool:
    models = trial.canary.match.models
    return not models or model in models


def _accepts(
    match: Match, route: Route, model: str, headers: Mapping[bytes, bytes], tags: Mapping[str, str]
) -> bool:
    named = {name: headers.get(name.encode(), b"").decode("latin-1") for name in match.headers}
    return match.accepts(model=model, path=route.path, headers=named, tags=tags)


def _has_key(query: bytes) -> bool:
    """True when the query has Gemini's `key`."""
    return query.startswith(b"key=") or b"&key=" in query


ONE_APIS_OWN: Mapping[str, Api] = {
    **dict.fromkeys(("messages", "complete", "organizations"), "anthropic"),
    **dict.fromkeys(("interactions", "cachedContents", "tunedModels", "fileSearchStores"), "gemini"),
    **dict.fromkeys(
        (
            "chat", "completions", "responses", "embeddings", "audio", "images", "moderations", "realtime",
            "conversations", "assistants", "threads", "vector_stores", "uploads", "fine_tuning", "evals",
            "containers", "videos",
        ),
        "openai",
    ),
}  # fmt: skip
"""The resources below `/v1/` that only one API has. The others (models, files, batches, …) follow the
credentials and the version that the caller sends."""


def _api(method: str, path: str, spoken: Spoken) -> Api:
    anthropic, gemini = spoken
    if path.startswith("/v1beta/") or (method == "POST" and ":" in path and MODEL_PATH.match(path)):
        return "gemini"
    if path.startswith("/v1/") and (only := ONE_APIS_OWN.get(path[4:].partition("/")[0])):
        return only
    if anthropic:
        return "anthropic"
    if gemini:
        return "gemini"
    if path.startswith("/v1/"):
        return "openai"
    raise Refused(
        404,
        f"nothing is served at {path[:200]!r}: use /v1/… (OpenAI), /v1/messages (Anthropic), "
        "/v1beta/… (Gemini) or /PROVIDER/v1/…; /openai/deployments/… needs an entry with `kind: azure`, "
        "/model/… one with `kind: bedrock`",
        "caller_not_found",
    )


def normal(path: str) -> str:
    """The spelling of a raw path that is matched. Raises Refused (400, 414)."""
    if len(path) > LONGEST_PATH:
        raise Refused(414, f"the path is over {LONGEST_PATH} bytes", "caller_rejected")
    if not _ODD.search(path):
        return path
    if any(_name(each) in _DOTS for each in _BETWEEN.split(_decoded(path))):
        raise Refused(400, "paths with '.' or '..' segments are not forwarded", "caller_rejected")
    return _METHOD_COLON.sub(":", _SLASHES.sub("/", _ENCODED.sub(_plain, path)))


def _name(segment: str) -> str:
    """A decoded segment as the most obliging server would read it: without parameters, blanks, controls."""
    named = _NAME_ENDS.split(segment, maxsplit=1)[0]
    return "".join(sign for sign in named if sign.isprintable() and not sign.isspace())


def spelt(target: str, path: str, raw: str) -> str:
    """`target` as its caller spells it: it was made of `path`, the normal spelling of `raw`, by leaving out
    its first segment or by putting a prefix before it."""
    if path.endswith(target):
        return behind_first(raw) if len(target) < len(path) else raw
    return target.removesuffix(path) + raw if target.endswith(path) else target


def behind_first(raw: str) -> str:
    """A raw path without its first segment, which may have several slashes before it."""
    _, slash, rest = raw.lstrip("/").partition("/")
    return slash + rest


def _decoded(path: str) -> str:
    """The path without any encoding, as the most obliging server would read it. Raises Refused (400)."""
    for _ in range(_MOST_DECODINGS):
        try:
            further = unquote(_CHAIN.sub("%", path), errors="strict")
        except UnicodeDecodeError:
            raise Refused(400, "this path is not UTF-8", "caller_rejected") from None
        if further == path:
            return path
        path = further
    raise Refused(400, "this path is percent-encoded over and over", "caller_rejected")


def _plain(found: re.Match[str]) -> str:
    sign = chr(int(found[1], 16))
    return sign if sign in _UNRESERVED else found[0].upper()
